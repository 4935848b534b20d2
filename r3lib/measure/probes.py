"""Questions to a trained model beyond the table: more rounds, other temperatures, the same tokens, another task.

Each is asked of the vanilla model too, on the same held-out problems, so that answers can be paired.
"""

from __future__ import annotations

import time
from itertools import product
from math import comb
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r3lib import evaluate, experiment, failures, models, prompts
from r3lib.config import Profile
from r3lib.conversation import Conversation, prompt_ids
from r3lib.files import R3Error, write_json
from r3lib.problems import splits
from r3lib.tasks import Task

PROBLEMS = 500  # the first of the test split: what is asked here is asked many times over
ROUNDS = 3
SAMPLES = 32  # first tries of each problem, for pass@k
FEWER = {"function_calling": (200, 8)}  # problems and first tries where answers are many times as long
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
    for start in tqdm(range(0, len(problems), profile.rows), desc=desc, unit="batch", leave=None):
        chunk = problems[start : start + profile.rows]
        with models.memory_explained(profile):
            talk = Conversation(model, tokenizer, len(chunk), seed * 100_003 + start)
            talk.start([prompt_ids(tokenizer, task.messages(p), task.tools(p)) for p in chunk])
            solved, rows = [0] * len(chunk), list(range(len(chunk)))  # rows: problems still in the conversation
            for number in range(count + 1):
                if rows:
                    texts = _try(talk, task, [chunk[i] for i in rows], profile, temperature, number, reflect, tokens)
                    for i, text in zip(rows, texts):
                        solved[i] = int(task.verify(chunk[i], text).ok)
                    left = [row for row, i in enumerate(rows) if not solved[i]]
                    rows = [rows[row] for row in left]
                    if rows:
                        talk.select(left)
                right[number] += solved
    return right, tokens


def _try(
    talk: Conversation,
    task: Task,
    problems: list[dict],
    profile: Profile,
    temperature: float,
    number: int,
    reflect: bool,
    tokens: list[int],
) -> list[str]:
    """One more try of every conversation; what it samples is added to `tokens[number]`."""
    answer = f"try {number}"
    if number and reflect:
        talk.say(task.reflect_prompt, f"reflection prompt {number}")
        talk.reply(f"reflection {number}", profile.reflection_tokens, temperature)
        tokens[number] += evaluate.written(talk, f"reflection {number}")
    if number:
        asks = [task.ask(p) for p in problems]
        talk.say(asks if reflect else [prompts.BLIND_RETRY.format(task=a) for a in asks], f"question {number}")
    texts = talk.reply(answer, profile.retry_tokens if number else profile.attempt_tokens, temperature)
    tokens[number] += evaluate.written(talk, answer)
    return texts


def first_tries(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    problems: list[dict],
    profile: Profile,
    temperature: float,
    count: int = SAMPLES,
    seed: int = 0,
    desc: str = "first tries",
) -> tuple[list[int], float]:
    """How many of `count` independent first tries of each problem are right, and the mean tokens of a try.

    What the tokens of a reflection would have bought in tries, if a verifier may look at each (`pass_at`).
    """
    right, written = [], 0
    with models.memory_explained(profile), tqdm(total=len(problems), desc=desc, unit="problem", leave=None) as bar:
        for part, tokens in failures.first_tries(
            model, tokenizer, task, problems, profile, temperature, count, seed * 100_003 + 1
        ):
            for problem, own in zip(problems[len(right) :], part):
                right.append(sum(task.verify(problem, text).ok for text in own))
            written += tokens
            bar.update(len(part))
    return right, written / (len(problems) * count)


def pass_at(k: int, right: list[int], count: int) -> np.ndarray:
    """pass@k of each problem, without bias, of `right` tries among `count` (Chen et al. 2021, equation 1).

    Raises ValueError if k is more than the tries there are.
    """
    if not 1 <= k <= count:
        raise ValueError(f"pass@{k} needs {k} tries of each problem; there are {count}.")
    return np.array([1 - comb(count - c, k) / comb(count, k) for c in right])


def run(task: Task, profile: Profile, seed: int, out: Path, adapter: Path, other: Path | None = None) -> None:
    """Ask everything of the vanilla model and of the trained one; JSON into `out`. What is there is not asked again.

    adapter: that of this seed. other: the adapter of another task's run on this architecture, for transfer.
    Raises R3Error if there is no trained adapter in that folder.
    """
    if not adapter.exists():
        raise R3Error(f"There is no adapter in {adapter}; run the experiment of this seed first.")
    problems, samples = FEWER.get(task.name, (PROBLEMS, SAMPLES))
    test = splits.train_and_test(task, profile, seed)[1][:problems]
    for name, folder in (("vanilla", None), ("trained", adapter), ("transfer", other)):
        path = out / f"probes-{name}.json"
        if path.exists() or (name == "transfer" and folder is None):
            continue
        model, tokenizer = models.load(profile, folder)
        began, found = time.monotonic(), {}
        asked = {profile.temperature} if name == "transfer" else {profile.temperature, *TEMPERATURES}
        for how, temperature in product(("reflect", "blind"), sorted(asked)):
            count = ROUNDS if temperature == profile.temperature else 1
            label = f"{name}, {how}, temperature {temperature:g}"
            right, tokens = rounds(
                model, tokenizer, task, test, profile, temperature, count, how == "reflect", seed, desc=label
            )
            bits = ["".join(map(str, row)) for row in right]
            found[f"{how}-T{temperature:g}"] = {"right": bits, "tokens": tokens}
        if name != "transfer":
            tries, length = first_tries(
                model, tokenizer, task, test, profile, profile.temperature, samples, seed, f"{name}, first tries"
            )
            found["tries"] = {"right": tries, "of": samples, "tokens_a_try": round(length, 2)}
        record = {
            "task": task.name,
            "model": experiment.model_name(profile),
            "profile": profile.name,
            "asked": name,
            "seed": seed,
            "temperature": profile.temperature,
            "n": len(test),
            "seconds": round(time.monotonic() - began, 1),
        }
        write_json(path, {**record, **experiment.provenance(profile), "answers": found})
