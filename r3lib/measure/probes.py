"""Questions to a trained model beyond the table: more rounds, other temperatures, another task.

Each is asked of the vanilla model too, on the same held-out problems, so that answers can be paired.
"""

from __future__ import annotations

import time
from itertools import product
from pathlib import Path

from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r3lib import models, prompts, record
from r3lib.config import Profile
from r3lib.conversation import Conversation
from r3lib.files import R3Error, hash_file, write_json
from r3lib.loop import Loop
from r3lib.tasks import Task

PROBLEMS = 500  # the first of the test split: what is asked here is asked many times over
ROUNDS = 3
FEWER = {"function_calling": 200}  # where answers are many times as long
TEMPERATURES = (0.0, 0.5, 0.7, 0.9, 1.2)  # and the profile's own


def rounds(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    problems: list[dict],
    profile: Profile,
    temperature: float,
    count: int,
    reflect: bool = True,
    seed: int = 0,
    desc: str = "rounds",
) -> tuple[list[list[int]], list[int]]:
    """The first try, then up to `count` rounds of reflecting and retrying in one growing conversation.

    Without `reflect`, a round is a blind retry: told that the answer was wrong, and asked again. Returns (try, problem)
    of 0 and 1, cumulative (right at this try or before), and the tokens sampled in each.
    """
    right: list[list[int]] = [[] for _ in range(count + 1)]
    tokens = [0] * (count + 1)
    ask = "{task}" if reflect else prompts.BLIND_RETRY
    size = profile.rollout_batch_size
    for start in tqdm(range(0, len(problems), size), desc=desc, unit="batch", leave=None):
        chunk = problems[start : start + size]
        with models.memory_explained(profile):
            loop = Loop(Conversation(model, tokenizer, seed), task, chunk, profile, temperature)
            solved, rows = [0] * len(chunk), list(range(len(chunk)))  # rows: problems still in the conversation
            for number in range(count + 1):
                if rows:
                    loop.round = max(1, number)
                    if number and reflect:
                        loop.reflect()
                        tokens[number] += loop.written("reflection")
                    verdicts = loop.verify(loop.retry(ask) if number else loop.attempt())
                    tokens[number] += loop.written("retry" if number else "attempt")
                    for i, verdict in zip(rows, verdicts):
                        solved[i] = int(verdict.ok)
                    left = [row for row, verdict in enumerate(verdicts) if not verdict.ok]
                    rows = [rows[row] for row in left]
                    if rows:
                        loop.keep(left)
                right[number] += solved
    return right, tokens


def run(
    task: Task,
    profile: Profile,
    seed: int,
    out: Path,
    test: list[dict],
    adapter: Path,
    other: Path | None = None,
    fresh: bool = False,
) -> None:
    """Ask everything of the vanilla model and of the trained one; JSON into `out`. What is there is not asked again.

    test: the problems, of which the first are asked. adapter: that of this seed. other: the adapter of another task's
    run on this architecture, for transfer. Raises R3Error if there is no trained adapter in that folder, or if `out`
    holds what was made by something else (deleted, if `fresh`).
    """
    if not adapter.exists():
        raise R3Error(f"There is no adapter in {adapter}; run the experiment of this seed first.")
    test = test[: FEWER.get(task.name, PROBLEMS)]
    asked = record.of_problems(task, test)
    for name, folder in (("vanilla", None), ("trained", adapter), ("transfer", other)):
        path = out / f"probes-{name}.json"
        if name == "transfer" and folder is None:
            continue
        weights = hash_file(next(folder.glob("*model.safetensors"))) if folder else None
        made = record.make(task, profile, seed, asked=name, n=len(test), problems=asked, adapter=weights)
        made["temperature"] = profile.temperature
        if record.reusable(path, made, record.JUDGING, fresh):
            continue
        model, tokenizer = models.load(profile, folder)
        began, found = time.monotonic(), {}
        temperatures = {profile.temperature} if name == "transfer" else {profile.temperature, *TEMPERATURES}
        for how, temperature in product(("reflect", "blind"), sorted(temperatures)):
            further = ROUNDS if temperature == profile.temperature else 1
            label = f"{name}, {how}, temperature {temperature:g}"
            right, tokens = rounds(
                model, tokenizer, task, test, profile, temperature, further, how == "reflect", seed, desc=label
            )
            bits = ["".join(map(str, row)) for row in right]
            found[f"{how}-T{temperature:g}"] = {"right": bits, "tokens": tokens}
        write_json(path, {**made, "seconds": round(time.monotonic() - began, 1), "answers": found})
