"""What training does to reflections: the same failures reflected on by the vanilla and by the trained model.

Pairs of texts, what can be counted in them, what the gain is made of, and how the probability of each token has moved.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from peft import PeftModel
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from r3lib.config import Profile
from r3lib.conversation import Conversation, Transcript
from r3lib.loop import Loop
from r3lib.loss import token_logps
from r3lib.tasks import Task, Verdict

NUMBER = re.compile(r"\d+")


@dataclass
class Reflected:
    """One failure, reflected on by one model. `why`: the verdict on the failed answer."""

    problem: dict
    answer: str
    why: Verdict
    reflection: str
    retry: str
    right: bool
    transcript: Transcript


def reflect(
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    failures: list[dict],
    profile: Profile,
    trained: bool,
    seed: int = 0,
) -> list[Reflected]:
    """Reflect on stored failures (rows with `problem`, a dict, and `answer`) and retry; vanilla: the adapter is off.

    Both models draw the same random numbers, so pairs differ by what the models prefer, not by luck.
    """
    out: list[Reflected] = []
    size, desc = profile.rollout_batch_size, f"reflections, {'trained' if trained else 'vanilla'}"
    with nullcontext() if trained else model.disable_adapter():
        for start in tqdm(range(0, len(failures), size), desc=desc, unit="batch", leave=None):
            rows = failures[start : start + size]
            loop = Loop(Conversation(model, tokenizer, seed), task, [row["problem"] for row in rows], profile)
            loop.attempt([row.get("answer_ids") or row["answer"] for row in rows])
            loop.conversation.tell_apart()
            why, texts = loop.verify([row["answer"] for row in rows]), loop.reflect()
            retries = loop.retry()
            found = zip(rows, why, texts, retries, loop.verify(retries), loop.conversation.transcripts)
            for row, reason, text, retry, verdict, transcript in found:
                out.append(Reflected(row["problem"], row["answer"], reason, text, retry, verdict.ok, transcript))
    return out


def template(text: str) -> str:
    """A reflection without its particulars: numbers and quoted words become one sign, so that copies can be counted."""
    return NUMBER.sub("#", re.sub(r'"[^"]*"', '"#"', text))


def names_error(found: Reflected) -> bool:
    """Whether the reflection names what was wrong: a number or quoted word of the verdict's reason that the task lacks.

    The reason tells, say, the value that a wrong equation gives or the value that an argument should have had. A crude
    sign, on purpose the same for every task: words that merely paraphrase the error are not found.
    """
    told = set(NUMBER.findall(found.why.reason)) | set(re.findall(r'"([^"]+)"', found.why.reason))
    known = set(NUMBER.findall(str(found.problem)))
    telling = {word for word in told if word not in known}
    words = set(NUMBER.findall(found.reflection)) | {word for word in telling if word in found.reflection}
    return bool(telling & words)


def measures(found: list[Reflected], task: Task) -> dict[str, float]:
    """Shares (0 to 1) and lengths over one model's reflections.

    distinct: different texts; distinct_templates: different once numbers are ignored; top_template: share of the most
    frequent of those (near 1 if the model has collapsed to one); leak; names_error; median and mean tokens; right: of
    the retries.
    """
    templates = Counter(template(one.reflection) for one in found)
    lengths = [len(one.transcript.tokens("reflection")) for one in found]
    return {
        "distinct": len({one.reflection for one in found}) / len(found),
        "distinct_templates": len(templates) / len(found),
        "top_template": templates.most_common(1)[0][1] / len(found),
        "leak": float(np.mean([task.contains_answer(one.problem, one.reflection) for one in found])),
        "names_error": float(np.mean([names_error(one) for one in found])),
        "tokens_median": float(np.median(lengths)),
        "tokens_mean": float(np.mean(lengths)),
        "right": float(np.mean([one.right for one in found])),
    }


def choice_and_content(
    failures: np.ndarray, before: tuple[np.ndarray, np.ndarray], after: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float]:
    """How the change in right retries splits in two: other kinds of reflection chosen, and better ones of each kind.

    failures: the kind of each failure, (failures,). before, after: kinds of the reflections on them and whether the
    retry is right, both (seeds, failures). Kitagawa's (1955) split within each kind of failure: the change of a kind's
    share times its mean rate, and its mean share times the change of its rate. The two add up to the whole change. A
    kind that one model never wrote has the other's rate, so all that it changes is choice.
    """
    choice = content = 0.0
    for failure in np.unique(failures):
        here = failures == failure
        (said, right), (says, rights) = ((kinds[:, here], hits[:, here]) for kinds, hits in (before, after))
        for kind in np.unique([said, says]):
            old, new = (said == kind), (says == kind)
            rates = [hits[which].mean() if which.any() else None for hits, which in ((right, old), (rights, new))]
            was, now = (rates[1 - i] if rate is None else rate for i, rate in enumerate(rates))
            choice += here.mean() * (new.mean() - old.mean()) * (was + now) / 2
            content += here.mean() * (new.mean() + old.mean()) / 2 * (now - was)
    return float(choice), float(content)


@torch.no_grad()
def moved(model: PeftModel, transcript: Transcript, temperature: float = 1.0) -> list[float]:
    """For each token of the reflection: log-probability under the trained model minus under the vanilla one."""
    end = transcript.spans["reflection"][1]
    ids = torch.tensor([transcript.ids[:end]], device=model.device)
    count = len(transcript.tokens("reflection"))
    after = token_logps(model, ids, torch.ones_like(ids), count, temperature)[0]
    with model.disable_adapter():
        before = token_logps(model, ids, torch.ones_like(ids), count, temperature)[0]
    return (after - before).tolist()
