"""Intervals for shares and differences that several seeds measured on the same problems.

Problems and seeds are both samples: another test set, or another run, would give another mean. For S seeds and P
problems the two-way analysis of variance splits the variance of the mean (Searle, Casella and McCulloch 1992, chapter
4) into MS_seed / SP, with S - 1 degrees of freedom, and (MS_problem - MS_error) / SP, with P - 1. Satterthwaite (1946)
joins the two in one t interval: 1/df is the sum of both 1/df, each times its *squared* share of the variance. With
three seeds that covers too little, for the shares are as noisy as the variance. Here each is multiplied by the share
itself, as Cochran and Cox (1957) weight the quantiles of t. benchmarks/README.md compares the coverage of all these.
"""

from __future__ import annotations

from math import comb

import numpy as np
from scipy.special import ndtri, stdtrit


def wilson(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's (1927) interval of `right` out of `n`: (low, high), fractions. ValueError unless 0 <= right <= n > 0."""
    if n < 1 or not 0 <= right <= n:
        raise ValueError(f"An interval needs at least one problem and a count within it, got {right} of {n}.")
    return _score(right / n, ndtri((1 + level) / 2) ** 2 / n)


def mean_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Mean over seeds of each seed's mean, with its interval: (mean, low, high) as fractions.

    values: (seeds, problems) between 0 and 1; NaN where a problem does not count for its seed. Wilson's interval with
    the variance found here in place of the binomial one (Kott and Carr 1997), so it stays between 0 and 1. One seed of
    0 and 1, or values that are all the same: Wilson's own, n = the problems that count. ValueError: a value outside 0
    to 1, or a seed for which no problem counts.
    """
    mean, half, x = _crossed(values, level)
    found = np.unique(x[~np.isnan(x)])
    if found[0] < 0 or found[-1] > 1:
        raise ValueError("Shares lie between 0 and 1; for differences there is paired_difference.")
    if len(found) == 1 or (len(x) == 1 and set(found) == {0, 1}):
        return mean, *_score(mean, ndtri((1 + level) / 2) ** 2 / x.shape[1])
    return mean, *_score(mean, half**2 / (mean * (1 - mean)))


def paired_difference(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Mean of a - b, with its t interval: (mean, low, high) in the units of a and b.

    a, b: (seeds, problems) or (problems,), the same seeds and problems in the same order; NaN as in `mean_interval`.
    One seed: the interval is for other problems, not for other runs. It has no width only where all pairs differ by the
    same, which is right if arms cannot differ and says too much if they happen not to. ValueError: shapes that differ.
    """
    a, b = np.atleast_2d(np.asarray(a, float)), np.atleast_2d(np.asarray(b, float))
    if a.shape != b.shape:
        raise ValueError(f"Paired arms need the same seeds and problems, got {a.shape} and {b.shape}.")
    mean, half, _ = _crossed(a - b, level)
    most = 1.0 if all(0 <= np.nanmin(x) and np.nanmax(x) <= 1 for x in (a, b)) else np.inf
    return mean, max(mean - half, -most), min(mean + half, most)


def _crossed(values: np.ndarray, level: float) -> tuple[float, float, np.ndarray]:
    """The mean, half the width of its t interval, and `values` (seeds, problems) without problems that never count."""
    x = np.atleast_2d(np.asarray(values, float))
    x = x[:, ~np.isnan(x).all(0)]
    (s, p), counts = x.shape, (~np.isnan(x)).sum(1)
    if not p or not counts.all():
        raise ValueError("An interval needs at least one problem that counts for every seed.")
    seeds = np.nanmean(x, 1, keepdims=True)
    # each seed's mean is linear in its values but for `counts`: z has the same means, and no holes
    z = seeds + np.nan_to_num(x - seeds) * (p / counts)[:, None]
    mean, problems, dof = z.mean(), z.mean(0), np.maximum((s - 1, p - 1), 1)
    ms_seed, ms_problem = p * ((seeds - mean) ** 2).sum() / dof[0], s * ((problems - mean) ** 2).sum() / dof[1]
    ms_error = ((z - seeds - problems + mean) ** 2).sum() / dof.prod()
    parts = np.array([ms_seed, max(ms_problem - ms_error, 0)]) / (s * p)
    both = stdtrit(parts.sum() / (parts / dof).sum(), (1 + level) / 2) * parts.sum() ** 0.5 if parts.any() else 0
    # seeds that agree by chance must not make it narrower than if seeds could not differ
    alone = stdtrit(p - 1, (1 + level) / 2) * (max(ms_problem, ms_error) / (s * p)) ** 0.5 if p > 1 else np.inf
    return float(mean), float(max(both, alone)), x


def _score(mean: float, q: float) -> tuple[float, float]:
    """Ends e where (e - mean)² = q e (1 - e); q is the squared quantile over the number of independent values."""
    r = 1 / (1 + q)
    middle, half = r * mean + (1 - r) / 2, np.sqrt(r * (1 - r) * mean * (1 - mean) + (1 - r) ** 2 / 4)
    return float(np.clip(middle - half, 0, mean)), float(np.clip(middle + half, mean, 1))


def pass_at(k: int, right: list[int], count: int) -> np.ndarray:
    """pass@k of each problem, without bias, of `right` tries among `count` (Chen et al. 2021, equation 1).

    Raises ValueError if k is more than the tries there are.
    """
    if not 1 <= k <= count:
        raise ValueError(f"pass@{k} needs {k} tries of each problem; there are {count}.")
    return np.array([1 - comb(count - c, k) / comb(count, k) for c in right])


def pass_and_cost(right: list[int], of: int, tokens_a_try: float) -> list[tuple[np.ndarray, float]]:
    """For k = 1, 2, …: pass@k of each problem, and the tokens a problem.

    Tries are made one by one until one is right, so the cost is the mean tokens of a try times the expected number of
    tries, the sum over j < k of 1 - pass@j.
    """
    out: list[tuple[np.ndarray, float]] = []
    number = 0.0
    for k in range(1, of + 1):
        number += 1 - out[-1][0].mean() if out else 1
        out.append((pass_at(k, right, of), tokens_a_try * number))
    return out


def for_tokens(found: list[tuple[np.ndarray, float]], limit: float) -> np.ndarray:
    """Each problem's chance of being solved by tries, made one by one until one is right, for `limit` tokens a problem.

    found: as `pass_and_cost` gives it. What k tries leave over pays one more for a share of the problems, drawn at
    random, so nothing is lost by rounding. One try at least, and at most those that were made.
    """
    at = float(np.interp(limit, [cost for _, cost in found], range(len(found))))
    less, more = found[int(at)][0], found[min(int(at) + 1, len(found) - 1)][0]
    return (1 - at % 1) * less + at % 1 * more
