"""The third task: instructions about form, their verifier, its hacks, the splits."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r3lib.files import DATA, read_jsonl
from r3lib.problems import instructions
from r3lib.problems.instructions import TASK, contains_answer, redact, splits, verify

LIST = {"kind": "list", "n": 3, "topic": "fish"}
WORDS = {"kind": "words", "n": 8, "topic": "a dog"}
SENTENCES = {"kind": "sentences", "n": 2, "topic": "the sun"}
SIZES = {"train": 400, "validation": 120, "test": 500}


@pytest.mark.parametrize(
    "problem, text, kind",
    [
        (LIST, "1. cod\n2. herring\n3. tuna", "correct"),
        (LIST, "1) cod\n\n2) herring\n3) tuna.\n", "correct"),
        (LIST, "Here is the list:\n1. cod\n2. herring\n3. tuna", "extra_text"),
        (LIST, "1. cod\n2. herring\n3. tuna\nI hope this helps!", "extra_text"),
        (LIST, "cod\nherring\ntuna", "extra_text"),
        (LIST, "1. cod 2. herring 3. tuna", "wrong_count"),
        (LIST, "1. cod\n2. herring", "wrong_count"),
        (LIST, "1. cod\n2. herring\n3. tuna\n4. salmon", "wrong_count"),
        (LIST, "1. cod\n1. herring\n1. tuna", "wrong_numbering"),
        (LIST, "1. cod\n2. Cod.\n3. tuna", "repeated"),
        (WORDS, "A dog is a loyal friend.", "correct"),
        (WORDS, "A dog is a loyal friend of man and woman.", "too_long"),
        (WORDS, "A dog is loyal. It barks.", "wrong_count"),
        (WORDS, "It is a loyal friend.", "topic_missing"),
        (WORDS, "A dog is a loyal friend", "unfinished"),
        (WORDS, "A dog!", "too_short"),
        (WORDS, "", "no_answer"),
        (SENTENCES, "The sun is hot. It gives light.", "correct"),
        (SENTENCES, 'Is the sun hot? "It is hot!"', "correct"),
        (SENTENCES, "The sun is hot.", "wrong_count"),
        (SENTENCES, "The sun is hot. The sun is hot.", "repeated"),
        (SENTENCES, "The sun is hot. It gives light. And", "unfinished"),
        (SENTENCES, "The sun is hot. Yes.", "too_short"),
    ],
)
def test_verdicts(problem, text, kind):
    found = verify(problem, text)
    assert found.kind == kind and found.ok == (kind == "correct") and found.reason.endswith(".")


@given(text=st.text(max_size=200) | st.text("123.)\n !?ab", max_size=200))
@settings(deadline=None, max_examples=200, database=None)
def test_no_text_breaks_the_verifier_or_the_leak_check(text):
    for problem in (LIST, WORDS, SENTENCES):
        assert isinstance(verify(problem, text).ok, bool)
        assert not contains_answer(problem, redact(problem, text)) or "…" not in redact(problem, text)


def test_a_long_text_is_judged_soon():
    for text in ("1. a\n" * 20_000, "The sun is hot. " * 20_000, "." * 100_000):
        began = time.monotonic()
        for problem in (LIST, WORDS, SENTENCES):
            verify(problem, text)
        assert time.monotonic() - began < 2
    assert not verify(None and LIST or LIST, None).ok


def test_an_answer_inside_a_reflection_is_a_leak_and_can_be_cut_out():
    text = "I forgot the numbers. I should have written:\n1. cod\n2. herring\n3. tuna\nNext time I will."
    assert contains_answer(LIST, text)
    assert redact(LIST, text) == "I forgot the numbers. I should have written:\n…\nNext time I will."
    assert not contains_answer(LIST, "I forgot to number the lines.")
    assert contains_answer(WORDS, "My sentence was too long. A dog is a loyal friend. I will be short.")
    assert contains_answer(SENTENCES, "I wrote one. The sun is hot. It gives light.")
    assert not contains_answer(SENTENCES, "I wrote too much.")


def test_the_committed_problems_are_those_of_the_recipe_and_share_no_topic():
    made, topics = splits(0, SIZES), {}
    for name, size in SIZES.items():
        rows = read_jsonl(DATA / "instructions" / f"{name}.jsonl")
        assert rows == made[name] and len(rows) == size == len({TASK.ask(row) for row in rows})
        assert {row["kind"] for row in rows} == set(instructions.NUMBERS)
        topics[name] = {row["topic"].split()[-1] for row in rows}
    assert not topics["train"] & topics["test"] and not topics["validation"] & (topics["train"] | topics["test"])
