"""Tables from the results files. Nothing here runs a model, and no figure is typed by hand."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from r3lib.files import HOME, ROOT, R3Error, read_json, write_text
from r3lib.measure.stats import for_tokens, mean_interval, paired_difference, pass_and_cost
from r3lib.outcomes import METRICS, Outcomes, load_outcomes
from r3lib.pages.tables import markdown

COLUMNS = tuple("task model profile arm trained seed temperature metric n mean low high commit".split())
KIND = ("task", "model", "profile", "arm", "trained", "temperature")  # runs that differ in these are not averaged
COMPARISONS = (  # name, (trained?, arm) minus (trained?, arm)
    ("trained second try − vanilla second try", (True, "second"), (False, "second")),
    ("trained: own reflection − blind retry", (True, "second"), (True, "blind")),
    ("trained: own reflection − shuffled reflection", (True, "second"), (True, "shuffled")),
    ("trained: own reflection − generic sentence", (True, "second"), (True, "generic")),
    ("trained: own reflection − the same with answers removed", (True, "second"), (True, "redacted")),
    ("trained: own reflection − vanilla with the opening forced", (True, "second"), (False, "forced")),
    ("trained: own reflection − the opening forced", (True, "second"), (True, "forced")),
    ("trained second try − vanilla planning first", (True, "second"), (False, "plan")),
    ("trained second try − its tokens as checked first tries", (True, "second"), (True, "resampled")),
    ("vanilla: own reflection − blind retry", (False, "second"), (False, "blind")),
    ("vanilla: the opening forced − own reflection", (False, "forced"), (False, "second")),
    ("trained first try − vanilla first try", (True, "first"), (False, "first")),
)
ROWS = (
    ("first try", "first"),
    ("second try, own reflection", "second"),
    ("second try, own reflection, answers removed", "redacted"),
    ("second try, blind retry", "blind"),
    ("second try, asked again, told nothing", "again"),
    ("second try, generic sentence", "generic"),
    ("second try, shuffled reflection", "shuffled"),
)
CONTROLS = (  # of r3lib.measure.controls
    ("second try, own reflection with a forced opening", "forced"),
    ("one answer, planned first with the same opening", "plan"),
    ("vanilla's first tries, checked, for this model's tokens", "resampled"),
)
TOLD = {  # the controls in words that need no other page
    "blind": 'the words "try again" with no reflection',
    "again": "the task once more, with no word on the failure",
    "generic": "one and the same sentence after every failure",
    "shuffled": "the reflection on another problem",
    "forced": "a reflection whose first words we chose (a forced opening)",
    "plan": "one answer that is planned first, with no failure before it",
    "resampled": "more first tries of the untrained model for the same tokens, each judged by the verifier",
}
LEAK = "own reflections that contain a right answer"
FOLLOWS = {"first_follows": "first", "second_follows": "second"}  # metric -> the try whose form it tells of
# kinds of answers that break a task's rules; any other kind, correct or not, follows them, in tasks of one's own too
BREAK = frozenset(("no_answer", "invalid_equation", "wrong_numbers", "no_call", "invalid_json"))
TABLE = (  # label, metric or arm: format apart from correctness
    ROWS[0],
    ("first try, a right answer anywhere in it", "lenient"),
    ("first try follows the rules, right or not", "first_follows"),
    ROWS[1],
    ("second try follows the rules, right or not", "second_follows"),
    *ROWS[2:],
    *CONTROLS,
    (LEAK, "leak"),
)
UNASKED = " The hardest controls (forced opening, planned first, the same tokens) were not asked in these runs."
OLD = " (made before records were kept)"


@dataclass
class Run:
    """One results file: its record (model, seed, versions, ...) and its per-problem outcomes."""

    record: dict
    outcomes: Outcomes
    controls: dict | None = None  # the file of r3lib.measure.controls beside it

    @property
    def recorded(self) -> bool:
        """Whether the file says which weights it was made with, as `r3lib.record` has it since the second edition."""
        return "weights" in self.record


def collect(folder: Path) -> list[Run]:
    """All runs below `folder`, in a fixed order. Raises R3Error if there are none or one is damaged."""
    paths = sorted(p for p in Path(folder).rglob("*.json") if re.match(r"(vanilla|trained)-T", p.name))
    if not paths:
        raise R3Error(f"There are no results in {folder}; run `r3 reproduce` first.")
    return [_run(path) for path in paths]


def _run(path: Path) -> Run:
    """One run with its controls. Raises R3Error if those were asked about other problems."""
    run, beside = Run(*load_outcomes(path)), path.with_name(f"controls-{path.name.split('-T')[0]}.json")
    if beside.exists():
        found = read_json(beside)
        if found["temperature"] == run.record["temperature"]:
            if found["problems"] != run.record["problems"]:
                raise R3Error(f"{beside} was asked about other problems than {path.name}; delete it and run it again.")
            run.controls = found
    return run


def resampled(run: Run) -> np.ndarray:
    """Each problem's chance of being solved by the vanilla model's checked tries for this run's tokens."""
    limit = sum(run.outcomes.tokens[arm] for arm in ("first", "second")) / run.record["n"]
    return for_tokens(pass_and_cost(**run.controls["answers"]["tries"]), limit)


