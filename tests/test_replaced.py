"""Runs that were replaced: the page says what its figures say, and an earlier set is not hidden by a later one."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from r3lib.files import RESULTS, ROOT, read_json

sys.path.insert(0, str(ROOT / "benchmarks"))
import replaced  # noqa: E402

KEYS = [(trained, arm) for trained in (False, True) for arm in ("first", "second", "blind")]


def test_the_page_is_made_of_the_stored_figures():
    made = [*read_json(RESULTS / "replaced.json").values()]
    assert (RESULTS / "REPLACED.md").read_text(encoding="utf-8") == replaced.text(made)
    assert {old.task for old in replaced.SETS} == {one["task"] for one in made}
    assert len(made) == len(replaced.SETS) + len({old.task for old in replaced.SETS})


def test_seeds_of_several_sets_are_pooled_by_problem():
    rng = np.random.default_rng(0)
    sets = [{key: rng.integers(0, 2, (3, 50)).astype(float) for key in KEYS} for _ in range(2)]
    together = replaced.pooled(sets)
    assert all(together[key].shape == (6, 50) for key in KEYS)
    mean = np.mean([own[True, "first"].mean() - own[False, "first"].mean() for own in sets])
    assert replaced.figures(together)["first try, trained − vanilla"][0] == pytest.approx(mean)
