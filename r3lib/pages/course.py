"""The course: the exercises that can be checked, put into the notebooks, and three versions of every lesson.

One source: notebooks/exercises/NAME.py holds the exercises of notebooks/NAME.ipynb in the percent format that editors
and Jupytext read. Each has three cells: Markdown, whose first line is "NAME · LEVEL · MINUTES minutes · TITLE"; the
code, in which nbgrader's marks `### BEGIN SOLUTION` and `### END SOLUTION` enclose what a student must write; and
MISTAKES: what stands in the solution, what stands in its place, what `r3lib.pages.check` must then say.

`insert` puts them after the notebook's section "## Exercises", three cells each, tagged `exercise` (the task, with the
lines to be written folded away), `stub` and `check`. Their ids begin with "exercise-"; no other cell is touched. The
versions:

    student     no solution anywhere, also of the exercises in prose, and no output of a stub or check
    teacher     solutions, tagged `solution`, in the place of stubs, and those in prose unfolded
    solutions   a short notebook that runs alone: set-up, tasks, solutions, checks
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from r3lib.files import ROOT, R3Error

NOTEBOOKS = ROOT / "notebooks"
VERSIONS = ("student", "teacher", "solutions")
PREFIX = "exercise-"
SECTION = re.compile(r"^## Exercises$", re.M)
CELL = re.compile(r"^# %% ?(.*)\n", re.M)
REGION = re.compile(r"( *)### BEGIN SOLUTION\n+(.*?)\n+ *### END SOLUTION", re.S)
FOLDED = re.compile(r"\n*<details>\s*<summary>Solution</summary>.*?</details>", re.S)
INTRODUCTION = """### Exercises with a check

Write the body of each function in place of `raise NotImplementedError`, run its cell, then the check below it. It says
*passed*, or names the first case that is not right yet."""


class Exercise(NamedTuple):
    """name: the function to write, and its check in `r3lib.pages.check`. mistakes: the file's, as it has them."""

    name: str
    level: str
    minutes: int
    title: str
    task: str
    code: str
    mistakes: list[tuple[str, str, str]]

    @property
    def stub(self) -> str:
        return REGION.sub(r"\1raise NotImplementedError", self.code)

    @property
    def solution(self) -> str:
        return REGION.sub(r"\2", self.code)

    @property
    def check(self) -> str:
        return f"from r3lib.pages import check\n\ncheck.{self.name}({self.name})"

    def mistaken(self, old: str, new: str) -> str:
        """The solution with a mistake in it. ValueError if it does not have `old`."""
        before, body, after = REGION.split(self.code)[0], REGION.search(self.code)[2], REGION.split(self.code)[-1]
        if old not in body:
            raise ValueError(f"The solution of {self.name} does not have {old!r}.")
        return before + body.replace(old, new, 1) + after


def read(path: Path) -> list[Exercise]:
    """The exercises of a file. Raises R3Error if it is not in the form above."""
    parts = iter(CELL.split(path.read_text(encoding="utf-8"))[1:])
    cells = iter(zip(parts, parts))
    found = []
    try:
        for (head, task), (_, code), (_, mistakes) in zip(cells, cells, cells):
            name, level, minutes, title = head.removeprefix("[markdown] ").split(" · ")
            task = re.sub(r"^# ?", "", task.strip(), flags=re.M)
            listed = ast.literal_eval(mistakes.partition("=")[2].strip())
            found.append(Exercise(name, level, int(minutes.split()[0]), title, task, code.strip(), listed))
    except (ValueError, SyntaxError) as error:
        raise R3Error(f"{path} is not in the form that r3lib/pages/course.py describes: {error}.") from None
    return found


def exercises(notebook: Path) -> list[Exercise]:
    """Those of a notebook, by its name; none if it has no file."""
    path = notebook.parent / "exercises" / f"{notebook.stem}.py"
    return read(path) if path.exists() else []


