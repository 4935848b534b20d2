"""Controls that could prove the reflection wrong, on the test problems, at the profile's temperature.

    forced  the reflection begins with given tokens, and the model goes on
    plan    the same tokens begin words before any answer; then the task again and one answer: no failure, no verifier
    tries   the vanilla model's independent first tries, each checked: what a reflection's tokens buy otherwise

Which tokens: those that rewarded reflections of the trained model on its training failures most often begin with (the
`FIRST` most frequent first tokens, and the most frequent 2, 4 and 8 tokens), whichever helps the vanilla model's second
try most on validation problems. What the trained model's own reflections gain over the vanilla model's with these
tokens is what training taught beyond an opening.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r3lib import failures, models, record
from r3lib.config import Profile
from r3lib.conversation import Conversation, end_tokens
from r3lib.evaluate import shared
from r3lib.files import R3Error, hash_file, read_json, write_json
from r3lib.loop import Loop
from r3lib.measure import reflections
from r3lib.tasks import Task

LENGTHS = (1, 2, 4, 8)
FIRST = 4  # first tokens that are tried: training may have made several kinds of reflections frequent
REFLECTIONS = 500  # on training failures, among which the openings are sought
SAMPLES = 32  # first tries of each problem
FEWER = {"function_calling": 8, "instructions": 8}  # where an answer takes many times as long


class Asked(NamedTuple):
    """One problem: right, 0 or 1 (or how many, of `first_tries`); tokens sampled, the first try of `forced` apart."""

    right: int
    tokens: int


def openings(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    wrong: Dataset,
    profile: Profile,
    seed: int = 0,
) -> list[list[int]]:
    """The tokens that rewarded reflections on the first training failures most often begin with, by length, then rank.

    Where no retry is right, all reflections count. Raises R3Error if every reflection is shorter than one token.
    """
    rows = [row | {"problem": json.loads(row["problem"])} for row in wrong.select(range(min(REFLECTIONS, len(wrong))))]
    found = reflections.reflect(model, tokenizer, task, rows, profile, trained=True, seed=seed)
    rewarded = [one for one in found if one.right] or found
    ends = set(end_tokens(model, tokenizer))
    written = [[t for t in one.transcript.tokens("reflection") if t not in ends] for one in rewarded]
    out = []
    for length in (one for one in LENGTHS if one < profile.reflection_tokens):
        begun = Counter(tuple(ids[:length]) for ids in written if len(ids) > length)
        out += [[*ids] for ids, _ in begun.most_common(FIRST if length == 1 else 1)]
    if not out:
        raise R3Error("No reflection on a training failure has two tokens, so none has an opening to force.")
    return out


def forced(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    problems: list[dict],
    profile: Profile,
    begun: list[list[int]],
    seed: int = 0,
    desc: str = "forced openings",
) -> list[list[Asked]]:
    """Second tries (cumulative) after reflections that begin with these tokens: a list of problems for each opening.

    First tries, and what is drawn for them, are those of `evaluate`.
    """

    def ask(part: list[int]) -> list[list[Asked]]:
        loop = Loop(Conversation(model, tokenizer, seed), task, [problems[i] for i in part], profile)
        found = [[Asked(int(verdict.ok), 0)] * len(begun) for verdict in loop.verify(loop.attempt())]
        failed = [one for one in found if not one[0].right]
        if failed:
            loop.keep([row for row, one in enumerate(found) if not one[0].right])
            here = loop.conversation.mark()
        for i, opening in enumerate(begun if failed else []):
            loop.conversation.rewind(here)
            loop.reflect(opening=opening)
            verdicts = loop.verify(loop.retry())
            for one, verdict, transcript in zip(failed, verdicts, loop.conversation.transcripts):
                written = len(transcript.tokens("reflection")) + len(transcript.tokens("retry"))
                one[i] = Asked(int(verdict.ok), written)
        return found

    return [list(own) for own in zip(*shared(range(len(problems)), ask, profile, desc))]


def planned(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    problems: list[dict],
    profile: Profile,
    opening: list[int],
    seed: int = 0,
    desc: str = "plan first",
) -> list[Asked]:
    """One answer to each problem, after words that begin with these tokens and are as long as a reflection may be."""

    def ask(part: list[int]) -> list[Asked]:
        loop = Loop(Conversation(model, tokenizer, seed), task, [problems[i] for i in part], profile)
        loop.plan(opening)
        verdicts, transcripts = loop.verify(loop.retry()), loop.conversation.transcripts
        lengths = [len(each.tokens("plan")) + len(each.tokens("retry")) for each in transcripts]
        return [Asked(int(verdict.ok), length) for verdict, length in zip(verdicts, lengths)]

    return shared(range(len(problems)), ask, profile, desc)


def first_tries(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    problems: list[dict],
    profile: Profile,
    count: int = SAMPLES,
    seed: int = 0,
    desc: str = "first tries",
) -> list[Asked]:
    """How many of `count` independent first tries of each problem are right, and the tokens of all of them.

    What the tokens of a reflection would have bought in tries, if a verifier may look at each (`stats.pass_at`).
    """

    def ask(part: list[int]) -> list[Asked]:
        asked, t = [problems[i] for i in part], profile.temperature
        parts = failures.first_tries(model, tokenizer, task, asked, profile, t, count, seed)
        answers = [own for found in parts for own in found]
        return [Asked(sum(a.verdict.ok for a in own), sum(len(a.ids) for a in own)) for own in answers]

    return shared(range(len(problems)), ask, profile, desc)


def path(out: Path, trained: bool) -> Path:
    return out / f"controls-{'trained' if trained else 'vanilla'}.json"


def run(
    task: Task,
    profile: Profile,
    seed: int,
    out: Path,
    work: Path,
    problems: tuple[list[dict], list[dict], list[dict]],
    adapter: Path,
    fresh: bool = False,
) -> None:
    """All controls of one seed, vanilla and trained; JSON into `out`, beside the outcomes that they are paired with.

    problems: for training, test and validation. work: where the failure set lies (built again if it does not). What is
    there is not asked again. Raises R3Error if there is no trained adapter in that folder, or if `out` holds what was
    made by something else (deleted, if `fresh`).
    """
    if not adapter.exists():
        raise R3Error(f"There is no adapter in {adapter}; run the experiment of this seed first.")
    training, test, validation = problems
    trained_on, asked, chosen_on = (record.of_problems(task, part) for part in problems)
    made = record.make(task, profile, seed, asked="controls", n=len(test), problems=asked, trained_on=trained_on)
    made |= {"chosen_on": chosen_on, "temperature": profile.temperature}
    made["adapter"] = hash_file(next(adapter.glob("*model.safetensors")))
    there = [
        record.reusable(path(out, which), made | {"trained": which}, record.TRAINING, fresh) for which in (False, True)
    ]
    if all(there):
        return
    began = time.monotonic()
    wrong = failures.build(*models.load(profile), task, training, profile, work / "failures", seed)
    trained = models.load(profile, adapter)
    if there[0]:
        found = read_json(path(out, False))
    else:
        vanilla, begun = models.load(profile), openings(*trained, task, wrong, profile, seed)
        tried = forced(*vanilla, task, validation, profile, begun, seed, "openings, validation")
        shares = [sum(one.right for one in own) / len(validation) for own in tried]
        ids = begun[shares.index(max(shares))]
        found = {**made, "trained": False, "opening": {"ids": ids, "text": trained[1].decode(ids)}}
        texts = map(trained[1].decode, begun)
        found["tried"] = [list(each) for each in zip(map(len, begun), texts, shares)]  # second tries on validation
        found["answers"] = _ask(*vanilla, task, test, profile, ids, seed, "vanilla")
        count = FEWER.get(task.name, SAMPLES)
        tries = first_tries(*vanilla, task, test, profile, count, seed)
        each = sum(one.tokens for one in tries) / (count * len(tries))
        found["answers"]["tries"] = {"right": [one.right for one in tries], "of": count, "tokens_a_try": round(each, 2)}
        _write(path(out, False), found, began)
        del vanilla
    if not there[1]:
        answers = _ask(*trained, task, test, profile, found["opening"]["ids"], seed, "trained")
        same = {name: found[name] for name in ("opening", "tried")}
        answers["tries"] = found["answers"]["tries"]  # the vanilla model's
        _write(path(out, True), {**made, "trained": True, **same, "answers": answers}, began)


def _ask(model, tokenizer, task, test, profile, opening: list[int], seed: int, name: str) -> dict:
    (second,) = forced(model, tokenizer, task, test, profile, [opening], seed, f"{name}, forced opening")
    first = planned(model, tokenizer, task, test, profile, opening, seed, f"{name}, plan first")
    return {
        control: {"right": "".join(str(one.right) for one in own), "tokens": sum(one.tokens for one in own)}
        for control, own in (("forced", second), ("plan", first))
    }


def _write(place: Path, found: dict, began: float) -> None:
    if models.processes().is_main_process:
        write_json(place, {**found, "seconds": round(time.monotonic() - began, 1)})
