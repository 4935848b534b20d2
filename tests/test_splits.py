"""The problems that a run trains on and those it is judged on: apart, and the seed's or everyone's."""

from __future__ import annotations

import dataclasses

import pytest

from r3lib.files import DATA, read_jsonl
from r3lib.machine.profiles import PROFILES
from r3lib.problems import countdown_data, splits
from r3lib.problems.countdown import TASK


@pytest.fixture
def few():
    return dataclasses.replace(PROFILES["nano"], train_problems=30, test_problems=20)


def stored(split: str) -> list[dict]:
    return read_jsonl(DATA / "countdown" / f"{split}.jsonl")


def test_each_is_of_its_own_split(few):
    training, test = splits.train_and_test(TASK, few, 3)
    assert test == stored("test")[:20]
    rows = stored("train")
    assert len(training) == 30 and all(problem in rows for problem in training)


def test_the_seed_draws_the_training_problems_and_no_others(few):
    (one, test), (same, _), (other, same_test) = (splits.train_and_test(TASK, few, seed) for seed in (1, 1, 2))
    assert one == same and test == same_test
    assert sum(problem in other for problem in one) < 15  # other problems, not only another order


def test_validation_problems_are_neither_for_training_nor_for_the_test(few, monkeypatch):
    assert splits.validation(TASK, few) == stored("validation")[: splits.VALIDATION]

    def hub(sizes):
        order = iter(range(10_000))
        return {name: [{"number": next(order)} for _ in range(size)] for name, size in sizes.items()}

    monkeypatch.setitem(splits.HUB_SPLITS, "countdown", hub)
    hub_data = dataclasses.replace(few, hub_data=True)
    found = splits.validation(TASK, hub_data)
    training, test = splits.train_and_test(TASK, hub_data, 0)
    assert len(found) == splits.VALIDATION and not any(p in training or p in test for p in found)


def test_the_hubs_problems_are_cut_and_shuffled_likewise(few, monkeypatch):
    def hub(sizes):
        return {name: [{"split": name, "number": i} for i in range(size)] for name, size in sizes.items()}

    monkeypatch.setitem(splits.HUB_SPLITS, "countdown", hub)
    hub_data = dataclasses.replace(few, hub_data=True)
    (one, test), (other, _) = (splits.train_and_test(TASK, hub_data, seed) for seed in (1, 2))
    whole = hub({"test": 20, "train": 30})
    assert test == whole["test"]
    assert one != other and all(sorted(rows, key=lambda p: p["number"]) == whole["train"] for rows in (one, other))


def test_the_small_models_texts_are_about_no_stored_problem():
    known = splits.countdown_keys()
    for split in ("train", "validation", "test"):
        assert {countdown_data.key(p["numbers"], p["target"]) for p in stored(split)} <= known
