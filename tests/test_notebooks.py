"""What every notebook has, whatever it shows; `make test` runs them through nbval besides."""

import re

import nbformat
import pytest

from r3lib.files import ROOT
from r3lib.pages import course

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MEASURED = re.compile(r"^\| (`nano`|any .*) \| \d+ s \| \d+\.\d GB \| 2 cores, \S+, no GPU \|$", re.M)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_opens_and_ends_as_all_do(path):
    cells = nbformat.read(path, 4).cells
    opening = cells[0].source
    ending = next(cell.source for cell in reversed(cells) if not cell.id.startswith(course.PREFIX))
    assert f"/blob/main/notebooks/{path.name})" in opening, "its own Colab badge"
    assert "**What you will learn**" in opening and MEASURED.search(opening), "what it teaches, what it takes"
    assert "## Exercises" in ending
    assert ending.count("<summary>Solution</summary>") == len(re.findall(r"^\*\*\d\. ", ending, re.M)) > 1
    assert any("parameters" in cell.metadata.get("tags", []) for cell in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_as_it_ran_from_top_to_bottom(path):
    code = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [out for cell in code for out in cell.outputs if out.output_type == "error"]
