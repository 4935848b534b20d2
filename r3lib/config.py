"""What a run is set up with: a profile (model, precision, LoRA, batch, lengths) and an arm (what is rewarded).

Not here: the profiles by name, and how the command line changes them (r3lib.machine.profiles).
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from r3lib.files import CACHE, DATA, R3Error


@dataclass(frozen=True)
class Arm:
    """What a training run rewards.

    reflects: the prompt is a failed attempt and the reflection prompt, and the retry is judged; else the prompt is the
    task alone, and the attempt is judged. rewarded: the spans whose tokens carry the reward. wrong: the reward of a
    judged text that fails (1 if it verifies).
    """

    name: str
    about: str
    reflects: bool = True
    rewarded: tuple[str, ...] = ("reflection",)
    wrong: float = 0.0


R3 = Arm("r3", "reward on the reflection")
ARMS = {
    arm.name: arm
    for arm in (
        R3,
        Arm("both", "reward on reflection and retry", rewarded=("reflection", "retry")),
        Arm("first", "plain GRPO on first answers", reflects=False, rewarded=("attempt",)),
    )
}


@dataclass(frozen=True)
class Profile:
    """Everything a run is set up with. A step's batch is prompts_per_step x num_generations; lengths are new tokens.

    Raises R3Error for a value that no run could have.
    """

    name: str
    model: str  # a folder or a hub name
    arm: Arm = R3
    dtype: str = "bfloat16"
    four_bit: bool = True
    lora_rank: int | None = 16  # None: no adapter, all weights are trained
    num_generations: int = 8  # reflections per failure (paper: 8 to 14)
    prompts_per_step: int = 16  # failures per optimizer step (paper: 256)
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
    rollout_batch_size: int = 32  # conversations written at once: memory and speed; it changes no draw
    vllm: str | None = None  # TRL's "colocate", where vLLM writes in training, or "server", where it always writes
    hub_data: bool = True  # problems from the paper's data set on the hub, else those in data/
    gpu: str | None = None  # the card that it is made for (r3lib.machine.profiles.CARDS), None if it needs none
    memory_gb: float | None = None  # measured
    minutes: float | None = None  # measured

    def __post_init__(self) -> None:
        least = {"num_generations": 2, "learning_rate": 0, "beta": 0, "temperature": 0, "memory_gb": 0, "minutes": 0}
        for name, value in vars(self).items():
            if isinstance(value, (int, float)) and not isinstance(value, bool) and not value >= least.get(name, 1):
                raise R3Error(f"{name} is {value}; it must be at least {least.get(name, 1)}.")
        for name, known in (("dtype", ("float32", "bfloat16", "float16")), ("vllm", (None, "colocate", "server"))):
            if getattr(self, name) not in known:
                raise R3Error(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(map(str, known))}.")
        if self.lora_rank is None and self.four_bit:
            raise R3Error("Weights held in NF4 cannot be trained; add `--set four_bit=false`, or set lora_rank.")
        if self.vllm and self.four_bit:
            raise R3Error(
                "vLLM gets the weights with the adapter merged in, which NF4 weights cannot take without loss; add "
                "`--set four_bit=false`, or leave vLLM out."
            )

    @property
    def base(self) -> str:
        """The model's whole name: the hub's OWNER/NAME, a folder's name in data/ or the cache, else its whole path."""
        folder = Path(self.model)
        return folder.name if folder.is_absolute() and folder.parent in (DATA, CACHE) else self.model

    @property
    def slug(self) -> str:
        """`base` as one folder name: "Qwen--Qwen2.5-7B-Instruct"."""
        return re.sub(r"[/\\:]+", "--", self.base).strip("-")

    def settings(self) -> dict[str, Any]:
        """What a profile sets and a result may depend on, for the record beside it."""
        left_out = ("model", "arm", "rollout_batch_size", "gpu", "memory_gb", "minutes")
        return {k: v for k, v in asdict(self).items() if k not in left_out and v is not None}


def quick(profile: Profile, **changes) -> Profile:
    """The same profile made smaller or larger: `quick(profile, steps=3, test_problems=50)`."""
    return replace(profile, **changes)


def check_seed(seed: int) -> int:
    """The seed itself. Raises R3Error if the generators (NumPy's, torch's) could not take it."""
    if not 0 <= seed < 2**32:
        raise R3Error(f"The seed is {seed}; choose a whole number from 0 to {2**32 - 1}.")
    return seed
