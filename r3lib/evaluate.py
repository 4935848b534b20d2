"""Evaluation: first try, second try, and the controls that say why the second is better than the first.

All retries of one problem follow the same failed attempt and draw the same numbers:

    second    the model's own reflection (the paper's second column)
    blind     no reflection: the question again, told only that the answer was wrong
    again     no reflection: the question again, told nothing
    generic   one fixed sentence in the reflection's place
    shuffled  the model's reflection on another problem in the reflection's place
    redacted  the own reflection without the right answers in it; where it has none, the own retry stands

A second try is counted as the paper counts it, cumulatively: right at the first try or at the second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from accelerate.utils import gather_object
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r3lib import prompts
from r3lib.config import Profile
from r3lib.conversation import Conversation
from r3lib.files import fingerprint
from r3lib.loop import Loop
from r3lib.models import memory_explained, processes
from r3lib.outcomes import Outcomes
from r3lib.tasks import Task, Verdict

T = TypeVar("T")


@dataclass
class Tried:
    """One problem. `attempt`: text and token ids; `retries`: arm -> verdict; `tokens`: arm -> tokens sampled for it."""

    attempt: tuple[str, list[int]]
    first: Verdict
    retries: dict[str, Verdict] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    reflection: str | None = None
    reflection_tokens: int | None = None
    retry: str = ""


def evaluate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    problems: list[dict],
    profile: Profile,
    temperature: float,
    seed: int = 0,
    examples: int = 20,
    desc: str = "evaluate",
) -> Outcomes:
    """Judge the model on every problem. temperature 0 is greedy decoding. examples: conversations kept as text.

    What is drawn belongs to the problem (`r3lib.conversation`): the outcomes are the same for every
    `rollout_batch_size` and, under `accelerate launch`, any number of processes, each of which returns all of them.
    """

    def begin(chunk: list[dict]) -> Loop:
        converse = getattr(model, "converses", Conversation)  # another engine may write for it (r3lib.machine.vllm)
        return Loop(converse(model, tokenizer, seed), task, chunk, profile, temperature)

    tried = shared(range(len(problems)), lambda part: _try([problems[i] for i in part], begin), profile, desc)
    failed = [i for i, one in enumerate(tried) if not one.first.ok]
    given = dict(zip(failed, shuffled([(problems[i], tried[i].reflection) for i in failed], seed)))

    def retry_shuffled(part: list[int]) -> list[Tried]:
        loop = begin([problems[i] for i in part])
        loop.attempt([tried[i].attempt[1] for i in part])
        loop.reflect([given[i] for i in part])
        _record([tried[i] for i in part], "shuffled", loop, loop.retry())
        return [tried[i] for i in part]

    for i, one in zip(failed, shared(failed, retry_shuffled, profile, f"{desc}, shuffled")):
        tried[i] = one
    out = Outcomes()
    for problem, one in zip(problems, tried):
        leak = None if one.reflection is None else int(task.contains_answer(problem, one.reflection))
        lenient = task.contains_answer(problem, one.attempt[0])
        out.add(one.first, one.retries, leak, one.reflection_tokens, one.tokens, lenient)
        if one.reflection is not None and len(out.examples) < examples:
            out.examples.append(
                {
                    "task": task.ask(problem),
                    "attempt": one.attempt[0],
                    "why": one.first.reason,
                    "reflection": one.reflection,
                    "retry": one.retry,
                    "verdict": one.retries["second"].kind,
                }
            )
    return out


def shared(items: Sequence[int], work: Callable[[list[int]], list[T]], profile: Profile, desc: str) -> list[T]:
    """`work` on parts of the items, shared among the processes; all results, in order, in every process."""
    state, size = processes(), profile.rollout_batch_size
    parts = [list(items[i : i + size]) for i in range(0, len(items), size)]
    own = range(len(parts))[state.process_index :: state.num_processes]
    done = []
    for number in tqdm(own, desc=desc, unit="batch", leave=None, disable=not state.is_main_process):
        with memory_explained(profile):
            done.append((number, work(parts[number])))
    return [one for _, found in sorted(gather_object(done), key=lambda pair: pair[0]) for one in found]


def _try(problems: list[dict], begin: Callable[[list[dict]], Loop]) -> list[Tried]:
    """Everything but the shuffled retry, which needs the reflections of all problems."""
    loop = begin(problems)
    conversation = loop.conversation
    texts = loop.attempt()
    ids = [transcript.tokens("attempt") for transcript in conversation.transcripts]
    out = [Tried(attempt, verdict) for attempt, verdict in zip(zip(texts, ids), loop.verify(texts))]
    for one in out:
        one.tokens["first"] = len(one.attempt[1])
    rows = [i for i, one in enumerate(out) if not one.first.ok]
    if not rows:
        return out
    failed = [out[i] for i in rows]
    loop.keep(rows)
    here = conversation.mark()
    reflections = loop.reflect()
    retries = loop.retry()
    _record(failed, "second", loop, retries)
    for one, reflection, retry, transcript in zip(failed, reflections, retries, conversation.transcripts):
        one.reflection, one.retry = reflection, retry
        one.reflection_tokens = len(transcript.tokens("reflection"))
        one.tokens["redacted"], one.retries["redacted"] = one.tokens["second"], one.retries["second"]
        one.tokens["second"] += one.reflection_tokens
    for arm, ask in (("blind", prompts.BLIND_RETRY), ("again", "{task}")):
        conversation.rewind(here)
        _record(failed, arm, loop, loop.retry(ask))
    conversation.rewind(here)
    loop.reflect([prompts.GENERIC_REFLECTION] * len(failed))
    _record(failed, "generic", loop, loop.retry())
    redacted = [loop.task.redact(p, text) for p, text in zip(loop.problems, reflections)]
    changed = [i for i, (text, without) in enumerate(zip(reflections, redacted)) if text != without]
    if changed:
        conversation.rewind(here)
        loop.keep(changed)
        loop.reflect([redacted[i] for i in changed])
        _record([failed[i] for i in changed], "redacted", loop, loop.retry())
    return out


def _record(tried: list[Tried], arm: str, loop: Loop, retries: list[str]) -> None:
    for one, verdict, transcript in zip(tried, loop.verify(retries), loop.conversation.transcripts):
        one.retries[arm], one.tokens[arm] = verdict, len(transcript.tokens("retry"))


def shuffled(reflections: list[tuple[dict, str]], seed: int) -> list[str]:
    """Another problem's reflection for each of these (problem, reflection); a lone one gets the generic sentence.

    Whose it is depends on the seed and on which problems there are, not on their order.
    """
    if len(reflections) < 2:
        return [prompts.GENERIC_REFLECTION] * len(reflections)
    order = sorted(range(len(reflections)), key=lambda i: fingerprint([seed, reflections[i][0]]))
    out = [""] * len(reflections)
    for here, there in zip(order, order[1:] + order[:1]):
        out[here] = reflections[there][1]
    return out
