"""Evaluation and its controls with scripted replies, and outcomes on disk."""

from __future__ import annotations

import dataclasses
import json

import pytest

from r3lib import evaluate as module
from r3lib import prompts
from r3lib.conversation import SPANS
from r3lib.evaluate import evaluate, shuffled
from r3lib.outcomes import RETRIES, Outcomes
from r3lib.problems.countdown import TASK

PROBLEMS = [{"numbers": [i, 10, 20], "target": 30 + i} for i in range(1, 5)]
RIGHT = [f"<answer>{i} + 10 + 20</answer>" for i in range(1, 5)]
BAD = "<answer>10 + 20</answer>"
REFLECTIONS = ["I left out a number.", "The sum 3 + 10 + 20 is it.", "I am sorry."]
# attempts of all four, then for the three that failed: reflections, then own, blind, again and generic retries, the
# redacted retry of the second, whose reflection alone has something to redact, and last the shuffled retries
REPLIES = [
    [RIGHT[0], "2 + 10 + 20 will do.", BAD, "<answer>4 + 10 - 20</answer>"],
    REFLECTIONS,
    [RIGHT[1], BAD, BAD],
    [BAD, RIGHT[2], BAD],
    [BAD, RIGHT[2], RIGHT[3]],
    [BAD, BAD, RIGHT[3]],
    [RIGHT[2]],
    [RIGHT[1], RIGHT[2], BAD],
]


@pytest.fixture
def scripted_run(tiny, small, scripted):
    """(outcomes, what was in the transcripts after each reply) of the script above."""
    seen = scripted(module, REPLIES)
    return evaluate(*tiny, TASK, PROBLEMS, small, 1.0), seen


# one evaluation, known by hand


def test_retries_count_a_right_first_try(scripted_run):
    outcomes, _ = scripted_run
    assert outcomes.right == {
        "first": [1, 0, 0, 0],
        "lenient": [1, 1, 0, 0],  # the second is right but for its tags
        "second": [1, 1, 0, 0],
        "blind": [1, 0, 1, 0],
        "again": [1, 0, 1, 1],
        "generic": [1, 0, 0, 1],
        "shuffled": [1, 1, 1, 0],
        "redacted": [1, 1, 1, 0],  # the own retry but for the second
    }
    assert outcomes.rate("first") == 0.25 and outcomes.rate("shuffled") == 0.75


def test_kinds_leaks_and_lengths(scripted_run, tiny):
    outcomes, _ = scripted_run
    assert outcomes.kinds == {
        "first": ["correct", "no_answer", "wrong_numbers", "missed_target"],
        "second": ["correct", "correct", "wrong_numbers", "wrong_numbers"],
    }
    assert outcomes.leak == [None, 0, 1, 0]
    assert outcomes.reflection_tokens == [None, *(len(tiny[1](text)["input_ids"]) for text in REFLECTIONS)]


def test_tokens_are_those_that_each_arm_sampled(scripted_run, tiny):
    """A reflection costs its arm; words that were put there cost nothing."""
    outcomes, _ = scripted_run

    def count(texts: list[str]) -> int:
        return sum(len(tiny[1](text)["input_ids"]) for text in texts)

    own, reflections = count(REPLIES[2]), count(REFLECTIONS)
    sampled = dict(zip(("blind", "again", "generic", "redacted", "shuffled"), map(count, REPLIES[3:])))
    sampled["redacted"] += count([RIGHT[1], BAD])  # where nothing was cut, the own retry stands
    assert outcomes.tokens == {"first": count(REPLIES[0]), "second": own + reflections, **sampled}


def test_examples_are_the_failed_conversations(scripted_run):
    outcomes, _ = scripted_run
    assert [e["attempt"] for e in outcomes.examples] == REPLIES[0][1:]
    example = outcomes.examples[1]
    assert "leaves out 3" in example.pop("why")
    assert example == {
        "task": TASK.ask(PROBLEMS[2]),
        "attempt": BAD,
        "reflection": REFLECTIONS[1],
        "retry": BAD,
        "verdict": "wrong_numbers",
    }


