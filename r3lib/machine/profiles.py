"""Profiles by name: `nano` runs anywhere; `smol`, a real model of 135 million parameters, proves the path, though it
answers neither task rightly; those with a card want a GPU. Any field can be set from the command line.

Memory and time are measured figures or None; `r3lib.machine.families` estimates those.
"""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

from r3lib.config import ARMS, Profile
from r3lib.files import CACHE, DATA, R3Error

# vanilla: no training; probes, forgetting: of r3's adapter, by the modules of r3lib.measure with these names
JOBS = ("vanilla", *ARMS, "probes", "forgetting")


class Card(NamedTuple):
    """GPUs as `families.hours` takes them: assumptions, none of them measured by this project.

    operations: a second in a training pass, about 40 % of what the maker's data sheet has for 16-bit tensor cores that
    add in float32 (RTX 3060: 25e12, RTX 3090: 71e12, H100: 989e12), and 25 % of a T4's 65e12, which it cannot hold at
    70 W. layer_ms: milliseconds that a decoding step takes in each layer in eager transformers, the time to launch its
    30 to 40 kernels, which hardly depends on the batch (some 30 ms for 28 layers; Colab's slow cores need longer).
    cards: how many share the work.
    """

    operations: float
    layer_ms: float = 1.0
    cards: int = 1


CARDS = {
    "Tesla T4 with 16 GB": Card(16e12, layer_ms=1.5),
    "RTX 3060 with 12 GB": Card(10e12),
    "RTX 3090 with 24 GB": Card(28e12),
    "8 H100 with 80 GB": Card(400e12, cards=8),
}
T4, RTX12, RTX24, NODE = CARDS

# a first table in an evening: two to three hours by `families.hours`; some 1,500 failures, of which training reads 960
EVENING = dict(prompts_per_step=8, steps=120, attempt_tokens=384, reflection_tokens=256, retry_tokens=384)
EVENING |= dict(failure_samples=4, train_problems=400, test_problems=250, rollout_batch_size=64)
QWEN, QWEN_3B = "Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-3B-Instruct"

# Those with adapters have Profile's learning rate, 5e-6: LoRA wants about ten times the rate of full tuning, and the
# paper's is 5e-7.
PROFILES = {
    p.name: p
    for p in (
        Profile(
            "nano",
            str(DATA / "r3-nano-2"),
            dtype="float32",
            num_generations=8,
            prompts_per_step=16,
            lora_rank=1,
            micro_batch=32,
            steps=70,
            learning_rate=5e-3,
            beta=0.1,
            # its rare kinds of answers and reflections are as rare as its texts have them at temperature 1
            temperature=1.0,
            attempt_tokens=200,  # its first turns may think
            reflection_tokens=240,
            train_reflection_tokens=160,
            retry_tokens=32,
            failure_samples=2,
            train_problems=1000,
            test_problems=1000,
            rollout_batch_size=250,
            hub_data=False,
            memory_gb=3.0,  # benchmarks/results/reproduce.json
            minutes=5.3,
        ),
        Profile(
            "smol",
            str(CACHE / "SmolLM2-135M-Instruct"),
            dtype="float32",
            prompts_per_step=8,
            micro_batch=32,  # TRL mixes the groups of a step, and a prompt is read once for each part that has its rows
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
            memory_gb=4.8,
        ),
        Profile("t4", QWEN, gpu=T4, dtype="float16", micro_batch=4, **EVENING),
        Profile("rtx12", QWEN, gpu=RTX12, micro_batch=4, **EVENING),
        Profile("rtx24", QWEN_3B, gpu=RTX24, micro_batch=16, **EVENING),
        Profile("rtx12-long", QWEN, gpu=RTX12, micro_batch=4, rollout_batch_size=64),
        Profile("rtx24-long", QWEN_3B, gpu=RTX24, prompts_per_step=32, rollout_batch_size=128),
        # The paper's own settings where they are known (data/paper/training.json). That all weights are trained, eight
        # generations and 1,024 new tokens are inferred: from a public Countdown recipe that shares the paper's learning
        # rate, schedule, warm-up and KL weight. Up to 64 answers to each of 435,000 problems, 27.8 million, are out of
        # reach; the author used some 20,000 to 25,000 samples, and 6,000 x 4 answers of which 94 % are wrong (first try
        # 6.0 %) are 22,560.
        Profile(
            "paper",
            QWEN,
            gpu=NODE,
            four_bit=False,
            lora_rank=None,
            num_generations=8,
            prompts_per_step=256,
            steps=1750,
            learning_rate=5e-7,
            attempt_tokens=1024,
            reflection_tokens=1024,
            retry_tokens=1024,
            failure_samples=4,
            train_problems=6_000,
            test_problems=15_000,
            rollout_batch_size=128,
        ),
    )
}


