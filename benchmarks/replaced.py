"""Runs that were made, published and then replaced: their figures, from the files that the history keeps.

A replicate is shown, never replaced in silence. Needs the whole history of the repository (`git fetch --unshallow`).
Writes results/replaced.json and results/REPLACED.md.
"""

from __future__ import annotations

import json
import subprocess
from typing import NamedTuple

import numpy as np

from r3lib.files import RESULTS, ROOT, write_json, write_text
from r3lib.measure.stats import mean_interval, paired_difference
from r3lib.pages import compare, report, tables


class Replaced(NamedTuple):
    """Stored runs of one task as `commit` has them. why: what replaced them, and why."""

    task: str
    commit: str
    temperature: float
    why: str


SETS = (
    Replaced(
        "countdown",
        "43ddc35",
        0.7,
        "made again on 2026-11-22, when every row came to draw its own random numbers and two controls were added",
    ),
    Replaced("function_calling", "43ddc35", 0.5, "made again on 2026-11-22, for the same reason"),
    Replaced(
        "countdown",
        "dbb3664",
        0.7,
        "the first edition's last; made again on 2026-11-27 with the second edition, another model, in which no one "
        "opening helps after every failure",
    ),
    Replaced(
        "function_calling",
        "dbb3664",
        0.5,
        "the last without records; made again on 2026-11-27 with the same model on the new code, with the controls of "
        "forced openings and with worked-out values removed",
    ),
)
SEEDS = (0, 1, 2)
PAIRED = {
    "first try, trained − vanilla": ((True, "first"), (False, "first")),
    "second try, trained − vanilla": ((True, "second"), (False, "second")),
    "trained: own reflection − blind retry": ((True, "second"), (True, "blind")),
}
Right = dict[tuple[bool, str], np.ndarray]  # (trained, arm) -> (seeds, problems) of 0 and 1


def stored(old: Replaced) -> Right:
    """What the runs of a set got right, read from the history."""
    found: Right = {}
    for trained in (False, True):
        files = []
        for seed in SEEDS:
            name = f"{'trained' if trained else 'vanilla'}-T{old.temperature:g}.json"
            path = f"results/{old.task}/nano/seed{seed}/{name}"
            said = subprocess.run(["git", "show", f"{old.commit}:{path}"], cwd=ROOT, capture_output=True, check=True)
            files.append(json.loads(said.stdout)["outcomes"]["right"])
        for arm in ("first", "second", "blind"):
            found[trained, arm] = np.array([[int(bit) for bit in file[arm]] for file in files], float)
    return found


def figures(right: Right) -> dict[str, tuple[float, float, float]]:
    """Shares and paired differences with their 95 % intervals, as fractions."""
    shares = {
        f"{'trained' if trained else 'vanilla'} {arm}": mean_interval(own) for (trained, arm), own in right.items()
    }
    return shares | {name: paired_difference(right[a], right[b]) for name, (a, b) in PAIRED.items()}


def pooled(sets: list[Right]) -> Right:
    """All seeds of several sets as those of one: the test problems are the same."""
    return {key: np.concatenate([own[key] for own in sets]) for key in sets[0]}


def text(made: list[dict]) -> str:
    head = ["task", "runs", "seeds", "second try, vanilla", "second try, trained", *PAIRED, "what became of them"]
    rows = [
        [one["task"], one["commit"], str(one["seeds"])]
        + [report.percent(*one["figures"][f"{which} second"]) for which in ("vanilla", "trained")]
        + [compare.points(one["figures"][name], 100) for name in PAIRED]
        + [one["why"]]
        for one in made
    ]
    about = (
        "# Runs that were replaced\n\nFirst edition of the small models, 1,000 test problems, NF4, the profile's "
        "sampling temperature; % and points with 95 % intervals. `runs` is the commit that stored them; "
        "`benchmarks/replaced.py` reads them from the history and writes this page.\n\n"
    )
    return about + tables.markdown(head, rows) + "\n"


if __name__ == "__main__":
    made, read = [], {old: stored(old) for old in SETS}
    for task in dict.fromkeys(old.task for old in SETS):
        own = [old for old in SETS if old.task == task]
        for old in own:
            made.append(
                {"task": task, "commit": old.commit, "seeds": len(SEEDS), "figures": figures(read[old]), "why": old.why}
            )
        every = figures(pooled([read[old] for old in own]))
        together = {"commit": "all together", "seeds": len(SEEDS) * len(own), "figures": every, "why": ""}
        made.append({"task": task} | together)
    write_json(RESULTS / "replaced.json", {f"{one['task']}, {one['commit']}": one for one in made})
    write_text(RESULTS / "REPLACED.md", text(made))
    print(text(made))
