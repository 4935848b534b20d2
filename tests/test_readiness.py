"""What is put into a model's mouth before RL: right reflections are right, wrong ones wrong, in one form."""

from __future__ import annotations

import random

import pytest

from r3lib import config
from r3lib.files import read_jsonl
from r3lib.machine.profiles import profile
from r3lib.measure import readiness
from r3lib.nano import calls, corpus, habits
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


ANSWERS = {"missed": "34 + 2 - 6", "number": "34 + 2 + 66", "count": "34 + 2 + 6 - 6", "bracket": "34 + [2 + 6"}
RIGHT = "<answer>34 + 2 + 6</answer>"


class Checking:
    """A conversation on one problem, again and again: a retry is right after a reflection for its failure's kind.

    Its own reflections: useless for the first two failures, the right kind for the others.
    """

    def open(self, task, problems):
        self.failures, self.begun = [*ANSWERS, None], {}

    def mark(self):
        return None

    def rewind(self, mark):
        self.begun, self.words = {}, []

    def select(self, rows):
        self.failures = [self.failures[row] for row in rows]

    def say(self, texts, span):
        pass

    def put(self, texts, span):
        self.begun[span] = [text if isinstance(text, str) else text[0] for text in texts]
        self.words = self.begun[span]

    def texts(self, *spans):
        return [" ".join(parts) for parts in zip(*(self.begun[span] for span in spans if span in self.begun))]

    def reply(self, span, length, temperature):
        if span == "attempt":
            return [f"<answer>{ANSWERS[kind]}</answer>" if kind else RIGHT for kind in self.failures]
        if span == "reflection":
            own = ["I am sorry.", "I am sorry.", habits.CHECKS["count"][1], habits.CHECKS["bracket"][0]]
            self.begun[span] = [""] * len(own) if self.begun else own
            self.words = self.texts("reflection_opening", span) if len(self.begun) > 1 else own
            return self.words
        kinds = [habits.kind_of_reflection(text) for text in self.words]
        good = [kind == {"missed": "search"}.get(failure, failure) for kind, failure in zip(kinds, self.failures)]
        return [RIGHT if each else "<answer>34 + 2 - 6</answer>" for each in good]


def test_what_repairs_what_is_counted_by_failure_and_reflection(monkeypatch):
    monkeypatch.setattr(readiness, "Conversation", lambda *_: Checking())
    problems, chosen = [{"numbers": [34, 2, 6], "target": 42}] * 5, config.quick(profile("nano"), rollout_batch_size=5)
    counts = readiness.repairs(None, lambda text: {"input_ids": [text]}, problems, chosen)
    assert counts["own"] == {"missed": [0, 1], "number": [0, 1], "count": [1, 1], "bracket": [1, 1]}
    assert counts["generic sentence"] == dict.fromkeys(ANSWERS, [0, 1])
    for kind, known in habits.KINDS.items():
        failure = "missed" if kind == "search" else kind
        assert counts[f"begun with “{known[0]}”"] == {each: [int(each == failure), 1] for each in ANSWERS}
    assert [counts["says useless"][kind][0] for kind in ANSWERS] == [1, 1, 0, 0]
    assert [counts["says count"][kind][0] for kind in ANSWERS] == [0, 0, 1, 0]
    table = readiness.repairs_table(counts).splitlines()
    assert "missed target (n = 1)" in table[0] and "no answer" not in table[0] and len(table) == 2 + len(counts)
