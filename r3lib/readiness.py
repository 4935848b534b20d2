"""Is a model ready for RL? What it says when it reflects, and whether it can use what a reflection says.

RL can only select among what is sampled, and a useful reflection only pays if the retry uses it. Both are measured on
validation problems the model fails at first, before any training:

    right    the reflection contains an equation that solves the problem (the solver wrote it)
    wrong    the same form, about an equation that misses
    generic  a sentence that would fit any failure
"""

from __future__ import annotations

import random

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r3lib import countdown_data, prompts
from r3lib.nano.corpus import OPENING, fitting, wrong_tree
from r3lib.profiles import Profile
from r3lib.rollout import Conversation, prompt_ids
from r3lib.stats import wilson
from r3lib.tasks import Task


def written(numbers: list[int], tree: countdown_data.Node) -> str:
    """A worked reflection that takes one equation for right, in the words of r3-nano's corpus."""
    return OPENING + fitting(numbers, tree)


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    problems: list[dict],
    profile: Profile,
    seed: int = 0,
) -> dict:
    """Counts `[right, n]` at the profile's temperature and greedily: first try, retries after right, wrong and generic
    reflections and blind; and how many of the model's own reflections are right, wrong or without an equation."""
    rng = random.Random(seed)
    counts: dict[str, list[int]] = {}

    def count(name: str, hits: list[bool]) -> None:
        old = counts.setdefault(name, [0, 0])
        counts[name] = [old[0] + sum(hits), old[1] + len(hits)]

    for start in range(0, len(problems), profile.rows):
        chunk = problems[start : start + profile.rows]
        talk = Conversation(model, tokenizer, len(chunk), seed * 100_003 + start)
        talk.start([prompt_ids(tokenizer, task.messages(p)) for p in chunk])
        here = talk.mark()
        count(
            "first try, greedy",
            [task.verify(p, a).ok for p, a in zip(chunk, talk.reply("attempt", profile.attempt_tokens, 0.0))],
        )
        talk.rewind(here)
        verdicts = [
            task.verify(p, a) for p, a in zip(chunk, talk.reply("attempt", profile.attempt_tokens, profile.temperature))
        ]
        count("first try", [v.ok for v in verdicts])
        failed = [i for i, v in enumerate(verdicts) if not v.ok]
        if not failed:
            continue
        chunk = [chunk[i] for i in failed]
        talk.select(failed)
        here = talk.mark()
        trees = [
            rng.choice(countdown_data.simplest(countdown_data.reachable(p["numbers"])[p["target"]])) for p in chunk
        ]
        misses = [wrong_tree(rng, p["numbers"], p["target"]) for p in chunk]
        given = {
            "retry after a right reflection": [written(p["numbers"], t) for p, t in zip(chunk, trees)],
            "retry after a wrong reflection": [written(p["numbers"], t) for p, t in zip(chunk, misses)],
            "retry after a generic sentence": [prompts.GENERIC_REFLECTION] * len(chunk),
            "retry after its own reflection": None,
        }
        for name, texts in given.items():
            talk.rewind(here)
            talk.say(task.reflect_prompt, "reflection_prompt")
            if texts is None:
                texts = talk.reply("reflection", profile.reflection_tokens, profile.temperature)
                right = [task.contains_answer(p, t) for p, t in zip(chunk, texts)]
                worked = [t.startswith(OPENING) for t in texts]
                count("own reflections that contain a right equation", right)
                count("own reflections that work through candidates", worked)
                count("worked reflections that contain a right equation", [r for r, w in zip(right, worked) if w])
            else:
                talk.put(texts, "reflection")
            talk.say([task.ask(p) for p in chunk], "retry_prompt")
            count(
                name,
                [
                    task.verify(p, a).ok
                    for p, a in zip(chunk, talk.reply("retry", profile.retry_tokens, profile.temperature))
                ],
            )
        talk.rewind(here)
        talk.say([prompts.BLIND_RETRY.format(task=task.ask(p)) for p in chunk], "retry_prompt")
        count(
            "blind retry",
            [
                task.verify(p, a).ok
                for p, a in zip(chunk, talk.reply("retry", profile.retry_tokens, profile.temperature))
            ],
        )
    return counts


def table(measured: dict[str, dict[str, list[int]]]) -> str:
    """Markdown: one column a precision, percent with Wilson 95 % intervals and n."""

    def cell(pair: list[int]) -> str:
        if not pair[1]:
            return "none sampled"
        low, high = wilson(*pair)
        return f"{100 * pair[0] / pair[1]:.1f} [{100 * low:.1f}, {100 * high:.1f}] (n = {pair[1]})"

    names = list(next(iter(measured.values())))
    lines = [f"| % | {' | '.join(measured)} |", "|---" * (1 + len(measured)) + "|"]
    return "\n".join(lines + [f"| {name} | {' | '.join(cell(m[name]) for m in measured.values())} |" for name in names])
