"""The tasks by name, and their problems: the committed splits, or the paper's data sets from the hub."""

from __future__ import annotations

import random

from r3lib.config import Profile
from r3lib.files import DATA, R3Error, read_jsonl
from r3lib.problems import countdown, countdown_data, function_calling, function_calling_data, instructions
from r3lib.tasks import Task

TASKS: dict[str, Task] = {task.name: task for task in (countdown.TASK, function_calling.TASK, instructions.TASK)}
PAPER = (countdown.TASK.name, function_calling.TASK.name)  # the tasks of the paper; instructions are the profile smol's
HUB_SPLITS = {"countdown": countdown_data.hub_splits, "function_calling": function_calling_data.hub_splits}


def task(name: str) -> Task:
    """The task of that name. Raises R3Error for an unknown one."""
    if name not in TASKS:
        raise R3Error(f"There is no task {name!r}; choose one of {', '.join(TASKS)}.")
    return TASKS[name]


def problems(task: Task, split: str, n: int | None = None, seed: int = 0) -> list[dict]:
    """The first `n` problems of a committed split; the training split is shuffled by `seed` first."""
    rows = read_jsonl(DATA / task.name / f"{split}.jsonl")
    if split == "train":
        random.Random(seed).shuffle(rows)
    return rows[:n]


def train_and_test(task: Task, profile: Profile, seed: int) -> tuple[list[dict], list[dict]]:
    """The problems a profile trains on and those it is judged on. The test problems are the same for every seed."""
    if not profile.hub_data:
        return (
            problems(task, "train", profile.train_problems, seed),
            problems(task, "test", profile.test_problems),
        )
    parts = HUB_SPLITS[task.name]({"test": profile.test_problems, "train": profile.train_problems})
    random.Random(seed).shuffle(parts["train"])
    return parts["train"], parts["test"]


VALIDATION = 500  # problems on which a control's settings are chosen


def validation(task: Task, profile: Profile) -> list[dict]:
    """Problems that `train_and_test` gives for neither purpose."""
    if not profile.hub_data:
        return problems(task, "validation", VALIDATION)
    sizes = {"test": profile.test_problems, "train": profile.train_problems, "validation": VALIDATION}
    return HUB_SPLITS[task.name](sizes)["validation"]


def countdown_keys() -> set:
    """The keys of all problems in the committed Countdown splits: what the small models' texts must not be about."""
    return {
        countdown_data.key(p["numbers"], p["target"])
        for split in ("train", "validation", "test")
        for p in problems(countdown.TASK, split)
    }
