"""A record beside every artifact: what made it. One function decides whether it may be used again.

A file holds its record among its own keys, a folder in `record.json`. Model, weights, task, problems, arm, seed and the
settings that matter for the artifact must agree; commit, packages and machine are told, not compared.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import torch

from r3lib import models
from r3lib.config import Profile
from r3lib.files import INSTALLED, ROOT, R3Error, fingerprint, read_json
from r3lib.tasks import Task

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes", "datasets")
EDITION = 2  # of the algorithm: raised whenever the same settings would give other results
# the settings that each kind of artifact depends on
FAILURES = ("dtype", "four_bit", "vllm", "temperature", "attempt_tokens", "failure_samples")
JUDGING = ("dtype", "four_bit", "vllm", "attempt_tokens", "reflection_tokens", "retry_tokens")
TRAINING = (
    *dict.fromkeys((*FAILURES, *JUDGING)),
    *("train_reflection_tokens", "num_generations", "prompts_per_step", "micro_batch", "steps"),
    *("learning_rate", "beta", "lora_rank"),
)


def of_problems(task: Task, problems: list[dict]) -> str:
    """A fingerprint of the problems, in order, and of the words that they are put in."""
    return fingerprint([task.reflect_prompt, [[p, task.messages(p), task.tools(p)] for p in problems]])


def make(task: Task, profile: Profile, seed: int, **what) -> dict:
    """The record of an artifact. what: what else tells it apart (problems, arm, temperature)."""
    state = models.processes()
    return {
        "task": task.name,
        "model": profile.base,
        "weights": models.fingerprint(profile),
        "profile": profile.name,
        "seed": seed,
        **what,
        "edition": EDITION,
        "settings": profile.settings(),
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads"
        + (f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ", no GPU")
        + (f", {state.num_processes} processes" if state.num_processes > 1 else ""),
    }


def commit() -> str:
    """The code's commit, with "-dirty" where the library or its data differ from it; "unknown" if nothing tells it."""
    if INSTALLED:  # git would answer for the project whose environment this is
        origin = importlib.metadata.distribution("r3lib").read_text("direct_url.json") or "{}"
        return json.loads(origin).get("vcs_info", {}).get("commit_id", "unknown")[:7]

    def git(*words: str) -> str:
        try:
            return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, encoding="utf-8").stdout.strip()
        except OSError:  # no git here
            return ""

    found = git("rev-parse", "--short", "HEAD")
    return found + "-dirty" * bool(git("status", "--porcelain", "--", "r3lib", "data")) if found else "unknown"


def why_not(path: Path, wanted: dict, uses: tuple[str, ...]) -> str | None:
    """Why an artifact cannot be used for what is wanted, in words; None if it can be, or there is none."""
    path = Path(path)
    if not path.exists() or path.is_dir() and not any(p.name != ".lock" for p in path.iterdir()):
        return None
    place = path / "record.json" if path.is_dir() else path
    found = read_json(place) if place.exists() else {}
    if "weights" not in found:
        return "was made before records were kept"
    told = ("commit", "python", "packages", "machine", "profile", "settings")
    pairs = [(name, found.get(name), value) for name, value in wanted.items() if name not in told]
    pairs += [(name, found["settings"].get(name), wanted["settings"].get(name)) for name in uses]
    return next((f"was made with {name} {there}, not {asked}" for name, there, asked in pairs if there != asked), None)


def clear(stale: Mapping[Path, str | None], fresh: bool) -> None:
    """Delete what cannot be used, if `fresh`. Raises R3Error that names it, and why, if not."""
    found = {path: why for path, why in stale.items() if why}
    if found and not fresh:
        path, why = next(iter(found.items()))
        raise R3Error(f"{path} {why}: delete {' and '.join(map(str, found))}, or add --fresh, which does it.")
    for path in found:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def reusable(path: Path, wanted: dict, uses: tuple[str, ...], fresh: bool = False) -> bool:
    """Whether there is an artifact that was made by just this. Raises R3Error, or deletes it, if by something else."""
    state = models.processes()
    if fresh and state.is_main_process:
        clear({path: why_not(path, wanted, uses)}, fresh)
    state.wait_for_everyone()
    clear({path: why_not(path, wanted, uses)}, fresh=False)
    there = path.exists() and (path.is_file() or (path / "record.json").exists())
    state.wait_for_everyone()  # all have looked before the first writes
    return there
