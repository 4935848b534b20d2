"""The paper's cells and gains: what is not verified stays visibly apart."""

from __future__ import annotations

import pytest

from r3lib.files import DATA, read_json
from r3lib.machine.profiles import PROFILES, profile
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


def test_the_summary_shows_no_recollection():
    text = paper.summary(*TASKS)
    rows = [row for task in TASKS for row in paper.load(task)["rows"] if row["trained_in_the_paper"]]
    cells = [row[column] for row in rows for column in paper.load("countdown")["columns"]]
    assert "(M" not in text and "| function calling | Qwen-2-1.5B-Instruct | 32.6 (A, S) |" in text
    assert 0 < text.count("unverified, not shown") <= sum(cell["marks"] == ["M"] for cell in cells)


def test_the_best_gain_is_the_abstracts():
    """34.7 and 18.1 points (mark T) are differences of the tables' own cells, where those are known."""
    for task, best in (("countdown", 34.8), ("function_calling", 18.1)):
        rows = paper.gains(paper.load(task))["training, second try: trained − vanilla"]
        assert max(row.points for row in rows if row.verified) == pytest.approx(best, abs=0.15)


def test_a_gain_with_an_unverified_cell_is_unverified():
    rows = paper.gains(paper.load("function_calling"))["reflection, before training: vanilla 2nd − 1st try"]
    assert {row.model: row.verified for row in rows}["Qwen-2-1.5B-Instruct"]
    assert not {row.model: row.verified for row in rows}["Qwen-2-7B-Instruct"]


@pytest.fixture
def told() -> dict:
    """Name -> what data/paper/training.json tells of it."""
    found = read_json(DATA / "paper" / "training.json")
    return {row["name"]: row for part in found.values() if isinstance(part, list) for row in part if "name" in row}


def test_the_papers_profile_has_the_papers_settings(told):
    chosen = PROFILES["paper"]
    for name in ("learning_rate", "beta", "temperature", "steps"):
        assert getattr(chosen, name) == told[name]["value"], name
    assert chosen.prompts_per_step == told["failures"]["value"]
    for task in TASKS:
        assert profile("paper", task).test_problems == told[f"{task.replace('_', ' ')} test"]["value"]
    calls = profile("paper", "function_calling")
    assert (calls.model, calls.train_problems) == ("Qwen/Qwen2-1.5B-Instruct", told["function calling train"]["value"])


def test_what_is_inferred_of_the_papers_settings_is_marked_so(told):
    chosen = PROFILES["paper"]
    lengths = {chosen.attempt_tokens, chosen.reflection_tokens, chosen.retry_tokens}
    assert chosen.lora_rank is told["lora_rank"]["value"] is None and not chosen.four_bit
    assert chosen.num_generations == told["num_generations"]["value"] and lengths == {told["new_tokens"]["value"]}
    assert all(told[name]["marks"] == ["I"] for name in ("lora_rank", "num_generations", "new_tokens"))


def test_the_papers_profile_makes_as_many_failures_as_its_author_used(told):
    low, high = told["size"]["value"]
    for task, most in (("countdown", high), ("function_calling", 1.3 * high)):
        chosen = profile("paper", task)
        right = next(row for row in paper.load(task)["rows"] if "1.5B" in row["model"])["vanilla_first"]["value"]
        assert low <= chosen.train_problems * chosen.failure_samples * (1 - right / 100) <= most


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
