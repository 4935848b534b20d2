"""The loader of the paper's Countdown set, on rows of the hub's form; the hub itself is not reached in tests."""

import datasets
import pytest

from r3lib.files import R3Error
from r3lib.problems import countdown_data


@pytest.fixture
def hub(monkeypatch):
    rows = [{"target": 10 + i % 50, "nums": [i % 7 + 1, i % 11 + 1, i % 13 + 1]} for i in range(400)]
    rows += [{"target": r["target"], "nums": r["nums"][::-1]} for r in rows]  # the same problems in another order
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: datasets.Dataset.from_list(rows))
    return rows


def test_splits_share_no_problem_and_are_the_same_again(hub):
    parts = countdown_data.hub_splits({"test": 50, "train": 100})
    assert [len(p) for p in parts.values()] == [50, 100]
    keys = [countdown_data.key(p["numbers"], p["target"]) for part in parts.values() for p in part]
    assert len(set(keys)) == 150
    assert parts == countdown_data.hub_splits({"test": 50, "train": 100})
    assert parts != countdown_data.hub_splits({"test": 50, "train": 100}, seed=1)


def test_a_size_beyond_the_data_takes_what_is_left(hub):
    parts = countdown_data.hub_splits({"test": 50, "train": 10_000})
    distinct = {countdown_data.key(r["nums"], r["target"]) for r in hub}
    assert len(parts["train"]) == len(distinct) - 50


def test_a_hub_that_cannot_be_reached_says_what_to_do(monkeypatch):
    def fail(*_, **__):
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(R3Error, match="profile nano"):
        countdown_data.hub_splits({"test": 5})
