"""Profiles by name: `nano` runs anywhere, `smol` where a real model of 135 million parameters is worth an hour; the
others want a GPU. Any field can be set from the command line.

Memory and time are measured figures or None ("not measured").
"""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

from r3lib.config import ARMS, Profile
from r3lib.files import CACHE, DATA, R3Error

JOBS = ("vanilla", *ARMS, "probes")  # vanilla: no training; probes: `r3lib.measure.probes`

PROFILES = {
    p.name: p
    for p in (
        Profile(
            "nano",
            str(DATA / "r3-nano"),
            dtype="float32",
            num_generations=8,
            prompts_per_step=16,
            lora_rank=1,
            micro_batch=32,
            steps=26,
            learning_rate=8e-3,
            beta=0.05,
            temperature=0.7,
            attempt_tokens=32,
            reflection_tokens=320,
            train_reflection_tokens=160,
            retry_tokens=32,
            failure_samples=2,
            train_problems=600,
            test_problems=1000,
            rollout_batch_size=250,
            hub_data=False,
            memory_gb=2.4,  # benchmarks/results/reproduce.json
            minutes=4.9,
        ),
        Profile(
            "smol",
            str(CACHE / "SmolLM2-135M-Instruct"),
            dtype="float32",
            prompts_per_step=8,
            micro_batch=8,
            steps=12,
            learning_rate=5e-4,
            beta=0.02,
            temperature=0.7,
            attempt_tokens=48,
            reflection_tokens=48,
            retry_tokens=48,
            failure_samples=2,
            train_problems=100,
            test_problems=100,
            rollout_batch_size=64,
            hub_data=False,
        ),
        Profile(
            "t4",
            "Qwen/Qwen2.5-1.5B-Instruct",
            dtype="float16",
            prompts_per_step=8,
            micro_batch=4,
            rollout_batch_size=32,
        ),
        Profile("rtx12", "Qwen/Qwen2.5-1.5B-Instruct", prompts_per_step=16, micro_batch=4, rollout_batch_size=64),
        Profile("rtx24", "Qwen/Qwen2.5-3B-Instruct", prompts_per_step=32, micro_batch=8, rollout_batch_size=128),
        Profile(
            "paper",
            "Qwen/Qwen2.5-1.5B-Instruct",
            four_bit=False,
            prompts_per_step=256,
            steps=1750,
            learning_rate=5e-7,
            failure_samples=64,
            train_problems=435_000,
            test_problems=15_000,
            rollout_batch_size=128,
        ),
    )
}


# the model, a tenth as large, that notebook 11 sets beside a profile's own
PARTNERS = {"nano": "nano:r3-pico"}

# what a shipped model needs otherwise: its width is no multiple of NF4's blocks, which the CPU's kernel wants
MODEL_SETTINGS: dict[str, dict] = {"r3-pico": {"four_bit": False}}

# what another task than Countdown needs otherwise
TASK_SETTINGS: dict[tuple[str, str], dict] = {
    ("smol", "function_calling"): {"attempt_tokens": 96, "retry_tokens": 96, "prompts_per_step": 4, "micro_batch": 4},
    ("nano", "function_calling"): {
        "model": str(DATA / "r3-nano-calls"),
        "attempt_tokens": 128,
        "reflection_tokens": 192,
        "train_reflection_tokens": 128,
        "retry_tokens": 128,
        "temperature": 0.5,
        "steps": 12,
        "memory_gb": 4.3,
        "minutes": 5.4,
    },
}


def profile(name: str | None = None, task: str = "countdown") -> Profile:
    """The profile called `name` (else in R3_PROFILE, else nano) for a task.

    "rtx24:Qwen/Qwen2.5-7B-Instruct" is rtx24 with another model: from the hub, from data/ ("nano:r3-pico") or from a
    folder of yours. It has results of its own. Raises R3Error for a name that is unknown or could not be a model's.
    """
    name, colon, model = (name or os.environ.get("R3_PROFILE") or "nano").partition(":")
    if name not in PROFILES:
        raise R3Error(f"There is no profile {name!r}; choose one of {', '.join(PROFILES)}, or one of them:MODEL.")
    chosen = replace(PROFILES[name], **TASK_SETTINGS.get((name, task), {}))
    if not colon:
        return chosen
    plain = re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", model) is not None
    if plain and (DATA / model).is_dir():
        path = str(DATA / model)
    elif model and Path(model).is_dir():
        path = str(Path(model).resolve())
    elif plain and ".." not in model:
        path = model
    else:
        raise R3Error(f"{model!r} is no model: give the hub's OWNER/NAME, a folder in data/, or the path of a folder.")
    other = replace(chosen, model=path, memory_gb=None, minutes=None, **MODEL_SETTINGS.get(model, {}))
    return replace(other, name=f"{name}-{other.slug}")


def override(profile: Profile, assignments: list[str]) -> Profile:
    """The profile with fields set from text, as `--set steps=40` gives them; "none" clears one that may be empty.

    Raises R3Error for a name that is no field, or a value that is not of its type.
    """
    kinds = {k: v for k, v in get_type_hints(Profile).items() if k not in ("name", "model", "arm")}
    changes: dict[str, Any] = {}
    for assignment in assignments:
        name, _, text = assignment.partition("=")
        if name not in kinds:
            raise R3Error(f"There is no setting {name!r}; choose one of {', '.join(kinds)}, as in --set steps=40.")
        kind, *empty = get_args(kinds[name]) or (kinds[name],)
        try:
            if empty and text.lower() == "none":
                changes[name] = None
            elif kind is bool:
                changes[name] = {"true": True, "false": False}[text.lower()]
            else:
                changes[name] = kind(text)
        except (KeyError, ValueError):
            wanted = "true or false" if kind is bool else f"{kind.__name__}{' or none' if empty else ''}"
            raise R3Error(f"{text!r} cannot be {name}, which takes {wanted}.") from None
    return replace(profile, **changes)


def assignments(options: argparse.Namespace) -> list[str]:
    """All that the command line changes of a profile."""
    return options.set + ([f"vllm={options.vllm}"] if options.vllm else [])