def matrix(runs: Iterable[Run], trained: bool, temperature: float, arm: str) -> np.ndarray:
    """Outcomes of one arm as (seeds, problems) of 0 and 1, seeds in order; empty if it was not run.

    arm: of `outcomes.RETRIES`, "first", "lenient", or of CONTROLS. "leak": whether the own reflection gave a right
    answer away, NaN where the first try was right. One of FOLLOWS: whether that answer follows the task's rules (a
    right first one stands for the second).
    """
    chosen = [r for r in runs if r.record["trained"] == trained and r.record["temperature"] == temperature]
    chosen.sort(key=lambda r: r.record["seed"])
    if arm in FOLLOWS:
        return np.array([[kind not in BREAK for kind in r.outcomes.kinds[FOLLOWS[arm]]] for r in chosen], float)
    if arm in dict(map(reversed, CONTROLS)):
        if not all(r.controls for r in chosen):
            return np.empty((0, 0))
        if arm == "resampled":
            return np.array([resampled(r) for r in chosen])
        return np.array([[int(bit) for bit in r.controls["answers"][arm]["right"]] for r in chosen], float)
    if arm != "leak" and any(arm not in r.outcomes.right for r in chosen):
        return np.empty((0, 0))
    return np.array([r.outcomes.leak if arm == "leak" else r.outcomes.right[arm] for r in chosen], float)


def interval(values: np.ndarray) -> tuple[float, float, float] | None:
    """Mean and 95 % interval of (seeds, problems), `r3lib.measure.stats.mean_interval`.

    None if it was not run, or some seed has no problem that counts (all are NaN).
    """
    return mean_interval(values) if values.size and not np.isnan(values).all(1).any() else None


def summary_rows(runs: list[Run]) -> list[dict]:
    """Tidy rows, one a figure: each seed with its Wilson interval, then all seeds (seed "all").

    leak_rate is the share of the model's own reflections that give a right answer away, among failed first tries.
    """
    rows = []
    groups: dict[tuple, list[Run]] = defaultdict(list)
    for run in runs:
        groups[tuple(run.record[k] for k in KIND)].append(run)
        rows += figures([run], run.record["seed"])
    for members in groups.values():
        if len(members) > 1:
            rows += figures(members, "all")
    return rows


def figures(runs: list[Run], seed: int | str) -> list[dict]:
    """A tidy row for each metric over runs of one kind; a metric that counts no problem in some run is left out."""
    record, rows = runs[0].record, []
    for metric, arm in (METRICS | dict(zip(FOLLOWS, FOLLOWS))).items():
        values = matrix(runs, record["trained"], record["temperature"], arm)
        found = interval(values)
        if found:
            mean, low, high = found
            kind = {k: record[k] for k in KIND} | {"trained": int(record["trained"]), "commit": record["commit"]}
            figure = {"metric": metric, "n": int((~np.isnan(values)).sum()), "mean": mean, "low": low, "high": high}
            rows.append({**kind, "seed": seed, **figure})
    return rows


def write_summary(runs: list[Run], path: Path) -> None:
    """summary.csv as design.md lays it out: fractions with four decimals."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in summary_rows(runs):
        writer.writerow(
            {k: f"{v:.4f}" if isinstance(v, float) and k in ("mean", "low", "high") else v for k, v in row.items()}
        )
    write_text(path, out.getvalue())


def differences(runs: list[Run], temperature: float) -> list[dict]:
    """The paired comparisons at one temperature: name, seeds, problems, mean, low, high, each seed's, as fractions."""
    rows = []
    for name, a, b in COMPARISONS:
        left, right = (matrix(runs, trained, temperature, arm) for trained, arm in (a, b))
        if left.size and left.shape == right.shape:
            mean, low, high = paired_difference(left, right)
            found = {"seeds": left.shape[0], "n": left.shape[1], "mean": mean, "low": low, "high": high}
            rows.append({"name": name, **found, "by_seed": (left - right).mean(1).round(6).tolist()})
    return rows


