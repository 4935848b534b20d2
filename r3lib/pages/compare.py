"""Does the reflection matter? Arms of training and of evaluation beside each other, paired on the same problems.

Arms of training (`config.ARMS`) are runs of their own in results/; arms of evaluation (`outcomes.RETRIES`) lie in
every run's outcomes; answers to the probes (more rounds, temperatures, independent tries, transfer) in files beside
them. Nothing here runs a model.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from itertools import chain
from math import prod
from pathlib import Path

import numpy as np
from safetensors import safe_open

from r3lib import files
from r3lib.config import ARMS, R3
from r3lib.files import DATA, R3Error, read_json
from r3lib.measure.stats import for_tokens, mean_interval, paired_difference, pass_and_cost
from r3lib.pages import paper, report
from r3lib.pages.report import Run, matrix
from r3lib.pages.tables import markdown

CONTROLS = {
    "blind": "told that it was wrong",
    "again": "asked again, told nothing",
    "generic": "one generic sentence",
    "shuffled": "another problem's reflection",
    "redacted": "own reflection, answers removed",
}
Row = tuple[str, float, float, float]  # label, mean, low, high: points
Point = tuple[float, float, float, float]  # tokens a problem, or temperature; %, low, high


def _folders(task: str, profile: str, results: Path | None) -> dict[str, Path]:
    """Where the runs of every arm that was trained lie, in a results folder, else in that of `files.results`."""
    results = results or files.results(task, profile).parents[1]
    others = {arm: results / "arms" / task / profile / arm for arm in ARMS if arm != R3.name}
    found = {R3.name: results / task / profile, **others}
    return {arm: folder for arm, folder in found.items() if folder.exists()}


def load(task: str, profile: str, results: Path | None = None) -> dict[str, list[Run]]:
    """The runs of every arm that was trained, "vanilla" first: arm -> one run a seed and temperature."""
    out: dict[str, list[Run]] = {"vanilla": []}
    for arm, folder in _folders(task, profile, results).items():
        for run in report.collect(folder):
            out.setdefault(arm if run.record["trained"] else "vanilla", []).append(run)
    return out


def logs(task: str, profile: str, results: Path | None = None) -> dict[str, list[list[dict]]]:
    """The training logs of every arm that was run: arm -> log of each seed, a list of steps."""
    folders = _folders(task, profile, results)
    return {arm: [*report.training_logs(folder).values()] for arm, folder in folders.items()}


def first_turns(task: str, profile: str, results: Path | None = None) -> dict[str, list[Point]]:
    """How likely words before the first answer are, after each step (`r3lib.measure.mode`), for `plots.curves`.

    {"trained with ARM: …": [(step, mean of the seeds in percent, lowest seed, highest seed)]}; empty if no log has it.
    """
    out = {}
    for arm, own in logs(task, profile, results).items():
        steps = [[line for line in at_step if "thinks_first" in line] for at_step in zip(*own)]
        shares = [(step[0]["step"], [100 * line["thinks_first"] for line in step]) for step in steps if step]
        if shares:
            out[f"trained with {arm}: words before the first answer"] = [
                (float(step), float(np.mean(found)), min(found), max(found)) for step, found in shares
            ]
    return out


def sampled(task: str, profile: str, results: Path | None = None) -> dict[str, float]:
    """Tokens that each arm sampled in training, reflections, answers and retries, mean over seeds: arm -> tokens."""
    return {
        arm: float(np.mean([sum(step["sampled_tokens"] for step in log) for log in own]))
        for arm, own in logs(task, profile, results).items()
    }


def tokens(runs: list[Run], temperature: float, retry: str | None) -> float:
    """Tokens sampled for one problem, first try and this retry (made where the first try failed), mean over seeds.

    retry None: the first try alone.
    """
    chosen = [r for r in runs if r.record["temperature"] == temperature]
    made = ("first", retry) if retry else ("first",)
    return float(np.mean([sum(r.outcomes.tokens[arm] for arm in made) / r.record["n"] for r in chosen]))


@cache
def parameters(model: str) -> int:
    """How many a model has: of one in data/ by its weights' header, of one on the hub by data/models.json.

    model: as the records name it. Raises R3Error if its size is not known.
    """
    weights = DATA / model / "model.safetensors"
    if weights.exists():
        with safe_open(weights, "np") as file:
            return sum(prod(file.get_slice(name).get_shape()) for name in file.keys())
    for name, known in read_json(DATA / "models.json").items():
        if model in (name, name.rpartition("/")[2]):
            return known["parameters"]
    raise R3Error(f"The size of {model} is not known; add its `parameters` to {DATA / 'models.json'}.")


def work(runs: list[Run], temperature: float, retry: str | None) -> float:
    """Parameters times `tokens`, in millions: the arithmetic that one problem takes, but for a constant."""
    return parameters(runs[0].record["model"]) * tokens(runs, temperature, retry) / 1e6


def difference(a: list[Run], b: list[Run], temperature: float, arm: str, other: str) -> tuple[float, float, float]:
    """Points by which `arm` of runs `a` is above `other` of runs `b`, paired by seed and problem, with a 95 % interval.

    Over the seeds that both were run with. Raises R3Error if there is none.
    """
    seeds = [{r.record["seed"] for r in runs if r.record["temperature"] == temperature} for runs in (a, b)]
    if not (both := seeds[0] & seeds[1]):
        ours, theirs = map(sorted, seeds)
        raise R3Error(f"Seeds {ours} cannot be paired with seeds {theirs}; run `r3 experiment --all` to its end.")
    a, b = ([r for r in runs if r.record["seed"] in both] for runs in (a, b))
    return _hundred(paired_difference(_own(a, temperature, arm), _own(b, temperature, other)))


def _own(runs: list[Run], temperature: float, arm: str) -> np.ndarray:
    """`report.matrix` of runs that are all vanilla or all trained."""
    return matrix(runs, runs[0].record["trained"], temperature, arm)


def _hundred(found: tuple[float, float, float]) -> tuple[float, float, float]:
    return tuple(100 * x for x in found)


def points(found: tuple[float, float, float], scale: float = 1) -> str:
    """A difference and its interval, times `scale`: "+1.2 [+0.3, +2.1]"."""
    return f"{scale * found[0]:+.1f} [{scale * found[1]:+.1f}, {scale * found[2]:+.1f}]"


def told(found: tuple[float, float, float], up: str, down: str, still: str) -> str:
    """A difference in words that its interval allows: "UP by 10.8 points [6.9, 14.8]", "DOWN by …", "STILL (…)".

    STILL, with signs, if the interval holds zero. A sentence built with it stays true when the runs are made again.
    """
    mean, low, high = found
    if low <= 0 <= high:
        return f"{still} ({mean:+.1f} points [{low:+.1f}, {high:+.1f}])"
    low, high = sorted((abs(low), abs(high)))
    return f"{up if mean > 0 else down} by {abs(mean):.1f} points [{low:.1f}, {high:.1f}]"


def title(arm: str) -> str:
    """What a model was trained with, in words."""
    return "nothing (vanilla)" if arm == "vanilla" else f"{arm}: {ARMS[arm].about}"


def arms_table(arms: dict[str, list[Run]], temperature: float, trained_on: dict[str, float]) -> str:
    """Markdown: every arm of training, its tries in percent, the tokens it samples, and its second try beside R3's.

    trained_on: what `sampled` found.
    """
    head = ["trained with", "tokens sampled in training, thousands", *TRIES]
    head += ["second try − R3's", "first try − vanilla's"]
    rows, alike = [], len({report.seeds(run.record for run in runs) for runs in arms.values()}) == 1
    for arm, runs in arms.items():
        trained = arm != "vanilla"
        training = f"{trained_on[arm] / 1000:.0f}" if trained else "0"
        beside = "" if arm == "r3" else points(difference(runs, arms["r3"], temperature, "second", "second"))
        first = points(difference(runs, arms["vanilla"], temperature, "first", "first")) if trained else ""
        label = title(arm) if alike else f"{title(arm)} ({report.seeds(run.record for run in runs)})"
        rows.append([label, training, *_tries(runs, temperature), beside, first])
    caption = f"*{report.describe([*chain(*arms.values())], temperature)}; % with 95 % intervals.*"
    return f"{caption}\n\n{markdown(head, rows)}"


TRIES = (
    *("first try", "second try", "blind retry", "first try follows the rules", "second try follows the rules"),
    "tokens a problem, second / blind",
)


RIVALS = {  # arm -> what is rewarded, in words
    "first": "first answers with the same algorithm and no reflection (plain GRPO)",
    "both": "the retry as well as the reflection (`both`)",
}


def rivals(arms: dict[str, list[Run]], temperature: float, trained_on: dict[str, float]) -> str:
    """Sentences on rivals of R3; none on what was not run.

    The arms in `RIVALS`, with the tokens of their training beside R3's (trained_on: what `sampled` found), and the
    untrained model at temperature 0.
    """
    said = []
    for arm in [one for one in RIVALS if one in arms]:
        first = difference(arms[arm], arms["vanilla"], temperature, "first", "first")
        beside = difference(arms[arm], arms["r3"], temperature, "second", "second")
        seeds, cost = report.seeds(run.record for run in arms[arm]), trained_on[arm] / trained_on["r3"]
        moved = told(first, "raised first tries", "lowered first tries", "did not move first tries")
        stood = told(beside, "above R3's", "below R3's", "level with R3's")
        said.append(
            f"Rewarding {RIVALS[arm]} {moved}, with {cost:.1f} times the tokens of R3's training ({seeds}); the second "
            f"try of that model is {stood}."
        )
    if (cold := matrix(arms["vanilla"], False, 0.0, "first")).size and temperature:
        said.append(
            f"All these answers are drawn at random (temperature {temperature:g}). If the untrained model always "
            f"writes its most likely token (temperature 0), {100 * cold.mean():.1f} % of its first tries are right."
        )
    return " ".join(said)


def better(arms: dict[str, list[Run]], temperature: float) -> str:
    """Which rivals are better than R3's second try, their intervals above zero, in a sentence; empty if none is."""
    ours, cold = matrix(arms["r3"], True, temperature, "second"), matrix(arms["vanilla"], False, 0.0, "first")
    names = [
        f"to reward {RIVALS[arm]}"
        for arm in RIVALS
        if arm in arms and difference(arms[arm], arms["r3"], temperature, "second", "second")[1] > 0
    ]
    if temperature and cold.shape == ours.shape and paired_difference(cold, ours)[1] > 0:
        names.append("not to train, and to let the model write its most likely token (temperature 0)")
    if not names:
        return ""
    return f"**R3 is not the best way to solve this task with this model.** It is better {'; or '.join(names)}."


