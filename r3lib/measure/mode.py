"""How the first turn begins, step by step of training: is the answer given at once, or do words come before it?

R3 rewards reflections alone, so what it does to the first try it does by itself. If the model comes to think before
its first answer, the probability of that moves with every step, long before enough first tries are sampled to tell.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r3lib.conversation import prompt_ids
from r3lib.tasks import Task

OPENING = "<answer>"  # of Countdown
PROBLEMS = 100


def watch(
    tokenizer: PreTrainedTokenizerBase, task: Task, problems: list[dict]
) -> Callable[[PreTrainedModel], dict[str, float]] | None:
    """For `grpo.train`: `thinks_first` on the first `PROBLEMS` problems; None for a task whose answers begin otherwise.

    The problems may be those of training: what is asked is a manner, not an answer.
    """
    if OPENING not in task.messages(problems[0])[-1]["content"]:
        return None
    return partial(thinks_first, tokenizer=tokenizer, task=task, problems=problems[:PROBLEMS])


@torch.no_grad()
def thinks_first(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, task: Task, problems: list[dict]
) -> dict[str, float]:
    """{"thinks_first": the mean probability that a first turn's first token begins no `OPENING`}, at temperature 1.

    Exact, from one pass over the prompts: nothing is sampled, so a run that is watched has the bits of one that is not.
    """
    rows = [prompt_ids(tokenizer, task.messages(problem)) for problem in problems]
    longest = max(map(len, rows))
    ids = torch.tensor([[tokenizer.pad_token_id] * (longest - len(row)) + row for row in rows], device=model.device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=model.device)
    places, training = (mask.cumsum(1) - 1).clamp(min=0), model.training
    model.eval()
    logits = model(input_ids=ids, attention_mask=mask, position_ids=places, logits_to_keep=1).logits[:, -1].float()
    model.train(training)
    return {"thinks_first": 1 - logits.softmax(-1)[:, _openings(tokenizer)].sum(1).mean().item()}


@lru_cache(maxsize=1)  # it is asked after every step, and vocabularies are large
def _openings(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens that `OPENING` may begin with, whole or in part."""
    pieces = enumerate(tokenizer.batch_decode([[i] for i in range(len(tokenizer))]))
    return [i for i, piece in pieces if piece and (piece.startswith(OPENING) or OPENING.startswith(piece))]
