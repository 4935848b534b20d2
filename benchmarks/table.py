"""Tables of what the benchmarks measured, for benchmarks/README.md; of what is estimated, for cluster/ and docs/gpu.md.

No figure is typed: what no file in results/ tells is "not measured".

Usage: python benchmarks/table.py (the last step of `make bench`).
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import replace
from pathlib import Path

from r3lib.files import DATA, ROOT, read_json
from r3lib.machine import families
from r3lib.machine.profiles import PROFILES
from r3lib.pages import report, tables

sys.path.insert(0, str(Path(__file__).parent))
import fit
import intervals as simulated
from step import needed_operations

RESULTS = Path(__file__).parent / "results"
AGAIN = 350  # tokens assumed of the task asked again, tools and all
H100 = 989e12  # operations a second in bfloat16, dense, by its maker's data sheet
NONE = "not measured"


def read(name: str) -> dict:
    """A benchmark's result, empty if it was not run."""
    path = RESULTS / f"{name}.json"
    return read_json(path) if path.exists() else {}


def where(found: dict) -> str:
    """The machine of a result, in words."""
    return f"{found.get('device', 'CPU')}, {found['machine']['cores']} cores, Python {found['machine']['python']}"


def times(found: dict) -> str:
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def steps() -> str:
    rows = []
    for name, found in read("step").items():
        for kind, label in (("r3", "the kit"), ("stock", "stock TRL")):
            one = found[kind]
            rows.append(
                [
                    f"{name}, {label}",
                    f"{one['seconds_per_step']:.2f} ({one['seconds_low']:.2f} to {one['seconds_high']:.2f})",
                    f"{one['tokens_per_second']:,}",
                    f"{one['gpu_gb'] or one['memory_gb']:.1f}",
                    f"{100 * one['share_of_compute_bound']:.1f} %",
                    times(found["times_faster"]) if kind == "r3" else "1",
                ]
            )
        rows[-2][0] += f" ({found['batch']}; {where(found)})"
    measured = " ".join(read("step"))
    rows += [[name, *[NONE] * 5] for name in fit.MODELS if f"{name} on " not in measured]
    return tables.markdown(["one step", "s", "tokens/s", "GB", "of the compute bound", "times faster"], rows)


def choices() -> str:
    found = read("choices")
    rows = []
    for name, one in found["choices"].items():
        if "error" in one:
            rows.append([name, "", "", one["error"]])
            continue
        extra = f", after {one['seconds_to_compile']:.0f} s of compiling" if "seconds_to_compile" in one else ""
        rows.append(
            [
                name,
                f"{one['seconds_with']:.2f}",
                f"{one['seconds_without']:.2f}",
                times(one["times_faster"]) + extra,
            ]
        )
    table = tables.markdown(["choice", "s with it", "s without", "times faster"], rows)
    return f"{table}\n\n{where(found)}, r3-nano."


def fits() -> str:
    found, rows = read("fit"), []
    for name in fit.MODELS:
        for cap, profile in fit.PROFILE_OF.items():
            one = found.get(f"{name} under {cap} GB")
            estimate = f"{families.estimate(fit.profile_for(cap, name)):.1f}"
            if one is None:
                cells = [NONE, NONE]
            elif "error" in one:
                cells = [one["error"], ""]
            else:
                cells = [f"{one['peak_gb']:.1f}", f"{one['seconds_per_step']:.1f}"]
            rows.append([name.rpartition("/")[2], f"{cap} GB ({profile})", estimate, *cells])
    return tables.markdown(["model", "cap (settings of)", "estimated GB", "peak GB", "s a step"], rows)


def failure_sets() -> str:
    found = read("failures")
    rows = [
        [
            f"{one['failures']:,}",
            f"{one['seconds']:,.0f}",
            f"{one['ms_per_failure']:.2f}",
            f"{one['ms_per_failure_laid_out']:.3f}",
            f"{one['memory_gb']:.1f}",
            f"{one['bytes_per_failure']:,}",
        ]
        for one in found["sizes"]
    ]
    head = ["failures", "s to build", "ms each", "ms each to lay out for training", "GB at peak", "bytes each"]
    table = tables.markdown(head, rows)
    return f"{table}\n\n{where(found)}, r3-nano, four answers to each problem."


def verifiers() -> str:
    rows = []
    for name, file in (("Countdown", "verifier"), ("function calling", "verifier_function_calling")):
        found = read(file)
        baseline = next(key for key in found if key.endswith("_per_second") and key != "verify_per_second")
        rows.append(
            [
                name,
                f"{found['verify_per_second']['median']:,}",
                f"{found[baseline]['median']:,} ({baseline.removesuffix('_per_second').replace('_', ' ')})",
                times(found["ratio"]),
            ]
        )
    return tables.markdown(["verifier", "answers/s and core", "beside", "ratio"], rows)