def test_controls_follow_the_same_failed_attempt(scripted_run):
    """Every retry's tokens begin with the prompt and the wrong answer of its own row, whatever came between."""
    _, ((_, attempts), *later) = scripted_run
    failed = [t.ids for t in attempts[1:]]
    assert len(later) == 7
    for number, (_, transcripts) in enumerate(later):
        expected = failed[1:2] if number == 5 else failed  # redacted
        assert [t.ids[: t.spans["attempt"][1]] for t in transcripts] == expected


def test_controls_differ_in_the_reflection_only(scripted_run, tiny):
    tokenizer = tiny[1]
    _, (_, _, own, blind, again, generic, redacted, other) = scripted_run

    def said(arm, span: str) -> list[str]:
        return [tokenizer.decode(t.tokens(span), skip_special_tokens=True).strip() for t in arm[1]]

    assert all(tuple(t.spans) == SPANS for arm in (own, generic, other, redacted) for t in arm[1])
    assert said(own, "reflection") == REFLECTIONS
    assert said(generic, "reflection") == [prompts.GENERIC_REFLECTION] * 3
    assert sorted(said(other, "reflection")) == sorted(REFLECTIONS)
    assert all(a != b for a, b in zip(said(other, "reflection"), REFLECTIONS))
    assert said(own, "retry_prompt") == said(generic, "retry_prompt") == said(other, "retry_prompt")
    assert all(TASK.ask(p) in text for p, text in zip(PROBLEMS[1:], said(own, "retry_prompt")))
    assert said(redacted, "reflection") == ["The sum … is it."]
    assert said(again, "retry_prompt") == said(own, "retry_prompt")
    for arm in (blind, again):
        assert all(tuple(t.spans) == ("prompt", "attempt", "retry_prompt", "retry") for t in arm[1])
    for problem, text in zip(PROBLEMS[1:], said(blind, "retry_prompt")):
        assert "Your answer was wrong" in text and TASK.ask(problem) in text


def test_the_seed_decides_whose_reflection_is_shuffled_in(tiny, small, scripted):
    tokenizer, given = tiny[1], set()
    for seed in (0, 4):
        seen = scripted(module, REPLIES)
        assert len(evaluate(*tiny, TASK, PROBLEMS, small, 1.0, seed, examples=2).examples) == 2
        told = [tokenizer.decode(t.tokens("reflection")) for t in seen[-1][1]]
        assert told == shuffled([*zip(PROBLEMS[1:], REFLECTIONS)], seed)
        given.add(tuple(told))
    assert len(given) == 2


def test_batches_keep_the_order_of_the_problems(tiny, small, scripted):
    """Two batches of two, one of them solved at once: it asks for no retries. Nothing to redact: no such retry."""
    scripted(module, [[BAD, RIGHT[1]], ["Sorry."], [RIGHT[0]], [BAD], [BAD], [BAD], [RIGHT[2], RIGHT[3]], [BAD]])
    outcomes = evaluate(*tiny, TASK, PROBLEMS, dataclasses.replace(small, rollout_batch_size=2), 1.0)
    assert outcomes.right["first"] == [0, 1, 1, 1] and outcomes.right["second"] == [1, 1, 1, 1]
    assert outcomes.right["blind"] == [0, 1, 1, 1]


# the real model


def test_the_real_model_repeats_with_its_seed(nano, small, problems):
    """r3-nano through all arms: no arm below the first try on any problem; same seed, same outcomes and texts."""
    one, same, other = (evaluate(*nano, TASK, problems, small, 1.0, seed) for seed in (1, 1, 2))
    assert one == same
    assert one.examples != other.examples
    assert all(len(bits) == len(problems) for bits in one.right.values())
    assert all(later >= first for arm in RETRIES for first, later in zip(one.right["first"], one.right[arm]))


