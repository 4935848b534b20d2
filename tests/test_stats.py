"""Intervals against closed forms, against t tests where these are exact, and their coverage in simulations."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from r3lib.files import ROOT
from r3lib.measure.stats import mean_interval, paired_difference, wilson

sys.path.insert(0, str(ROOT / "benchmarks"))
try:
    import intervals as simulated
finally:
    sys.path.pop(0)

NAN = np.nan


def t_interval(values: np.ndarray, level: float) -> tuple[float, float, float]:
    """Student's, for the mean of independent values."""
    ends = stats.ttest_1samp(values, 0).confidence_interval(level)
    return np.mean(values), ends.low, ends.high


# one proportion


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(5, 10, 0.2366, 0.7634), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_known_values(right, n, low, high):
    """The last is Newcombe's example (1998, table I)."""
    assert wilson(right, n) == pytest.approx((low, high), abs=1e-4)


def test_wilson_is_what_scipy_has():
    for n in (1, 7, 50, 1000):
        for right in {0, 1, n // 3, n}:
            ends = stats.binomtest(right, n).proportion_ci(0.8, "wilson")
            assert wilson(right, n, 0.8) == pytest.approx((ends.low, ends.high), abs=1e-12)
    assert all(wilson(0, n)[0] == 0 and wilson(n, n)[1] == 1 for n in range(1, 300)), "exactly, whatever is rounded"


@pytest.mark.parametrize(("right", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_needs_a_problem_and_a_count_within_it(right, n):
    with pytest.raises(ValueError, match="at least one"):
        wilson(right, n)


@pytest.mark.parametrize("row", [[1, 0, 0, 1, 0], [0, 0, 0], [1, 1], [1, NAN, 0, NAN, 0]])
def test_one_seed_has_wilsons_interval(row):
    counted = [x for x in row if x == x]
    expected = np.mean(counted), *wilson(sum(counted), len(counted), 0.9)
    assert mean_interval(np.array(row, float), 0.9) == mean_interval(np.array([row], float), 0.9) == expected


def test_all_right_or_all_wrong_has_the_width_of_as_many_problems():
    """Three seeds that agree on all 50 problems are no more certain than 50 problems are."""
    assert mean_interval(np.zeros((3, 50))) == (0, *wilson(0, 50))
    assert mean_interval(np.ones((3, 50))) == (1, *wilson(50, 50))
    assert mean_interval(np.full((3, 50), 0.5)) == (0.5, *wilson(25, 50))


# where the crossed interval is an exact one


def test_problems_that_do_not_differ_leave_the_t_interval_of_the_seeds():
    seeds = np.array([0.2, 0.5, 0.3])
    values = np.repeat(seeds[:, None], 40, 1)
    assert paired_difference(values, 0 * values, 0.9) == pytest.approx(t_interval(seeds, 0.9))


@pytest.mark.parametrize("copies", (1, 2, 5))
def test_seeds_that_do_not_differ_leave_the_t_interval_of_the_problems(copies):
    problems = np.array([1, 0, -1, 1, 1, 0, 1])
    values = np.repeat(problems[None], copies, 0)
    b = np.maximum(-values, 0)
    assert paired_difference(values + b, b, 0.8) == pytest.approx(t_interval(problems, 0.8))


def test_both_parts_together():
    """Sums of squares by their definition, and degrees of freedom weighted by the share of each part."""
    x = np.random.default_rng(0).normal(size=(4, 30)) + np.array([0, 1, 2, 4])[:, None] + 2 * np.arange(30) / 30
    by_seed, by_problem = x.mean(1), x.mean(0)
    rest = np.array([[x[i, j] - by_seed[i] - by_problem[j] + x.mean() for j in range(30)] for i in range(4)])
    error = (rest**2).sum() / (3 * 29)
    of_seeds, of_problems = by_seed.var(ddof=1) / 4, by_problem.var(ddof=1) / 30 - error / 120
    variance = of_seeds + of_problems
    df = variance / (of_seeds / 3 + of_problems / 29)
    half = stats.t.ppf(0.95, df) * variance**0.5
    assert paired_difference(x, 0 * x, 0.9) == pytest.approx((x.mean(), x.mean() - half, x.mean() + half))


def test_seeds_that_agree_by_chance_do_not_narrow_it():
    """Both seeds have half of it right: the interval is the one over the problems' means, or over single outcomes."""
    values = np.array([[1, 1, 0, 0, 1, 0], [1, 0, 0, 1, 1, 0]], float)
    assert paired_difference(values, 0 * values) == pytest.approx(t_interval(values.mean(0), 0.95))
    values = np.array([[2, 0] * 3, [0, 2] * 3], float)
    error = 12 / 5  # nothing but MS_error: each of the 12 is 1 off, with (2 - 1)(6 - 1) degrees of freedom
    half = stats.t.ppf(0.975, 5) * (error / 12) ** 0.5
    assert paired_difference(values, 0 * values) == pytest.approx((1, 1 - half, 1 + half))


def test_the_seeds_own_spread_enters():
    """Two runs, one all right and one all wrong: the interval spans both, though each run alone is certain."""
    mean, low, high = mean_interval(np.array([np.ones(50), np.zeros(50)]))
    assert mean == 0.5 and low < 0.01 and high > 0.99


def test_a_share_has_wilsons_form():
    """The ends of a proportion's interval solve Wilson's equation with the variance of the t interval."""
    values = (np.random.default_rng(1).random((3, 60)) < np.linspace(0, 0.4, 60)).astype(float)
    mean, low, high = mean_interval(values, 0.9)
    _, left, right = paired_difference(values, 0 * values, 0.9)
    assert right - mean == pytest.approx(mean - left)
    for end in (low, high):
        assert (mean - end) ** 2 / (end * (1 - end)) == pytest.approx((right - mean) ** 2 / (mean * (1 - mean)))


# problems that do not count


def test_the_mean_is_that_of_the_seeds_means():
    values = np.array([[1, 1, 0, NAN, NAN, NAN], [0, 0, 0, 1, 0, 0]])
    assert mean_interval(values)[0] == pytest.approx((2 / 3 + 1 / 6) / 2)
    assert paired_difference(values, np.zeros((2, 6)))[0] == pytest.approx((2 / 3 + 1 / 6) / 2)


def test_a_problem_that_never_counts_was_not_asked():
    values = np.array([[1, 0, 0, 1, NAN], [0, 0, 1, 1, 1], [1, NAN, 0, 1, 0]])
    more = np.insert(values, 2, NAN, axis=1)
    assert mean_interval(more) == mean_interval(values)
    assert paired_difference(more, 0 * more) == paired_difference(values, 0 * values)


def test_holes_are_filled_by_what_a_problem_moves_its_seeds_mean():
    """Weigh one problem a little more: its seed's mean moves, and that times the number of problems is what it adds."""
    rng = np.random.default_rng(4)
    values = np.where(rng.random((3, 20)) < 0.7, 3 * rng.random(20) + rng.random((3, 20)), NAN)
    means = np.nanmean(values, 1, keepdims=True)
    filled, weights = np.repeat(means, 20, 1), np.ones(20)
    for seed, problem in zip(*np.nonzero(~np.isnan(values))):
        here = ~np.isnan(values[seed])
        weights[problem] += 1e-6
        moved = np.average(values[seed][here], weights=weights[here]) - means[seed, 0]
        filled[seed, problem] += 20 * moved / 1e-6
        weights[problem] = 1
    expected = paired_difference(filled, 0 * filled)
    assert paired_difference(values, np.zeros((3, 20))) == pytest.approx(expected, rel=1e-4)


def test_fewer_problems_that_count_make_it_wider():
    """Each seed counts every second problem: about as wide as if only these had been asked."""
    rng = np.random.default_rng(3)
    values = np.repeat(rng.integers(0, 2, (1, 400)), 3, 0).astype(float)
    values[:, ::2] = NAN
    once = mean_interval(values)
    values[0, 0] = 1
    assert mean_interval(values) == pytest.approx(once, abs=0.01)
    full = mean_interval(np.nan_to_num(values))
    assert once[2] - once[1] > 1.15 * (full[2] - full[1])


def test_seeds_that_count_other_problems_are_as_certain_as_all_of_these():
    row = np.array([1.0, 0] * 20)
    values = np.where(np.arange(40) < 20, [row, NAN * row], [NAN * row, row])
    assert paired_difference(values, 0 * values) == pytest.approx(t_interval(row, 0.95))


# differences


def test_paired_difference_pairs():
    """Arms that agree on every problem but few have a narrow interval, however spread each of them is."""
    b = np.random.default_rng(0).integers(0, 2, 400)
    a = b.copy()
    a[np.flatnonzero(b == 0)[:20]] = 1
    assert paired_difference(a, b) == pytest.approx(t_interval(a - b, 0.95))


def test_no_pair_differs():
    a = np.array([[1, 0, 1, 1], [0, 0, 1, 1]])
    assert paired_difference(a, a) == (0, 0, 0)


def test_shares_differ_by_one_at_most_and_other_values_by_anything():
    a, b = np.array([[1, 1, 1, 0], [1, 0, 1, 1]]), np.zeros((2, 4))
    assert paired_difference(a, b)[2] == 1 and paired_difference(b, a)[1] == -1
    assert paired_difference(2 * a, 2 * b)[2] > 2
    assert paired_difference([1], [1]) == (0, -1, 1), "one problem tells nothing of others"


# coverage

SHARE, ALIKE, FAILED, GAIN, SMALL_GAIN, RARE = simulated.KINDS
CELLS = [
    *((kind, 3, sd) for kind in (SHARE, ALIKE, FAILED, GAIN, SMALL_GAIN) for sd in (0.0, 3.0)),
    (GAIN, 3, 1.0),
    (SHARE, 5, 4.5),
    (FAILED, 8, 6.0),
    (RARE, 3, 0.0),
    (RARE, 3, 2.0),
]


@pytest.mark.parametrize(("kind", "seeds", "sd"), CELLS, ids=lambda x: getattr(x, "name", x))
def test_as_many_intervals_hold_the_truth_as_should(kind, seeds, sd):
    """93 to 97 of 100, give or take the chance of 2000 experiments; up to 99 where neither seeds nor problems differ.

    There the seeds' spread is chance alone and often below what the problems leave, and the wider of the two counts.
    """
    rng = np.random.default_rng(0)
    ends = np.concatenate([simulated.kit(*simulated.draw(rng, kind, sd, 500, seeds)) for _ in range(4)])
    nothing_differs = sd < 2 and kind is not SHARE
    assert 0.93 <= simulated.held(ends, kind.truth) <= (0.99 if nothing_differs else 0.975)


# every input


TABLES = arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=st.sampled_from([0.0, 1.0, 0.25, NAN]))


@given(TABLES.filter(lambda x: not np.isnan(x).all(1).any()))
def test_the_interval_holds_its_mean_and_stays_within_bounds(values):
    mean, low, high = mean_interval(values)
    assert 0 <= low <= mean <= high <= 1 and low < high
    assert mean_interval(values[::-1, ::-1]) == pytest.approx((mean, low, high))
    assert mean_interval(1 - values) == pytest.approx((1 - mean, 1 - high, 1 - low))
    mean, low, high = paired_difference(values, 0 * values)
    assert -1 <= low <= mean <= high <= 1
    assert paired_difference(0 * values, values) == pytest.approx((-mean, -high, -low))


def test_what_cannot_be_measured_is_an_error():
    with pytest.raises(ValueError, match=r"\(1, 3\) and \(1, 4\)"):
        paired_difference(np.zeros(3), np.zeros(4))
    for values in ([], [[NAN, NAN]], [[1, 0], [NAN, NAN]]):
        with pytest.raises(ValueError, match="at least one problem"):
            mean_interval(np.array(values, float))
    for outside in (-0.1, 1.1):
        with pytest.raises(ValueError, match="between 0 and 1"):
            mean_interval(np.array([0.5, outside]))
