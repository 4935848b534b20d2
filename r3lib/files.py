"""Files that are whole or absent, and errors a reader can act on."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

PACKAGE = Path(__file__).resolve().parent
INSTALLED = (PACKAGE / "data").is_dir()  # a wheel carries data and results inside the package; a checkout, beside it
ROOT = PACKAGE if INSTALLED else PACKAGE.parent  # what is read
HOME = Path(os.environ.get("R3_HOME") or (Path.cwd() if INSTALLED else ROOT)).resolve()  # what is written
DATA = ROOT / "data"
RESULTS = HOME / "results"
CACHE = Path(os.environ.get("R3_CACHE") or Path.home() / ".cache" / "r3lib")  # models that were fetched


class R3Error(Exception):
    """Something the user can put right; the message is one sentence that says how. The command line prints only it."""


def results(task: str, profile: str) -> Path:
    """The results of a task and a profile: the reader's own, else those that came with the kit."""
    own, kit = (home / "results" / task / profile for home in (HOME, ROOT))
    return own if own.exists() else kit


def restore(path: str | Path) -> str:
    """What brings a file of the kit back."""
    return "`pip install --force-reinstall --no-deps` of the kit" if INSTALLED else f"`git checkout -- {path}`"


@contextmanager
def writing(path: Path | None, kept: str = "nothing was changed there") -> Iterator[None]:
    """Turn a failure to write (a full disk, a folder without permission) into an R3Error that names the place.

    Each library has a kind of its own: OSError, torch's RuntimeError, safetensors' and tokenizers' plain exceptions.
    path: the place; None where only the error knows it.
    """
    try:
        yield
    except R3Error:
        raise
    except Exception as error:
        signs = ("os error", "PytorchStreamWriter", "unexpected pos", *map(os.strerror, (errno.ENOSPC, errno.EFBIG)))
        disk = isinstance(error, OSError) and not isinstance(error, (ConnectionError, TimeoutError))
        if not disk and not any(sign in str(error) for sign in signs):
            raise
        why = getattr(error, "strerror", None) or str(error).partition("\n")[0]
        place = path or getattr(error, "filename", None) or "a file"
        raise R3Error(
            f"Cannot write {place}: {why}. Free some space or choose a folder you may write to; {kept}."
        ) from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what was written there replaces `path` at once, or nothing does.

    Raises R3Error when the folder cannot be written or the disk is full.
    """
    path = Path(path)
    partial = None
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            os.close(handle)
            partial = Path(name)
            yield partial
            partial.chmod(0o644)
            partial.replace(path)
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Keep a second run out of a folder, which is made. Raises R3Error if there is one, or it cannot be written.

    The system lets go of the lock of a run that was killed.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        held = FileLock(folder / ".lock", timeout=0)
    try:
        with writing(folder):
            held.acquire()
    except Timeout:
        raise R3Error(f"Another run is at work in {folder}; wait for its end, or choose another folder.") from None
    try:
        yield
    finally:
        held.release()


def write_text(path: Path, text: str) -> None:
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")  # the same bytes on every system


def write_json(path: Path, value: Any) -> None:
    """Write JSON, one top-level entry a line, so that a change of one run reads well in a diff."""
    rows = ",\n".join(f" {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in value.items())
    write_text(path, "{\n" + rows + "\n}\n")


def read_json(path: Path) -> Any:
    """Read JSON; raises R3Error if the file is missing or damaged."""
    return _read(path, json.loads)


def read_jsonl(path: Path) -> list[dict]:
    """Read one JSON object a line; raises R3Error if the file is missing or a line is damaged."""
    return _read(path, lambda text: [json.loads(line) for line in text.split("\n") if line])


def _read(path: Path, parse: Callable[[str], Any]) -> Any:
    remedy = f"run the step that makes it, or restore it with {restore(path)}"
    try:
        return parse(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise R3Error(f"{path} is missing; {remedy}.") from None
    except (ValueError, OSError) as error:
        raise R3Error(f"{path} cannot be read ({error}); delete it and {remedy}.") from error


def rewind(log: Path, step: int) -> None:
    """Drop what a killed run logged (JSON lines) after `step`, that of its checkpoint; no log becomes an empty one."""
    kept = ""
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
        try:
            kept += line + "\n" if json.loads(line)["step"] <= step else ""
        except ValueError:
            break  # the line it was writing when it was killed
    write_text(log, kept)


def fingerprint(value: Any) -> str:
    """Sixteen hex digits that stand for a JSON value."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def hash_file(path: Path) -> str:
    """The file's SHA-256, in hex digits."""
    out = sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            out.update(block)
    return out.hexdigest()
