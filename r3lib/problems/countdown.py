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
invalid_equation (division by zero), missed_target. Numbers are checked before anything is evaluated, so the problem
bounds the work, not the answer. Text is never run as code, and none makes a function here raise.

Not here: given numbers below zero, other notations (x, ×, ^, LaTeX), answers without tags, partial credit.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache

from r3lib.prompts import COUNTDOWN_REFLECT, COUNTDOWN_TASK
from r3lib.tasks import Task, Verdict

MAX_LENGTH = 256  # characters of an equation; four numbers need about 25, and int() may be set to refuse 641
OPEN, CLOSE = "<answer>", "</answer>"
SPACE = " \t\r\n"
INTEGER = re.compile(r"0|[1-9][0-9]*")  # not \d, which takes the digits of every script; 07 is two numbers: 0 and 7
CORRECT = Verdict(True, "correct", "The equation uses each number exactly once and reaches the target.")

SPELLINGS = {"×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", r"\times": "*", r"\cdot": "*", r"\div": "/"}
HINTS = {"*": "multiply with *", "/": "divide with /", "-": "subtract with -"}
HINTS |= {"=": "write only the left side, without '= result'", ",": "write one equation and nothing beside it"}
HINTS |= {".": "only whole numbers are given", **dict.fromkeys("^!%", "only + - * / are allowed")}

SIGN = "(-"  # the name of a minus after "(" on the operator stack
PRECEDENCE = {"(": 0, "+": 1, "-": 1, SIGN: 1, "*": 2, "/": 2}
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, SIGN: lambda a, _: -a}
OPERATIONS["/"] = lambda a, b: Fraction(a, b) if a % b else a // b  # exact; whole quotients as int, which is fast


@lru_cache(maxsize=4096)
def parse(shape: str) -> tuple | str:
    """The steps that evaluate an equation, or the reason why it is none.

    shape: the equation with 0 for each number; shapes recur, and the cache makes them cheap. A step (operation, i, j)
    sets number i to operation(number i, number j); after the last, number 0 is the value. This is the shunting-yard
    algorithm: its stacks are lists, so no nesting exhausts Python's.
    """
    steps, operands, operators, previous = [], [], ["("], "("  # as if the whole equation stood in parentheses

    def reduce_to(precedence: int) -> None:
        while PRECEDENCE[operators[-1]] >= precedence:
            symbol = operators.pop()
            right = operands[-1] if symbol == SIGN else operands.pop()
            steps.append((OPERATIONS[symbol], operands[-1], right))

    for at, char in enumerate(shape):
        if char in SPACE:
            continue
        after_value = previous in "0)"
        if char == "0" and not after_value:
            operands.append(shape[:at].count("0"))
        elif char == "(" and not after_value:
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
            operators.append(SIGN)
        else:
            return _misplaced(char, previous, shape[at - 1])
        previous = char
    if previous not in "0)":
        return "The equation stops where a number must follow."
    reduce_to(1)
    return tuple(steps) if len(operators) == 1 else "A '(' is never closed."


def _misplaced(char: str, previous: str, neighbour: str) -> str:
    """Why `char` cannot follow `previous`, with or without space between them; `neighbour` stands right before it."""
    if char == "0":
        side_by_side = "Two numbers stand side by side: write an operator between them."
        return "Numbers are written without leading zeros." if neighbour == "0" else side_by_side
    if char not in "+-*/()":
        hint = HINTS.get(SPELLINGS.get(char, char), "use the digits 0 to 9, + - * / and parentheses only")
        # repr: a lone surrogate or a NUL in the reason would break the file or terminal it is written to
        return f"{char!r} is not part of an equation: {hint}."
    if previous == "(":
        return f"{char!r} cannot stand at the start of the equation or right after '('."
    if char == "(":
        return "A '(' needs an operator before it: multiply with *."
    return f"{char!r} cannot follow {previous!r}: a number must stand between them."


