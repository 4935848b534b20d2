"""Is a model ready for RL? What it says when it reflects, and whether it can use what a reflection says.

RL can only select among what is sampled, and a useful reflection only pays if the retry uses it. Both are measured on
validation problems the model fails at first, before any training:

    right    a reflection in the form of r3-nano's worked ones that comes to a right answer
    wrong    the same form, but it comes to a wrong one
    generic  a sentence that would fit any failure
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r3lib import prompts
from r3lib.config import Profile
from r3lib.conversation import Conversation
from r3lib.files import DATA, read_jsonl
from r3lib.loop import Loop
from r3lib.measure.stats import wilson
from r3lib.nano import calls, corpus
from r3lib.nano.habits import KINDS, SEARCHES, kind_of_failure, kind_of_reflection
from r3lib.pages import report, tables
from r3lib.problems import countdown, countdown_data, function_calling_data
from r3lib.tasks import Task


class Given(NamedTuple):
    """A problem, reflections written for it by hand, and whether a reflection of the model's own is right."""

    problem: dict
    right: str
    wrong: str
    is_right: Callable[[str], bool]


def written(numbers: list[int], tree: countdown_data.Node) -> str:
    """A worked reflection that takes one equation for right, in the words of r3-nano's corpus."""
    return corpus.OPENING + corpus.fitting(numbers, tree)


def of_countdown(n: int, seed: int = 0) -> list[Given]:
    """The first `n` validation problems. A reflection is right if it contains an equation that solves the problem."""
    rng, out = random.Random(seed), []
    for p in read_jsonl(DATA / "countdown" / "validation.jsonl")[:n]:
        numbers, target = p["numbers"], p["target"]
        tree = rng.choice(countdown_data.simplest(countdown_data.reachable(numbers)[target]))
        miss = corpus.wrong_tree(rng, numbers, target)
        is_right = lambda text, p=p: countdown.TASK.contains_answer(p, text)  # noqa: E731
        out.append(Given(p, written(numbers, tree), written(numbers, miss), is_right))
    return out


def of_function_calling(n: int, seed: int = 0) -> list[Given]:
    """The first `n` validation problems. A reflection is right if it works out every argument as it should be."""
    rng, out = random.Random(seed), []
    for item in islice(function_calling_data.distinct("validation"), n):
        right = calls.OPENING + calls.worked(item)
        out.append(Given(item.problem(), right, calls.OPENING + calls.misled(rng, item), right.__eq__))
    return out


GIVEN = {"countdown": of_countdown, "function_calling": of_function_calling}


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    rows: list[Given],
    profile: Profile,
    seed: int = 0,
) -> dict[str, list[int]]:
    """Counts `[right, n]` at the profile's temperature (and of greedy first tries): first try; retries after right,
    wrong and generic reflections, after the model's own, and blind; how many of its own are worked, and right."""
    counts: dict[str, list[int]] = {}
    openings = *SEARCHES, calls.OPENING.strip()

    def count(name: str, hits: list[bool]) -> None:
        old = counts.setdefault(name, [0, 0])
        counts[name] = [old[0] + sum(hits), old[1] + len(hits)]

    def right(loop: Loop, texts: list[str]) -> list[bool]:
        return [verdict.ok for verdict in loop.verify(texts)]

    def begin(chunk: list[Given], temperature: float | None = None) -> Loop:
        conversation = Conversation(model, tokenizer, seed)
        return Loop(conversation, task, [row.problem for row in chunk], profile, temperature)

    for start in range(0, len(rows), profile.rollout_batch_size):
        chunk = rows[start : start + profile.rollout_batch_size]
        greedy = begin(chunk, 0.0)
        count("first try, greedy", right(greedy, greedy.attempt()))
        loop = begin(chunk)
        first = right(loop, loop.attempt())
        count("first try", first)
        failed = [i for i, ok in enumerate(first) if not ok]
        if not failed:
            continue
        chunk = [chunk[i] for i in failed]
        loop.keep(failed)
        here = loop.conversation.mark()
        given = {
            "retry after a right reflection": [row.right for row in chunk],
            "retry after a wrong reflection": [row.wrong for row in chunk],
            "retry after a generic sentence": [prompts.GENERIC_REFLECTION] * len(chunk),
            "retry after its own reflection": None,
        }
        for name, words in given.items():
            loop.conversation.rewind(here)
            own = loop.reflect(words)
            hits = right(loop, loop.retry())
            count(name, hits)
        worked = [text.startswith(openings) for text in own]
        are_right = [row.is_right(text) for row, text in zip(chunk, own)]
        count("own reflections that are worked", worked)
        count("worked reflections that are right", [r for r, w in zip(are_right, worked) if w])
        count("retry after its own worked reflection", [hit for hit, w in zip(hits, worked) if w])
        loop.conversation.rewind(here)
        count("blind retry", right(loop, loop.retry(prompts.BLIND_RETRY)))
    return counts


