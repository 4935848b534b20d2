"""Intervals: Wilson for one proportion, a paired bootstrap for differences between arms judged on the same problems."""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest


def wilson(right: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval of a proportion, as fractions. Raises ValueError for n < 1."""
    if n < 1:
        raise ValueError("An interval needs at least one problem.")
    interval = binomtest(right, n).proportion_ci(level, method="wilson")
    return float(interval.low), float(interval.high)


def paired_difference(
    a: np.ndarray, b: np.ndarray, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of a - b with its percentile bootstrap interval.

    a, b: (seeds, problems) of 0 and 1, same problems in the same order. Problems are resampled, and with several seeds
    the seeds too, so that the interval covers both which problems were asked and which run was made.
    """
    a, b = np.atleast_2d(np.asarray(a, float)), np.atleast_2d(np.asarray(b, float))
    if a.shape != b.shape:
        raise ValueError(f"Paired arms need the same seeds and problems, got {a.shape} and {b.shape}.")
    return bootstrap(a - b, level, resamples, seed)


def bootstrap(
    values: np.ndarray, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean and percentile interval of `values` (seeds, problems), resampling problems and (if several) seeds.

    A NaN is a problem that does not count for its seed.
    """
    values = np.atleast_2d(np.asarray(values, float))
    seeds, n = values.shape
    counted, sums = (~np.isnan(values)).T.astype(float), np.nan_to_num(values).T  # (problems, seeds)
    rng = np.random.default_rng(seed)
    means = []
    for _ in range(0, resamples, 500):  # in blocks, for memory
        draws = np.stack([np.bincount(row, minlength=n) for row in rng.integers(n, size=(500, n))])  # times drawn
        by_seed = draws @ sums / np.maximum(draws @ counted, 1)  # (500, seeds)
        means.append(np.take_along_axis(by_seed, rng.integers(seeds, size=(500, seeds)), 1).mean(1))
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(means)[:resamples], [tail, 1 - tail])
    return float(np.nanmean(values, -1).mean()), float(low), float(high)
