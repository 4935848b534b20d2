"""A long run: r3-nano for as many steps as the paper trains (1,750), with its reward curve kept.

Two CPU cores take hours for it, so it is for a GPU. It goes on where it was when killed. The learning rate is a tenth
of the short run's, as the steps are some seventy times as many; validation problems are judged before and after, the
test problems are left alone.

Usage: python benchmarks/long.py [--steps 1750] [--work runs/long]. Writes benchmarks/results/long.json and long.png.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from r3lib import evaluate, failures, grpo, models
from r3lib.config import Profile
from r3lib.files import ROOT, read_jsonl, write_json
from r3lib.machine.profiles import PROFILES
from r3lib.measure.stats import paired_difference
from r3lib.pages import plots
from r3lib.problems import splits

sys.path.insert(0, str(Path(__file__).parent))
from verifier import machine

RESULT = Path(__file__).parent / "results" / "long.json"
TASK = splits.TASKS["countdown"]
KEPT = ("step", "reward", "kl", "zero_advantage_fraction", "reflection_tokens", "seconds")


def run(profile: Profile, problems: int, work: Path, seed: int = 0) -> dict:
    """Train and judge; the log of every step, and the second try before and after on the same problems."""
    judged = splits.problems(TASK, "validation", problems)
    training = splits.problems(TASK, "train", profile.train_problems, seed)
    model, tokenizer = models.load(profile)
    found = failures.build(model, tokenizer, TASK, training, profile, work / "failures", seed)
    before = evaluate.evaluate(model, tokenizer, TASK, judged, profile, profile.temperature, seed, desc="before")
    began = time.monotonic()
    model = grpo.train(model, tokenizer, TASK, found, profile, work / "train", seed, save_steps=50)
    minutes = (time.monotonic() - began) / 60
    after = evaluate.evaluate(model, tokenizer, TASK, judged, profile, profile.temperature, seed, desc="after")
    gain = paired_difference([after.right["second"]], [before.right["second"]])
    return {
        "machine": machine(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "settings": profile.settings(),
        "seed": seed,
        "failures": len(found),
        "validation_problems": len(judged),
        "minutes_of_the_last_stretch": round(minutes, 1),
        "second_try_before": before.rate("second"),
        "second_try_after": after.rate("second"),
        "gain": dict(zip(("mean", "low", "high"), map(float, gain))),
        "log": [{key: line[key] for key in KEPT} for line in read_jsonl(work / "train" / "log.jsonl")],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=PROFILES["paper"].steps)
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "long")
    parser.add_argument("--toy", action="store_true", help="two small steps, to try the script; nothing is written")
    options = parser.parse_args()
    nano = PROFILES["nano"]
    profile = replace(nano, steps=options.steps, train_problems=8000, learning_rate=nano.learning_rate / 10)
    if options.toy:
        small = replace(
            profile, steps=2, prompts_per_step=2, num_generations=4, train_problems=12, rollout_batch_size=12
        )
        with tempfile.TemporaryDirectory(prefix="r3-") as scratch:
            print(json.dumps(run(small, 8, Path(scratch)), indent=1))
        return
    found = run(profile, 500, options.work)
    write_json(RESULT, found)
    plots.training({f"r3-nano, {options.steps} steps": found["log"]}).savefig(RESULT.with_suffix(".png"), dpi=130)
    print(json.dumps({key: value for key, value in found.items() if key != "log"}, indent=1))


if __name__ == "__main__":
    main()
