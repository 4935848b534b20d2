"""How often a 95 % interval holds the truth: the kit's (`r3lib.measure.stats`) beside others, on simulated experiments.

Outcomes are drawn from a probit model: right where ability + seed effect + noise > 0. The ability is the problem's, the
seed effect the run's; both are drawn anew for every experiment, and the truth is the mean over all problems and seeds.

Usage: python benchmarks/intervals.py [--experiments 4000]. Writes benchmarks/results/coverage.json.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.optimize import fsolve
from scipy.special import ndtr, ndtri, stdtrit

from r3lib.files import write_json
from r3lib.measure.stats import mean_interval, paired_difference

RESULT = Path(__file__).parent / "results" / "coverage.json"
PROBLEMS, SEEDS, SDS = 1000, (3, 5, 8), (0.0, 1.0, 2.0, 3.0, 4.5, 6.0)  # SDS: of the seeds' true means, in points
BLOCK, RESAMPLES, T = 500, 1000, 0.975
BOOTSTRAP = "problems and seeds resampled (the kit's before)"
KIT = "the kit's"


@dataclass(frozen=True)
class Kind:
    """What is measured: a share, a share among the problems with a wrong first try, or a difference of two arms.

    mean, other: the share right of the arm whose seeds differ, and of the arm it is compared with. ability: standard
    deviation of the problems' ability, in units of the noise. own: of what problems add in the first arm alone. failed:
    the share of wrong first tries, the only problems that count.
    """

    name: str
    mean: float
    ability: float
    other: float | None = None
    own: float = 0.0
    failed: float | None = None

    @property
    def truth(self) -> float:
        return self.mean - (self.other or 0)


KINDS = (  # an ability of 2.4 leaves problems as different as those of the stored Countdown runs
    Kind("45 % right", 0.45, 2.4),
    Kind("45 % right, problems nearly alike", 0.45, 0.3),
    Kind("30 % of the failed first tries", 0.3, 2.4, failed=0.55),
    Kind("difference, 65 % − 50 %", 0.65, 2.4, other=0.5, own=1.0),
    Kind("difference, 48 % − 45 %, no problem gains more than another", 0.48, 2.4, other=0.45),
    Kind("5 % right", 0.05, 2.4),
)
RARE = KINDS[-1].name
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(200)
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def share(kind: Kind, location: np.ndarray) -> np.ndarray:
    """A seed's true mean where `location` is what its effect adds up to."""
    if kind.failed is None:
        return ndtr(location / np.hypot(1, np.hypot(kind.ability, kind.own)))
    fails = ndtr(-first_try(kind) - kind.ability * NODES) * WEIGHTS
    return ndtr(np.asarray(location)[..., None] + kind.ability * NODES) @ fails / fails.sum()


def first_try(kind: Kind) -> float:
    return float(ndtri(1 - kind.failed) * np.hypot(1, kind.ability))


@cache
def effects(kind: Kind, sd: float) -> tuple[float, float]:
    """Mean and standard deviation of the seed effect for which the seeds' means have theirs (sd in points)."""

    def off(v: np.ndarray) -> list[float]:
        means = share(kind, v[0] + (abs(v[1]) * NODES if sd else np.zeros_like(NODES)))
        mean = means @ WEIGHTS
        return [mean - kind.mean, (((means - mean) ** 2) @ WEIGHTS) ** 0.5 - sd / 100 if sd else v[1]]

    scale = np.hypot(1, kind.ability)
    found, _, worked, why = fsolve(off, [ndtri(kind.mean) * scale, sd * scale / 15], full_output=True)
    if worked != 1 or np.abs(off(found)).max() > 1e-6:
        raise ValueError(f"{kind.name}: no seed effect gives a standard deviation of {sd} points. {why}")
    return float(found[0]), abs(float(found[1]))


