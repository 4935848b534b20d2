"""The Countdown verifier: is the equation in an answer right, yes or no, and if not, why? Standard library only.

The rule, all of it:

- What stands before the last `</think>` is thinking and never the answer. If what is left begins with `<think>`, the
  thinking is unfinished, and there is no answer.
- An `</answer>` and the nearest `<answer>` before it, with no other `</answer>` between them, are a pair. The answer is
  what the last pair with a digit in it holds; where none has a digit, what the last pair holds. (A pair without one is
  a mention: "I put it in <answer> </answer> tags".) Tags: lower case.
- It is an equation's left side: whole numbers without leading zeros, `+ - * /`, parentheses, spaces, tabs and line
  breaks, of any length. Digits are 0 to 9 only. A minus may also stand at the start or right after `(`; nowhere else do
  two operators stand side by side. Products need their `*`. "34+2=36" is refused.
- Each given number is used exactly once, and no other number.
- Its exact rational value equals the target. Divisions need not come out whole; `*` and `/` bind before `+` and `-`,
  equals group from the left. A division by zero has no value: an invalid equation.

The first part that an answer fails gives its kind: no_answer, invalid_equation (grammar), wrong_numbers,
invalid_equation (division by zero), missed_target. Numbers are checked before anything is evaluated, so the problem
bounds the arithmetic, not the answer; all else takes time linear in the text. Text is never run as code, and none makes
a function here raise.

Not here: given numbers below zero, other notations (x, ×, LaTeX: the leak check reads them), answers without tags,
partial credit.
"""

from __future__ import annotations

import operator
import re
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import count, islice
from typing import NamedTuple

from r3lib.prompts import COUNTDOWN_REFLECT, COUNTDOWN_TASK
from r3lib.tasks import Task, Verdict

OPEN, CLOSE = "<answer>", "</answer>"
THINK, THINK_END = "<think>", "</think>"
SPACE = " \t\r\n"
DIGIT = re.compile(r"\d")
INTEGER = re.compile(r"0|[1-9][0-9]*")  # not \d, which takes the digits of every script; 07 is two numbers: 0 and 7
CORRECT = Verdict(True, "correct", "The equation uses each number exactly once and reaches the target.")

SPELLINGS = dict.fromkeys(("×", "·", "⋅", "∗", "✕", "✖", "x", "X", r"\times", r"\cdot", r"\ast"), "*")
SPELLINGS |= dict.fromkeys(("÷", "∕", "⁄", r"\div"), "/") | dict.fromkeys("−–‐‑‒﹣", "-")
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
    places = count()
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
            operands.append(next(places))
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


def _wrong_numbers(given: list[str], used: list[str]) -> Verdict:
    left_out, extra = Counter(given) - Counter(used), Counter(used) - Counter(given)
    faults = [("leaves out {}", left_out), ("uses {} without a given number for it", extra)]
    said = " and ".join(fault.format(_listed(numbers)) for fault, numbers in faults if numbers)
    return Verdict(False, "wrong_numbers", f"Each given number must be used exactly once; the equation {said}.")


def _listed(numbers: Counter[str]) -> str:
    first = [number if len(number) <= 40 else number[:40] + "…" for number in islice(numbers.elements(), 11)]
    return ", ".join(first if len(first) < 11 else [*first[:10], "…"])


def judge(equation: str, numbers: list[int], target: int) -> Verdict:
    """The verdict on an equation without tags."""
    shape = INTEGER.sub("0", equation)
    steps = parse(shape) if len(shape) < 200 else parse.__wrapped__(shape)  # long texts would fill the cache's memory
    if isinstance(steps, str):
        return Verdict(False, "invalid_equation", steps)
    used = INTEGER.findall(equation)
    if sorted(used) != sorted(map(str, numbers)):  # compared as text: int() refuses a text of more than 4300 digits
        return _wrong_numbers(list(map(str, numbers)), used)
    values = list(map(int, used))
    try:
        for operation, i, j in steps:
            values[i] = operation(values[i], values[j])
    except ZeroDivisionError:
        return Verdict(False, "invalid_equation", "The equation divides by zero, so it has no value.")
    if (value := values[0]) != target:
        is_long = (value.numerator * value.denominator).bit_length() > 200  # str() has the limit of int()
        said = "a number of more than 60 digits" if is_long else value
        return Verdict(False, "missed_target", f"The equation gives {said}, not the target {target}.")
    return CORRECT


