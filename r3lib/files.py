"""Files that are whole or absent, and errors a reader can act on."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(os.environ.get("R3_HOME", Path(__file__).resolve().parent.parent))
DATA = ROOT / "data"
RESULTS = ROOT / "results"


class R3Error(Exception):
    """Something the user can mend; the message is one sentence that says how. The command line prints only that."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what was written there replaces `path` at once, or nothing does.

    Raises R3Error when the folder cannot be written or the disk is full.
    """
    path = Path(path)
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        partial = Path(name)
        yield partial
        partial.chmod(0o644)
        partial.replace(path)
    except OSError as error:
        raise R3Error(
            f"Cannot write {path}: {error.strerror or error}. Free some space or choose a folder you may "
            "write to; nothing was changed there."
        ) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON, one top-level entry a line, so that a change of one run reads well in a diff."""
    rows = ",\n".join(f" {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in value.items())
    write_text(path, "{\n" + rows + "\n}\n")


def rewind(log: Path, step: int) -> None:
    """Drop what a killed run logged (JSON lines) after `step`, that of its checkpoint; no log becomes an empty one."""
    kept = ""
    for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else []:
        try:
            kept += line + "\n" if json.loads(line)["step"] <= step else ""
        except ValueError:
            break  # the line it was writing when it was killed
    write_text(log, kept)


def read_json(path: Path) -> Any:
    """Read JSON; raises R3Error if the file is missing or damaged."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise R3Error(f"{path} is missing; run the step that makes it, or `git checkout` it.") from None
    except (ValueError, OSError) as error:
        raise R3Error(f"{path} cannot be read ({error}); delete it and run the step that makes it again.") from error


def read_jsonl(path: Path) -> list[dict]:
    """Read one JSON object a line; raises R3Error if the file is missing or a line is damaged."""
    try:
        return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").split("\n") if line]
    except FileNotFoundError:
        raise R3Error(f"{path} is missing; restore it with `git checkout -- {path}`.") from None
    except (ValueError, OSError) as error:
        raise R3Error(f"{path} is damaged ({error}); restore it with `git checkout -- {path}`.") from error