def model(record: dict) -> str:
    """The model and how its weights are held: "r3-nano (NF4)"."""
    return f"{record['model']} ({'NF4' if record['settings']['four_bit'] else record['settings']['dtype']})"


def describe(runs: list[Run], temperature: float) -> str:
    """Task, model, problems and seeds in one sentence, which says so if a run's file is older than the records."""
    record = runs[0].record
    old = not all(run.recorded for run in runs if run.record["temperature"] == temperature)
    return (
        f"{record['task']}, {model(record)}, {record['n']} test problems, {seeds(run.record for run in runs)}, "
        f"temperature {temperature:g}{OLD * old}"
    )


def seeds(records: Iterable[dict]) -> str:
    """The seeds of some records in words: "seeds 0, 1, 2"."""
    found = sorted({record["seed"] for record in records})
    return f"seed{'s' * (len(found) > 1)} {', '.join(map(str, found))}"


def percent(mean: float, low: float, high: float) -> str:
    """A share and its interval as percent: "12.3 [10.0, 14.9]"."""
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def table(runs: list[Run], temperature: float) -> str:
    """Markdown: every arm, vanilla and trained, in percent with 95 % intervals; then the paired differences."""

    def cell(trained: bool, arm: str) -> str:
        values = matrix(runs, trained, temperature, arm)
        if not values.size:
            return "not run"
        found = interval(values)
        return percent(*found) if found else "no failures"

    rows = [[label, cell(False, arm), cell(True, arm)] for label, arm in TABLE]
    rows = [row for row in rows if row[1:] != ["not run"] * 2]
    several = len({run.record["seed"] for run in runs}) > 1
    head = ["paired difference, same problems", "points", "95 % interval", *["each seed"] * several]
    paired = [
        [d["name"], f"{100 * d['mean']:+.1f}", f"[{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]"]
        + [", ".join(f"{100 * x:+.1f}" for x in d["by_seed"])] * several
        for d in differences(runs, temperature)
    ]
    caption = f"*{describe(runs, temperature)}; % with 95 % intervals.*"
    return "\n\n".join([caption, markdown(["", "vanilla", "trained"], rows), markdown(head, paired)])


def points(runs: list[Run], temperature: float) -> dict[str, str]:
    """The paired comparisons as words: name -> "+1.2 points [+0.3, +2.1]"."""
    return {
        d["name"]: f"{100 * d['mean']:+.1f} points [{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]"
        for d in differences(runs, temperature)
    }


def gain(runs: list[Run], temperature: float) -> str:
    """What training did to the second try, and how far the best control comes: the beginning of `headline`."""
    second, untrained = (matrix(runs, trained, temperature, "second") for trained in (True, False))
    controls, record = _controls(runs, temperature), runs[0].record
    best = _best(controls)
    when = "" if best[1] == "resampled" else ", after training" if best[0] else ", before training"
    return (
        f"*{record['model']}, {record['n']} test problems of {record['task']}, {seeds(run.record for run in runs)}; "
        f"95 % intervals in brackets.* Before training, {_share(untrained)} of the problems were solved by the first "
        f"or the second try; after it, {_share(second)}: {_above(second, untrained)}. "
        f"The best of {len({arm for _, arm in controls})} controls, each tried beside the model before and after "
        f"training, is {TOLD[best[1]]}{when}: {_share(controls[best])}."
    )


def headline(runs: list[Run], temperature: float) -> str:
    """A few sentences: what training did to the second try, what of that no control explains, and to the first try.

    The best control is the most often right of all that was put in the reflection's place, trained or not. The own
    reflection without its right answers is no such rival, and is told of apart.
    """
    second, cut = (matrix(runs, True, temperature, arm) for arm in ("second", "redacted"))
    controls = _controls(runs, temperature)
    first = [matrix(runs, trained, temperature, "first") for trained in (True, False)]
    asked = all(matrix(runs, True, temperature, arm).size for _, arm in CONTROLS)
    return (
        f"{gain(runs, temperature)} The trained model's own reflections are above it by "
        f"{_above(second, controls[_best(controls)])}. If right answers are cut out of these reflections, the "
        f"{_share(second)} change by {_above(cut, second)}. Training changed the share of first tries that are right "
        f"by {_above(*first)}.{UNASKED * (not asked)}"
    )