def _tries(runs: list[Run], temperature: float) -> list[str]:
    """The cells under `TRIES` of one model: shares in percent, and what the retries cost."""
    found = [report.interval(_own(runs, temperature, arm)) for arm in ("first", "second", "blind", *report.FOLLOWS)]
    spent = " / ".join(f"{tokens(runs, temperature, arm):.0f}" for arm in ("second", "blind"))
    return [*(report.percent(*each) for each in found), spent]


def controls(runs: list[Run], temperature: float) -> list[Row]:
    """What the own reflection gains over each control, same problems: the rows of one panel of the forest plot.

    A control that changed no outcome of any problem says so.
    """
    rows = [(label, *difference(runs, runs, temperature, "second", arm)) for arm, label in CONTROLS.items()]
    return [(row[0] if any(row[1:]) else f"{row[0]} (changes nothing)", *row[1:]) for row in rows]


def forest(arms: dict[str, list[Run]], temperature: float) -> dict[str, list[Row]]:
    """One panel an arm, {`title`: rows}, for `plots.forest`."""
    return {title(arm): controls(runs, temperature) for arm, runs in arms.items()}


COST_AXES = "parameters × tokens sampled for one problem, millions (log scale)", "right so far, % (95 % band)"


def _models(small: list[Run], large: list[Run]) -> dict[str, list[Run]]:
    """The three that are compared: label -> runs of one model, trained or not."""
    vanilla, trained = ([r for r in small if r.record["trained"] == which] for which in (False, True))
    names = [runs[0].record["model"] for runs in (small, large)]
    return {
        f"vanilla {names[0]}": vanilla,
        f"trained {names[0]}": trained,
        f"vanilla {names[1]}": [r for r in large if not r.record["trained"]],
    }