@pytest.mark.parametrize("size", [1, 3])
def test_outcomes_do_not_depend_on_the_batch(nano, small, problems, size):
    """Neither verdicts nor texts nor counts of tokens, shuffled reflections included."""
    whole, parts = (
        evaluate(*nano, TASK, problems, dataclasses.replace(small, rollout_batch_size=n, reflection_tokens=40), 1.0, 4)
        for n in (8, size)
    )
    assert whole == parts and sum(whole.right["first"]) < len(problems) - 1


def test_the_order_of_the_problems_decides_nothing(nano, small, problems):
    forth, back = (evaluate(*nano, TASK, rows, small, 1.0, 4) for rows in (problems, problems[::-1]))
    assert {arm: bits[::-1] for arm, bits in back.right.items()} == forth.right
    assert back.reflection_tokens[::-1] == forth.reflection_tokens and back.tokens == forth.tokens


def test_the_shuffled_retry_follows_the_tokens_of_the_attempt(nano, small, problems, monkeypatch):
    """Those that were written, end of turn included: another split of the same text is another conversation."""
    written, given, reply, put = [], [], module.Conversation.reply, module.Conversation.put

    def replying(self, span, *asked):
        texts = reply(self, span, *asked)
        written.extend(t.tokens("attempt") for t in self.transcripts if span == "attempt")
        return texts

    def putting(self, words, span):
        given.extend(words if span == "attempt" else [])
        put(self, words, span)

    monkeypatch.setattr(module.Conversation, "reply", replying)
    monkeypatch.setattr(module.Conversation, "put", putting)
    evaluate(*nano, TASK, problems, small, 1.0)
    assert len(given) > 1 and all(ids in written for ids in given)


def test_retries_are_sampled_at_the_temperature(nano, small, problems, monkeypatch):
    """Every message of an evaluation: none is greedy, none is cut at another message's length."""
    asked = []
    real = module.Conversation.reply

    def reply(self, span, max_new_tokens, temperature):
        asked.append((span, max_new_tokens, temperature))
        return real(self, span, max_new_tokens, temperature)

    monkeypatch.setattr(module.Conversation, "reply", reply)
    lengths = dataclasses.replace(small, attempt_tokens=7, reflection_tokens=11, retry_tokens=9, temperature=0.3)
    evaluate(*nano, TASK, problems, lengths, 0.8)
    assert {(span, length) for span, length, _ in asked} == {("attempt", 7), ("reflection", 11), ("retry", 9)}
    assert {temperature for *_, temperature in asked} == {0.8}


def test_outcomes_survive_their_file(scripted_run):
    outcomes, _ = scripted_run
    assert Outcomes.from_json(json.loads(json.dumps(outcomes.to_json()))) == outcomes


# shuffled reflections


@pytest.mark.parametrize("n", [2, 3, 5, 40])
def test_shuffled_reflections_are_somebody_elses(n):
    own = [({"number": i}, f"reflection {i}") for i in range(n)]
    for seed in range(20):
        out = shuffled(own, seed)
        assert sorted(out) == sorted(text for _, text in own) and all(a != b for a, (_, b) in zip(out, own))


def test_shuffling_depends_on_the_seed():
    own = [({"number": i}, str(i)) for i in range(12)]
    assert shuffled(own, 1) == shuffled(own, 1) != shuffled(own, 2)


def test_shuffling_does_not_depend_on_the_order_of_the_problems():
    own = [({"number": i}, str(i)) for i in range(12)]
    given = dict(zip((text for _, text in own), shuffled(own, 1)))
    assert dict(zip((text for _, text in own[::-1]), shuffled(own[::-1], 1))) == given


def test_a_lone_reflection_is_replaced_by_the_generic_sentence():
    assert shuffled([({}, "mine")], 0) == [prompts.GENERIC_REFLECTION]