def _wrong_numbers(given: list[int], used: list[int]) -> Verdict:
    left_out, extra = [], list(used)
    for number in given:
        if number in extra:
            extra.remove(number)
        else:
            left_out.append(number)
    faults = [("leaves out {}", left_out), ("uses {} without a given number for it", extra)]
    said = " and ".join(fault.format(", ".join(map(str, numbers))) for fault, numbers in faults if numbers)
    return Verdict(False, "wrong_numbers", f"Each given number must be used exactly once; the equation {said}.")


def judge(equation: str, numbers: list[int], target: int) -> Verdict:
    """The verdict on an equation without tags."""
    if len(equation) > MAX_LENGTH:
        return Verdict(False, "invalid_equation", f"The answer is longer than {MAX_LENGTH} characters.")
    if isinstance(steps := parse(INTEGER.sub("0", equation)), str):
        return Verdict(False, "invalid_equation", steps)
    values = list(map(int, INTEGER.findall(equation)))
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
    """Judge a response: the paper's reward for Countdown (section 4.2); where the paper is silent, the rule is ours."""
    if not isinstance(response, str):
        return Verdict(False, "no_answer", "The response is not text.")
    # three plain searches: a regular expression with .*? takes quadratic time on many unclosed tags
    _, opened, rest = response.rpartition(CLOSE)[0].rpartition(OPEN)
    if not opened:
        return Verdict(False, "no_answer", f"The response has no {OPEN} that is closed by {CLOSE}.")
    if not (equation := rest.partition(CLOSE)[0].strip(SPACE)):
        return Verdict(False, "no_answer", "Nothing stands between the answer tags.")
    return judge(equation, numbers, target)


RUN = re.compile(r"[-0-9+*/(][-0-9+*/() \t]*")
# where a run holds two values side by side, as in "1) 34 + 2", one equation ends and another may begin
SEAM = re.compile(r"(?<=[0-9)])[ \t]*(?=\()|(?<=\))[ \t]*(?=[0-9])|(?<=[0-9])[ \t]+(?=[0-9])")
SIGNS = "+-*/ \t"


def contains_answer(problem: dict, text: str) -> bool:
    """Whether a text gives an accepted equation away: the leak check on reflections (the paper does not have it).

    Every longest stretch of digits, operators, parentheses and spaces is judged, without what belongs to the sentence
    (a list's dash, Markdown's stars, a remark's parenthesis), and × and LaTeX's \\times count as *. A solution told in
    steps or in words is not found.
    """
    return any(_answers(problem, text))


def redact(problem: dict, text: str) -> str:
    """The text with "…" for every answer that `contains_answer` finds (the leak ablation); itself if there is none."""
    while answer := next(_answers(problem, text), None):
        text = _spelled(text).replace(answer, "…")
    return text


def _spelled(text: str) -> str:
    for spelling, sign in SPELLINGS.items():
        text = text.replace(spelling, sign)
    return text


def _answers(problem: dict, text: str) -> Iterator[str]:
    """The accepted equations, as they stand in `_spelled(text)`. A minus before one may be its own or a list's dash."""
    numbers, target = problem["numbers"], problem["target"]
    for piece in (piece.rstrip(SIGNS) for run in RUN.findall(_spelled(text)) for piece in SEAM.split(run)):
        if len(piece) >= 2 * len(numbers) - 1:  # room for a digit for each number and an operator between each two
            readings = sorted({_balanced(piece), _balanced(piece.lstrip(SIGNS))})
            yield from (reading for reading in readings if judge(reading, numbers, target).ok)


def _balanced(piece: str) -> str:
    """Without the parentheses at the ends that have no partner: those of the sentence around the equation."""
    surplus = piece.count("(") - piece.count(")")
    first, last = max(surplus, 0), len(piece) + min(surplus, 0)
    return piece[:first].lstrip("(") + piece[first:last] + piece[last:].rstrip(")")


def _verify(problem: dict, text: str) -> Verdict:
    return verify(text, problem["numbers"], problem["target"])


TASK = Task("countdown", COUNTDOWN_TASK.format_map, _verify, contains_answer, COUNTDOWN_REFLECT, redact=redact)