def beside(small: list[Run], large: list[Run], temperature: float) -> dict[str, list[Point]]:
    """From the first try to the second, for `plots.curves`: accuracy against parameters times tokens."""
    out = {}
    for label, runs in _models(small, large).items():
        for retry, name in (("second", "own reflection"), ("blind", "blind retry")):
            out[f"{label}: {name}"] = [
                (work(runs, temperature, how), *_percent(_own(runs, temperature, arm)))
                for how, arm in ((None, "first"), (retry, retry))
            ]
    return out


def beside_table(small: list[Run], large: list[Run], temperature: float) -> str:
    """Markdown: a small model, untrained and trained, and a large untrained one; then the paired differences."""
    models = _models(small, large)
    untrained, trained, big = models.values()
    head = ["model", "parameters, millions", *TRIES, "parameters × tokens, millions: first / second / blind"]
    rows = []
    for label, runs in models.items():
        size = f"{parameters(runs[0].record['model']) / 1e6:.2f}"
        price = " / ".join(f"{work(runs, temperature, x):.0f}" for x in (None, "second", "blind"))
        rows.append([label, size, *_tries(runs, temperature), price])
    minus = {
        "the untrained large one's first try": (big, "first"),
        "the untrained large one's blind second try": (big, "blind"),
        "the untrained large one's second try": (big, "second"),
        "the untrained small one's second try": (untrained, "second"),
    }
    paired = [[what, points(difference(trained, a, temperature, "second", arm))] for what, (a, arm) in minus.items()]
    about = f"{report.describe([*small, *large], temperature)}, beside {report.model(big[0].record)}"
    parts = [markdown(head, rows), markdown(["trained small, second try, minus", "points"], paired)]
    return "\n\n".join([f"*{about}; % with 95 % intervals.*", *parts])


