"""The paper's cells and gains: what is not verified stays visibly apart."""

from __future__ import annotations

import pytest

from r3lib.pages import paper, plots

TASKS = ("countdown", "function_calling")


@pytest.mark.parametrize("task", TASKS)
def test_every_cell_has_a_mark_and_unverified_ones_are_grey(task):
    found = paper.load(task)
    text = paper.table(found)
    cells = [row[column] for row in found["rows"] for column in found["columns"]]
    assert all(cell["marks"] and set(cell["marks"]) <= set("TASM–") for cell in cells)
    assert all((cell["value"] is None and not cell.get("text")) == (cell["marks"] == ["–"]) for cell in cells)
    for row in found["rows"]:
        line = next(line for line in text.splitlines() if line.startswith(f"| {row['model']} |"))
        for cell in (row[column] for column in found["columns"]):
            if cell["value"] is not None:
                assert f"{cell['value']:.1f} ({', '.join(cell['marks'])}" in line or cell.get("text", "") in line
    assert text.count("unverified") == sum("M" in cell["marks"] for cell in [*cells, *found["aggregates"]])


def test_the_best_gain_is_the_abstracts():
    """34.7 and 18.1 points (mark T) are differences of the tables' own cells, where those are known."""
    for task, best in (("countdown", 34.8), ("function_calling", 18.1)):
        rows = paper.gains(paper.load(task))["training, second try: trained − vanilla"]
        assert max(row.points for row in rows if row.verified) == pytest.approx(best, abs=0.15)


def test_a_gain_with_an_unverified_cell_is_unverified():
    rows = paper.gains(paper.load("function_calling"))["reflection, before training: vanilla 2nd − 1st try"]
    assert {row.model: row.verified for row in rows}["Qwen-2-1.5B-Instruct"]
    assert not {row.model: row.verified for row in rows}["Qwen-2-7B-Instruct"]


def test_the_plot_keeps_them_apart():
    found = paper.gains(paper.load("function_calling"))
    name = "training, second try: trained − vanilla"
    figure = plots.gains(found, {name: ("r3-nano (ours)", 10.0, 8.0, 12.0)})
    for axis, rows in zip(figure.axes, found.values()):
        hatches = [bar.get_hatch() for bar in axis.patches]
        assert [bool(hatch) for hatch in hatches] == [not row.verified for row in rows]
        labels = [label.get_text() for label in axis.get_yticklabels()]
        assert sum("unverified" in label for label in labels) == sum(not row.verified for row in rows)
    assert [label.get_text() for label in figure.axes[-1].get_yticklabels()][-1] == "r3-nano (ours)"
    plots.close(figure)
