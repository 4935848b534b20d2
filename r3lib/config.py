"""Profiles: one name decides model, precision, LoRA, batch and lengths. `nano` runs anywhere; the others want a GPU.

Memory and time are measured figures or None, and None is printed as "not measured".
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from r3lib.files import DATA, R3Error

ARMS = {
    "r3": "reward on the reflection",
    "both": "reward on reflection and retry",
    "first": "plain GRPO on first answers",
    "unscaled": "advantages not scaled by the group",
    "negative": "-1 for a failed retry",
}
JOBS = ("vanilla", *ARMS, "probes")  # vanilla: no training; probes: `r3lib.measure.probes`


@dataclass(frozen=True)
class Profile:
    """model: a folder or a hub name. failures x group is one step's batch of reflections; lengths are in new tokens."""

    name: str
    model: str
    arm: str = "r3"  # of ARMS: what is rewarded, and how
    dtype: str = "bfloat16"
    four_bit: bool = True
    lora_rank: int = 16
    group: int = 8  # reflections per failure (paper: 8 to 14)
    failures: int = 16  # failures per optimizer step (paper: 256)
    micro_batch: int = 8  # sequences per forward-backward
    steps: int = 200
    learning_rate: float = 5e-6
    beta: float = 0.001  # KL weight (paper: 0.001)
    temperature: float = 0.9  # of sampling, as in the paper's failure set
    attempt_tokens: int = 512
    reflection_tokens: int = 512
    train_reflection_tokens: int | None = None  # where training cuts them, if sooner: its price is per token
    retry_tokens: int = 512
    failure_samples: int = 8  # answers per problem when the failure set is built (paper: up to 64)
    train_problems: int = 4000
    test_problems: int = 1000
    rows: int = 32  # conversations written at once: more are faster and take more memory; nothing else changes
    vllm: str | None = None  # who writes the reflections in training: None, this process; TRL's "colocate" or "server"
    hub_data: bool = True  # problems from the paper's data set on the hub, else those in data/
    memory_gb: float | None = None
    minutes: float | None = None

    @property
    def base(self) -> str:
        """The model's name: the hub's, or its folder's."""
        return os.path.basename(self.model) if os.path.isabs(self.model) else self.model

    def fits(self) -> str:
        memory = f"{self.memory_gb:.1f} GB" if self.memory_gb else "not measured"
        minutes = f"{self.minutes:.0f} min" if self.minutes else "not measured"
        return f"memory {memory}, time {minutes}"


PROFILES = {
    p.name: p
    for p in (
        Profile(
            "nano",
            str(DATA / "r3-nano"),
            dtype="float32",
            group=8,
            failures=16,
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
            rows=250,
            hub_data=False,
            memory_gb=2.4,  # benchmarks/results/reproduce.json
            minutes=4.9,
        ),
        Profile("t4", "Qwen/Qwen2.5-1.5B-Instruct", dtype="float16", failures=8, micro_batch=4, rows=32),
        Profile("rtx12", "Qwen/Qwen2.5-1.5B-Instruct", failures=16, micro_batch=4, rows=64),
        Profile("rtx24", "Qwen/Qwen2.5-3B-Instruct", failures=32, micro_batch=8, rows=128),
        Profile(
            "paper",
            "Qwen/Qwen2.5-1.5B-Instruct",
            four_bit=False,
            failures=256,
            steps=1750,
            learning_rate=5e-7,
            failure_samples=64,
            train_problems=435_000,
            test_problems=15_000,
            rows=128,
        ),
    )
}


# the model, a tenth as large, that notebook 11 sets beside a profile's own
PARTNERS = {"nano": "nano:r3-pico"}

# what a shipped model needs otherwise: its width is no multiple of NF4's blocks, which the CPU's kernel wants
MODEL_SETTINGS: dict[str, dict] = {"r3-pico": {"four_bit": False}}

# what another task than Countdown needs otherwise
TASK_SETTINGS: dict[tuple[str, str], dict] = {
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

    "rtx24:Qwen/Qwen2.5-7B-Instruct" is rtx24 with another model, from the hub or from data/ ("nano:r3-pico"), and has
    results of its own. Raises R3Error for an unknown name.
    """
    name, _, model = (name or os.environ.get("R3_PROFILE") or "nano").partition(":")
    if name not in PROFILES:
        raise R3Error(f"There is no profile {name!r}; choose one of {', '.join(PROFILES)}, or one of them:MODEL.")
    chosen = replace(PROFILES[name], **TASK_SETTINGS.get((name, task), {}))
    if not model:
        return chosen
    shipped = DATA / model
    changes: dict = dict(model=str(shipped) if shipped.exists() else model, memory_gb=None, minutes=None)
    return replace(chosen, name=f"{name}-{os.path.basename(model)}", **changes | MODEL_SETTINGS.get(model, {}))


def quick(profile: Profile, **changes) -> Profile:
    """The same profile made smaller or larger: `quick(profile, steps=3, test_problems=50)`."""
    return replace(profile, **changes)
