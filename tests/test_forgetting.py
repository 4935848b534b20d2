"""lm-evaluation-harness for real, on a tiny slice of the task files that the kit brings."""

from __future__ import annotations

import math

import pytest
import torch

from r3lib.conversation import Conversation, prompt_ids
from r3lib.files import DATA, read_jsonl
from r3lib.machine.profiles import profile
from r3lib.measure import forgetting
from r3lib.problems import countdown
from r3lib.problems.splits import problems

SLICE = 4


@pytest.fixture(scope="module")
def judged(nano):
    return forgetting.judge(*nano, profile("nano"), ("r3_countdown", "r3_text"), limit=SLICE, batch_size=2)


def test_first_tries_are_those_of_the_kit(judged, nano):
    """Greedy, through the harness's own generation: the verdicts that the kit's own loop gets."""
    found, setting = judged["r3_countdown"], profile("nano")
    asked = problems(countdown.TASK, "test", SLICE)
    talk = Conversation(*nano, SLICE)
    talk.start([prompt_ids(nano[1], countdown.TASK.messages(p)) for p in asked])
    texts = talk.reply("attempt", setting.attempt_tokens, 0)
    assert found["samples"] == [int(countdown.TASK.verify(p, t).ok) for p, t in zip(asked, texts)]
    assert found["n"] == SLICE and found["value"] == pytest.approx(sum(found["samples"]) / SLICE)
    assert found["stderr"] is not None and found["higher_is_better"]


def test_the_likelihood_of_held_out_text_is_the_models(judged, nano):
    """Bits a byte of the first document, by a plain forward over its tokens."""
    model, tokenizer = nano
    text = read_jsonl(DATA / "harness" / "held_out-r3-nano-2.jsonl")[0]["text"]
    ids = [tokenizer.eos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        scores = torch.log_softmax(model(torch.tensor([ids])).logits[0, :-1].float(), -1)
    nats = scores[range(len(ids) - 1), ids[1:]].sum().item()
    assert judged["r3_text"]["samples"][0] == pytest.approx(-nats / math.log(2) / len(text.encode()), rel=1e-3)
    assert 0 < judged["r3_text"]["value"] < 3 and not judged["r3_text"]["higher_is_better"]


def test_the_table_pairs_by_document(judged):
    worse = {name: dict(one, samples=list(one["samples"])) for name, one in judged.items()}
    worse["r3_text"]["samples"] = [x + 0.5 for x in worse["r3_text"]["samples"]]
    lines = forgetting.table([judged], [worse]).splitlines()
    assert "+0.00 [+0.00, +0.00]" in lines[2] and "accuracy, %" in lines[2]
    assert "+0.5000 [+0.5000, +0.5000]" in lines[3] and f"| {SLICE} |" in lines[3] and "±" in lines[2]
    both = forgetting.table([judged, judged], [judged, worse]).splitlines()  # half the change
    assert "+0.2500 [" in both[3] and "±" not in both[2]


@pytest.mark.parametrize("name", forgetting.SHIPPED)
def test_held_out_texts_are_those_that_the_recipe_gives(name):
    stored = [row["text"] for row in read_jsonl(DATA / "harness" / f"held_out-{name}.jsonl")]
    assert len(set(stored)) == len(stored) == forgetting.DOCUMENTS
    assert forgetting.held_out(name, 3) == stored[:3]
