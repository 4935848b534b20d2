"""What each notebook takes, in a table: its own header says it, and the README and the teacher's guide repeat it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from r3lib.files import R3Error, read_json
from r3lib.pages.tables import markdown

TITLE = re.compile(r"^# (\w\d[a-z]?) · (.+)$", re.M)
TEACHING = re.compile(r"^\*\*Teaching time\*\*: about (\d+) minutes(?:, plus (\d+) for the exercises)?", re.M)
TAKES = re.compile(r"^\| (?:`nano`|any\b[^|]*) \| (\d+ s) \| ([\d.]+ GB) \|", re.M)


class Lesson(NamedTuple):
    """teaching: minutes, "40 + 20" with those for the exercises, empty if not said. time, memory: measured on nano."""

    number: str
    title: str
    file: str
    teaching: str
    time: str
    memory: str


def lessons(folder: Path) -> list[Lesson]:
    """Every notebook of a folder, in order. Raises R3Error if a header does not say what all of them say."""
    return [_lesson(path) for path in sorted(folder.glob("*.ipynb"))]


def _lesson(path: Path) -> Lesson:
    header = "".join(read_json(path)["cells"][0]["source"])
    title, teaching, takes = (pattern.search(header) for pattern in (TITLE, TEACHING, TAKES))
    if not title or not takes:
        raise R3Error(f"The first cell of {path} must have a title and the row of time and memory of `nano`.")
    return Lesson(
        *title.groups(), path.name, " + ".join(filter(None, teaching.groups())) if teaching else "", *takes.groups()
    )


def table(folder: Path) -> str:
    """Markdown: a row for each notebook; its links start at the folder above `folder`."""
    head = ["", "notebook", "minutes to teach + for exercises", "time to run", "memory"]
    rows = [
        [one.number, f"[{one.title}]({folder.name}/{one.file})", one.teaching, one.time, one.memory]
        for one in lessons(folder)
    ]
    return markdown(head, rows)
