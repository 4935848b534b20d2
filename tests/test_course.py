"""The course: exercises go into a notebook and touch nothing else, and each version has what it should, and no more."""

from __future__ import annotations

import contextlib
import io
import re
from copy import deepcopy

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from r3lib.files import R3Error, read_json
from r3lib.machine.cli import main
from r3lib.pages import course

SOURCE = """# %% [markdown] double · easy · 5 minutes · Twice as much
# Double a number.
#
# - also one below zero

# %%
import math


def double(x):
    \"\"\"Example: 3 gives 6.\"\"\"
    ### BEGIN SOLUTION
    if math.isnan(x):
        return x
    return 2 * x
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("2 * x", "x * x", "not the square"),
]
"""
PROSE = """## Limits

None, but see [the card](../data/card.md).

## Exercises

**1. Why?** (easy, 5 minutes). Say why.

<details><summary>Solution</summary>

Because.
</details>"""


def run(cells: list) -> list[str]:
    """What each check among these cells prints; they run in one namespace, as in a kernel."""
    space, told = {"__name__": "__main__"}, []
    for cell in cells:
        if {"stub", "solution", "check"} & set(cell.metadata.get("tags", [])):
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(cell.source, cell.id, "exec", dont_inherit=True), space)
            told += [out.getvalue()] if "check" in cell.metadata.tags else []
    return told


@pytest.fixture
def found(tmp_path):
    (tmp_path / "exercises").mkdir()
    (tmp_path / "exercises" / "00_x.py").write_text(SOURCE, encoding="utf-8")
    return course.exercises(tmp_path / "00_x.ipynb")


@pytest.fixture
def lesson():
    output = [new_output("stream", text="seen\n")]
    cells = [
        new_markdown_cell("# 00 · A lesson", id="00-00"),
        new_code_cell("import sys\nsys.path.insert(0, '.')", id="00-01", execution_count=1, outputs=output),
        new_code_cell("1 + 1", id="00-02", metadata={"tags": ["parameters"], "own": {"kept": True}}, outputs=output),
        new_markdown_cell(PROSE, id="00-03"),
        new_markdown_cell("The end.", id="00-04"),
    ]
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "x"}, "widgets": {}})


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def test_a_file_of_exercises_is_read(found):
    (one,) = found
    assert one[:5] == ("double", "easy", 5, "Twice as much", "Double a number.\n\n- also one below zero")
    assert one.stub.endswith('"""Example: 3 gives 6."""\n    raise NotImplementedError')
    assert one.solution.endswith("    if math.isnan(x):\n        return x\n    return 2 * x")
    assert one.solution.startswith("import math\n\n\ndef double(x):") and "###" not in one.solution + one.stub
    assert one.mistaken("2 * x", "x * x") == one.solution.replace("2 * x", "x * x")
    with pytest.raises(ValueError, match="does not have '3 . x'"):
        one.mistaken("3 * x", "x")


@pytest.mark.parametrize("wrong", ["easy · 5 minutes", "double · easy · five minutes · Twice"])
def test_a_file_in_another_form_is_refused_in_words(tmp_path, wrong):
    path = tmp_path / "x.py"
    path.write_text(SOURCE.replace("double · easy · 5 minutes · Twice as much", wrong), encoding="utf-8")
    with pytest.raises(R3Error, match="is not in the form"):
        course.read(path)


def test_exercises_go_after_their_section_and_touch_nothing_else(lesson, found):
    before = deepcopy(lesson)
    out = course.insert(lesson, found)
    assert lesson == before
    ids = [cell.id for cell in out.cells]
    new = ["exercise-introduction", *(f"exercise-double-{i}" for i in range(3))]
    assert ids == ["00-00", "00-01", "00-02", "00-03", *new, "00-04"]
    assert [cell for cell in out.cells if cell.id not in new] == before.cells and out.metadata == before.metadata
    assert [cell.metadata.tags for cell in out.cells[5:8]] == [["exercise"], ["stub"], ["check"]]
    assert "(easy, 5 minutes; `double`)" in out.cells[5].source and "return 2 * x" in out.cells[5].source
    nbformat.validate(out)


def test_inserted_again_it_is_the_same_and_outputs_stay_where_the_source_does(lesson, found):
    once = course.insert(lesson, found)
    for cell in tagged(once, "stub") + tagged(once, "check"):
        cell.execution_count, cell.outputs = 7, [new_output("stream", text="not yet\n")]
    assert course.insert(once, found) == once
    changed = [found[0]._replace(code=found[0].code.replace("Example: 3", "Example: 4"))]
    again = course.insert(once, changed)
    assert "Example: 4" in tagged(again, "stub")[0].source and tagged(again, "stub")[0].outputs == []
    assert tagged(again, "check") == tagged(once, "check")
    assert course.insert(once, []) == lesson


def test_a_notebook_without_the_section_is_refused(lesson, found):
    lesson.cells = lesson.cells[:3]
    with pytest.raises(R3Error, match="no section '## Exercises'"):
        course.insert(lesson, found)