def verify(response: str, numbers: list[int], target: int) -> Verdict:
    """Judge a response: the paper's reward for Countdown (section 4.2); where the paper is silent, the rule is ours."""
    if not isinstance(response, str):
        return Verdict(False, "no_answer", "The response is not text.")
    text = response.rpartition(THINK_END)[2]
    if text.lstrip(SPACE).startswith(THINK):
        return Verdict(False, "no_answer", f"The thinking is never closed by {THINK_END}, so no answer was given.")
    # plain searches: a regular expression with .*? takes quadratic time on many unclosed tags
    pairs = [part.rpartition(OPEN)[2] for part in text.split(CLOSE)[:-1] if OPEN in part]
    if not pairs:
        return Verdict(False, "no_answer", f"The response has no {OPEN} that is closed by {CLOSE}.")
    answer = next(filter(DIGIT.search, reversed(pairs)), pairs[-1])
    if not (equation := answer.strip(SPACE)):
        return Verdict(False, "no_answer", "Nothing stands between the answer tags.")
    return judge(equation, numbers, target)


# full-width forms as plain ones, a character for a character, so that places stay
PLAIN = dict(zip(range(0xFF01, 0xFF5F), range(0x21, 0x7F)))
SIGNS = SPELLINGS | {sign: sign for sign in "+-*/()"} | {"\\" + sign: sign for sign in "+-*/"}
SIGNS |= dict.fromkeys(("[", "{", r"\(", r"\[", r"\{"), "(") | dict.fromkeys(("]", "}", r"\)", r"\]", r"\}"), ")")
SIGNS |= dict.fromkeys("^²³", "^") | {"**": "**", r"\\": "\n"}
# a number; a line's end; what says nothing (space, Markdown's bold, the size of a LaTeX bracket); a fraction; the rest
TOKEN = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]+)*)|(?P<line>\s*\n\s*)"
    r"|(?P<nothing>\s+|[$`_&\u200b]|\\[,;:! ]|\\(?:displaystyle|boxed|q?quad|left|right|[bB]igg?[lr]?)(?![A-Za-z])"
    r"|(?<![0-9)\]}*])\*\*(?=[^\s*])|(?<=[^\s*])\*\*(?![0-9(\[{*]))"
    r"|(?P<over>\}\s*\{)|(?P<frac>\\[dt]?frac\s*\{)|\\[a-zA-Z]+|\\?\*\*?|\\?[-+/()\[\]{}\\]|[^\W\d_]+|."
)
ITEM = re.compile(r"\s*[-+*·–−][ \t]")
BEGINNING = re.compile(r"-?(?:\(-?)*")  # of an equation, read from right to left
# brackets around what the other signs connect, so that a fraction's bar binds before them
BARS = str.maketrans({sign: f"){sign}(" for sign in "+-*/"} | {"(": "((", ")": "))", "|": "/"})


def contains_answer(problem: dict, text: str) -> bool:
    """Whether a text gives an accepted equation away: the leak check on reflections (the paper does not have it).

    Signs count as a reader takes them: x, ×, ÷, dashes, LaTeX's commands and fractions, any bracket, products without a
    sign, full-width forms; spaces, single line breaks, $, backticks and bold are overlooked. An equation begins and
    ends where no sign connects it with another number (at "=", at words, at an item of a list, in "1) 34 + 2"), and
    what belongs to the sentence is left out: a list's dash, a remark's bracket. A solution told in steps or in words is
    not found.
    """
    return any(_answers(problem, text))


def redact(problem: dict, text: str) -> str:
    """The text with "…" for every answer that `contains_answer` finds (the leak ablation); itself if there is none."""
    while spans := list(_answers(problem, text)):
        out, last = "", 0
        for start, end in spans:
            if start >= last:
                out += text[last:start] + "…"
            last = max(last, end)
        text = out + text[last:]
    return text


class Gap(NamedTuple):
    """What stands between two numbers."""

    joint: str | None  # the signs, if they connect the numbers
    closing: str | None  # the brackets of an equation that ends here, if one can
    opening: str | None  # the brackets and minus signs of an equation that begins here, if one can


