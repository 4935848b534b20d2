"""Does the reflection matter? Arms of training and of evaluation beside each other, paired on the same problems.

Arms of training (`profiles.ARMS`) are runs of their own in results/; arms of evaluation (`evaluate.RETRIES`) lie in
every run's outcomes. Nothing here runs a model.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from r3lib import paper, report
from r3lib.files import RESULTS, R3Error
from r3lib.profiles import ARMS
from r3lib.report import Run, matrix
from r3lib.stats import paired_difference

CONTROLS = {
    "blind": "told that it was wrong",
    "again": "asked again, told nothing",
    "generic": "one generic sentence",
    "shuffled": "another problem's reflection",
    "redacted": "own reflection, answers removed",
}
Row = tuple[str, float, float, float]  # label, mean, low, high: points


def load(task: str, profile: str, results: Path = RESULTS) -> dict[str, list[Run]]:
    """The runs of every arm that was trained, "vanilla" first: arm -> one run a seed and temperature."""
    runs = report.collect(results / task / profile)
    out = {
        "vanilla": [r for r in runs if not r.record["trained"]],
        "r3": [r for r in runs if r.record["trained"]],
    }
    for arm in ARMS:
        folder = results / "arms" / task / profile / arm
        if folder.exists():
            out[arm] = report.collect(folder)
    return out


def tokens(runs: list[Run], temperature: float, retry: str) -> float:
    """Tokens sampled for one problem, first try and this retry (made where the first try failed), mean over seeds."""
    chosen = [r for r in runs if r.record["temperature"] == temperature]
    return float(np.mean([(r.outcomes.tokens["first"] + r.outcomes.tokens[retry]) / r.record["n"] for r in chosen]))


def difference(a: list[Run], b: list[Run], temperature: float, arm: str, other: str) -> tuple[float, float, float]:
    """Points by which `arm` of runs `a` is above `other` of runs `b`, paired by seed and problem, with a 95 % interval.

    Raises R3Error if the two were not run with the same seeds.
    """
    seeds = [sorted(r.record["seed"] for r in runs if r.record["temperature"] == temperature) for runs in (a, b)]
    if seeds[0] != seeds[1]:
        raise R3Error(f"Seeds {seeds[0]} cannot be paired with seeds {seeds[1]}; run `make experiments` to its end.")
    left, right = (matrix(runs, runs[0].record["trained"], temperature, x) for runs, x in ((a, arm), (b, other)))
    return tuple(100 * x for x in paired_difference(left, right))


def _points(found: tuple[float, float, float]) -> str:
    return f"{found[0]:+.1f} [{found[1]:+.1f}, {found[2]:+.1f}]"


def arms_table(arms: dict[str, list[Run]], temperature: float) -> str:
    """Markdown: every arm of training, its tries in percent, the tokens it samples, and its second try beside R3's."""
    lines = [
        f"*{report.describe(arms['r3'], temperature)}; % with 95 % intervals.*",
        "",
        "| trained with | first try | second try | blind retry | tokens a problem, second / blind "
        "| second try − R3's | first try − vanilla's |",
        "|---|---|---|---|---|---|---|",
    ]
    for arm, runs in arms.items():
        trained = arm != "vanilla"
        cells = [
            report.percent(*report.interval(matrix(runs, trained, temperature, x)))
            for x in ("first", "second", "blind")
        ]
        spent = " / ".join(f"{tokens(runs, temperature, x):.0f}" for x in ("second", "blind"))
        beside = "" if arm == "r3" else _points(difference(runs, arms["r3"], temperature, "second", "second"))
        first = _points(difference(runs, arms["vanilla"], temperature, "first", "first")) if trained else ""
        name = f"{arm}: {ARMS[arm]}" if trained else "nothing (vanilla)"
        lines.append(f"| {name} | {' | '.join(cells)} | {spent} | {beside} | {first} |")
    return "\n".join(lines)


def controls(runs: list[Run], temperature: float) -> list[Row]:
    """What the own reflection gains over each control, same problems: the rows of one panel of the forest plot."""
    return [(label, *difference(runs, runs, temperature, "second", arm)) for arm, label in CONTROLS.items()]


def forest(arms: dict[str, list[Run]], temperature: float) -> dict[str, list[Row]]:
    """All panels: {"vanilla": rows, "r3": rows, …}, for `plots.forest`."""
    return {arm: controls(runs, temperature) for arm, runs in arms.items()}


def gains(runs: list[Run], temperature: float) -> dict[str, tuple[str, float, float, float]]:
    """Our gains under the names of the paper's (`paper.GAINS`), for `plots.gains`: name -> (model, mean, low, high)."""

    def cells(column: str) -> np.ndarray:
        model, number = column.split("_")
        return matrix(runs, model == "trained", temperature, number)

    model = f"{runs[0].record['model']} (ours, {len(cells('trained_first'))} seeds)"
    found = {name: paired_difference(cells(end), cells(start)) for name, (start, end) in paper.GAINS.items()}
    return {name: (model, *(100 * x for x in points)) for name, points in found.items()}


def flows(runs: list[Run], temperature: float) -> Counter:
    """How many problems went from which kind of first answer to which kind of second: (kind, kind) -> count.

    Right first answers are not retried and stay ("correct", "correct").
    """
    chosen = [r for r in runs if r.record["temperature"] == temperature]
    return Counter(pair for r in chosen for pair in zip(r.outcomes.kinds["first"], r.outcomes.kinds["second"]))