# the model, a tenth as large, that notebook 11 sets beside a profile's own
PARTNERS = {"nano": "nano:r3-pico-2"}

# what a shipped model needs otherwise; r3-pico's width is no multiple of NF4's blocks, which the CPU's kernel wants
MODEL_SETTINGS: dict[str, dict] = {
    "r3-pico": {"four_bit": False},
    "r3-pico-2": {"four_bit": False},
    # the first edition: r3-nano-2 and r3-nano-calls began from its weights
    "r3-nano": {"temperature": 0.7, "attempt_tokens": 32, "reflection_tokens": 320},
}

# what another task than Countdown needs otherwise
TASK_SETTINGS: dict[tuple[str, str], dict] = {
    ("smol", "function_calling"): {"attempt_tokens": 96, "retry_tokens": 96, "prompts_per_step": 4, "micro_batch": 16},
    # those of a first trial; not yet chosen on validation problems
    ("smol", "instructions"): {"dtype": "bfloat16", "four_bit": False, "steps": 24, "attempt_tokens": 64}
    | {"retry_tokens": 64, "train_problems": 400, "test_problems": 500},
    ("nano", "function_calling"): {
        "model": str(DATA / "r3-nano-calls"),
        "attempt_tokens": 128,
        "reflection_tokens": 192,
        "train_reflection_tokens": 128,
        "retry_tokens": 128,
        "temperature": 0.5,
        "train_problems": 600,
        "lora_rank": 1,
        "learning_rate": 8e-3,
        "beta": 0.05,
        "steps": 12,
        "memory_gb": 4.3,
        "minutes": 5.4,
    },
    # a model older than the data, as the paper's are; 67.4 % of its first tries are wrong (data/paper): 32,352 failures
    ("paper", "function_calling"): {
        "model": "Qwen/Qwen2-1.5B-Instruct",
        "failure_samples": 1,
        "train_problems": 48_000,
        "test_problems": 12_000,
    },
}


# how `r3 reproduce` differs from the stored runs where nothing else is asked: a newcomer has a table in minutes
BRIEF: dict[tuple[str, str], list[str]] = {("nano", "countdown"): ["steps=40"]}


def profile(name: str | None = None, task: str = "countdown") -> Profile:
    """The profile called `name` (else in R3_PROFILE, else nano) for a task.

    "rtx24:Qwen/Qwen2.5-7B-Instruct" is rtx24 with another model: from the hub, from data/ ("nano:r3-pico-2") or from a
    folder of yours. It has results of its own. Raises R3Error for a name that is unknown or could not be a model's.
    """
    name, colon, model = (name or os.environ.get("R3_PROFILE") or "nano").partition(":")
    if name not in PROFILES:
        raise R3Error(f"There is no profile {name!r}; choose one of {', '.join(PROFILES)}, or one of them:MODEL.")
    chosen = replace(PROFILES[name], **TASK_SETTINGS.get((name, task), {}))
    if not colon:
        return chosen
    plain, folder = re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", model) is not None, Path(model)
    packed = not (folder / "config.json").exists() and any(folder.glob("*.gguf")) if model else False
    if packed or model.lower().endswith("gguf"):
        raise R3Error(f"{model} holds GGUF, packed to be run and not trained; give the same model in safetensors.")
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
