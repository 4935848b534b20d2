"""The Countdown verifier: is the equation in an answer right, yes or no, and if not, why? Standard library only.

The rule, all of it:

- The answer is what the last `<answer>` that is closed holds, up to the first `</answer>` after it. Tags: lower case.
- It is an equation's left side: whole numbers without leading zeros, `+ - * /`, parentheses, spaces, tabs and line
  breaks, at most MAX_LENGTH characters. Digits are 0 to 9 only. A minus may also stand at the start or right after `(`;
  nowhere else do two operators stand side by side. Products need their `*`. "34+2=36" is refused.
- Each given number is used exactly once, and no other number.
- Its exact rational value equals the target. Divisions need not come out whole; `*` and `/` bind before `+` and `-`,
  equals group from the left. A division by zero has no value: an invalid equation.

The first part that an answer fails gives its kind: no_answer, invalid_equation (grammar), wrong_numbers,
invalid_equation (division by zero), missed_target. Nothing is evaluated before its numbers are known to be the given
ones, so the problem bounds the work, not the answer. Text is never run as code.

Not here: given numbers below zero, other notations (x, ×, ^, LaTeX), answers without tags, partial credit.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import lru_cache

from r3lib import prompts
from r3lib.tasks import Task, Verdict

MAX_LENGTH = 256  # characters of an equation; four numbers need about 25
OPEN, CLOSE = "<answer>", "</answer>"
SPACE = " \t\r\n"
INTEGER = re.compile(r"(0|[1-9][0-9]*)")  # not \d, which takes the digits of every script; 07 is two numbers: 0 and 7
CORRECT = Verdict(True, "correct", "The equation uses each number exactly once and reaches the target.")

Value = int | Fraction
Step = tuple[Callable[[Value, Value], Value], int, int]


def divide(a: Value, b: Value) -> Value:
    """Exact quotient; an int where it comes out whole, because ints are fast. Raises ZeroDivisionError."""
    return Fraction(a, b) if a % b else a // b


def negate(a: Value, _: Value) -> Value:
    return -a


LEADING_MINUS = "(-"  # its name on the operator stack: a minus after "("
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": divide, LEADING_MINUS: negate}
PRECEDENCE = {"(": 0, "+": 1, "-": 1, LEADING_MINUS: 1, "*": 2, "/": 2}

HINTS = {
    "=": "write only the left side, without '= result'",
    "×": "multiply with *",
    "·": "multiply with *",
    "÷": "divide with /",
    "−": "subtract with -",
    "–": "subtract with -",
    ".": "only whole numbers are given",
    ",": "write one equation and nothing beside it",
    "^": "only + - * / are allowed",
    "!": "only + - * / are allowed",
    "%": "only + - * / are allowed",
}


@lru_cache(maxsize=4096)
def parse(gaps: tuple[str, ...]) -> tuple[Step, ...] | str:
    """The steps that evaluate an equation, or the reason why it is none.

    gaps: the text before, between and after the numbers, so that "(34 - 2) * 6" and "(5 - 1) * 7" are one parse:
    ("(", " - ", ") * ", ""). Equations of the same shape are common and the cache makes them cheap.

    Returns: steps (operation, i, j) in order; each sets number i to operation(number i, number j), and in the end
    number 0 is the value. This is the shunting-yard algorithm: its stacks are lists, so no nesting exhausts Python's.
    """
    steps: list[Step] = []
    operands: list[int] = []
    operators = ["("]  # as if the whole equation stood in parentheses
    previous = "("

    def reduce_to(precedence: int) -> None:
        while PRECEDENCE[operators[-1]] >= precedence:
            symbol = operators.pop()
            right = operands[-1] if symbol == LEADING_MINUS else operands.pop()
            steps.append((OPERATIONS[symbol], operands[-1], right))

    for index, gap in enumerate(gaps):
        for char in gap:
            if char in SPACE:
                continue
            after_value = previous in ("number", ")")
            if char == "(" and not after_value:
                operators.append(char)
            elif char == ")" and after_value:
                reduce_to(1)
                operators.pop()
                if not operators:
                    return "A ')' has no '(' before it."
            elif char in "+-*/" and after_value:
                reduce_to(PRECEDENCE[char])
                operators.append(char)
            elif char == "-" and previous == "(":
                operators.append(LEADING_MINUS)
            else:
                return _misplaced(char, previous)
            previous = char
        if index < len(gaps) - 1:
            if previous in ("number", ")"):
                return (
                    "Two numbers stand side by side: write an operator between them."
                    if gap
                    else "Numbers are written without leading zeros."
                )
            operands.append(index)
            previous = "number"
    if previous not in ("number", ")"):
        return "The equation stops where a number must follow."
    reduce_to(1)
    return tuple(steps) if len(operators) == 1 else "A '(' is never closed."


def _misplaced(char: str, previous: str) -> str:
    if char not in "+-*/()":
        hint = HINTS.get(char, "use the digits 0 to 9, + - * / and parentheses only")
        # repr: a lone surrogate or a NUL in the reason would break the file or terminal it is written to
        return f"{char!r} is not part of an equation: {hint}."
    if previous == "(":
        return f"{char!r} cannot stand at the start of the equation or right after '('."
    if char == "(":
        return "A '(' needs an operator before it: multiply with *."
    return f"{char!r} cannot follow {previous!r}: a number must stand between them."


def _wrong_numbers(given: list[int], used: list[int]) -> Verdict:
    extra, left_out = list(used), []
    for number in given:
        if number in extra:
            extra.remove(number)
        else:
            left_out.append(number)
    faults = []
    if left_out:
        faults.append(f"leaves out {', '.join(map(str, left_out))}")
    if extra:
        faults.append(f"uses {', '.join(map(str, extra))} without a given number for it")
    reason = f"Each given number must be used exactly once; the equation {' and '.join(faults)}."
    return Verdict(False, "wrong_numbers", reason)


def judge(equation: str, numbers: list[int], target: int) -> Verdict:
    """The verdict on an equation without tags. Raises nothing."""
    if len(equation) > MAX_LENGTH:
        return Verdict(False, "invalid_equation", f"The answer is longer than {MAX_LENGTH} characters.")
    parts = INTEGER.split(equation)
    steps = parse(tuple(parts[::2]))
    if isinstance(steps, str):
        return Verdict(False, "invalid_equation", steps)
    # int() takes quadratic time and refuses long texts; MAX_LENGTH lies below the strictest limit that can be set, 640
    values: list[Value] = [int(number) for number in parts[1::2]]
    if sorted(values) != sorted(numbers):
        return _wrong_numbers(numbers, values)
    try:
        for operation, i, j in steps:
            values[i] = operation(values[i], values[j])
    except ZeroDivisionError:
        return Verdict(False, "invalid_equation", "The equation divides by zero, so it has no value.")
    if values[0] != target:
        return Verdict(False, "missed_target", f"The equation gives {values[0]}, not the target {target}.")
    return CORRECT


def verify(response: str, numbers: list[int], target: int) -> Verdict:
    """Judge a response to "using these numbers, create an equation that equals the target" (rule: see the module).

    The paper's reward for Countdown (section 4.2) is this yes or no; where the paper is silent, the rule is ours.

    Returns: Verdict whose kind is correct, no_answer, invalid_equation, wrong_numbers or missed_target.
    Raises: nothing, whatever `response` is.
    """
    if not isinstance(response, str):
        return Verdict(False, "no_answer", "The response is not text.")
    # three plain searches: a regular expression with .*? takes quadratic time on many unclosed tags
    start = response.rfind(OPEN, 0, max(response.rfind(CLOSE), 0))
    if start < 0:
        return Verdict(False, "no_answer", f"The response has no {OPEN} that is closed by {CLOSE}.")
    start += len(OPEN)
    equation = response[start : response.find(CLOSE, start)].strip(SPACE)
    if not equation:
        return Verdict(False, "no_answer", "Nothing stands between the answer tags.")
    return judge(equation, numbers, target)


RUN = re.compile(r"[-0-9+*/(][-0-9+*/() \t]*")
# where a run holds two values side by side, as in "1) 34 + 2", one equation ends and another may begin
SEAM = re.compile(r"(?<=[0-9)])[ \t]*(?=\()|(?<=\))[ \t]*(?=[0-9])|(?<=[0-9])[ \t]+(?=[0-9])")
SIGNS = "+-*/ \t"
SPELLINGS = {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", r"\times": "*", r"\cdot": "*", r"\div": "/"}


def contains_answer(problem: dict, text: str) -> bool:
    """Whether a text gives an accepted equation away: the leak check on reflections (the paper does not have it).

    Every longest stretch of digits, operators, parentheses and spaces is judged as an answer, without the signs at its
    ends that belong to the sentence (a list's dash, Markdown's stars, a remark's parenthesis). Unlike `verify` it reads
    × and LaTeX's \\times, as a reader would. A solution told in steps or in words is not found. Raises nothing.
    """
    return any(_answers(problem, _spelled(text)))


def redact(problem: dict, text: str) -> str:
    """The text with "…" for every accepted equation in it (the leak ablation); the steps that led there stay.

    What counts as one is what `contains_answer` finds. A text without one is returned as it is. Raises nothing.
    """
    plain = _spelled(text)
    if not (found := next(_answers(problem, plain), None)):
        return text
    while found:
        plain = plain.replace(found, "…")
        found = next(_answers(problem, plain), None)
    return plain


def _spelled(text: str) -> str:
    for spelling, sign in SPELLINGS.items():
        text = text.replace(spelling, sign)
    return text


def _answers(problem: dict, text: str) -> Iterator[str]:
    """The accepted equations in a text, as they stand there."""
    numbers, target = problem["numbers"], problem["target"]
    shortest = 2 * len(numbers) - 1  # a digit for each number and an operator between each two
    for run in RUN.findall(text):
        for piece in SEAM.split(run):
            if len(piece) >= shortest:
                yield from (c for c in sorted(_candidates(piece)) if judge(c, numbers, target).ok)


def _candidates(piece: str) -> set[str]:
    """A stretch without the signs around it; a leading minus may be the equation's own, so both readings are given."""
    piece = piece.rstrip(SIGNS)
    return {_balanced(piece), _balanced(piece.lstrip(SIGNS))}


def _balanced(piece: str) -> str:
    """Without the parentheses at the ends that have no partner: those of the sentence around the equation."""
    surplus = piece.count("(") - piece.count(")")
    opening, closing = len(piece) - len(piece.lstrip("(")), len(piece) - len(piece.rstrip(")"))
    return piece[min(max(surplus, 0), opening) : len(piece) - min(max(-surplus, 0), closing)]


def _ask(problem: dict) -> str:
    return prompts.COUNTDOWN_TASK.format(**problem)


def _verify(problem: dict, text: str) -> Verdict:
    return verify(text, problem["numbers"], problem["target"])


TASK = Task("countdown", _ask, _verify, contains_answer, prompts.COUNTDOWN_REFLECT, redact=redact)
