"""Evaluation: first try, second try, and the controls that say why the second is better than the first.

All retries of one problem follow the same failed attempt and continue from its cache:

    second    the model's own reflection (the paper's second column)
    blind     no reflection: the question again, told only that the answer was wrong
    again     no reflection: the question again, told nothing
    generic   one fixed sentence in the reflection's place
    shuffled  the model's reflection on another problem in the reflection's place
    redacted  the own reflection without the right answers in it; where it has none, the own retry stands

A second try is counted as the paper counts it, cumulatively: right at the first try or at the second.
"""

from __future__ import annotations

import random

from accelerate.utils import gather_object
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r3lib import prompts
from r3lib.config import Profile
from r3lib.conversation import Conversation, prompt_ids
from r3lib.models import memory_explained, processes
from r3lib.outcomes import RETRIES, Outcomes
from r3lib.tasks import Task


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
    """Judge the model on every problem, `profile.rows` at a time. temperature 0 is greedy decoding.

    Under `accelerate launch` the processes share the problems, and each returns the outcomes of all.
    """
    state = processes()
    starts = range(0, len(problems), profile.rows)[state.process_index :: state.num_processes]
    own = []
    for start in tqdm(starts, desc=desc, unit="batch", leave=None, disable=not state.is_main_process):
        chunk, out = problems[start : start + profile.rows], Outcomes()
        with memory_explained(profile):
            _evaluate_chunk(model, tokenizer, task, chunk, profile, temperature, seed * 100_003 + start, out)
        out.examples = out.examples[:examples]
        own.append((start, out))
    out = Outcomes()
    for _, part in sorted(gather_object(own), key=lambda pair: pair[0]):
        out += part
    out.examples = out.examples[:examples]
    return out


def _evaluate_chunk(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    chunk: list[dict],
    profile: Profile,
    temperature: float,
    seed: int,
    out: Outcomes,
) -> None:
    talk = Conversation(model, tokenizer, len(chunk), seed)
    talk.start([prompt_ids(tokenizer, task.messages(p), task.tools(p)) for p in chunk])
    attempts = talk.reply("attempt", profile.attempt_tokens, temperature)
    first = [task.verify(p, a) for p, a in zip(chunk, attempts)]
    failed = [i for i, v in enumerate(first) if not v.ok]
    asks = [task.ask(chunk[i]) for i in failed]
    retries: dict[str, list[str]] = {arm: [] for arm in RETRIES}
    reflections: list[str] = []
    lengths: list[int] = []
    out.tokens["first"] += written(talk, "attempt")
    if failed:
        talk.select(failed)
        here = talk.mark()

        def retry(arm: str, ask: list[str]) -> None:
            talk.say(ask, "retry_prompt")
            retries[arm] = talk.reply("retry", profile.retry_tokens, temperature)
            out.tokens[arm] += written(talk, "retry")

        talk.say(task.reflect_prompt, "reflection_prompt")
        reflections = talk.reply("reflection", profile.reflection_tokens, temperature)
        lengths = [len(t.tokens("reflection")) for t in talk.transcripts]
        retry("second", asks)
        out.tokens["second"] += sum(lengths)
        for arm, ask in (("blind", [prompts.BLIND_RETRY.format(task=ask) for ask in asks]), ("again", asks)):
            talk.rewind(here)
            retry(arm, ask)
        redacted = [task.redact(chunk[i], text) for i, text in zip(failed, reflections)]
        for arm, texts in (
            ("generic", [prompts.GENERIC_REFLECTION] * len(failed)),
            ("shuffled", shuffled(reflections, seed)),
            ("redacted", redacted),
        ):
            if texts == reflections:
                retries[arm] = retries["second"]
                continue
            talk.rewind(here)
            talk.say(task.reflect_prompt, "reflection_prompt")
            talk.put(texts, "reflection")
            retry(arm, asks)
        same = zip(retries["second"], retries["redacted"], reflections, redacted)
        retries["redacted"] = [own if text == without else other for own, other, text, without in same]
    position = {i: j for j, i in enumerate(failed)}
    for i, problem in enumerate(chunk):
        j = position.get(i)
        out.right["first"].append(int(first[i].ok))
        out.kinds["first"].append(first[i].kind)
        verdicts = {arm: first[i] if j is None else task.verify(problem, retries[arm][j]) for arm in RETRIES}
        for arm in RETRIES:
            out.right[arm].append(int(verdicts[arm].ok))
        out.kinds["second"].append(verdicts["second"].kind)
        out.leak.append(None if j is None else int(task.contains_answer(problem, reflections[j])))
        out.reflection_tokens.append(None if j is None else lengths[j])
        if j is not None:
            out.examples.append(
                {
                    "task": asks[j],
                    "attempt": attempts[i],
                    "why": first[i].reason,
                    "reflection": reflections[j],
                    "retry": retries["second"][j],
                    "verdict": verdicts["second"].kind,
                }
            )


def written(talk: Conversation, span: str) -> int:
    """Tokens that the model wrote under this name, in all conversations."""
    return sum(len(t.tokens(span)) for t in talk.transcripts)


def shuffled(reflections: list[str], seed: int) -> list[str]:
    """Each row gets another row's reflection (a random cycle); a lone one gets the generic sentence."""
    if len(reflections) < 2:
        return [prompts.GENERIC_REFLECTION] * len(reflections)
    order = list(range(len(reflections)))
    random.Random(seed).shuffle(order)
    out = list(reflections)
    for here, there in zip(order, order[1:] + order[:1]):
        out[here] = reflections[there]
    return out