def _controls(runs: list[Run], temperature: float) -> dict[tuple[bool, str], np.ndarray]:
    """(trained, control) -> (seeds, problems): all that was put in the reflection's place."""
    shape = matrix(runs, True, temperature, "second").shape
    return {
        (trained, arm): values
        for _, arm in (*ROWS[2:], *CONTROLS)
        for trained in (True, False)
        if arm != "redacted" and (values := matrix(runs, trained, temperature, arm)).shape == shape
    }


def _best(controls: dict[tuple[bool, str], np.ndarray]) -> tuple[bool, str]:
    return max(controls, key=lambda kind: controls[kind].mean())


def _above(values: np.ndarray, base: np.ndarray) -> str:
    mean, low, high = paired_difference(values, base)
    chance = ", which chance could explain" * (low <= 0 <= high)
    return f"**{100 * mean:+.1f} points** [{100 * low:+.1f}, {100 * high:+.1f}]{chance}"


def _share(values: np.ndarray) -> str:
    return f"{100 * values.mean():.1f} %"


def gather(runs: list[Run], trained: bool, temperature: float, pick: Callable[[Outcomes], Iterable]) -> list:
    """What `pick` takes from the outcomes of each seed, one after another."""
    chosen = [r for r in runs if r.record["trained"] == trained and r.record["temperature"] == temperature]
    return [x for run in chosen for x in pick(run.outcomes)]


def seeds_table(runs: list[Run], temperature: float) -> str:
    """Markdown: the paper's four cells, seed by seed and their mean, in percent."""
    cells = np.array(
        [matrix(runs, trained, temperature, arm).mean(1) for trained in (False, True) for arm in ("first", "second")]
    )
    names = [str(seed) for seed in sorted({r.record["seed"] for r in runs})]
    rows = [[name, *(f"{100 * x:.1f}" for x in row)] for name, row in zip(names, cells.T)]
    mean = ["**mean**", *(f"**{100 * x:.1f}**" for x in cells.mean(1))]
    return markdown(["seed", "vanilla 1st", "vanilla 2nd", "trained 1st", "trained 2nd"], [*rows, mean])


def leaks_table(runs: list[Run], temperature: float) -> str:
    """Markdown: how many own reflections hold a right answer, and how retries go after those and after the others."""
    head = ["", "reflections that contain a right answer", "retry right after those", "after the others"]
    rows = []
    for name, trained in (("vanilla", False), ("trained", True)):
        leak, own, blind = (matrix(runs, trained, temperature, arm) for arm in ("leak", "second", "blind"))
        parts = leak[~np.isnan(leak)], own[leak == 1], own[leak == 0], blind[leak == 0]
        rows.append([name, *(f"{100 * x.mean():.1f} % (n = {x.size})" if x.size else "none" for x in parts)])
    return markdown([*head, "blind retry, same problems as the others"], rows)


def kinds_table(runs: list[Run], temperature: float) -> str:
    """Markdown: the share of each kind among first and second tries, vanilla and trained, and of all by the rules."""
    columns = [(trained, when) for when in ("first", "second") for trained in (False, True)]
    found = {
        (trained, when): np.array(gather(runs, trained, temperature, lambda o, when=when: [o.kinds[when]]))
        for trained, when in columns
    }
    names = sorted({kind for values in found.values() for kind in values.flat}, key=lambda k: (k != "correct", k))
    rows = [[k.replace("_", " "), *(percent(*mean_interval(found[c] == k)) for c in columns)] for k in names]
    follow = [percent(*mean_interval(~np.isin(found[c], [*BREAK]))) for c in columns]
    head = [f"{'trained' if trained else 'vanilla'}, {when} try" for trained, when in columns]
    return markdown(["kind", *head], [*rows, ["**follows the rules**", *follow]])


