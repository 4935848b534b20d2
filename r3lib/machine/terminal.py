"""Where the command line is read: what its output may hold, and in what it is shown."""

from __future__ import annotations

import codecs
import os
import sys

# the signs that tables and errors have, for those terminals that cannot show them
PLAIN = str.maketrans({"−": "-", "–": "-", "→": ">", "×": "x", "±": "+-", "…": "...", "“": '"', "”": '"', "’": "'"})


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    words = error.object[error.start : error.end].translate(PLAIN)
    return words.encode("ascii", "backslashreplace").decode(), error.end


def show_all() -> None:
    """Let nothing be lost to a terminal's encoding: what it cannot show is printed in ASCII, not raised.

    Under Jupyter there is none to lose to.
    """
    codecs.register_error("r3lib.plainly", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="r3lib.plainly")


def kind() -> str:
    """What reads the output: Colab, Jupyter, a terminal, or none of these."""
    if "COLAB_RELEASE_TAG" in os.environ:
        return "Colab"
    if "JPY_PARENT_PID" in os.environ:  # the kernel's, and what it starts with "!"
        return "Jupyter"
    return "a terminal" if sys.stdout.isatty() else "no terminal, but a file or a pipe"