def _gap(head: str | None, tail: str) -> Gap:
    """head, tail: the signs before the first word and after the last; without a word, None and all signs."""
    first = (tail if head is None else head).replace("\n", "")
    rest = first.lstrip(")")
    closing, signed = first[: len(first) - len(rest)], rest != "" and rest[0] != "("
    if head is None and signed and not tail.lstrip(")").startswith("\n"):
        return Gap(first, None, None)
    # a sign that begins a line goes on with an equation, or is a list's; side by side, two values are a product, or two
    # equations
    joint = first if signed else f"{closing}*{rest}" if first and "\n" not in tail else None
    opening = BEGINNING.match((rest if head is None else tail.replace("\n", ""))[::-1])[0][::-1]
    return Gap(joint if head is None else None, None if rest.startswith("^") else closing, opening)


def _read(text: str) -> tuple[list[re.Match], list[Gap]]:
    """The numbers of a text, and the gaps before, between and after them."""
    numbers, gaps, known, head, tail, listed = [], [], {}, "", "", bool(ITEM.match(text))
    for token in TOKEN.finditer(text):
        kind, sign = token.lastgroup, SIGNS.get(token[0])
        if kind == "number":
            numbers.append(token)
            if (head, tail) not in known:
                known[head, tail] = _gap(head, tail)
            gaps.append(known[head, tail])
            head, tail = None, ""
            continue
        if kind == "line":  # a sign and a space begin an item of a list, or go on with the equation of the line before
            apart = token[0].count("\n") > 1
            listed = bool(ITEM.match(text, token.end())) and (listed or apart or head is not None)
            sign = None if listed or apart else "\n"
        elif kind:
            sign = {"over": ")|(", "frac": "(", "nothing": ""}[kind]
        if sign is None:
            head, tail = tail if head is None else head, ""
        else:
            tail += sign
    return numbers, [*gaps, _gap(tail if head is None else head, "")]


def _answers(problem: dict, text: str) -> Iterator[tuple[int, int]]:
    """Where the accepted equations stand. A minus before one may be its own or a list's dash."""
    wanted = sorted(map(str, problem["numbers"]))
    numbers, gaps = _read(text := text.translate(PLAIN))
    starts, ends = [*(n.start() for n in numbers), len(text)], [0, *(n.end() for n in numbers)]  # of the gaps
    connected = 0  # the first number that joints connect with the last
    for last, number in enumerate(numbers):
        if gaps[last].joint is None:
            connected = last
        first = last + 1 - len(wanted)
        if not connected <= first <= last:
            continue
        opening, closing, used = gaps[first].opening, gaps[last + 1].closing, numbers[first : last + 1]
        if opening is None or closing is None or sorted(n[0] for n in used) != wanted:
            continue
        inner = used[0][0] + "".join(gap.joint + n[0] for gap, n in zip(gaps[first + 1 : last + 1], used[1:]))
        surplus = opening.count("(") + inner.count("(") - inner.count(")") - len(closing)
        opening = "(".join(opening.split("(")[max(surplus, 0) :])  # brackets without a partner are the sentence's
        closing = closing[: len(closing) + min(surplus, 0)]
        for reading in (opening.lstrip("-"), opening):
            piece = reading + inner + closing
            if "|" in piece:
                piece = f"({piece.translate(BARS)})"
            if judge(piece, problem["numbers"], problem["target"]).ok:
                before, after = (_signs(text, ends[gap], starts[gap]) for gap in (first, last + 1))
                yield [*before, used[0]][-1 - len(reading)].start(), [number, *after][len(closing)].end()
                break


def _signs(text: str, start: int, end: int) -> list[re.Match]:
    """The signs of a gap, as they stand. The number after it is seen, too: what stars mean depends on it."""
    tokens = (token for token in TOKEN.finditer(text, start, end + 1) if token.lastgroup != "nothing")
    return [token for token in tokens if token.lastgroup in ("over", "frac") or SIGNS.get(token[0], "\n") != "\n"]


def _verify(problem: dict, text: str) -> Verdict:
    return verify(text, problem["numbers"], problem["target"])


TASK = Task("countdown", COUNTDOWN_TASK.format_map, _verify, contains_answer, COUNTDOWN_REFLECT, redact=redact)