def gains(runs: list[Run], temperature: float) -> dict[str, tuple[str, float, float, float]]:
    """Our gains under the names of the paper's (`paper.GAINS`), for `plots.gains`: name -> (model, mean, low, high)."""

    def cells(column: str) -> np.ndarray:
        model, number = column.split("_")
        return matrix(runs, model == "trained", temperature, number)

    model = f"{runs[0].record['model']} (ours, {len(cells('trained_first'))} seeds)"
    found = {name: paired_difference(cells(end), cells(start)) for name, (start, end) in paper.GAINS.items()}
    return {name: (model, *_hundred(points)) for name, points in found.items()}


def flows(runs: list[Run], temperature: float) -> Counter:
    """How many problems went from which kind of first answer to which kind of second: (kind, kind) -> count.

    Right first answers are not retried and stay ("correct", "correct").
    """
    chosen = [r for r in runs if r.record["temperature"] == temperature]
    return Counter(pair for r in chosen for pair in zip(r.outcomes.kinds["first"], r.outcomes.kinds["second"]))


def probes(task: str, profile: str, results: Path | None = None) -> dict[str, list[dict]]:
    """What `probes.run` wrote: {"vanilla" | "trained" | "transfer": [record of each seed]}; empty if it has not run.

    Independent first tries of the same problems come from the controls beside them, but in older files.
    """
    out: dict[str, list[dict]] = {}
    folder = results / task / profile if results else files.results(task, profile)
    for path in sorted(folder.glob("seed*/probes-*.json")):
        record = read_json(path)
        beside = path.with_name(path.name.replace("probes", "controls"))
        if "tries" not in record["answers"] and beside.exists():
            found = read_json(beside)["answers"]["tries"]
            record["answers"]["tries"] = found | {"right": found["right"][: record["n"]]}
        out.setdefault(record["asked"], []).append(record)
    return {name: out[name] for name in ("vanilla", "trained", "transfer") if name in out}


def forgetting(task: str, profile: str, results: Path | None = None) -> list[dict]:
    """What `forgetting.run` wrote, one record a seed; empty if it has not run."""
    folder = results / task / profile if results else files.results(task, profile)
    return [read_json(path) for path in sorted(folder.glob("seed*/forgetting.json"))]


def forgetting_table(before: list[dict[str, dict]], after: list[dict[str, dict]]) -> str:
    """Markdown: each test before and after, and the paired difference over documents and seeds.

    before, after: what `r3lib.measure.forgetting.judge` gives, one a seed. The harness's standard errors
    are printed where there is one seed.
    """
    rows = []
    for task, one in before[0].items():
        olds, news = ([each[task] for each in found] for found in (before, after))
        scale = 100 if one["metric"] == "acc" else 1
        places = 2 if scale == 100 else 4
        cells = [_score(own, scale, places) for own in (olds, news)]
        change = scale * (np.mean([each["value"] for each in news]) - np.mean([each["value"] for each in olds]))
        said = f"{change:+.{places}f}"
        samples = [[each["samples"] for each in own] for own in (news, olds)]
        if all(each and len(each) == one["n"] for own in samples for each in own):
            mean, low, high = paired_difference(*samples)
            said = f"{scale * mean:+.{places}f} [{scale * low:+.{places}f}, {scale * high:+.{places}f}]"
        metric = "accuracy, %" if one["metric"] == "acc" else one["metric"].replace("_", " ")
        rows.append([task, metric, str(one["n"]), *cells, said])
    head = ["before ± s.e.", "after ± s.e."] if len(before) == 1 else ["before", "after"]
    return markdown(["test", "metric", "n", *head, "after − before [95 %]"], rows)


