"""The exercises that can be checked: each solution passes, each stub and each typical mistake is told what is wrong."""

from __future__ import annotations

import doctest
import re

import pytest

from r3lib.pages import check, course

FOUND = {path.stem: course.exercises(path) for path in course.lessons()}
ALL = [exercise for found in FOUND.values() for exercise in found]
MISTAKES = [(e, *mistake) for e in ALL for mistake in e.mistakes]


def run(exercise: course.Exercise, code: str, capsys: pytest.CaptureFixture) -> str:
    """What the check prints of this code's function."""
    space: dict = {"__name__": "__main__"}
    exec(compile(code, exercise.name, "exec", dont_inherit=True), space)
    capsys.readouterr()
    getattr(check, exercise.name)(space[exercise.name])
    return capsys.readouterr().out


def by_name(value) -> str:
    return value.name if isinstance(value, course.Exercise) else ""


def test_there_are_enough_of_them_everywhere():
    assert len(ALL) >= 30 and all(len(found) >= 2 for found in FOUND.values())
    assert len({e.name for e in ALL}) == len(ALL)
    assert all(e.level in ("easy", "medium", "hard") and e.minutes > 0 for e in ALL)
    assert all(len(e.mistakes) >= 3 for e in ALL)
    assert max(len(line) for e in ALL for line in e.code.splitlines()) <= 100


@pytest.mark.parametrize("exercise", ALL, ids=by_name)
def test_the_solution_passes(exercise, capsys):
    assert re.fullmatch(r"passed: \d+ cases\n", run(exercise, exercise.solution, capsys))


@pytest.mark.parametrize("exercise", ALL, ids=by_name)
def test_the_stub_is_told_to_be_written(exercise, capsys):
    assert exercise.stub.count("raise NotImplementedError") == 1 and "SOLUTION" not in exercise.stub
    assert run(exercise, exercise.stub, capsys).startswith(f"not yet: {exercise.name} has no body;")


@pytest.mark.parametrize("exercise, old, new, told", MISTAKES, ids=by_name)
def test_a_typical_mistake_is_named(exercise, old, new, told, capsys):
    said = run(exercise, exercise.mistaken(old, new), capsys)
    assert said.startswith("not yet: for ") and told in said and said.count("\n") == 1, said


@pytest.mark.parametrize("exercise", ALL, ids=by_name)
def test_the_stub_says_what_goes_in_and_out_with_an_example_that_holds(exercise):
    space: dict = {"__name__": "__main__"}
    exec(compile(exercise.solution, exercise.name, "exec", dont_inherit=True), space)
    told = space[exercise.name].__doc__
    assert "Example" in told or ">>>" in told
    found = doctest.DocTestFinder().find(space[exercise.name], exercise.name, globs=space)
    runner = doctest.DocTestRunner(verbose=False)
    for one in found:
        runner.run(one)
    assert runner.failures == 0


def test_a_check_says_one_sentence_whatever_it_is_given(capsys):
    def stops(*_):
        raise KeyError("x" * 500)

    for given, told in (
        (0.5, "not yet: hand over the function itself, without brackets, not 0.5."),
        (stops, "stops with KeyError ('xxx"),
        (lambda first, second: None, "returns None instead of 0.5: one right try of the two is enough."),
        (lambda first, second: "0.5", "returns '0.5' instead of 0.5:"),
        (lambda first, second: [0.5], "returns [0.5] instead of 0.5:"),
    ):
        check.second_try_rate(given)
        said = capsys.readouterr().out
        assert told in said and said.count("\n") == 1 and len(said) < 400, said


def test_a_function_cannot_change_the_next_case(capsys):
    def clears(first, second):
        share = sum(one or bool(other) for one, other in zip(first, second)) / len(first)
        first.clear()
        return share

    check.second_try_rate(clears)
    assert capsys.readouterr().out.startswith("passed")
