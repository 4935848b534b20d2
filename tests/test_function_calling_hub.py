"""The loader of the paper's function-calling set, on rows of the hub's form; the hub itself is not reached in tests."""

import json

import datasets
import pytest

from r3lib.files import R3Error
from r3lib.problems.function_calling import TASK
from r3lib.problems.function_calling_data import hub_splits

TOOLS = json.dumps([{"name": "f", "description": "Adds.", "parameters": {"x": {"type": "int", "description": "x"}}}])


def row(i: int, x: int) -> dict:
    answers = json.dumps([{"name": "f", "arguments": {"x": x, "y": i}}])
    return {"id": i, "query": f"Do {i}.", "tools": TOOLS, "answers": answers}


@pytest.fixture
def hub(monkeypatch):
    """200 problems and a second row for each fourth of them, which spells its gold calls in another way."""
    rows = [row(i, i % 3) for i in range(200)]
    rows += [{**r, "id": 1000 + r["id"], "answers": json.dumps(json.loads(r["answers"]), indent=1)} for r in rows[::4]]
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: datasets.Dataset.from_list(rows))
    return rows


def queries(part: list[dict]) -> set[str]:
    return {problem["query"] for problem in part}


def test_splits_share_no_problem_and_are_the_same_again(hub):
    parts = hub_splits({"train": 100, "test": 50})
    assert list(parts) == ["train", "test"] and [len(p) for p in parts.values()] == [100, 50]
    assert len(queries(parts["train"]) | queries(parts["test"])) == 150
    assert parts == hub_splits({"train": 100, "test": 50})
    assert parts != hub_splits({"train": 100, "test": 50}, seed=1)


def test_the_order_of_the_rows_does_not_matter(hub):
    parts = hub_splits({"train": 100, "test": 50})
    hub.reverse()
    assert parts == hub_splits({"train": 100, "test": 50})


def test_a_size_beyond_the_data_takes_what_is_left(hub):
    parts = hub_splits({"train": 160, "test": 48_000, "more": 5})
    assert [len(p) for p in parts.values()] == [160, 40, 0]


def test_one_query_with_other_gold_calls_is_another_problem(hub):
    hub.append(row(0, 99))
    assert len(hub_splits({"all": 10_000})["all"]) == 201


def test_problems_are_what_the_task_takes_and_unreadable_gold_is_left_out(hub):
    hub.append({**row(500, 1), "answers": '[{"name": "f"'})
    hub.append({**row(501, 1), "answers": '[{"name": "f", "arguments": {"x": NaN}}]'})
    problems = hub_splits({"all": 10_000})["all"]
    assert len(problems) == 200
    for problem in problems:
        assert set(problem) == {"query", "tools", "answers"}
        assert TASK.verify(problem, problem["answers"]).ok and TASK.tools(problem)[0]["function"]["name"] == "f"


def test_a_hub_that_cannot_be_reached_says_what_to_do(monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(R3Error, match="accept its terms.*hf auth login.*profile nano"):
        hub_splits({"test": 5})