def draw(rng: np.random.Generator, kind: Kind, sd: float, n: int, seeds: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Outcomes of both arms in `n` experiments, each (n, seeds, problems); NaN where a problem does not count."""

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    where, spread = effects(kind, sd)
    ability, every = kind.ability * normal(n, 1, PROBLEMS), (n, seeds, PROBLEMS)
    own = kind.own * normal(n, 1, PROBLEMS) if kind.own else 0
    arm = (where + spread * normal(n, seeds, 1) + ability + own + normal(*every) > 0).astype(np.float32)
    if kind.failed is not None:
        arm[first_try(kind) + ability + normal(*every) > 0] = np.nan
    if kind.other is None:
        return arm, None
    beside = ndtri(kind.other) * np.hypot(1, kind.ability)
    return arm, (beside + ability + normal(*every) > 0).astype(np.float32)


def kit(arm: np.ndarray, other: np.ndarray | None) -> np.ndarray:
    """The kit's intervals: (n, 2)."""
    if other is None:
        return np.array([mean_interval(values)[1:] for values in arm])
    return np.array([paired_difference(*values)[1:] for values in zip(arm, other)])


def halves(x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Means and half the widths of other constructions' intervals for x (n, seeds, problems)."""
    _, s, p = x.shape
    counts = (~np.isnan(x)).sum(2, keepdims=True)
    seeds = np.nansum(x, 2, keepdims=True, dtype=float) / counts
    z = seeds + np.nan_to_num(x - seeds) * (p / counts)
    mean, problems = z.mean((1, 2), keepdims=True), z.mean(1, keepdims=True)
    ms_seed = p * seeds.var(1, ddof=1).ravel()
    ms_problem = s * problems.var(2, ddof=1).ravel()
    ms_error = ((z - seeds - problems + mean) ** 2).sum((1, 2)) / ((s - 1) * (p - 1))
    a, b, e = ms_seed / (s * p), np.maximum(ms_problem - ms_error, 0) / (s * p), ms_error / (s * p)
    t, normal = stdtrit(s - 1, T), ndtri(T)

    def one_t(a: np.ndarray, power: int) -> np.ndarray:
        total = np.maximum(a + b, 1e-12)  # seeds can agree to the last problem
        inverse = (a / total) ** power / (s - 1) + (b / total) ** power / (p - 1)
        return stdtrit(1 / np.maximum(inverse, 1e-9), T) * np.sqrt(a + b)

    return mean.ravel(), {
        "every outcome as if independent": normal * np.sqrt(np.nanvar(x, (1, 2)) / counts.sum((1, 2))),
        "t of the seeds' means": t * np.sqrt(a),
        "t with Satterthwaite's degrees of freedom": one_t(a, 2),
        "the same, MS_seed at least MS_error": one_t(np.maximum(a, e), 2),
        "each part with its quantile, squares added": np.sqrt(t**2 * a + normal**2 * b),
        "Cochran and Cox's mean of the quantiles": (t * a + normal * b) / np.sqrt(a + b + 1e-12),
        "the kit's, not held to problems alone": one_t(a, 1),
        "the kit's, without Wilson's form": np.maximum(one_t(a, 1), stdtrit(p - 1, T) * np.sqrt(b + e)),
    }


def bootstrap(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Percentile intervals of x (n, seeds, problems), with the same resamples of problems for all: (n, 2)."""
    n, s, p = x.shape
    times = np.stack([np.bincount(row, minlength=p) for row in rng.integers(p, size=(RESAMPLES, p))]).astype(np.float32)
    columns = x.reshape(n * s, p).T
    sums = times @ np.nan_to_num(columns)
    means = sums / (times @ (~np.isnan(columns)).astype(np.float32) if np.isnan(x).any() else p)
    chosen = rng.integers(s, size=(RESAMPLES, 1, s))
    means = np.take_along_axis(means.reshape(RESAMPLES, n, s), chosen, 2).mean(2)
    return np.quantile(means, [1 - T, T], axis=0).T


def cell(kind: Kind, seeds: int, sd: float, experiments: int) -> dict:
    """Coverage and mean width of every construction, in percent and points."""
    rng = np.random.default_rng([KINDS.index(kind), seeds, int(10 * sd)])
    found: dict[str, list[np.ndarray]] = {}
    lowest = 0 if kind.other is None else -1
    for _ in range(0, experiments, BLOCK):
        arm, other = draw(rng, kind, sd, BLOCK, seeds)
        x = arm if other is None else arm - other
        means, widths = halves(x)
        ends = {name: np.stack([means - half, means + half], 1) for name, half in widths.items()}
        for name, pair in (ends | {BOOTSTRAP: bootstrap(x, rng), KIT: kit(arm, other)}).items():
            found.setdefault(name, []).append(pair.clip(lowest, 1))
    both = {name: np.concatenate(pairs) for name, pairs in found.items()}
    return {
        "seeds": seeds,
        "sd": sd,
        "coverage": {name: round(100 * held(pair, kind.truth), 2) for name, pair in both.items()},
        "width": {name: round(100 * float(np.ptp(pair, 1).mean()), 3) for name, pair in both.items()},
    }


def held(ends: np.ndarray, truth: float) -> float:
    """The share of intervals (n, 2) that hold the truth."""
    return float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experiments", type=int, default=4000, help=f"for each cell, in blocks of {BLOCK}")
    parser.add_argument("--toy", action="store_true", help="one block of a few cells; nothing is written")
    options = parser.parse_args()
    seeds, sds, experiments = ((3,), (0.0, 3.0), BLOCK) if options.toy else (SEEDS, SDS, options.experiments)
    found: dict = {"settings": {"problems": PROBLEMS, "experiments": experiments, "resamples": RESAMPLES}}
    found |= {kind.name: [cell(kind, s, sd, experiments) for s in seeds for sd in sds] for kind in KINDS}
    print(json.dumps(found, indent=1))
    if not options.toy:
        write_json(RESULT, found)


if __name__ == "__main__":
    main()
