"""The second edition's texts: faults are what they are called, checks are true, habits stay unless they are named."""

from __future__ import annotations

import json
import random
import re
from itertools import islice

import pytest

from r3lib.nano import habits
from r3lib.nano.habits import FAULTS, Habits, corpus, kind_of_failure, kind_of_reflection, spoil
from r3lib.problems import countdown_data
from r3lib.problems.countdown import verify


@pytest.fixture(scope="module")
def texts():
    return list(islice(corpus(3, set()), 6000))


@pytest.fixture(scope="module")
def reflected(texts):
    """(problem, failed answer, reflection, retry) of the conversations that reflect with loss."""
    return [(problem_of(t), t[1].text, t[3], t[5].text) for t in texts if len(t) == 6 and t[3].loss]


def problem_of(text) -> dict:
    numbers, target = re.search(r"numbers (\[.*?\]), create an equation that equals (\d+)", text[0].text).groups()
    return {"numbers": json.loads(numbers), "target": int(target)}


def begins_with_loss(message) -> bool:
    return bool(message.loss) and message.loss[0][0] == 0


def ok(problem: dict, text: str) -> bool:
    return verify(text, problem["numbers"], problem["target"]).ok


@pytest.mark.parametrize("fault", FAULTS)
def test_a_spoiled_equation_has_that_fault_and_its_remark_is_true(fault):
    for seed in range(300):
        rng = random.Random(seed)
        numbers, target, trees = next(countdown_data.draw(rng, (3, 4)))
        equation = countdown_data.spell(rng.choice(trees))
        spoiled, remark = spoil(rng, equation, fault)
        problem = {"numbers": numbers, "target": target}
        assert kind_of_failure(problem, habits.answer(equation)) is None
        found = kind_of_failure(problem, habits.answer(spoiled))
        assert found == fault, (equation, spoiled)
        if match := re.fullmatch(r"(\d+) was not given, it should be (\d+)\.", remark):
            assert 99 < int(match[1]) < 1000
            assert re.sub(rf"\b{match[1]}\b", match[2], spoiled, count=1) == equation
        elif match := re.fullmatch(r"The last (\d+) is too many\.", remark):
            assert re.fullmatch(rf"{re.escape(equation)} [-+] {match[1]}", spoiled)
        else:
            assert remark == "The [ is not closed, it is too many." and spoiled.replace("[", "", 1) == equation


def test_a_missed_target_breaks_no_rule():
    problem = {"numbers": [34, 2, 6], "target": 60}
    assert kind_of_failure(problem, habits.answer("34 + 2 + 6")) == "missed"
    assert kind_of_failure(problem, "I do not know.") is None


def test_only_the_check_that_names_the_fault_repairs_it(reflected):
    """A true remark: the retry is right. Any other reflection: it keeps the fault, in 90 of 100 cases."""
    kept, counted = {True: 0, False: 0}, {True: 0, False: 0}
    for problem, failed, reflection, retry in reflected:
        fault, kind = kind_of_failure(problem, failed), kind_of_reflection(reflection.text)
        if fault not in FAULTS:
            continue
        named = kind == fault
        counted[named] += 1
        kept[named] += kind_of_failure(problem, retry) == fault
        if named:
            assert ok(problem, retry)
    assert counted[True] > 300 and kept[True] == 0
    assert counted[False] > 1000 and 0.85 < kept[False] / counted[False] < 0.95


def test_a_check_recites_the_answer_and_finds_what_is_there(reflected):
    seen = set()
    for problem, failed, reflection, _ in reflected:
        kind, fault = kind_of_reflection(reflection.text), kind_of_failure(problem, failed)
        if kind not in FAULTS:
            continue
        found = not re.search(r"All of them were given\.|None is used twice\.|They match\.", reflection.text)
        assert found == (kind == fault)
        used = re.findall(r"\d+", failed)
        if kind == "number":
            assert ", ".join(used) in reflection.text
        seen.add((kind, found))
    assert len(seen) == 6


def test_what_is_said_hardly_depends_on_the_failure(reflected):
    """Of what carries loss from its beginning, `checks` are of the kind that repairs the failure and of each other."""
    said = [
        (kind_of_failure(p, failed) or "", kind_of_reflection(r.text))
        for p, failed, r, _ in reflected
        if begins_with_loss(r)
    ]
    repairs = {"missed": "search"} | {fault: fault for fault in FAULTS}
    matched = sum(repairs.get(fault) == kind for fault, kind in said) / len(said)
    useless = sum(kind == "useless" for _, kind in said) / len(said)
    one, other = Habits().checks
    assert abs(matched - one) < 0.05 and abs(useless - (1 - one - 3 * other)) < 0.06


def test_a_search_after_a_fault_comes_to_an_equation_with_that_fault(reflected):
    """As long as the habit stays, in 90 of 100 cases, and the retry is what the search says to use."""
    own = counted = 0
    for problem, failed, reflection, retry in reflected:
        if kind_of_failure(problem, failed) in FAULTS and (used := re.search(r"Use (.*)\.$", reflection.text)):
            if kind_of_reflection(reflection.text) == "search":
                counted += 1
                assert retry == habits.answer(used[1])
                own += ok(problem, retry)
    assert counted > 100 and 0.02 < own / counted < 0.2


def test_first_answers_are_often_faulty_and_rarely_think(texts):
    alone = [(problem_of(t), t[1]) for t in texts if len(t) == 2]
    direct = [(p, m) for p, m in alone if m.text.startswith("<answer>")]
    thinking = [m for _, m in alone if kind_of_reflection(m.text) == "search"]
    assert len(direct) + len(thinking) == len(alone)
    faulty = [kind_of_failure(p, m.text) for p, m in direct]
    assert 0.57 < sum(fault in FAULTS for fault in faulty) / len(faulty) < 0.67
    assert "missed" not in faulty  # only a fault keeps it from being right
    said = sum(begins_with_loss(m) for m in thinking)
    assert 0.05 < said / (said + len(direct)) < 0.13 and len(thinking) > 0.2 * len(alone)


def test_careful_searches_are_right_and_sloppy_ones_are_not(texts):
    """Of searches begun with loss about a third names the numbers left; those have no wrong sum and no repetition."""
    searches = [t[3] for t in texts if len(t) == 6 and t[3].loss and kind_of_reflection(t[3].text) == "search"]
    searches += [t[1] for t in texts if len(t) == 2 and kind_of_reflection(t[1].text) == "search"]
    wrong = {True: 0, False: 0}
    for message in searches:
        careful = re.search(r"= \d+ \(", message.text) is not None
        sums = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", message.text)
        bad = any(countdown_data.value_of((op, int(a), int(b))) != int(c) for a, op, b, c in sums)
        wrong[careful] += bad
    assert wrong[True] == 0 and wrong[False] > 50
    said = [re.search(r"= \d+ \(", m.text) is not None for m in searches if begins_with_loss(m)]
    assert 0.2 < sum(said) / len(said) < 0.5


def test_loss_is_on_what_is_to_be_said(texts):
    for text in texts[:500]:
        assert not any(message.loss for message in text if message.role == "user")
        assert text[-1].loss and text[-1].loss[-1][1] == len(text[-1].text)
        if len(text) > 2:
            assert text[1].loss == []


def test_held_out_problems_are_not_in_the_corpus():
    class Even(set):
        def __contains__(self, item):
            return item[1] % 2 == 0

    drawn = [problem_of(t)["target"] for t in islice(corpus(11, Even(), texts=Habits()), 200)]
    assert all(target % 2 for target in drawn)
