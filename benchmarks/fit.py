"""Does it fit? Three R3 steps on real shapes with random weights, under a hard cap on the GPU's memory.

Memory and time follow from shapes, not from values, so the hub's weights are not needed. It is the longest case: a
random model never ends a message early, and every group has signal. Each case runs in a process of its own, so that one
that runs out of memory says so and the next begins afresh.

Usage: python benchmarks/fit.py [--models NAME ...] [--caps 8 12 16 24]. Writes benchmarks/results/fit.json.
Without a GPU: python benchmarks/fit.py --toy tries the same code on small shapes and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from itertools import count
from pathlib import Path

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedTokenizerBase

from r3lib import models
from r3lib.config import Profile
from r3lib.files import R3Error, read_json, read_jsonl, write_json
from r3lib.grpo import train
from r3lib.machine import families
from r3lib.machine.profiles import PROFILES
from r3lib.tasks import Task, Verdict

sys.path.insert(0, str(Path(__file__).parent))
from verifier import machine

RESULT = Path(__file__).parent / "results" / "fit.json"
MODELS = (
    "Qwen/Qwen2.5-1.5B-Instruct",
    "Qwen/Qwen2.5-3B-Instruct",
    "Qwen/Qwen2.5-7B-Instruct",
    "meta-llama/Llama-3.1-8B-Instruct",
)
PROFILE_OF = {8: "t4", 12: "rtx12", 16: "rtx12", 24: "rtx24"}  # the settings that are tried under a cap of so many GB
STEPS = 3
PROMPT_TOKENS = 600


def make(config: PretrainedConfig, folder: Path) -> None:
    """A model folder as the hub has them, with random weights in 16 bits and r3-nano's tokenizer."""
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    tokenizer = models.load_tokenizer(PROFILES["nano"].model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder, max_shard_size="2GB")
    tokenizer.save_pretrained(folder)


def half_right() -> Task:
    """A task whose every second retry is right, whatever the model says."""
    calls = count()
    return Task(
        name="fit",
        ask=lambda problem: problem["text"],
        verify=lambda problem, text: Verdict(next(calls) % 2 == 0, "stub", "Every second one is right."),
        contains_answer=lambda problem, text: False,
        reflect_prompt="What went wrong?",
    )


def failures_for(profile: Profile, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Failures of two steps, each of about PROMPT_TOKENS tokens."""
    words = "The numbers are not the ones that were given. "
    long = words * (1 + PROMPT_TOKENS // len(tokenizer(words)["input_ids"]))
    texts = [f"{i} {long}" for i in range(profile.prompts_per_step * 2)]
    return Dataset.from_list([{"problem": json.dumps({"text": t}), "answer": "I do not know."} for t in texts])


def steps(profile: Profile, cap: int | None, work: Path) -> dict:
    """Train for a few steps under a cap in GB (None: no cap); seconds a step, tokens a reflection, peak of memory."""
    if cap:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, cap * 2**30 / total))
    model, tokenizer = models.load(profile)
    found = failures_for(profile, tokenizer)
    train(model, tokenizer, half_right(), found, profile, work / "train", save_steps=10**6)
    log = read_jsonl(work / "train" / "log.jsonl")[1:]  # the first step warms up
    peak = torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_available() else None
    return {
        "seconds_per_step": round(sum(entry["seconds"] for entry in log) / len(log), 2),
        "reflection_tokens": round(sum(entry["reflection_tokens"] for entry in log) / len(log), 1),
        "peak_gb": round(peak, 2) if peak else None,
    }


def one(folder: Path, cap: int) -> dict:
    """One case in a process of its own; `error` says why it could not be run."""
    arguments = [sys.executable, __file__, "--folder", str(folder), "--caps", str(cap)]
    done = subprocess.run(arguments, capture_output=True, encoding="utf-8")
    last = done.stdout.strip().rpartition("\n")[2]
    if done.returncode == 0:
        return json.loads(last)
    return {"error": (last or done.stderr.strip().rpartition("\n")[2])[:300]}


def profile_for(cap: int, model: str) -> Profile:
    return replace(PROFILES[PROFILE_OF[cap]], model=model, steps=STEPS)


def toy(name: str = MODELS[0]) -> dict:
    """The same steps on the architecture made small, without a cap."""
    with tempfile.TemporaryDirectory(prefix="r3-") as scratch:
        folder = Path(scratch) / "model"
        make(families.known()[name].small(len(models.load_tokenizer(PROFILES["nano"].model))), folder)
        sizes = dict(prompts_per_step=2, num_generations=2, micro_batch=2, reflection_tokens=8, retry_tokens=4)
        small = replace(profile_for(12, str(folder)), dtype="float32", **sizes)
        return steps(small, None, Path(scratch))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--caps", nargs="+", type=int, choices=PROFILE_OF, default=list(PROFILE_OF))
    parser.add_argument("--toy", action="store_true")
    parser.add_argument("--folder", help=argparse.SUPPRESS)  # of one case, under the first cap
    options = parser.parse_args()
    if options.toy:
        print(json.dumps(toy(), indent=1))
        return
    if not torch.cuda.is_available():
        sys.exit("No GPU that torch can use: `r3 doctor` says why. --toy tries the script without one.")
    if options.folder:
        cap = options.caps[0]
        with tempfile.TemporaryDirectory(prefix="r3-") as work:
            try:
                print(json.dumps(steps(profile_for(cap, options.folder), cap, Path(work))))
            except R3Error as error:
                print(error)
                sys.exit(1)
        return
    for name in options.models:
        with tempfile.TemporaryDirectory(prefix="r3-") as scratch:
            make(families.known()[name].full(), Path(scratch))
            torch.cuda.empty_cache()
            for cap in options.caps:
                chosen = profile_for(cap, name)
                found = one(Path(scratch), cap) | {
                    "estimate_gb": round(families.estimate(chosen), 2),
                    "settings_of": chosen.name,
                    "device": torch.cuda.get_device_name(),
                    "machine": machine(),
                }
                results = read_json(RESULT) if RESULT.exists() else {}
                write_json(RESULT, results | {f"{name} under {cap} GB": found})
                print(f"{name} under {cap} GB:", json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
