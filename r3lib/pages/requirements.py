"""What a small model must be like for its results to ask a real question (issue 19, section 2), each line measured.

The model was made so that training has something to learn which no opening can replace. This page says how far that
came true: from what was measured before RL (`r3lib.measure.readiness`) and from the stored runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from r3lib.files import read_json, read_jsonl
from r3lib.measure.stats import paired_difference
from r3lib.pages import compare
from r3lib.pages.report import Run, matrix
from r3lib.pages.tables import markdown

REPAIRS = {"missed": "search", "number": "number", "count": "count", "bracket": "bracket"}  # failure -> reflection
MEGABYTES, MINUTES = 20, 90


class Line(NamedTuple):
    """met: whether the requirement is met, None for a question that either answer settles."""

    what: str
    measured: str
    met: bool | None


def lines(folder: Path, arms: dict[str, list[Run]], steps: dict[str, list], temperature: float) -> list[Line]:
    """Every requirement on the model in `folder`.

    arms: its stored runs as `compare.load` gives them, with their controls; empty if there are none, and then only what
    needs no run is told. steps: `compare.first_turns` of them.
    """
    after = _after(arms, temperature) if arms else []
    return [*_before(folder), *after, *_first_try(arms, steps, temperature), _budget(folder)]


def stored(folder: Path, task: str, profile: str) -> list[Line]:
    """`lines` with the runs in results/, if they are this model's and have their controls."""
    arms = compare.load(task, profile)
    runs = [*arms["vanilla"], *arms.get("r3", [])]
    t = runs[0].record["settings"]["temperature"] if runs else 0.0
    own = all(run.record["model"] == folder.name for run in runs)
    if not (runs and own and all(run.controls for run in runs if run.record["temperature"] == t)):
        return lines(folder, {}, {}, t)
    return lines(folder, arms, compare.first_turns(task, profile), t)


def table(found: list[Line]) -> str:
    words = {True: "yes", False: "**no**", None: "a question"}
    return markdown(["requirement", "measured", "met"], [[what, said, words[met]] for what, said, met in found])


def _before(folder: Path) -> list[Line]:
    repairs, ready = read_json(folder / "repairs.json"), read_json(folder / "readiness.json")["NF4"]
    failures = {kind: n for kind, (_, n) in repairs["own"].items() if kind in REPAIRS}
    total = sum(failures.values())
    shares = {kind: n / total for kind, n in failures.items()}
    forced = dict(zip(REPAIRS.values(), [row for name, row in repairs.items() if name.startswith("begun")]))
    rates = {
        name: {kind: right / n for kind, (right, n) in row.items() if kind in failures} for name, row in forced.items()
    }
    own = {kind: rates[REPAIRS[kind]][kind] for kind in failures}
    others = {kind: max(rates[name][kind] for name in rates if name != REPAIRS[kind]) for kind in failures}
    useless = sum(repairs["says useless"][kind][0] for kind in failures) / total
    right, worked = ready["worked reflections that are right"]
    return [
        Line(
            "wrong first answers are of several kinds, none above 60 %",
            ", ".join(f"{kind} {share:.0%}" for kind, share in shares.items()),
            max(shares.values()) <= 0.6,
        ),
        Line(
            "a kind of reflection repairs its own kind of failure at least twice as often as any other kind does",
            ", ".join(f"{kind} {own[kind]:.0%} (others at most {others[kind]:.0%})" for kind in failures),
            all(own[kind] >= 2 * others[kind] for kind in failures),
        ),
        Line("useless reflections are common, at least 40 %", f"{useless:.0%}", useless >= 0.4),
        Line(
            "searches are poor: at most half of them come to a right equation",
            f"{right / worked:.0%} of {worked}",
            right <= worked / 2,
        ),
    ]


def _after(arms: dict[str, list[Run]], t: float) -> list[Line]:
    trained, vanilla = matrix(arms["r3"], True, t, "second"), matrix(arms["vanilla"], False, t, "second")
    forced = matrix(arms["vanilla"], False, t, "forced")
    gain, opening, content = (
        paired_difference(*each) for each in ((trained, vanilla), (forced, vanilla), (trained, forced))
    )
    share = opening[0] / gain[0] if gain[0] > 0 else np.nan
    return [
        Line(
            "the best forced opening recovers at most half of trained − vanilla",
            f"{compare.points(opening, 100)} of {compare.points(gain, 100)} points, {100 * share:.0f} %",
            bool(share <= 0.5),
        ),
        Line(
            "trained − best forced vanilla is at least 5 points, its interval above 0",
            f"{compare.points(content, 100)} points",
            bool(content[0] >= 0.05 and content[1] > 0),
        ),
    ]


def _first_try(arms: dict[str, list[Run]], steps: dict[str, list], t: float) -> list[Line]:
    out = []
    if steps:
        begin = next(iter(steps.values()))[0][1]
        out.append(Line("first turns may think: 5 to 10 % do, before RL", f"{begin:.1f} %", 5 <= begin <= 10))
    for arm in ("r3", "first", "both"):
        if arm in arms:
            found = compare.difference(arms[arm], arms["vanilla"], t, "first", "first")
            out.append(Line(f"does {arm} lift the first try?", f"{compare.points(found)} points", None))
    return out


def _budget(folder: Path) -> Line:
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    minutes = _minutes(folder)
    return Line(
        f"at most {MEGABYTES} MB, and trained in {MINUTES} minutes on two cores",
        f"{size:.1f} MB, {minutes:.0f} minutes",
        size <= MEGABYTES and minutes <= MINUTES,
    )


def _minutes(folder: Path) -> float:
    """What a model's training took, and that of the model whose weights it began from."""
    seconds = [entry["seconds"] for entry in read_jsonl(folder / "log.jsonl")] + [0]
    own = sum(a for a, b in zip(seconds, seconds[1:]) if b < a) / 60  # they begin anew where a run was resumed
    start = read_json(folder / "recipe.json")["start"]
    return own + (_minutes(folder.parent / start) if start else 0)