def repairs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, problems: list[dict], profile: Profile, seed: int = 0
) -> dict[str, dict[str, list[int]]]:
    """What repairs what on Countdown: {reflection: {kind of failure: [right retries, failures]}}.

    Reflections: the model's own; a generic sentence; and, for each kind that r3-nano knows (`r3lib.nano.habits`), those
    that begin with that kind's first words, put into its mouth. "says KIND": how many of its own are of that kind.
    """
    counts: dict[str, dict[str, list[int]]] = {}
    forced = {f"begun with “{known[0]}”": tokenizer(f"{known[0]} ")["input_ids"] for known in KINDS.values()}

    def count(name: str, failures: list[str], hits: list[bool]) -> None:
        for failure, hit in zip(failures, hits):
            cell = counts.setdefault(name, {}).setdefault(failure, [0, 0])
            cell[:] = cell[0] + hit, cell[1] + 1

    for start in range(0, len(problems), profile.rollout_batch_size):
        chunk = problems[start : start + profile.rollout_batch_size]
        loop = Loop(Conversation(model, tokenizer, seed), countdown.TASK, chunk, profile)
        answers = loop.attempt()
        failed = [row for row, verdict in enumerate(loop.verify(answers)) if not verdict.ok]
        if not failed:
            continue
        kinds = [kind_of_failure(chunk[row], answers[row]) or "none" for row in failed]
        loop.keep(failed)
        here = loop.conversation.mark()
        given: dict[str, dict] = {"own": {}, "generic sentence": {"words": [prompts.GENERIC_REFLECTION] * len(failed)}}
        for name, how in (given | {name: {"opening": ids} for name, ids in forced.items()}).items():
            loop.conversation.rewind(here)
            said = [kind_of_reflection(text) for text in loop.reflect(**how)]
            count(name, kinds, [verdict.ok for verdict in loop.verify(loop.retry())])
            if name == "own":
                for kind in (*KINDS, "useless"):
                    count(f"says {kind}", kinds, [each == kind for each in said])
    return counts


def repairs_table(counts: dict[str, dict[str, list[int]]]) -> str:
    """Markdown: one line a reflection, one column a kind of failure; percent with Wilson 95 % intervals."""
    about = {"missed": "missed target", "number": "number not given", "count": "number twice"}
    about |= {"bracket": "bad bracket", "none": "no answer"}
    kinds = [kind for kind in about if kind in counts["own"]]
    head = [f"{about[kind]} (n = {counts['own'][kind][1]})" for kind in kinds]

    def cell(pair: list[int]) -> str:
        return report.percent(pair[0] / pair[1], *wilson(*pair))

    return tables.markdown(["%", *head], [[name, *(cell(row[kind]) for kind in kinds)] for name, row in counts.items()])


def table(measured: dict[str, dict[str, list[int]]]) -> str:
    """Markdown: one column a precision, percent with Wilson 95 % intervals and n."""

    def cell(pair: list[int]) -> str:
        if not pair[1]:
            return "none sampled"
        return f"{report.percent(pair[0] / pair[1], *wilson(*pair))} (n = {pair[1]})"

    names = next(iter(measured.values()))
    return tables.markdown(["%", *measured], [[name, *(cell(m[name]) for m in measured.values())] for name in names])
