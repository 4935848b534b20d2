"""Reflections before and after: pairs, counts in them, and the tokens that training moved."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from peft import get_peft_model

from r3lib import models
from r3lib.conversation import Transcript
from r3lib.measure.reflections import (
    Reflected,
    choice_and_content,
    measures,
    moved,
    names_error,
    reflect,
    template,
)
from r3lib.pages import show
from r3lib.problems.countdown import TASK

PROBLEM = {"numbers": [34, 2, 6], "target": 192}
ANSWER = "<answer>34 + 2 + 6</answer>"


def told(text: str, right: bool = False) -> Reflected:
    transcript = Transcript()
    transcript.add("reflection", list(range(len(text.split()))))
    return Reflected(PROBLEM, ANSWER, TASK.verify(PROBLEM, ANSWER), text, "", right, transcript)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("My equation gives 42, not 192.", True),
        ("I am sorry.", False),
        ("Not 192. I should use 34, 2 and 6.", False),  # the task tells these
        ("Let me try. 34 * 6 = 204, no.", False),
    ],
)
def test_the_error_is_named_by_what_only_the_verdict_tells(text, named):
    assert names_error(told(text)) == named


def test_measures_by_hand():
    found = [
        told("My equation gives 42."),
        told("My equation gives 43.", True),
        told("I am sorry."),
        told("Use (34 - 2) * 6.", True),
    ]
    out = measures(found, TASK)
    assert out["distinct"] == 1 and out["distinct_templates"] == 0.75 and out["top_template"] == 0.5
    assert out["leak"] == out["names_error"] == 0.25 and out["right"] == 0.5
    assert out["tokens_mean"] == pytest.approx((4 + 4 + 3 + 6) / 4) and out["tokens_median"] == 4


def test_templates_forget_numbers_and_quoted_words():
    assert template('"a" is 5, not "b".') == template('"x y" is 71, not "z".') != template("a is 5, not b.")


def side(kinds: str, hits: list[int]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([[*kinds]]), np.array([hits], float)


def test_a_gain_is_split_into_choice_and_content():
    failures = np.array([*"xxxxyyyy"])
    same = side("aabbaabb", [1, 0, 0, 0, 0, 0, 1, 0])
    assert choice_and_content(failures, same, same) == (0, 0)
    better = same[0], np.array([[1, 1, 0, 0, 0, 0, 1, 1]], float)
    assert choice_and_content(failures, same, better) == (0, 0.25)
    # x: a from 1/2 to all, right half the time either way; y: b, which the other side never wrote, has this side's rate
    chosen = side("aaaacccc", [1, 1, 0, 0, 1, 1, 1, 0])
    choice, content = choice_and_content(failures, same, chosen)
    assert choice + content == pytest.approx((chosen[1] - same[1]).mean())
    assert choice == pytest.approx(0.5 * (0.5 * 0.5) + 0.5 * (0.75 - 0.5 * 0.5)) and content == 0


def test_the_split_adds_up_whatever_is_drawn():
    rng = np.random.default_rng(0)
    for _ in range(20):
        failures = rng.choice([*"xyz"], 30)
        sides = [(rng.choice([*"abcd"], (3, 30)), rng.integers(2, size=(3, 30)).astype(float)) for _ in range(2)]
        assert sum(choice_and_content(failures, *sides)) == pytest.approx((sides[1][1] - sides[0][1]).mean())


@pytest.fixture(scope="module")
def adapted(nano, small):
    """r3-nano with an adapter that says something else than the base does."""
    torch.manual_seed(0)
    model = get_peft_model(copy.deepcopy(nano[0]), models.lora(small))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.1)
    return model.eval(), nano[1]


def test_pairs_are_of_the_same_failures(adapted, small, problems):
    model, tokenizer = adapted
    failures = [{"problem": p, "answer": f"<answer>{p['numbers'][0]} + 1</answer>"} for p in problems[:6]]
    before, after = (reflect(model, tokenizer, TASK, failures, small, trained) for trained in (False, True))
    for a, b, failure in zip(before, after, failures, strict=True):
        assert a.problem == b.problem == failure["problem"] and a.answer == b.answer == failure["answer"]
        assert a.transcript.tokens("prompt") == b.transcript.tokens("prompt") and not a.why.ok
    assert [a.reflection for a in before] != [b.reflection for b in after]
    again = reflect(model, tokenizer, TASK, failures, small, False)
    assert [a.reflection for a in before] == [a.reflection for a in again]
    assert [a.right for a in before] == [TASK.verify(a.problem, a.retry).ok for a in before]


def test_moved_is_the_difference_of_log_probabilities(adapted, small, problems):
    model, tokenizer = adapted
    failures = [{"problem": problems[0], "answer": ANSWER}]
    [one] = reflect(model, tokenizer, TASK, failures, small, True)
    start, end = one.transcript.spans["reflection"]
    ids = torch.tensor([one.transcript.ids[:end]])

    def logps() -> torch.Tensor:
        with torch.no_grad():
            scores = torch.log_softmax(model(ids).logits[0, start - 1 : end - 1].float(), -1)
        return scores[range(end - start), one.transcript.tokens("reflection")]

    after = logps()
    with model.disable_adapter():
        before = logps()
    torch.testing.assert_close(torch.tensor(moved(model, one.transcript)), after - before, atol=1e-4, rtol=1e-3)
    pieces = [tokenizer.decode([token]) for token in one.transcript.tokens("reflection")]
    view = show.moved(pieces, moved(model, one.transcript))
    assert view.html.count("<span") == len(pieces)


def test_moved_tokens_are_told_without_colour():
    view = show.moved(["I", " try", "<b>"], [0.2, 1.5, -2.0])
    assert view.text == "I try[+1.5]<b>[-2.0]"
    assert "&lt;b&gt;" in view.html and "underline" in view.html and "overline" in view.html
    with pytest.raises(ValueError, match="2 for 1"):
        show.moved(["I"], [1, 2])