def long_run() -> str:
    found = read("long")
    if not found:
        return f"{NONE.capitalize()}: it wants a GPU. `python benchmarks/long.py`."
    gain = found["gain"]
    return (
        f"{len(found['log']):,} steps on {found['device']}: second try {100 * found['second_try_before']:.1f} % before "
        f"and {100 * found['second_try_after']:.1f} % after, {100 * gain['mean']:+.1f} points "
        f"[{100 * gain['low']:+.1f}, {100 * gain['high']:+.1f}] on {found['validation_problems']} validation problems, "
        "one seed.\n\n![reward, groups without signal, length and KL, step by step](results/long.png)"
    )


def coverage() -> str:
    """Coverage and width of the kit's intervals, by what is measured; then every construction's range of coverage."""
    found = read("coverage")
    settings = found.pop("settings")
    sds = "|".join(f"{sd:g}" for sd in simulated.SDS)
    rows: dict[str, list[list[str]]] = {"coverage": [], "width": []}
    for kind, cells in found.items():
        for seeds in simulated.SEEDS:
            for what, out in rows.items():
                pairs = [(c[what][simulated.KIT], c[what][simulated.BOOTSTRAP]) for c in cells if c["seeds"] == seeds]
                out.append([kind, str(seeds), *(f"{new:.1f} ({old:.1f})" for new, old in pairs)])
    return "\n\n".join(
        [
            "Of 100 intervals of a nominal 95 %, so many hold the truth, by the standard deviation of the seeds' true "
            "means in points. In brackets the bootstrap that the kit had before.",
            tables.markdown(f"measured|seeds|{sds}".split("|"), rows["coverage"]),
            "Their mean width in points:",
            tables.markdown(f"measured|seeds|{sds}".split("|"), rows["width"]),
            "Lowest and highest coverage of all those cells, by construction:",
            constructions(found),
            f"{settings['problems']:,} problems and {settings['experiments']:,} experiments for each cell, "
            f"{settings['resamples']:,} resamples.",
        ]
    )


def constructions(found: dict[str, list[dict]]) -> str:
    """Markdown: lowest and highest coverage of every construction, and its width beside the kit's."""
    rows, every = [], [cell for cells in found.values() for cell in cells]
    for name in every[0]["coverage"]:
        wider = statistics.mean(cell["width"][name] / cell["width"][simulated.KIT] for cell in every)
        ranges = []
        for rare in (False, True):
            held = [c["coverage"][name] for kind in found for c in found[kind] if (kind == simulated.RARE) == rare]
            ranges.append(f"{min(held):.1f} to {max(held):.1f}")
        rows.append([name, *ranges, f"{wider:.2f}"])
    return tables.markdown(
        f"construction|coverage|coverage where {simulated.RARE}|mean width, the kit's = 1".split("|"), rows
    )


def mutants() -> str:
    found = read("mutants")
    if not found:
        return "*not run as a whole yet: `make mutants`*"
    count = {file: (len(one["caught"]), len(one["survived"])) for file, one in found["files"].items()}
    count["all"] = tuple(map(sum, zip(*count.values())))
    commits = {file: one["commit"] for file, one in found["files"].items()}
    table = tables.markdown(
        ["file of r3lib", "mutants", "caught", "survived", "commit"],
        [[file, str(sum(both)), *map(str, both), commits.get(file, "")] for file, both in count.items()],
    )
    left = [
        f"- {file}: {one['breaks']}. {one['equivalent'] or 'Not explained'}."
        for file, own in found["files"].items()
        for one in own["survived"]
    ]
    return "\n\n".join([table, *(["\n".join(["What survived:", "", *left])] if left else []), f"{where(found)}."])


def profiles() -> str:
    """What each profile asks for: bold where it was measured, italic where it is estimated, code where inferred."""
    inferred = ("lora_rank", "num_generations", "attempt_tokens")
    rows = []
    for one in PROFILES.values():
        told = {
            "lora_rank": f"{'NF4, ' * one.four_bit}LoRA {one.lora_rank}" if one.lora_rank else "all weights",
            "num_generations": f"{one.prompts_per_step} x {one.num_generations}",
            "attempt_tokens": f"{one.attempt_tokens}, {one.reflection_tokens}, {one.retry_tokens}",
        }
        told = {k: f"`{text}`" if one.name == "paper" and k in inferred else text for k, text in told.items()}
        memory, minutes = one.memory_gb, one.minutes
        gb = f"**{memory:.1f}**" if memory else f"*{families.estimate(one):.1f}*"
        time = f"**{minutes / 60:.1f}**" if minutes else f"*{families.hours(one):.1f}*" if one.gpu else "not measured"
        model, card = Path(one.model).name, one.gpu or "no GPU"
        rows.append([one.name, model, card, *told.values(), f"{one.steps:,}", f"{one.test_problems:,}", gb, time])
    head = "profile|model|card|trained|batch|new tokens|steps|test problems|GB|hours, one seed"
    return tables.markdown(head.split("|"), rows)


