"""What is put into a model's mouth before RL: right reflections are right, wrong ones wrong, in one form."""

from __future__ import annotations

import random

import pytest

from r3lib import config
from r3lib.files import read_jsonl
from r3lib.machine.profiles import profile
from r3lib.measure import readiness
from r3lib.nano import calls, corpus
from r3lib.problems import function_calling_data as data
from r3lib.problems import splits

ROWS = {name: given(60) for name, given in readiness.GIVEN.items()}
OPENINGS = {"countdown": corpus.OPENING, "function_calling": calls.OPENING}


@pytest.mark.parametrize("name", ROWS)
def test_right_and_wrong_reflections_are_what_they_are_called(name):
    for row in ROWS[name]:
        assert row.is_right(row.right) and not row.is_right(row.wrong)
        assert row.right.startswith(OPENINGS[name]) and row.wrong.startswith(OPENINGS[name])
        assert not row.is_right("") and not row.is_right("I am sorry.")


@pytest.mark.parametrize("name", ROWS)
def test_they_are_about_the_validation_problems_and_repeat_with_the_seed(name):
    assert [row.problem for row in ROWS[name]] == splits.problems(splits.TASKS[name], "validation", 60)
    again = readiness.GIVEN[name](60)
    assert [row[:3] for row in again] == [row[:3] for row in ROWS[name]]
    assert [row[:3] for row in readiness.GIVEN[name](60, seed=1)] != [row[:3] for row in ROWS[name]]


def test_items_come_in_the_order_of_the_files():
    for split in ("validation", "test"):
        rows = read_jsonl(data.FOLDER / f"{split}.jsonl")
        assert [item.problem() for _, item in zip(rows, data.distinct(split))] == rows


def test_a_misled_reflection_names_wrong_calls():
    rng = random.Random(5)
    for _, item in zip(range(200), data.draw(random.Random(6), "train")):
        told = calls.misled(rng, item)
        assert told != calls.worked(item)
        assert any(tool["name"] in told for tool in item.tools)


class Scripted:
    """A conversation whose model is wrong at first, then writes the right reflection and follows any that is right."""

    def __init__(self, rows):
        self.rows, self.follows = rows, [False] * len(rows)

    def open(self, task, problems):
        assert problems == [row.problem for row in self.rows]

    def mark(self):
        return None

    def rewind(self, mark):
        self.follows = [False] * len(self.rows)

    def select(self, rows):
        self.rows = [self.rows[i] for i in rows]

    def say(self, texts, span):
        pass

    def put(self, texts, span):
        self.put_there = texts
        self.follows = [row.is_right(text) for row, text in zip(self.rows, texts)]

    def texts(self, span):
        return self.put_there

    def reply(self, span, length, temperature):
        if span == "reflection":
            texts = [row.right if i % 2 else "I am sorry." for i, row in enumerate(self.rows)]
            self.follows = [bool(i % 2) for i in range(len(texts))]
            return texts
        return ["right" if follows and span == "retry" else "wrong" for follows in self.follows]


@pytest.mark.parametrize("name", ROWS)
def test_every_count_is_of_what_its_name_says(name, monkeypatch):
    rows = ROWS[name]
    chosen = config.quick(profile("nano", name), rollout_batch_size=len(rows))
    task = splits.TASKS[name]._replace(verify=lambda problem, text: type("V", (), {"ok": text == "right"}))
    monkeypatch.setattr(readiness, "Conversation", lambda *_: Scripted(list(rows)))
    counts = readiness.measure(None, None, task, rows, chosen)
    n, half = len(rows), len(rows) // 2
    assert counts == {
        "first try, greedy": [0, n],
        "first try": [0, n],
        "retry after a right reflection": [n, n],
        "retry after a wrong reflection": [0, n],
        "retry after a generic sentence": [0, n],
        "retry after its own reflection": [half, n],
        "own reflections that are worked": [half, n],
        "worked reflections that are right": [half, half],
        "retry after its own worked reflection": [half, half],
        "blind retry": [0, n],
    }
    table = readiness.table({"float32": counts})
    assert "| first try | 0.0 [0.0, " in table and f"(n = {half})" in table
