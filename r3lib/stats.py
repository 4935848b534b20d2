"""Intervals: Wilson for one proportion, a paired bootstrap for differences between arms judged on the same problems."""

from __future__ import annotations

from functools import lru_cache
from math import comb

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
    the seeds too, so that the interval covers both which problems were asked and which run was made. Three seeds are
    few: it holds the truth about as often as it should while seeds differ by a few points (tests/test_evaluate.py
    simulates it), and too seldom where they differ by much more than problems do.
    """
    a, b = np.atleast_2d(np.asarray(a, float)), np.atleast_2d(np.asarray(b, float))
    if a.shape != b.shape:
        raise ValueError(f"Paired arms need the same seeds and problems, got {a.shape} and {b.shape}.")
    return mean_interval(a - b, level, resamples, seed)


def mean_interval(
    values: np.ndarray, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean and percentile interval of `values` (seeds, problems), resampling problems and (if several) seeds.

    A NaN is a problem that does not count for its seed.
    """
    values = np.atleast_2d(np.asarray(values, float))
    return _bootstrap(values.tobytes(), values.shape, level, resamples, seed)


@lru_cache(maxsize=1024)  # a report asks for the same interval in its tables and in its plots
def _bootstrap(
    content: bytes, shape: tuple[int, int], level: float, resamples: int, seed: int
) -> tuple[float, float, float]:
    values, (seeds, n) = np.frombuffer(content).reshape(shape), shape
    counted, sums = (~np.isnan(values)).T.astype(float), np.nan_to_num(values).T  # (problems, seeds)
    means = []
    for draws, chosen in _draws(seeds, n, resamples, seed):
        by_seed = draws @ sums / np.maximum(draws @ counted, 1)  # (500, seeds)
        means.append(np.take_along_axis(by_seed, chosen, 1).mean(1))
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(means)[:resamples], [tail, 1 - tail])
    return float(np.nanmean(values, -1).mean()), float(low), float(high)


@lru_cache(maxsize=4)
def _draws(seeds: int, n: int, resamples: int, seed: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Blocks of 500 resamples: how often each problem is drawn (500, n), in bytes, and which seeds (500, seeds)."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(0, resamples, 500):
        times = [np.bincount(row, minlength=n) for row in rng.integers(n, size=(500, n))]
        out.append((np.stack(times).astype(np.uint8), rng.integers(seeds, size=(500, seeds))))
    return out


def pass_at(k: int, right: list[int], count: int) -> np.ndarray:
    """pass@k of each problem, without bias, of `right` tries among `count` (Chen et al. 2021, equation 1).

    Raises ValueError if k is more than the tries there are.
    """
    if not 1 <= k <= count:
        raise ValueError(f"pass@{k} needs {k} tries of each problem; there are {count}.")
    return np.array([1 - comb(count - c, k) / comb(count, k) for c in right])