def cards() -> str:
    """Markdown: the profiles for GPUs, by card, with estimates."""
    rows = [
        [
            one.gpu,
            f"`{one.name}`",
            Path(one.model).name,
            f"{'NF4, ' * one.four_bit}LoRA {one.lora_rank}" if one.lora_rank else "all weights",
            f"{one.steps:,}",
            f"{one.test_problems:,}",
            f"{families.estimate(one):.1f}",
            f"{families.hours(one):.1f}",
        ]
        for one in PROFILES.values()
        if one.gpu
    ]
    head = "card|profile|model|trained|steps|test problems|GB on each card, estimated|hours, estimated"
    return tables.markdown(head.split("|"), rows)


def plan(price: float) -> str:
    """Markdown: tokens, arithmetic, hours and cost of the paper's whole scale, by model."""
    paper = PROFILES["paper"]
    reflection, retry = paper.reflection_tokens, AGAIN + paper.retry_tokens
    rows = []
    measured = read("step")
    for name in ("r3-nano", *fit.MODELS):
        for group in (8, 14):
            batch = paper.prompts_per_step * group
            case = next((found for key, found in measured.items() if key.startswith(f"{name} on ")), None)
            if case is None:
                hours, cost = NONE, NONE
            else:
                own = [int(number) for number in case["batch"].replace("x", " ").split() if number.isdigit()]
                total = case["r3"]["seconds_per_step"] * batch / (own[0] * own[1]) * paper.steps / 3600
                hours = f"{total:,.0f} on {case['device']} ({case['machine']['cores']} cores)"
                cost = f"${total * price:,.0f}" if case["device"] != "CPU" else "no GPU"
            if name in families.known():
                weights = sum(shape.numel() for shape in families.size(name).linear)
                settings = replace(paper, num_generations=group)
                needed = (
                    needed_operations(settings, weights, families.TASK + paper.attempt_tokens, reflection, retry)
                    * paper.steps
                )
                sampled = f"{batch * (reflection + paper.retry_tokens) * paper.steps / 1e9:.1f}"
                bound = f"{needed / 1e18:,.0f}", f"{needed / H100 / 3600:,.0f}"
            else:
                sampled, bound = "its own lengths", ("", "")
            rows.append([name.rpartition("/")[2], str(group), sampled, *bound, hours, cost])
    head = ["model", "reflections a failure", "billions of tokens sampled, at most", "10^18 operations needed"]
    head += ["hours of one H100 at its full speed", "hours at the measured rate", f"cost at ${price:.2f} a GPU hour"]
    return tables.markdown(head, rows)


def preparation() -> str:
    """What the failure set would cost in answers at the paper's full numbers, and what the profile asks instead."""
    profile, told = PROFILES["paper"], read_json(DATA / "paper" / "training.json")
    known = {row["name"]: row["value"] for part in ("failure_set", "data") for row in told[part] if "value" in row}
    problems, samples, used = (known[name] for name in ("countdown train", "failure_samples", "size"))
    answers = problems * samples
    return (
        f"The failure set first: up to {samples} answers to each of {problems:,} problems would be "
        f"{answers / 1e6:.1f} million answers of at most {profile.attempt_tokens:,} tokens, "
        f"{answers * profile.attempt_tokens / 1e9:.1f} billion tokens, more than all that training samples: out of "
        f"reach. The author says that sets of some {used[0]:,} to {used[1]:,} samples were used. The profile asks "
        f"{profile.failure_samples} answers to each of {profile.train_problems:,} problems, "
        f"{profile.failure_samples * profile.train_problems:,}; a model that is right 6 times in a hundred leaves "
        f"{0.94 * profile.failure_samples * profile.train_problems:,.0f} failures."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--price", type=float, default=2.5, help="dollars a GPU hour, for the plan")
    options = parser.parse_args()
    own, cluster = ROOT / "benchmarks" / "README.md", ROOT / "cluster" / "README.md"
    for name, make in TABLES.items():
        report.insert(own, name, make())
    report.insert(cluster, "plan", plan(options.price))
    report.insert(cluster, "preparation", preparation())
    report.insert(ROOT / "docs" / "gpu.md", "cards", cards())
    print(own.read_text(encoding="utf-8"))


TABLES = {
    "steps": steps,
    "choices": choices,
    "fits": fits,
    "long": long_run,
    "failures": failure_sets,
    "verifiers": verifiers,
    "coverage": coverage,
    "mutants": mutants,
    "profiles": profiles,
}


if __name__ == "__main__":
    main()