def _cells(found: list[Exercise], solved: bool, folded: bool) -> Iterator[NotebookNode]:
    yield new_markdown_cell(INTRODUCTION, id=f"{PREFIX}introduction")
    for e in found:
        task = f"**{e.title}** ({e.level}, {e.minutes} minutes; `{e.name}`). {e.task}"
        if folded:
            body = dedent(REGION.search(e.code)[2])
            task += f"\n\n<details><summary>Solution</summary>\n\n```python\n{body}\n```\n</details>"
        cells = new_markdown_cell(task), new_code_cell(e.solution if solved else e.stub), new_code_cell(e.check)
        for cell, tag in zip(cells, ("exercise", "solution" if solved else "stub", "check")):
            cell.id, cell.metadata.tags = f"{PREFIX}{e.name.replace('_', '-')}-{cells.index(cell)}", [tag]
            yield cell


def _kept(new: NotebookNode, old: NotebookNode | None) -> NotebookNode:
    """The old cell, with its outputs, if it says the same."""
    return old if old and (old.source, old.metadata.get("tags")) == (new.source, new.metadata.get("tags")) else new


def insert(notebook: NotebookNode, found: list[Exercise], solved: bool = False, folded: bool = True) -> NotebookNode:
    """A copy with these exercises in the place of those that were inserted before. Cells that stay keep their outputs.

    Raises R3Error if it has no section "## Exercises".
    """
    out = deepcopy(notebook)
    old = {cell.id: cell for cell in out.cells if cell.id.startswith(PREFIX)}
    rest = [cell for cell in out.cells if cell.id not in old]
    places = [i for i, c in enumerate(rest, 1) if c.cell_type == "markdown" and SECTION.search(c.source)]
    if not places:
        raise R3Error("The notebook has no section '## Exercises'.")
    new = [_kept(cell, old.get(cell.id)) for cell in _cells(found, solved, folded)]
    out.cells = rest[: places[-1]] + (new if found else []) + rest[places[-1] :]
    return out


def version(notebook: NotebookNode, found: list[Exercise], kind: str) -> NotebookNode:
    """One of VERSIONS of a lesson, which may hold the exercises already."""
    from nbconvert.preprocessors import TagRemovePreprocessor

    out = insert(notebook, found, solved=kind != "student", folded=False)
    for cell in out.cells:
        if cell.cell_type == "markdown":
            opened = cell.source.replace("<details>", "<details open>")
            cell.source = FOLDED.sub("", cell.source) if kind == "student" else opened
            cell.source = cell.source.replace("](../", "](../../")
    if kind == "solutions":
        own = [cell for cell in out.cells if cell.id.startswith(PREFIX)]
        setup = [cell for cell in out.cells if cell.cell_type == "code"][:1]  # the same in all
        title = re.search(r"^# (.*)", out.cells[0].source, re.M)[1]
        prose = next(cell for cell in reversed(out.cells) if cell not in own and SECTION.search(cell.source))
        prose.source = prose.source[SECTION.search(prose.source).start() :]
        kept = {key: value for key, value in out.metadata.items() if key in ("kernelspec", "language_info")}
        heading = new_markdown_cell(f"# {title}: solutions", id="title")
        out = new_notebook(cells=[heading, *setup, prose, *own], metadata=kept)
    remove = TagRemovePreprocessor(remove_all_outputs_tags={"stub", "solution", "check"})
    return remove.preprocess(out, {})[0]


def lessons() -> list[Path]:
    return sorted(NOTEBOOKS.glob("*.ipynb"))


def insert_all() -> list[Path]:
    """Put every notebook's exercises into it; those that have them already are not written. Returns those written."""
    written = []
    for path in lessons():
        before = nbformat.read(path, 4)
        after = insert(before, exercises(path))
        if after != before:
            nbformat.write(after, path)
            written.append(path)
    return written


def write(out: Path) -> None:
    """All versions of all lessons, in a folder each."""
    for path in lessons():
        notebook, found = nbformat.read(path, 4), exercises(path)
        for kind in VERSIONS:
            (out / kind).mkdir(parents=True, exist_ok=True)
            nbformat.write(version(notebook, found, kind), out / kind / path.name)
