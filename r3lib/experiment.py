"""One experiment, one seed, start to end: failure set -> vanilla evaluation -> training -> trained evaluation.

Every step leaves a file and is skipped when the file is there, so a killed run goes on where it was.
"""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch

from r3lib import evaluate, failures, grpo, models
from r3lib.config import Profile
from r3lib.files import ROOT, R3Error, read_json, read_jsonl, write_json
from r3lib.outcomes import load_outcomes, outcomes_path
from r3lib.tasks import Task

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets")


def model_name(profile: Profile) -> str:
    return Path(profile.model).name


def settings(profile: Profile) -> dict:
    """What a profile sets and a result depends on."""
    given = asdict(profile).items()
    return {k: v for k, v in given if k not in ("model", "memory_gb", "minutes") and v is not None}


def provenance(profile: Profile) -> dict:
    """What made a result: packages, machine, commit, the profile's settings."""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return {
        "commit": git.stdout.strip() or "unknown",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads"
        + (f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU")
        + (f", {models.processes().num_processes} processes" if models.processes().num_processes > 1 else ""),
        "settings": settings(profile),
    }


def with_arm(profile: Profile, arm: str, r3: Path) -> Profile:
    """The profile for another training arm, which samples about as many tokens as R3 did in the run in `r3`.

    The arm is the one field that changes; for "first", whose answers are short, the group grows as well. Raises R3Error
    if that needs the run in `r3` and it is not there.
    """
    if arm != "first":
        return replace(profile, arm=arm)
    sampled = sum(step["sampled_tokens"] for step in read_json(r3 / "training.json")["log"])
    record, vanilla = load_outcomes(outcomes_path(r3, False, profile.temperature))
    answer = vanilla.tokens["first"] / record["n"]
    return replace(profile, arm=arm, group=max(2, round(sampled / (profile.steps * profile.failures * answer))))


def training_folder(work: Path, profile: Profile) -> Path:
    """Where a run of this arm keeps its log, checkpoints and adapter."""
    return work / ("train" if profile.arm == "r3" else f"train-{profile.arm}")


def run(
    task: Task,
    profile: Profile,
    seed: int,
    out: Path,
    work: Path,
    problems: tuple[list[dict], list[dict]],
    temperatures: tuple[float, ...] | None = None,
    train: bool = True,
) -> None:
    """Run one seed. Results (JSON) go to `out`, failure set, checkpoints and adapter to `work`.

    problems: those it trains on and those it is judged on (`r3lib.problems.splits`, or your own).
    Without `train`, the vanilla model is judged and no more.
    Another arm than R3 (`profile.arm`) trains on the same failure set, beside it in `work`, and leaves out the vanilla
    model, which is the same. Everything is evaluated on the test split, which neither training nor any choice of
    settings has seen. Under `accelerate launch` every process calls this; they share the work, and the first writes.
    Raises R3Error if `out` holds outcomes that were made with other settings.
    """
    state = models.processes()
    temperatures = temperatures or (profile.temperature, 0.0)
    training, test = problems
    model, tokenizer = models.load(profile)

    def judge(trained: bool) -> None:
        for temperature in temperatures:
            path = outcomes_path(out, trained, temperature)
            if path.exists():
                if load_outcomes(path)[0].get("settings") != settings(profile):
                    raise R3Error(f"{path} was made with other settings; delete {out}, or choose another folder.")
                continue
            started = time.monotonic()
            label = f"{'trained' if trained else 'vanilla'}, temperature {temperature:g}"
            outcome = evaluate.evaluate(model, tokenizer, task, test, profile, temperature, seed, desc=label)
            state.wait_for_everyone()  # all have looked for the file
            if not state.is_main_process:
                continue
            write_json(
                path,
                {
                    "task": task.name,
                    "model": model_name(profile),
                    "profile": profile.name,
                    "arm": profile.arm if trained else "vanilla",
                    "trained": trained,
                    "seed": seed,
                    "temperature": temperature,
                    "n": len(test),
                    "seconds": round(time.monotonic() - started, 1),
                    **provenance(profile),
                    "outcomes": outcome.to_json(),
                },
            )

    if profile.arm == "r3":
        judge(trained=False)
    if not train or all(outcomes_path(out, True, t).exists() for t in temperatures):
        return
    state.wait_for_everyone()
    wrong = failures.build(model, tokenizer, task, training, profile, work / "failures", seed)
    model = grpo.train(model, tokenizer, task, wrong, profile, training_folder(work, profile), seed)
    if state.is_main_process:
        write_json(
            out / "training.json",
            {
                "failures": len(wrong),
                "difficulty": round(sum(wrong["difficulty"]) / len(wrong), 4),
                "log": read_jsonl(training_folder(work, profile) / "log.jsonl"),
            },
        )
    judge(trained=True)