def _score(runs: list[dict], scale: float, places: int) -> str:
    mean, error = np.mean([one["value"] for one in runs]), runs[0]["stderr"]
    known = len(runs) == 1 and error is not None and not np.isnan(error)
    return f"{scale * mean:.{places}f}" + (f" ± {scale * error:.{places}f}" if known else "")


def tries(records: list[dict], how: str, temperature: float, number: int) -> np.ndarray:
    """(seeds, problems) of 0 and 1: right at try `number` or before. how: "reflect" or "blind"."""
    rows = [record["answers"][f"{how}-T{temperature:g}"]["right"][number] for record in records]
    return np.array([[int(c) for c in bits] for bits in rows], float)


def spent(records: list[dict], how: str, temperature: float, number: int) -> float:
    """Tokens sampled for one problem up to try `number`, mean over seeds."""
    return float(
        np.mean([sum(r["answers"][f"{how}-T{temperature:g}"]["tokens"][: number + 1]) / r["n"] for r in records])
    )


def rounds(records: list[dict], how: str) -> list[Point]:
    """After each try at the profile's temperature: (tokens a problem so far, % right so far, low, high)."""
    t = records[0]["temperature"]
    count = len(records[0]["answers"][f"{how}-T{t:g}"]["right"])
    return [(spent(records, how, t, i), *_percent(tries(records, how, t, i))) for i in range(count)]


def by_temperature(records: list[dict], how: str, number: int = 1) -> list[Point]:
    """(temperature, % right at try `number` or before, low, high) for every temperature that was asked."""
    asked = sorted(float(key.partition("-T")[2]) for key in records[0]["answers"] if key.startswith(how))
    return [(t, *_percent(tries(records, how, t, number))) for t in asked]


def independent(records: list[dict]) -> list[Point]:
    """k independent first tries, stopping at the first right one: (tokens a problem, pass@k in %, low, high) by k."""
    return [(cost, *_percent(right)) for right, cost in _resampled(records)]


def _resampled(records: list[dict]) -> list[tuple[np.ndarray, float]]:
    """For k = 1, 2, …: pass@k as (seeds, problems), and the tokens a problem, mean over seeds."""
    seeds = zip(*(pass_and_cost(**record["answers"]["tries"]) for record in records))
    return [(np.array([right for right, _ in at_k]), float(np.mean([cost for _, cost in at_k]))) for at_k in seeds]


def fewest(reflecting: list[dict], sampling: list[dict]) -> tuple[int, float, float]:
    """The fewest independent first tries of `sampling` that solve as much as the reflect-retries (0: none stored do).

    Returns them, and the verifier's calls a problem for those (for all, if none do) and for a reflect-retry.
    """
    t, rates = reflecting[0]["temperature"], [right.mean() for right, _ in _resampled(sampling)]
    first, second = (tries(reflecting, "reflect", t, number).mean() for number in (0, 1))
    k = next((k for k, rate in enumerate(rates, 1) if rate >= second), 0)
    return k, float(1 + sum(1 - rate for rate in rates[: (k or len(rates)) - 1])), float(2 - first)


def equal_tokens(reflecting: list[dict], sampling: list[dict]) -> tuple[float, float, float]:
    """Points by which independent first tries of `sampling` solve more than one reflect-retry of `reflecting`.

    Both cost the same tokens a problem (`stats.for_tokens`); with a 95 % interval, paired by seed and problem.
    """
    t, found = reflecting[0]["temperature"], _resampled(sampling)
    right = for_tokens(found, spent(reflecting, "reflect", t, 1))
    return _hundred(paired_difference(right, tries(reflecting, "reflect", t, 1)))


STEP_AXES = "training step", "words before the first answer, % (band: all seeds)"
TOKEN_AXES = "tokens sampled for one problem (log scale)", "right so far, % (95 % band)"
TEMPERATURE_AXES = "sampling temperature, first try and all that follows", "right at the second try, % (95 % band)"


def by_tokens(asked: dict[str, list[dict]]) -> dict[str, list[Point]]:
    """Curves of accuracy against tokens, for `plots.curves`: rounds with and without reflecting, independent tries."""
    out = {}
    for name in ("trained", "vanilla"):
        for how, label in (("reflect", "reflecting, round after round"), ("blind", "blind retries")):
            out[f"{name}: {label}"] = rounds(asked[name], how)
    return out | {"vanilla: independent first tries": independent(asked["vanilla"])}


