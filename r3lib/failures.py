"""The failure set: problems the untrained model got wrong, with its wrong answers, built once before training.

Rejection sampling turned around (paper section 3.2): sample k answers per problem, keep what the verifier refuses. It
is offline because a failure costs an attempt, and attempts on problems that succeed teach the reflection nothing.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset, load_from_disk
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r3lib import record
from r3lib.config import Profile
from r3lib.conversation import Conversation
from r3lib.files import R3Error, read_json, write_json, writing
from r3lib.loop import Loop
from r3lib.models import memory_explained, processes
from r3lib.tasks import Task, Verdict


class Answer(NamedTuple):
    """One first try: its text, its tokens as they were written, the verdict on it."""

    text: str
    ids: list[int]
    verdict: Verdict


def build(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    problems: list[dict],
    profile: Profile,
    out: Path,
    seed: int = 0,
    fresh: bool = False,
) -> Dataset:
    """Sample `profile.failure_samples` answers per problem and keep the distinct wrong ones.

    Rows: problem (JSON), answer, answer_ids (its tokens as they were written), kind, reason, difficulty (share of this
    problem's samples that were wrong). Parts are saved when done, so a killed run resumes, whatever its
    `rollout_batch_size` then; under `accelerate launch` the processes share them. A finished set in `out` that was made
    by just this is loaded, not built; raises R3Error (or, if `fresh`, deletes it) if by something else.
    """
    state, parts = processes(), out.with_name(out.name + ".parts")
    made = record.make(task, profile, seed, problems=record.of_problems(task, problems))
    record.reusable(parts, made, record.FAILURES, fresh)
    if record.reusable(out, made, record.FAILURES, fresh):
        return load(out)
    if state.is_main_process:
        write_json(parts / "record.json", made)
    state.wait_for_everyone()
    there = set(_rows(parts))
    missing = [number for number in range(len(problems)) if number not in there]
    state.wait_for_everyone()  # all have looked before the first writes
    size = profile.rollout_batch_size
    own = [missing[i : i + size] for i in range(0, len(missing), size)][state.process_index :: state.num_processes]
    for numbers in tqdm(own, desc="failure set", unit="batch", leave=None, disable=not state.is_main_process):
        part = [problems[i] for i in numbers]
        with memory_explained(profile):
            tries = first_tries(
                model, tokenizer, task, part, profile, profile.temperature, profile.failure_samples, seed
            )
            found = [_failures(p, answers) for p, answers in zip(part, chain.from_iterable(tries))]
        write_json(parts / f"{numbers[0]:07d}.json", dict(zip(map(str, numbers), found)))
    state.wait_for_everyone()
    if state.is_main_process:
        _gather(parts, out, made)
    state.wait_for_everyone()
    return load(out)


def _rows(parts: Path) -> dict[int, list[dict]]:
    """The failures of every problem in the finished parts: number of the problem -> rows."""
    files = sorted(parts.glob("[0-9]*.json"))
    return {int(number): rows for path in files for number, rows in read_json(path).items()}


def _gather(parts: Path, out: Path, made: dict) -> None:
    """Make the finished set of its parts."""
    rows = [row for _, own in sorted(_rows(parts).items()) for row in own]
    if not rows:
        raise R3Error(
            "The model solved every problem it was given, so there is nothing to reflect on; "
            "give it harder problems or more of them."
        )
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with writing(out, f"the finished parts are kept in {parts}"):
        Dataset.from_list(rows).save_to_disk(partial)
        write_json(partial / "record.json", made)
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    shutil.rmtree(parts)


def first_tries(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    problems: list[dict],
    profile: Profile,
    temperature: float,
    count: int,
    seed: int,
) -> Iterator[list[list[Answer]]]:
    """`count` independent answers to each problem, part by part: one list of answers a problem.

    A part is at most `profile.rollout_batch_size` conversations, or one problem if it has more.
    """
    at_once = max(1, profile.rollout_batch_size // count)  # problems
    for start in range(0, len(problems), at_once):
        converse = getattr(model, "converses", Conversation)  # another engine may write for it (r3lib.machine.vllm)
        loop = Loop(converse(model, tokenizer, seed), task, problems[start : start + at_once], profile, temperature)
        texts = loop.attempt(copies=count)
        ids = [transcript.tokens("attempt") for transcript in loop.conversation.transcripts]
        answers = [Answer(*each) for each in zip(texts, ids, loop.verify(texts))]
        yield [answers[i : i + count] for i in range(0, len(answers), count)]


def _failures(problem: dict, answers: list[Answer]) -> list[dict]:
    """The rows of one problem: its distinct wrong answers."""
    wrong: dict[str, Answer] = {}
    for answer in answers:
        if not answer.verdict.ok:
            wrong.setdefault(answer.text, answer)
    difficulty = sum(not answer.verdict.ok for answer in answers) / len(answers)
    return [
        {
            "problem": json.dumps(problem),
            "answer": answer.text,
            "answer_ids": answer.ids,
            "kind": answer.verdict.kind,
            "reason": answer.verdict.reason,
            "difficulty": difficulty,
        }
        for answer in wrong.values()
    ]


def load(folder: Path) -> Dataset:
    """Load a finished failure set; raises R3Error if it is missing or damaged."""
    try:
        return load_from_disk(str(folder))
    except Exception as error:  # datasets and arrow raise many kinds
        raise R3Error(
            f"The failure set in {folder} cannot be read ({type(error).__name__}); delete that folder and "
            "build it again."
        ) from error