def rescued(runs: list[Run], temperature: float) -> dict[str, dict[str, tuple[float, float, float, int]]]:
    """How many wrong first tries of each kind the second try puts right, over the seeds that have it.

    {"vanilla" | "trained": {kind: (mean, low, high, how many)}}, as fractions; a kind that one of them lacks is left
    out there.
    """
    out: dict[str, dict[str, tuple[float, float, float, int]]] = {"vanilla": {}, "trained": {}}
    for name, trained in (("vanilla", False), ("trained", True)):
        kinds = np.array(gather(runs, trained, temperature, lambda o: [o.kinds["first"]]))
        right = np.array(gather(runs, trained, temperature, lambda o: [o.right["second"]]), float)
        for kind in sorted({*kinds.flat} - {"correct"}):
            values = np.where(kinds == kind, right, np.nan)[(kinds == kind).any(1)]
            out[name][kind] = (*mean_interval(values), int((kinds == kind).sum()))
    return out


def rescued_table(runs: list[Run], temperature: float) -> str:
    """Markdown: `rescued`, in percent."""
    found = rescued(runs, temperature)
    rows = []
    for kind in sorted({kind for own in found.values() for kind in own}):
        known = (own.get(kind) for own in found.values())
        rows.append(
            [kind.replace("_", " "), *(f"{percent(*own[:3])} (n = {own[3]})" if own else "none" for own in known)]
        )
    return markdown(["kind of the first error", "put right, vanilla", "put right, trained"], rows)


STEP = ("reward", "zero_advantage_fraction", "kl", "reflection_tokens", "clipped_ratio", "tokens_per_second", "loss")


def _figure(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"


def steps_table(log: list[dict]) -> str:
    """Markdown: a training log, one line a step."""
    return markdown(["step", *STEP], [[str(entry["step"]), *(_figure(entry[c]) for c in STEP)] for entry in log])


def ends_table(logs: dict[str, list[dict]], size: int = 5) -> str:
    """Markdown: mean over seeds of each metric in the first and in the last `size` steps; the time a seed took."""
    parts = (slice(size), slice(-size, None))
    rows = [
        [metric, *(_figure(float(np.mean([e[metric] for log in logs.values() for e in log[part]]))) for part in parts)]
        for metric in STEP[:-1]
    ]
    minutes = [sum(e["seconds"] for e in log) / 60 for log in logs.values()]
    rows.append(["training time, minutes a seed", f"{min(minutes):.1f} to {max(minutes):.1f}", ""])
    return markdown(["metric", f"first {size} steps", f"last {size} steps"], rows)


def insert(path: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- name:start -->` and `<!-- name:end -->` in a Markdown file.

    A file of the kit stays as it is where the kit is installed; a copy below HOME is changed. Raises R3Error without
    the marks.
    """
    place = HOME / path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    page = (place if place.exists() else path).read_text(encoding="utf-8")
    new, count = re.subn(
        rf"(<!-- {name}:start -->\n).*?(<!-- {name}:end -->)", lambda m: f"{m[1]}{text}\n{m[2]}", page, flags=re.S
    )
    if count != 1:
        raise R3Error(f"{path} has no place marked <!-- {name}:start --> … <!-- {name}:end -->; put the marks back.")
    write_text(place, new)


def cost(measured: dict[str, dict]) -> str:
    """What benchmarks/reproduce.py measured, a sentence for each experiment."""
    sentences = [
        f"`{one['command']}` took {one['minutes']:.0f} minutes and {one['memory_gb']:.1f} GB of memory on "
        f"{one['machine']['cores']} cores. "
        for one in measured.values()
    ]
    return (
        f"{''.join(sentences)}Installation is included (`benchmarks/reproduce.py`): one seed, judged on fewer problems "
        "than the stored runs, and for Countdown trained for fewer steps."
    )


def training_logs(folder: Path) -> dict[str, list[dict]]:
    """seed folder name -> the training log's entries, for every training.json below `folder`."""
    return {p.parent.name: read_json(p)["log"] for p in sorted(Path(folder).rglob("training.json"))}


def arm_intervals(runs: list[Run], temperature: float) -> dict[str, dict[str, tuple[float, float, float]]]:
    """{"vanilla" | "trained": {row label: (mean, low, high)}} in percent, for the plot of all arms."""
    out: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name, trained in (("vanilla", False), ("trained", True)):
        for label, arm in (*ROWS, *CONTROLS):
            values = matrix(runs, trained, temperature, arm)
            if values.size:
                out.setdefault(name, {})[label] = tuple(100 * x for x in interval(values))
    return out