def by_temperatures(asked: dict[str, list[dict]]) -> dict[str, list[Point]]:
    """Curves of second-try accuracy against temperature, for `plots.curves`."""
    return {
        f"{name}: {label}": by_temperature(asked[name], how)
        for name in ("trained", "vanilla")
        for how, label in (("reflect", "own reflection"), ("blind", "blind retry"))
    }


def verdict(asked: dict[str, list[dict]]) -> str:
    """One sentence: what the tokens of the trained model's reflect-retry buy in independent first tries."""
    limit = spent(asked["trained"], "reflect", asked["trained"][0]["temperature"], 1)
    stored, cost = asked["vanilla"][0]["answers"]["tries"]["of"], _resampled(asked["vanilla"])[-1][1]
    beyond = f" (all {stored} that were stored cost only {cost:.0f})" * (cost < limit)
    equal, calls, ours = fewest(asked["trained"], asked["vanilla"])
    some = f"{equal} tries solve as much, with" if equal else f"Not even {stored} tries solve as much, at"
    return (
        f"A reflect-retry of the trained model costs {limit:.0f} tokens a problem. If they{beyond} are spent on "
        "independent first tries of the vanilla model, checked one by one until one is right, the share of solved "
        f"problems {told(equal_tokens(asked['trained'], asked['vanilla']), 'rises', 'falls', 'may stay the same')}. "
        f"{some} {calls:.1f} calls to the verifier a problem against {ours:.1f}."
    )


def _percent(values: np.ndarray) -> tuple[float, float, float]:
    return _hundred(mean_interval(values))


def rounds_table(asked: dict[str, list[dict]]) -> str:
    """Markdown: right after each try, with reflections and blindly, vanilla and trained; what it has cost by then."""
    columns = [(name, how) for name in ("vanilla", "trained") if name in asked for how in ("reflect", "blind")]
    found = [rounds(asked[name], how) for name, how in columns]
    heads = [f"{name}, {'reflecting' if how == 'reflect' else 'blind'}" for name, how in columns]
    rows = [
        [
            f"after round {i}" if i else "first try",
            *(f"{mean:.1f} [{low:.1f}, {high:.1f}] ({cost:.0f})" for cost, mean, low, high in row),
        ]
        for i, row in enumerate(zip(*found))
    ]
    caption = f"*{_asked(asked['vanilla'])}; % right so far with 95 % intervals (tokens a problem so far).*"
    return f"{caption}\n\n{markdown(['', *heads], rows)}"


def transfer_table(asked: dict[str, list[dict]]) -> str:
    """Markdown: this task's problems with no adapter, its own, and that of the other task."""
    names = {"vanilla": "none (vanilla)", "trained": "this task's", "transfer": "the other task's"}
    t = asked["vanilla"][0]["temperature"]
    seeds = [[record["seed"] for record in asked[name]] for name in names if name in asked]
    rows = []
    for name, label in names.items():
        # paired with the seeds that were transferred
        own = [record for record in asked[name] if record["seed"] in set.intersection(*map(set, seeds))]
        vanilla = [r for r in asked["vanilla"] if r["seed"] in [record["seed"] for record in own]]
        first, second, blind = (tries(own, *x) for x in (("reflect", t, 0), ("reflect", t, 1), ("blind", t, 1)))
        cells = [report.percent(*mean_interval(values)) for values in (first, second, blind)]
        controls = tries(vanilla, "reflect", t, 1), blind
        gains = [points(_hundred(paired_difference(second, x))) for x in controls]
        rows.append([label, *cells, "" if name == "vanilla" else gains[0], gains[1]])
    head = ["adapter", "first try", "second try", "blind retry", "second try − vanilla's", "second − blind"]
    return f"*{_asked(asked['transfer'])}; % with 95 % intervals.*\n\n{markdown(head, rows)}"


def _asked(records: list[dict]) -> str:
    """Task, model, problems and seeds of some answers, in one sentence, as `report.describe` has them of runs."""
    record, old = records[0], any("weights" not in record for record in records)
    return (
        f"{record['task']}, {record['model']}, the first {record['n']} test problems, {report.seeds(records)}, "
        f"temperature {record['temperature']:g}{report.OLD * old}"
    )