def test_students_get_no_solution_and_no_output_of_an_exercise(lesson, found):
    full = course.insert(lesson, found)
    for cell in tagged(full, "stub") + tagged(full, "check"):
        cell.execution_count, cell.outputs = 7, [new_output("stream", text="stale\n")]
    for start in (lesson, full):
        out = course.version(start, found, "student")
        text = nbformat.writes(out)
        for word in ("isnan", "Because", "details", "stale"):
            assert word not in text
        assert "**1. Why?**" in text and "The end." in text and "](../../data/card.md)" in text
        assert out.cells[2].outputs == lesson.cells[2].outputs and out.cells[1] == lesson.cells[1]
        assert "raise NotImplementedError" in tagged(out, "stub")[0].source and not tagged(out, "solution")
    assert tagged(full, "check")[0].outputs and "Because" in nbformat.writes(lesson)


def test_teachers_see_all_solutions(lesson, found):
    out = course.version(course.insert(lesson, found), found, "teacher")
    assert not tagged(out, "stub") and tagged(out, "solution")[0].source == found[0].solution
    text = nbformat.writes(out)
    assert "<details open><summary>Solution</summary>" in text and "Because" in text and text.count("isnan") == 1
    assert out.cells[2] == lesson.cells[2]


def test_solutions_are_a_short_notebook_that_runs_alone(lesson, found):
    out = course.version(lesson, found, "solutions")
    assert [cell.id for cell in out.cells[:3]] == ["title", "00-01", "00-03"] and len(out.cells) == 7
    assert out.cells[0].source == "# 00 · A lesson: solutions"
    assert out.cells[2].source.startswith("## Exercises") and "Because" in out.cells[2].source
    assert "widgets" not in out.metadata and out.metadata.kernelspec.name == "python3"
    nbformat.validate(out)


@pytest.mark.parametrize("path", course.lessons(), ids=lambda path: path.stem)
def test_every_lesson_has_its_versions_and_their_checks_say_what_they_should(path):
    """Nothing else is run. Stubs are told to be written, and solutions pass, with what their own cells import."""
    stored, found = nbformat.read(path, 4), course.exercises(path)
    once = course.insert(stored, found)
    assert course.insert(once, found) == once and nbformat.reads(nbformat.writes(once), 4) == once
    assert [c for c in once.cells if not c.id.startswith(course.PREFIX)] == [
        c for c in stored.cells if not c.id.startswith(course.PREFIX)
    ]
    setup = next(cell.source for cell in stored.cells if cell.cell_type == "code")
    assert course.version(stored, found, "solutions").cells[1].source == setup
    told = {kind: course.version(once, found, kind) for kind in course.VERSIONS}
    for kind, notebook in told.items():
        nbformat.validate(notebook)
        begins = "not yet: {} has no body" if kind == "student" else "passed: "
        assert all(text.startswith(begins.format(e.name)) for e, text in zip(found, run(notebook.cells), strict=True))
    sources = {kind: "\n".join(cell.source for cell in notebook.cells) for kind, notebook in told.items()}
    for e in found:
        body = course.REGION.search(e.code)[2]
        assert [body in sources[kind] for kind in course.VERSIONS] == [False, True, True]
    assert "<summary>Solution" not in sources["student"]


@pytest.mark.parametrize("path", course.lessons(), ids=lambda path: path.stem)
def test_a_stub_takes_no_name_that_its_lesson_uses(path):
    """Else whoever ran the stub, and then a cell above it again, would meet NotImplementedError there."""
    cells = [cell for cell in nbformat.read(path, 4).cells if not cell.id.startswith(course.PREFIX)]
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    text += "".join(re.findall(r"```python\n(.*?)```", "\n".join(cell.source for cell in cells), re.S))
    for e in course.exercises(path):
        for name in re.findall(r"^(?:def|class) (\w+)|^(\w+) =", e.stub, re.M):
            assert not re.search(rf"(?<![.\w]){''.join(name)}\(", text), (e.name, name)


def test_a_solutions_notebook_runs_from_top_to_bottom_in_a_kernel(tmp_path):
    from nbclient import NotebookClient

    path = course.NOTEBOOKS / "09_errors.ipynb"
    notebook = course.version(nbformat.read(path, 4), course.exercises(path), "solutions")
    folder = {"metadata": {"path": str(course.NOTEBOOKS)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=folder).execute()
    assert all("passed" in cell.outputs[0].text for cell in tagged(notebook, "check"))


def test_the_command_writes_and_inserts(tmp_path, monkeypatch, lesson, capsys):
    (tmp_path / "exercises").mkdir()
    (tmp_path / "exercises" / "00_x.py").write_text(SOURCE, encoding="utf-8")
    nbformat.write(lesson, tmp_path / "00_x.ipynb")
    monkeypatch.setattr(course, "NOTEBOOKS", tmp_path)
    assert main(["course", "--out", str(tmp_path / "course")]) == 0
    for kind in course.VERSIONS:
        assert len(read_json(tmp_path / "course" / kind / "00_x.ipynb")["cells"]) == (7 if kind == "solutions" else 9)
    assert nbformat.read(tmp_path / "00_x.ipynb", 4) == lesson
    capsys.readouterr()
    assert main(["course", "--insert"]) == 0 and "00_x.ipynb" in capsys.readouterr().out
    written = (tmp_path / "00_x.ipynb").read_bytes()
    assert main(["course", "--insert"]) == 0 and "nothing" in capsys.readouterr().out
    assert (tmp_path / "00_x.ipynb").read_bytes() == written
