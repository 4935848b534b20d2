"""The failure set: problems the untrained model got wrong, with its wrong answers, built once before training.

Rejection sampling turned around (paper section 3.2): sample k answers per problem, keep what the verifier refuses. It
is offline because a failure costs an attempt, and attempts on problems that succeed teach the reflection nothing.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

from datasets import Dataset, load_from_disk
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r3lib.config import Profile
from r3lib.conversation import Conversation, prompt_ids
from r3lib.files import R3Error, read_json, write_json
from r3lib.models import memory_explained, processes
from r3lib.tasks import Task


def build(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    problems: list[dict],
    profile: Profile,
    out: Path,
    seed: int = 0,
) -> Dataset:
    """Sample `profile.failure_samples` answers per problem and keep the distinct wrong ones.

    Rows: problem (JSON), answer, kind, reason, difficulty (share of this problem's samples that were wrong). Each part
    of `profile.rows` problems is saved when done, so a killed run goes on where it was; under `accelerate launch` the
    processes share the parts. The finished set is a datasets.Dataset in `out`; if it is already there it is loaded, not
    built.
    """
    if (out / "dataset_info.json").exists():
        return load(out)
    state, parts = processes(), out.with_name(out.name + ".parts")
    plan = {
        "task": task.name,
        "model": profile.model,
        "problems": zlib.crc32(json.dumps(problems).encode()),
        "samples": profile.failure_samples,
        "temperature": profile.temperature,
        "tokens": profile.attempt_tokens,
        "rows": profile.rows,
        "seed": seed,
    }
    if state.is_main_process:
        if (parts / "plan.json").exists() and read_json(parts / "plan.json") != plan:
            shutil.rmtree(parts)  # parts of another plan would mix two models' failures
        write_json(parts / "plan.json", plan)
    state.wait_for_everyone()
    starts = range(0, len(problems), profile.rows)
    missing = [number for number in range(len(starts)) if not (parts / f"{number:05d}.json").exists()]
    state.wait_for_everyone()  # all have looked before the first writes
    own = missing[state.process_index :: state.num_processes]
    for number in tqdm(own, desc="failure set", unit="batch", leave=None, disable=not state.is_main_process):
        chunk = problems[starts[number] : starts[number] + profile.rows]
        with memory_explained(profile):
            found = _failures(model, tokenizer, task, chunk, profile, seed * 100_003 + number)
        write_json(parts / f"{number:05d}.json", {"rows": found})
    state.wait_for_everyone()
    if state.is_main_process:
        _gather(parts, len(starts), out)
    state.wait_for_everyone()
    return load(out)


def _gather(parts: Path, count: int, out: Path) -> None:
    """Make the finished set of its parts."""
    rows = [row for number in range(count) for row in read_json(parts / f"{number:05d}.json")["rows"]]
    if not rows:
        raise R3Error(
            "The model solved every problem it was given, so there is nothing to reflect on; "
            "give it harder problems or more of them."
        )
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        Dataset.from_list(rows).save_to_disk(partial)
        shutil.rmtree(out, ignore_errors=True)
        partial.rename(out)
    except OSError as error:
        raise R3Error(
            f"Cannot write the failure set to {out}: {error.strerror}. Free some space and run this again; "
            f"the finished parts are kept in {parts}."
        ) from error
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
) -> Iterator[tuple[list[list[str]], int]]:
    """`count` independent answers to each problem, part by part: (one list of texts a problem, tokens written).

    A part is at most `profile.rows` conversations, or one problem if it has more.
    """
    at_once = max(1, profile.rows // count)  # problems
    for start in range(0, len(problems), at_once):
        part = problems[start : start + at_once]
        talk = Conversation(model, tokenizer, len(part), seed, first=start * count)
        talk.start([prompt_ids(tokenizer, task.messages(p), task.tools(p)) for p in part])
        talk.fork([count] * len(part))
        texts = talk.reply("attempt", profile.attempt_tokens, temperature)
        written = sum(len(t.tokens("attempt")) for t in talk.transcripts)
        yield [texts[i : i + count] for i in range(0, len(texts), count)], written


def _failures(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    problems: list[dict],
    profile: Profile,
    seed: int,
) -> list[dict]:
    samples, rows = profile.failure_samples, []
    tries = first_tries(model, tokenizer, task, problems, profile, profile.temperature, samples, seed)
    for problem, own in zip(problems, (texts for part, _ in tries for texts in part)):
        wrong = {a: v for a in own if not (v := task.verify(problem, a)).ok}
        difficulty = sum(a in wrong for a in own) / len(own)
        rows += [
            {"problem": json.dumps(problem), "answer": a, "kind": v.kind, "reason": v.reason, "difficulty": difficulty}
            for a, v in wrong.items()
        ]
    return rows


def load(folder: Path) -> Dataset:
    """Load a finished failure set; raises R3Error if it is missing or damaged."""
    try:
        return load_from_disk(str(folder))
    except Exception as error:  # datasets and arrow raise many kinds
        raise R3Error(
            f"The failure set in {folder} cannot be read ({type(error).__name__}); delete that folder and "
            "build it again."
        ) from error
