"""What a training run leaves while it runs: a log, a bar, a warning where nothing can be learned, whole checkpoints."""

from __future__ import annotations

import json
import math
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback

from r3lib.files import R3Error, hash_file, read_json, write_json
from r3lib.models import processes


class Progress(TrainerCallback):
    """Writes one JSON line a step to `log.jsonl`, draws the bar, and says in words when there is nothing to learn.

    watch: what a line has besides, from the model as the step left it.
    """

    def __init__(self, path: Path, rollout: Any = None, wrong: float = 0.0, patience: int = 5, watch: Any = None):
        self.path, self.rollout, self.wrong, self.patience, self.watch = path, rollout, wrong, patience, watch
        self.silent, self.before, self.tokens = 0, time.monotonic(), 0.0
        self.bar: tqdm | None = None

    def on_train_begin(self, args, state, control, **_):
        self.before, self.tokens = time.monotonic(), state.num_input_tokens_seen
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc="GRPO on reflections",
            unit="step",
            leave=None,  # a bar that stands below another is wiped when it is done
            disable=not state.is_world_process_zero,
        )

    def on_train_end(self, args, state, control, **_):
        self.bar.close()

    def on_log(self, args, state, control, logs=None, model=None, **_):
        if "reward" not in (logs or {}):
            return
        if not math.isfinite(logs.get("loss", 0.0)):  # before this step's checkpoint is saved
            raise R3Error(
                f"The loss of step {state.global_step} is {logs['loss']}. Lower learning_rate, or on a card without "
                "bfloat16 use the profile t4; training goes on from the last checkpoint."
            )
        if not state.is_world_process_zero:
            return
        now, tokens = time.monotonic(), logs.get("num_tokens", 0.0)
        entry = {
            "step": state.global_step,
            "reward": logs["reward"],
            "retry_pass_rate": (logs["reward"] - self.wrong) / (1 - self.wrong),
            "zero_advantage_fraction": logs.get("frac_reward_zero_std"),
            "kl": logs.get("kl", 0.0),
            "reflection_tokens": logs["completions/mean_length"],
            "sampled_tokens": self.rollout.sampled if self.rollout else None,
            "clipped_ratio": logs["completions/clipped_ratio"],
            "loss": logs.get("loss"),
            "grad_norm": logs.get("grad_norm"),
            "learning_rate": logs.get("learning_rate"),
            "seconds": now - self.before,
            "tokens_per_second": (tokens - self.tokens) / max(now - self.before, 1e-9),
        }
        entry |= self.watch(model) if self.watch else {}
        self.before, self.tokens = time.monotonic(), tokens
        if self.rollout:
            self.rollout.sampled = 0
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in entry.items()}) + "\n")
        self.bar.update(state.global_step - self.bar.n)
        self.bar.set_postfix(reward=f"{entry['reward']:.2f}", silent=f"{entry['zero_advantage_fraction']:.0%}")
        self.silent = self.silent + 1 if entry["zero_advantage_fraction"] == 1 else 0
        if self.silent == self.patience:
            warnings.warn(nothing_to_learn(entry["retry_pass_rate"], self.patience), stacklevel=2)


def nothing_to_learn(reward: float, steps: int) -> str:
    """The sentence for a run whose groups have all been without signal for `steps` steps."""
    if reward < 0.5:
        return (
            f"For {steps} steps every retry of every group has failed, so there is no gradient. Try easier problems, "
            "a higher temperature, larger groups, or a stronger model: it must sometimes succeed on its own."
        )
    return (
        f"For {steps} steps every retry of every group has succeeded, so there is nothing left to learn. "
        "Stop here, or take harder failures."
    )


class Manifest(TrainerCallback):
    """Lists every file of a checkpoint with its size and hash, last of all: what is listed so is whole."""

    def on_save(self, args, state, control, **_):
        processes().wait_for_everyone()  # each process writes a file of random states
        if state.is_world_process_zero:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            write_json(folder / MANIFEST, _listed(folder))


MANIFEST = "manifest.json"


def _listed(folder: Path) -> dict[str, list]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MANIFEST]
    return {str(path.relative_to(folder)): [path.stat().st_size, hash_file(path)] for path in files}


def last_whole_checkpoint(out: Path) -> Path | None:
    """The last checkpoint in `out` that is whole; those that a killed run had not finished are removed."""
    folders = sorted(out.glob("checkpoint-*"), key=step_of, reverse=True)
    last = next((number for number, folder in enumerate(folders) if _is_whole(folder)), len(folders))
    processes().wait_for_everyone()  # all have looked before one is removed
    for folder in folders[:last]:
        if processes().is_main_process:
            shutil.rmtree(folder)
    return folders[last] if last < len(folders) else None


def _is_whole(folder: Path) -> bool:
    try:
        return read_json(folder / MANIFEST) == _listed(folder)
    except R3Error:  # no manifest, or a damaged one
        return False


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
