"""The Countdown verifier, its leak check, and the problem generator, against independent arithmetic: Python's own
parser (`ast`) with fractions, and brute force over all equations."""

from __future__ import annotations

import ast
import itertools
import random
import re
import time
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from r3lib import prompts
from r3lib.nano import corpus
from r3lib.problems import countdown_data as data
from r3lib.problems.countdown import TASK, contains_answer, verify
from r3lib.tasks import Verdict

KINDS = {"correct", "no_answer", "invalid_equation", "wrong_numbers", "missed_target"}
PYTHON_OPERATORS = {
    ast.Add: Fraction.__add__,
    ast.Sub: Fraction.__sub__,
    ast.Mult: Fraction.__mul__,
    ast.Div: Fraction.__truediv__,
}
quick = settings(deadline=None, max_examples=150, database=None)


def tagged(equation: str) -> str:
    return f"<answer>{equation}</answer>"


def fraction_of(equation: str) -> Fraction:
    """Value of an equation by Python's grammar, cut down to the rule's. Raises SyntaxError, ZeroDivisionError."""
    text = re.sub(r"[ \t\r\n]+", " ", equation).strip()
    if re.search(r"(?<![0-9])0[0-9]", text):
        raise SyntaxError("leading zero")

    def is_allowed(node: ast.AST) -> bool:
        if isinstance(node, ast.UnaryOp):
            return isinstance(node.op, ast.USub) and text[: node.col_offset].rstrip()[-1:] in ("", "(")
        if isinstance(node, ast.BinOp):
            return type(node.op) in PYTHON_OPERATORS
        return type(getattr(node, "value", None)) is int or isinstance(node, (ast.operator, ast.unaryop))

    def value(node: ast.expr) -> Fraction:
        if isinstance(node, ast.Constant):
            return Fraction(node.value)
        if isinstance(node, ast.UnaryOp):
            return -value(node.operand)
        return PYTHON_OPERATORS[type(node.op)](value(node.left), value(node.right))

    tree = ast.parse(text, mode="eval").body
    if not all(map(is_allowed, ast.walk(tree))):  # all of it before anything is divided
        raise SyntaxError(ast.dump(tree))
    return value(tree)


def reference(equation: str, numbers: list[int], target: int) -> str:
    """The kind that the rule gives to what stands between the tags; only for texts of digits, + - * / ( ) and space."""
    if not equation.strip():
        return "no_answer"
    division_by_zero, value = False, None
    try:
        value = fraction_of(equation)
    except SyntaxError:
        return "invalid_equation"
    except ZeroDivisionError:
        division_by_zero = True
    if Counter(map(int, re.findall("[0-9]+", equation))) != Counter(numbers):
        return "wrong_numbers"
    if division_by_zero:
        return "invalid_equation"
    return "correct" if value == target else "missed_target"


def all_values(numbers: tuple, whole: bool) -> set[Fraction]:
    """Values of all equations over the numbers, negative ones included: brute force unlike `reachable`'s."""
    if len(numbers) == 1:
        return {Fraction(numbers[0])}
    values = set()
    for i, j in itertools.permutations(range(len(numbers)), 2):
        a, b = Fraction(numbers[i]), Fraction(numbers[j])
        rest = tuple(n for k, n in enumerate(numbers) if k not in (i, j))
        for value in (a + b, a - b, a * b, *([a / b] if b else [])):
            if not whole or value.denominator == 1:
                values |= all_values((value, *rest), whole)
    return values


def leaves(node: data.Node) -> list[int]:
    return [node] if isinstance(node, int) else leaves(node[1]) + leaves(node[2])


def random_equation(rng: random.Random, numbers: list[int]) -> str:
    parts = [str(n) for n in rng.sample(numbers, len(numbers))]
    while len(parts) > 1:
        i = rng.randrange(len(parts) - 1)
        joined = parts[i] + rng.choice(("", " ")) + rng.choice("+-*/") + rng.choice(("", " ")) + parts[i + 1]
        parts[i : i + 2] = [f"({joined})" if rng.random() < 0.6 else joined]
    return rng.choice(("", "", "", "-")) + parts[0]


# --- right answers, in many spellings ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "equation",
    [
        "(34 - 2) * 6",
        "(34-2)*6",
        "6*(34-2)",
        "  6 * ( 34 - 2 )  ",
        "((34 - 2)) * (6)",
        "((((34-2)*6)))",
        "\n(34 - 2)\n* 6\n",
        "\t(34\t-\t2)*6",
        "\r\n(34-2)*6",
        "-(2 - 34) * 6",
        "(-2 + 34) * 6",
        "6 * (-(2 - 34))",
        "-(-((34 - 2) * 6))",
        "(34 - (2)) * 6",
        "6*((34)-(2))",
    ],
)
def test_right_answers_in_many_spellings(equation):
    assert verify(tagged(equation), [34, 2, 6], 192)[:2] == (True, "correct")


@pytest.mark.parametrize(
    "equation, numbers, target",
    [
        ("8 / (3 - 8 / 3)", [3, 3, 8, 8], 24),  # a step that is not whole; floating point gives 23.99…
        ("1 / 3 * 3 * 10", [1, 3, 3, 10], 10),
        ("100 / 10 / 2", [2, 10, 100], 5),  # equals group from the left
        ("100 - 50 - 20", [20, 50, 100], 30),
        ("12 / 4 * 3", [3, 4, 12], 9),
        ("2 + 3 * 4", [2, 3, 4], 14),
        ("0 + 7 + 3", [7, 0, 3], 10),
        ("(-3 + 5) * 7", [5, 3, 7], 14),
        ("5 + 5 + 5 + 5", [5, 5, 5, 5], 20),
        ("1 + 10", [10, 1], 11),
        ("99999999999999999999 - 99999999999999999989", [99999999999999999989, 99999999999999999999], 10),
    ],
)
def test_exact_arithmetic(equation, numbers, target):
    assert verify(tagged(equation), numbers, target).ok


# --- the hacks of shared knowledge (style: verifier hacks seen in the field), and their kin ----------------------


@pytest.mark.parametrize(
    "equation, numbers, target, kind",
    [
        # what a character filter and eval let through
        ("2**3", [2, 3], 8, "invalid_equation"),
        ("2 * * 3", [2, 3], 6, "invalid_equation"),
        ("7//2", [7, 2], 3, "invalid_equation"),
        ("7 / / 2", [7, 2], 3, "invalid_equation"),
        ("3.5*2", [3, 5, 2], 7, "invalid_equation"),
        ("3.*2", [3, 2], 6, "invalid_equation"),
        (".5*20", [5, 20], 10, "invalid_equation"),
        ("8/3", [8, 3], 3, "missed_target"),
        ("9999999 / 10000000 * 10", [9999999, 10000000, 10], 10, "missed_target"),  # a near miss within 1e-5
        ("10000000000000001 - 1", [10000000000000001, 1], 10000000000000001, "missed_target"),  # equal as floats
        ("1 + 1 / 10000000000000000", [1, 1, 10000000000000000], 1, "missed_target"),  # equal as floats
        ("9**9**9", [9, 9, 9], 81, "invalid_equation"),
        ("9*9*" * 60 + "9", [9], 9, "wrong_numbers"),
        ("9*9*" * 300_000 + "9", [9], 9, "wrong_numbers"),
        ("(" * 100_000 + "5" + ")" * 100_001, [5], 5, "invalid_equation"),
        ("(" * 100_000, [5], 5, "invalid_equation"),
        ("-" * 100_000 + "5", [5], 5, "invalid_equation"),
        ("9" * 5_000, [9], 9, "wrong_numbers"),  # int() raises above 4300 digits
        # what a symbolic parser lets through
        ("sqrt(9)", [9], 3, "invalid_equation"),
        ("4!", [4], 24, "invalid_equation"),
        ("max(3*8, 5)", [3, 8, 5], 24, "invalid_equation"),
        ("abs(3-8)", [3, 8], 5, "invalid_equation"),
        ("12 # + 3", [12, 3], 12, "invalid_equation"),
        ("12 /* 3 */", [12, 3], 12, "invalid_equation"),
        ("12 + 0x3", [12, 3], 15, "invalid_equation"),
        ("0x10", [16], 16, "invalid_equation"),
        ("0b11", [3], 3, "invalid_equation"),
        ("0o17", [15], 15, "invalid_equation"),
        ("1e3", [1, 3], 1000, "invalid_equation"),
        ("1_0", [10], 10, "invalid_equation"),
        ("3j*3", [3, 3], 9, "invalid_equation"),
        ("__import__('os').system('true')", [1, 2], 3, "invalid_equation"),
        ("print(1) or 1+2", [1, 2], 3, "invalid_equation"),
        ("(1,2)[1]", [1, 2], 2, "invalid_equation"),
        ("[1+2]", [1, 2], 3, "invalid_equation"),
        ("{1+2}", [1, 2], 3, "invalid_equation"),
        ("7 % 4", [7, 4], 3, "invalid_equation"),
        ("7 ^ 4", [7, 4], 3, "invalid_equation"),
        ("1 << 3", [1, 3], 8, "invalid_equation"),
        ("1 | 2", [1, 2], 3, "invalid_equation"),
        ("~1 + 5", [1, 5], 3, "invalid_equation"),
        ("2 == 2", [2, 2], 1, "invalid_equation"),
        ("True + 2", [2], 3, "invalid_equation"),
        # notation
        ("34+2=36", [34, 2], 36, "invalid_equation"),
        ("36=34+2", [34, 2], 36, "invalid_equation"),
        ("34+2=", [34, 2], 36, "invalid_equation"),
        ("2(3)", [2, 3], 6, "invalid_equation"),
        ("(2)3", [2, 3], 6, "invalid_equation"),
        ("(2)(3)", [2, 3], 6, "invalid_equation"),
        ("2 3", [2, 3], 23, "invalid_equation"),
        ("1 0 + 5", [10, 5], 15, "invalid_equation"),
        ("3 × 4", [3, 4], 12, "invalid_equation"),
        ("12 ÷ 4", [12, 4], 3, "invalid_equation"),
        ("12 − 4", [12, 4], 8, "invalid_equation"),
        ("12 – 4", [12, 4], 8, "invalid_equation"),
        ("3 x 4", [3, 4], 12, "invalid_equation"),
        (r"3 \times 4", [3, 4], 12, "invalid_equation"),
        ("²+3", [2, 3], 5, "invalid_equation"),
        ("3²", [3, 2], 9, "invalid_equation"),
        ("٣+2", [3, 2], 5, "invalid_equation"),
        ("1٣+2", [13, 2], 15, "invalid_equation"),
        ("３+2", [3, 2], 5, "invalid_equation"),
        ("½*4", [4], 2, "invalid_equation"),
        ("3\u00a0+ 2", [3, 2], 5, "invalid_equation"),
        ("\u00a03+2", [3, 2], 5, "invalid_equation"),  # at the ends, too: str.strip would take these two away
        ("3+2\x0b", [3, 2], 5, "invalid_equation"),
        ("3\u200b+2", [3, 2], 5, "invalid_equation"),
        ("3\x00+2", [3, 2], 5, "invalid_equation"),
        ("3\x0b+2", [3, 2], 5, "invalid_equation"),
        ("\ud800+2", [3, 2], 5, "invalid_equation"),
        ("03+2", [3, 2], 5, "invalid_equation"),
        ("00+2", [0, 2], 2, "invalid_equation"),
        ("07+2", [0, 7, 2], 9, "invalid_equation"),
        ("$3+2$", [3, 2], 5, "invalid_equation"),
        ("`3+2`", [3, 2], 5, "invalid_equation"),
        ("3+2.", [3, 2], 5, "invalid_equation"),
        ("3+2, 2+3", [3, 2], 5, "invalid_equation"),
        ("the equation is 3+2", [3, 2], 5, "invalid_equation"),
        # signs and parentheses
        ("+3+2", [3, 2], 5, "invalid_equation"),
        ("3 + -2", [3, 2], 1, "invalid_equation"),
        ("3 * -2", [3, 2], -6, "invalid_equation"),
        ("3 - -2", [3, 2], 5, "invalid_equation"),
        ("--3+2", [3, 2], 5, "invalid_equation"),
        ("3+", [3], 3, "invalid_equation"),
        ("3+2-", [3, 2], 5, "invalid_equation"),
        ("*3+2", [3, 2], 5, "invalid_equation"),
        ("()", [3, 2], 5, "invalid_equation"),
        ("3+2()", [3, 2], 5, "invalid_equation"),
        ("(3+2", [3, 2], 5, "invalid_equation"),
        ("3+2)", [3, 2], 5, "invalid_equation"),
        (")3+2(", [3, 2], 5, "invalid_equation"),
        ("(3+)2", [3, 2], 5, "invalid_equation"),
        ("3+2)+(1", [1, 2, 3], 6, "invalid_equation"),
        ("-", [3, 2], 5, "invalid_equation"),
        # numbers
        ("3+3", [3, 2], 6, "wrong_numbers"),
        ("3+2+2", [3, 2], 7, "wrong_numbers"),
        ("3", [3, 2], 3, "wrong_numbers"),
        ("36", [34, 2], 36, "wrong_numbers"),
        ("23", [2, 3], 23, "wrong_numbers"),
        ("3+2+0", [3, 2], 5, "wrong_numbers"),
        ("(3+2)*1", [3, 2], 5, "wrong_numbers"),
        ("5+5+10", [5, 10], 20, "wrong_numbers"),
        ("5+10", [5, 5, 10], 15, "wrong_numbers"),
        ("7/(4-4)", [3, 2], 5, "wrong_numbers"),  # before anything is evaluated
        # values
        ("7/(4-4)", [4, 4, 7], 7, "invalid_equation"),
        ("(4-4)/(7-7)", [4, 4, 7, 7], 0, "invalid_equation"),
        ("5/(1/2-2/4)", [1, 2, 2, 4, 5], 5, "invalid_equation"),  # the zero is a fraction
        ("7*(4-4)", [4, 4, 7], 7, "missed_target"),
        ("3-2", [3, 2], 5, "missed_target"),
        ("-3-2", [3, 2], 5, "missed_target"),
        ("2-3", [3, 2], 1, "missed_target"),
        ("7/2", [7, 2], 3, "missed_target"),
        ("7/2", [7, 2], 4, "missed_target"),
    ],
)
def test_hacks_and_mistakes(equation, numbers, target, kind):
    assert verify(tagged(equation), numbers, target)[:2] == (False, kind)


@pytest.mark.parametrize(
    "response, kind",
    [
        ("<answer>3+2</answer>", "correct"),
        ("I add: <answer>3+2</answer> is right.", "correct"),
        ("<answer>3*2</answer> no, <answer>3+2</answer>", "correct"),
        ("<answer>3+2</answer> no, <answer>3*2</answer>", "missed_target"),  # not the first
        ("<answer>3*2</answer>\n3+2", "missed_target"),  # not the last line
        ("<answer>3+2</answer> <answer>3*2", "correct"),  # the last one that is closed
        ("<answer>3+2</answer></answer>", "correct"),
        ("</answer><answer>3+2</answer>", "correct"),
        ("<answer><answer>3+2</answer></answer>", "correct"),
        ("<answer>3*2<answer>3+2</answer>", "correct"),
        ("<answer>3+2</answer>3*2</answer>", "correct"),
        # a pair without a digit is a mention, if another pair has one
        ("<answer>3+2</answer><answer></answer>", "correct"),
        ("<answer>3+2</answer> I put it in <answer> </answer> tags, or <answer> and </answer>.", "correct"),
        ("In <answer> </answer> tags: <answer>3+2</answer>", "correct"),
        ("<answer>3+2</answer> <answer>3*2</answer> <answer>so</answer>", "missed_target"),
        ("<answer>3+2</answer> <answer>٣+٢</answer>", "invalid_equation"),
        ("In <answer> </answer> tags: <answer>none</answer>", "invalid_equation"),
        ("<answer>none</answer> <answer> </answer>", "no_answer"),
        # thinking is no answer
        ("<think><answer>3+2</answer>", "no_answer"),
        (" \n<think>Or <answer>3+2</answer>?", "no_answer"),
        ("<think>Or <answer>3+2</answer>?</think>", "no_answer"),
        ("<think>Or <answer>3+2</answer>?</think> I do not know.", "no_answer"),
        ("<think>Or <answer>3*2</answer>?</think><answer>3+2</answer>", "correct"),
        ("Or <answer>3*2</answer>?</think><answer>3+2</answer>", "correct"),  # opened by the prompt
        ("Or <answer>3+2</answer>?</think>No.", "no_answer"),
        ("<think>a</think><think>b</think><answer>3+2</answer>", "correct"),
        ("<think>a</think><think><answer>3+2</answer>", "no_answer"),
        ("<answer>3+2</answer> <think>", "correct"),
        ("<answer> \n\t</answer>", "no_answer"),
        ("<answer>3+2", "no_answer"),
        ("3+2</answer>", "no_answer"),
        ("</answer>3+2<answer>", "no_answer"),
        ("<ANSWER>3+2</ANSWER>", "no_answer"),
        ("<answer >3+2</answer>", "no_answer"),
        ("<answer/>3+2</answer>", "no_answer"),
        ("&lt;answer&gt;3+2&lt;/answer&gt;", "no_answer"),
        ("<answer>3+2</answer", "no_answer"),
        ("3+2", "no_answer"),
        ("", "no_answer"),
        (None, "no_answer"),
        (5, "no_answer"),
        (b"<answer>3+2</answer>", "no_answer"),
        (["<answer>"], "no_answer"),
    ],
)
def test_which_answer_counts(response, kind):
    assert verify(response, [3, 2], 5).kind == kind


def test_long_equations_are_judged_as_short_ones():
    numbers = list(range(1, 101))
    right = " + ".join(map(str, numbers))
    deep = "(" * 5_000 + right + ")" * 5_000
    for equation in (right, deep, f"-(-{deep})", right.replace(" ", " " * 200)):
        assert verify(tagged(equation), numbers, 5050).ok
        assert verify(tagged(equation), numbers, 5051).kind == "missed_target"
        assert verify(tagged(equation), [*numbers[1:], 2], 5050).kind == "wrong_numbers"
        assert verify(tagged(equation[:-1] + "("), numbers, 5050).kind == "invalid_equation"
    assert verify(tagged(" " * 10_000 + "3+2"), [3, 2], 5).ok


def test_long_numbers_make_short_reasons():
    for equation in ("9" * 5_000, "+".join(["12345678901234567890"] * 5_000)):
        for numbers in ([9], list(range(200)), [10**4000] * 200):
            check_well_formed(verify(tagged(equation), numbers, 9))
    for text in ("*".join(["99"] * 5_000), "*".join(["99"] * 5_000) + "/98"):
        verdict = verify(tagged(text), list(map(int, re.findall("[0-9]+", text))), 9)
        assert verdict.kind == "missed_target"
        check_well_formed(verdict)


@pytest.mark.parametrize("unit", ["(", "9", "<answer>", "1+", "(1", "<answer>1</answer>", "<answer></answer>", "-("])
def test_a_megabyte_is_judged_in_a_blink(unit):
    text = unit * (1_000_000 // len(unit))
    for response in (text, tagged(text), f"<think>{text}", f"{text}</think>{tagged(text)}"):
        began = time.process_time()
        check_well_formed(verify(response, [1, 2, 3], 6))
        assert time.process_time() - began < 20


def test_reasons_teach():
    def reason(equation: str) -> str:
        return verify(tagged(equation), [34, 2, 6], 192).reason

    assert "38" in reason("34 - 2 + 6") and "192" in reason("34 - 2 + 6")
    assert "17/6" in reason("34 / 2 / 6")
    assert "leaves out 6" in reason("34 - 2") and "uses 7" in reason("34 - 2 + 7")
    assert "= result" in reason("34+2=36")
    assert "multiply with *" in reason("(34-2) × 6") and "multiply with *" in reason("6(34-2)")
    assert "side by side" in reason("(34-2)6") and "side by side" in reason("34 - 2 6")
    assert "divide with /" in reason("34 ÷ 2 + 6") and "subtract with -" in reason("34 − 2 + 6")
    assert "leading zeros" in reason("034 - 2 + 6")
    assert "never closed" in reason("(34 - 2 * 6") and "no '('" in reason("34 - 2) * 6")
    assert "zero" in verify(tagged("7/(4-4)"), [7, 4, 4], 1).reason


# --- nothing raises, nothing hangs -------------------------------------------------------------------------------

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates and NUL among them
TOKENS = [
    "0",
    "1",
    "2",
    "3",
    "34",
    "07",
    "99",
    "+",
    "-",
    "*",
    "/",
    "(",
    ")",
    " ",
    "\n",
    "**",
    "//",
    "=",
    ".",
    "×",
    "²",
    "٣",
    "\x00",
    "\ud800",
    "<answer>",
    "</answer>",
    "<ANSWER>",
    "e",
    "_",
    "<",
    "1" * 300,
    "(" * 300,
]
ARITHMETIC = ["1", "2", "3", "12", "0", "+", "-", "*", "/", "(", ")", " ", "\n"]


def check_well_formed(verdict: Verdict) -> None:
    assert isinstance(verdict, Verdict) and verdict.kind in KINDS and verdict.ok == (verdict.kind == "correct")
    verdict.reason.encode("utf-8")
    assert verdict.reason.endswith(".") and len(verdict.reason) < 1000


@quick
@given(any_text, st.lists(st.integers(0, 99), max_size=4), st.integers(-5, 200))
def test_any_text_gets_a_verdict(text, numbers, target):
    for response in (text, tagged(text)):
        check_well_formed(verify(response, numbers, target))
    assert contains_answer({"numbers": numbers, "target": target}, text) in (True, False)


@quick
@given(st.lists(st.sampled_from(TOKENS), max_size=30).map("".join))
def test_any_near_answer_gets_a_verdict(text):
    for response in (text, tagged(text)):
        check_well_formed(verify(response, [1, 2, 34], 36))
    assert contains_answer({"numbers": [1, 2, 34], "target": 36}, text) in (True, False)


@settings(quick, max_examples=600)
@given(st.lists(st.sampled_from(ARITHMETIC), max_size=12).map("".join), st.integers(-3, 15))
@example("1/0++1", 1)  # wrong grammar after a division by zero: the grammar is judged first
@example("1/0+2**2", 1)
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_any_arithmetic_agrees_with_python_and_fractions(equation, target):
    numbers = [int(n) for n in re.findall("[0-9]+", equation)]
    assert verify(tagged(equation), numbers, target).kind == reference(equation, numbers, target)
    assert verify(tagged(equation), [*numbers, 1], target).kind == reference(equation, [*numbers, 1], target)


@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_mutated_answers_agree_with_python_and_fractions():
    rng, seen = random.Random(0), Counter()
    for numbers, target, trees in itertools.islice(data.draw(rng), 60):
        for _ in range(40):
            equation = list(data.spell(rng.choice(trees)))
            for _ in range(rng.choice((1, 1, 1, 2, 4))):
                at = rng.randrange(len(equation) + 1)
                equation[at : at + rng.randrange(2)] = rng.choice(("", *"0123456789+-*/() "))
            text = "".join(equation)
            kind = reference(text, numbers, target)
            seen[kind] += 1
            assert verify(tagged(text), numbers, target).kind == kind, text
    assert all(seen[kind] > 20 for kind in KINDS - {"no_answer"}), seen  # the mutations reach every branch


def seconds(call, text: str) -> float:
    def once() -> float:
        start = time.process_time()
        call(text)
        return time.process_time() - start

    return min(once() for _ in range(3))


LEAK = {"numbers": [1, 2, 3], "target": 6}


@pytest.mark.parametrize(
    "call", [lambda t: verify(t, [1, 2, 3], 6), lambda t: contains_answer(LEAK, t)], ids=["verify", "contains_answer"]
)
@pytest.mark.parametrize(
    "unit",
    [
        "<answer>",
        "</answer>",
        "<answer></answer>",
        "<answer",
        "<answer>1</answer",
        "(",
        ")",
        "((1",
        " ",
        "1",
        "1 ",
        "1+",
        "- ",
        "1  (  ",
        "1\t\t",
        "\u2212",
        "\\times",
        "\\frac{",
        "}{",
        "**1",
        "1(",
        "1\n- ",
        "(1)(2)(3)",
        "1+2+3 ",
    ],
)
def test_time_grows_linearly(call, unit):
    """Eight times the text takes about eight times as long; a quadratic search would take 64 times."""
    small = unit * (16_000 // len(unit))
    floor = 2e-4  # below the timer's noise every ratio is met
    assert seconds(call, small * 8) < 28 * max(seconds(call, small), floor)
    inside = [tagged(small), tagged(small * 8)]
    assert seconds(call, inside[1]) < 28 * max(seconds(call, inside[0]), floor)


# --- against the brute-force solver ------------------------------------------------------------------------------


def test_every_equation_of_the_solver_is_correct():
    rng = random.Random(1)
    for size, count in ((2, 20), (3, 20), (4, 1)):
        for _ in range(count):
            numbers = [rng.randint(1, 99) for _ in range(size)]
            for value, trees in data.reachable(numbers).items():
                for text in {data.spell(tree) for tree in trees}:
                    assert fraction_of(text) == value
                    assert verify(tagged(text), numbers, value).ok, text
                    assert verify(tagged(text), numbers, value + 1).kind == "missed_target"


def test_random_equations_are_right_only_if_fractions_agree():
    rng, right = random.Random(2), 0
    for _ in range(60):
        numbers = [rng.randint(1, 12) for _ in range(rng.choice((2, 3, 4)))]
        for _ in range(60):
            equation, target = random_equation(rng, numbers), rng.randint(0, 20)
            kind = reference(equation, numbers, target)
            right += kind == "correct"
            assert verify(tagged(equation), numbers, target).kind == kind, equation
    assert right > 20


def test_unsolvable_problems_accept_no_equation():
    rng = random.Random(3)
    for _ in range(25):
        numbers = [rng.randint(1, 99) for _ in range(3)]
        values = all_values(tuple(numbers), whole=False)
        target = rng.choice([t for t in data.TARGETS if t not in values])
        for _ in range(60):
            equation = random_equation(rng, numbers)
            assert verify(tagged(equation), numbers, target).kind in ("missed_target", "invalid_equation"), equation
            assert verify(tagged(equation), numbers, target).kind == reference(equation, numbers, target)


# --- the leak check ----------------------------------------------------------------------------------------------

PROBLEM = {"numbers": [34, 2, 6], "target": 192}


@pytest.mark.parametrize(
    "text",
    [
        "(34 - 2) * 6",
        "I should use (34 - 2) * 6.",
        "Use (34-2)*6, then stop",
        "(34 - 2) * 6 = 192",
        "192 = (34 - 2) * 6",
        "34 - 2 = 32, 32 * 6 = 192, yes. Use (34 - 2) * 6.",
        "1) (34 - 2) * 6",
        "1. 6 * (34 - 2)",
        "- (34 - 2) * 6",
        "* 6*(34-2)",
        "step 3 -> (34-2)*6 -",
        "-(2 - 34) * 6",
        "**(34 - 2) * 6**",
        "`(34-2)*6`",
        "(I think (34 - 2) * 6)",
        "(34 - 2) * 6)",
        "((34 - 2) * 6 is it",
        "- ((34 - 2) * 6 was it",
        "(34 − 2) × 6",
        "(34 – 2) · 6",
        r"\((34 - 2) \times 6\)",
        r"$6 \cdot (34 - 2)$",
        "<answer>(34 - 2) * 6</answer>",
        "Try 34 + 2 + 6\n(34 - 2) * 6\n",
        "first 34 (34-2)*6",
        "(34-2)*6 (6*2)",
        "(34 - 2)\n* 6",
        "(34 - 2) x 6",
        "The target is 192\n* (34 - 2) * 6\n* Use it",
        "I must reach 192\n- 6 * (34 - 2)",
        "(34 - 2) * 6\n* 1 + 1",
    ],
)
def test_leaks_are_found(text):
    assert contains_answer(PROBLEM, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I should use each number exactly once and reach 192.",
        "34 - 2 = 32, 32 * 6 = 192",
        "34 - 2 * 6",
        "(34 + 2) * 6",
        "Use 34, 2 and 6 to make 192.",
        "192",
        "(34 - 2)\n\n* 6",
        "(34 - 2) * 6 + 1",
        "1 + (34 - 2) * 6",
        "(34 - 2) * 16",
        "(34 - 2) * 7",
        "(3 - 2) * 6",
        "((((",
        "- - -",
        "34 2 6",
        "(34 - 2) ** 6",
        "(34 - 2)**6",
        "(34 - 2) * 6^2",
        "(34 - 2) * 6²",
        "(034 - 2) * 6",
        "(34.5 - 2) * 6",
        "1.34 - 2) * 6",
        "I have 34, 2 and 6, target 192",
        "(34 - 2 * 6",
        "6 times 34 minus 2",
        "6\n(34 - 2)",
        r"\frac{34 - 2}{6}",
    ],
)
def test_texts_without_a_leak(text):
    assert not contains_answer(PROBLEM, text)


# how a reader may spell an equation, from the plain spelling
SPELLINGS = {
    "plain": str,
    "tight": lambda e: e.replace(" ", ""),
    "x": lambda e: e.replace("*", "x"),
    "X, tight": lambda e: e.replace("*", "X").replace(" ", ""),
    "times": lambda e: e.replace("*", "×"),
    "middle dot": lambda e: e.replace("*", "·"),
    "dot operator": lambda e: e.replace("*", "\u22c5"),
    "asterisk operator": lambda e: e.replace("*", "\u2217"),
    "cross": lambda e: e.replace("*", "✕"),
    "divided by": lambda e: e.replace("/", "÷"),
    "division slash": lambda e: e.replace("/", "\u2215"),
    "minus": lambda e: e.replace("-", "\u2212"),
    "en dash": lambda e: e.replace("-", "–"),
    "full width": lambda e: e.translate({n: n + 0xFEE0 for n in range(0x21, 0x7F)}),
    "LaTeX": lambda e: e.replace("*", r"\cdot").replace("/", r"\div"),
    "LaTeX, tight": lambda e: e.replace(" * ", r"\times ").replace(" / ", r"\div "),
    "LaTeX brackets": lambda e: e.replace("(", r"\left(").replace(")", r"\right)").replace("*", r"\times"),
    "LaTeX in line": lambda e: rf"\({e}\)",
    "LaTeX displayed": lambda e: rf"\[ {e} \]",
    "boxed": lambda e: rf"\boxed{{{e}}}",
    "thin LaTeX spaces": lambda e: e.replace(" ", r"\,"),
    "dollars": lambda e: f"${e}$",
    "two dollars": lambda e: f"$$\n{e}\n$$",
    "square brackets": lambda e: e.replace("(", "[").replace(")", "]"),
    "braces": lambda e: e.replace("(", "{").replace(")", "}"),
    "bold": lambda e: f"**{e}**",
    "bold numbers": lambda e: re.sub("([0-9]+)", r"**\1**", e),
    "bold numbers, tight": lambda e: re.sub("([0-9]+)", r"**\1**", e).replace(" * ", "×").replace(" ", ""),
    "underscores": lambda e: f"__{e}__",
    "backticks": lambda e: f"`{e}`",
    "backticks at each number": lambda e: re.sub("([0-9]+)", r"`\1`", e),
    "escaped stars": lambda e: e.replace("*", r"\*"),
    "no-break spaces": lambda e: e.replace(" ", "\u00a0"),
    "narrow spaces": lambda e: e.replace(" ", "\u202f"),
    "thin spaces": lambda e: e.replace(" ", "\u2009"),
    "broken before a sign": lambda e: re.sub(r" ([-+*/]) ", r"\n\1 ", e),
    "broken after a sign": lambda e: re.sub(r" ([-+*/]) ", r" \1\n", e),
    "with its value": lambda e: f"{e} = 77",
    "after its value": lambda e: f"77 = {e}",
    "in a list": lambda e: f"- {e}\n- no more",
    "in a numbered list": lambda e: f"1. {e}\n2. no more",
    "in a sentence": lambda e: f"My mistake: I should use {e}, not another.",
    "tagged": tagged,
}
SPELLED = [
    ("34 + 2", [34, 2], 36),
    ("34 * 2", [34, 2], 68),
    ("(34 - 2) * 6", [34, 2, 6], 192),
    ("6 * (34 - 2) / 3", [34, 2, 6, 3], 64),
    ("90 / (7 + 8) - 2 * 3", [90, 7, 8, 2, 3], 0),
]


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_every_spelling_of_an_answer_is_a_leak(spell):
    for equation, numbers, target in SPELLED:
        problem, before, after = {"numbers": numbers, "target": target}, "Not 1 + 5 × 4.\n\n", "\n\nI see."
        for text in (spell(equation), before + spell(equation) + after):
            assert contains_answer(problem, text), text
            without = TASK.redact(problem, text)
            assert "…" in without and not contains_answer(problem, without)
        assert without.startswith(before) and without.endswith(after)
        assert not contains_answer({"numbers": numbers, "target": target + 1}, text)
        assert not contains_answer({"numbers": [*numbers, 1], "target": target}, text)


@pytest.mark.parametrize(
    "text, numbers, target",
    [
        ("2(3 + 4)", [2, 3, 4], 14),
        ("(3 + 4)2", [2, 3, 4], 14),
        ("(1 + 2)(3 + 4)", [1, 2, 3, 4], 21),
        ("(1 + 2) (3 + 4)", [1, 2, 3, 4], 21),
        ("[1 + 2]{3 + 4}", [1, 2, 3, 4], 21),
        ("-(2 - 34)6", [34, 2, 6], 192),
        ("-((2 - 34) * 6)", [34, 2, 6], 192),
        (r"\frac{34}{2}", [34, 2], 17),
        (r"$\dfrac{34}{2} + 6$", [34, 2, 6], 23),
        (r"\frac{34 + 2}{4}", [34, 2, 4], 9),
        (r"12 / \frac{3}{4}", [12, 3, 4], 16),
        (r"2\frac{9}{3}", [2, 9, 3], 6),
        (r"\frac{\frac{36}{2}}{3} \cdot 5", [36, 2, 3, 5], 30),
        (r"5 - \left( \frac{8}{2} + 1 \right)", [5, 8, 2, 1], 0),
        ("Step 2 (3 + 4)", [3, 4], 7),
        ("34\n+ 2\n+ 6", [34, 2, 6], 42),
    ],
)
def test_products_without_a_sign_and_fractions_are_leaks(text, numbers, target):
    problem = {"numbers": numbers, "target": target}
    assert contains_answer(problem, text) and not contains_answer(problem | {"target": target + 1}, text)
    assert not contains_answer(problem, TASK.redact(problem, text))


@pytest.mark.parametrize(
    "text, numbers, target",
    [
        ("34, 2", [34, 2], 36),
        ("I have 34, 2 and 5, target 41", [34, 2, 5], 41),
        ("34 2", [34, 2], 68),
        ("34\n2", [34, 2], 68),
        ("34 ** 2", [34, 2], 68),
        ("34**2", [34, 2], 68),
        ("34^2", [34, 2], 68),
        ("* 34\n* 2", [34, 2], 68),
        ("- 34\n- 2", [34, 2], 32),
        ("My numbers:\n- 34\n- 2\n- 6\nThe target is 26.", [34, 2, 6], 26),
        ("The numbers:\n* 6\n* 32\n", [6, 32], 192),
        ("– 34\n– 2", [34, 2], 32),
        ("1. 34\n2. 2", [34, 2], 36),
        ("**34**, **2**", [34, 2], 68),
        ("**34** **2**", [34, 2], 68),
        ("Step 2\n(3 + 4)", [2, 3, 4], 14),
        ("2. (3 + 4)", [2, 3, 4], 14),
        ("34 + 2 + 1", [34, 2], 36),
        ("1 + 34 + 2", [34, 2], 36),
        ("134 + 2", [34, 2], 36),
        ("34 + 20", [34, 2], 36),
        ("34 + 2²", [34, 2], 36),
        ("34 x 2 x 1", [34, 2], 68),
        ("34 = 36 - 2", [34, 2], 36),
        ("34 - 2 = 32 * 6 = 192", [34, 2, 6], 192),
        ("34 - 2 * 6 × 1", [34, 2, 6], 192),
        (r"\frac{2}{34}", [34, 2], 17),
        ("max 34 2", [34, 2], 68),
    ],
)
def test_numbers_lists_and_wrong_equations_are_no_leaks(text, numbers, target):
    problem = {"numbers": numbers, "target": target}
    assert not contains_answer(problem, text) and TASK.redact(problem, text) == text


def test_leaks_of_random_problems():
    rng = random.Random(4)
    for numbers, target, trees in itertools.islice(data.draw(rng), 60):
        problem = {"numbers": numbers, "target": target}
        right, wrong = data.spell(rng.choice(trees)), data.spell(corpus.wrong_tree(rng, numbers, target))
        # no list with "-": the dash before a wrong equation can make it a right one, "- 79 + 68 + 39" for 28
        for frame in ("{}", "My equation {} was it.", "Use {}.", "({})", "* {}\n* 1", "1) {}", "{} = {target}"):
            assert contains_answer(problem, frame.format(right, target=target)), right
            assert not contains_answer(problem, frame.format(wrong, target=target)), wrong


def test_task():
    assert TASK.name == "countdown" and TASK.reflect_prompt == prompts.COUNTDOWN_REFLECT and TASK.tools(PROBLEM) is None
    assert TASK.ask(PROBLEM) == corpus.task([34, 2, 6], 192)
    assert TASK.ask(PROBLEM).startswith("Using the numbers [34, 2, 6], create an equation that equals 192.")
    assert TASK.messages(PROBLEM) == [{"role": "user", "content": TASK.ask(PROBLEM)}]
    assert TASK.verify(PROBLEM, "<answer>(34-2)*6</answer>").ok
    assert TASK.verify(PROBLEM, "<answer>34-2*6</answer>").kind == "missed_target"
    assert TASK.contains_answer(PROBLEM, "Use (34-2)*6.") and not TASK.contains_answer(PROBLEM, "Use 34.")


# --- countdown_data: problems, their solutions, their spelling ---------------------------------------------------


def test_drawn_problems_are_like_the_data_set():
    problems = list(itertools.islice(data.draw(random.Random(5)), 300))
    for numbers, target, trees in problems:
        assert len(numbers) in (3, 4) and all(1 <= n <= 99 for n in numbers) and 10 <= target <= 100
        assert trees and verify(tagged(data.spell(trees[0])), numbers, target).ok
    assert 100 < sum(len(numbers) == 3 for numbers, _, _ in problems) < 200  # sizes uniform: 150, sd 9
    drawn = [n for numbers, _, _ in problems for n in numbers]
    targets = [target for _, target, _ in problems]
    assert min(drawn) <= 3 and max(drawn) >= 97 and min(targets) <= 12 and max(targets) >= 98
    assert {len(n) for n, _, _ in itertools.islice(data.draw(random.Random(5), sizes=(3,)), 20)} == {3}


def test_draw_repeats_with_its_seed_and_reuses_numbers_on_request():
    first, again, other = (list(itertools.islice(data.draw(random.Random(seed)), 10)) for seed in (6, 6, 7))
    assert first == again != other
    many = list(itertools.islice(data.draw(random.Random(6), sizes=(3,), per_draw=91), 40))
    assert len({tuple(numbers) for numbers, _, _ in many}) < 30
    assert len({data.key(numbers, target) for numbers, target, _ in many}) == 40


def test_reachable_finds_every_target_that_whole_steps_reach():
    rng = random.Random(8)
    for size, count in ((2, 20), (3, 20), (4, 2)):
        for _ in range(count):
            numbers = [rng.randint(1, 25) for _ in range(size)]
            with_negative_steps = {v for v in all_values(tuple(numbers), whole=True) if v > 0}
            assert {v for v in data.reachable(numbers) if v > 0} == with_negative_steps


def test_splits_are_disjoint_up_to_order():
    sizes = {"train": 60, "validation": 20, "test": 20}
    parts = data.splits(9, sizes)
    assert {name: len(rows) for name, rows in parts.items()} == sizes
    keys = [data.key(**row) for rows in parts.values() for row in rows]
    assert len(set(keys)) == len(keys) == 100
    assert data.splits(9, sizes) == parts != data.splits(10, sizes)


def test_key_ignores_order_and_nothing_else():
    assert data.key([3, 1, 2], 10) == data.key([1, 2, 3], 10)
    different = [([1, 2, 3], 10), ([1, 2, 3], 11), ([1, 2, 4], 10), ([1, 2, 2, 3], 10), ([1, 2, 3, 3], 10)]
    assert len({data.key(*problem) for problem in different}) == 5


def trees_of_many_problems() -> list[data.Node]:
    rng, trees = random.Random(11), []
    for size, count in ((2, 10), (3, 15), (4, 4)):
        for _ in range(count):
            found = [t for ts in data.reachable([rng.randint(1, 30) for _ in range(size)]).values() for t in ts]
            trees += rng.sample(found, min(len(found), 250))
    return trees


def test_canonical_preserves_value_and_numbers():
    for tree in trees_of_many_problems():
        canonical = data.canonical(tree)
        assert data.value_of(canonical) == data.value_of(tree)
        assert fraction_of(data.spell(canonical)) == fraction_of(data.spell(tree))
        assert sorted(leaves(canonical)) == sorted(leaves(tree))
        assert data.canonical(canonical) == canonical


def test_canonical_is_one_for_all_orders():
    sums = ("+", ("+", 1, 2), 3), ("+", 3, ("+", 2, 1)), ("+", ("+", 3, 1), 2)
    assert {data.canonical(tree) for tree in sums} == {("+", ("+", 3, 2), 1)}
    assert data.canonical(("-", 9, ("-", 4, 2))) == data.canonical(("-", ("+", 2, 9), 4)) == ("-", ("+", 9, 2), 4)
    assert data.canonical(("/", ("*", 6, 5), 3)) == ("*", ("/", 6, 3), 5)


def test_spelling_round_trips():
    for tree in trees_of_many_problems():
        text = data.spell(tree)
        assert fraction_of(text) == data.value_of(tree)
        assert Counter(map(int, re.findall("[0-9]+", text))) == Counter(leaves(tree))
        opening, closing = ([i for i, char in enumerate(text) if char == sign] for sign in "()")
        for i, j in itertools.product(opening, closing):
            without = text[:i] + text[i + 1 : j] + text[j + 1 :]
            try:  # the fewest parentheses: without any pair it is another text's structure
                same = ast.dump(ast.parse(without, mode="eval")) == ast.dump(ast.parse(text, mode="eval"))
            except SyntaxError:
                same = False
            assert not same, text


def test_steps_are_true_statements():
    for tree in trees_of_many_problems():
        steps = data.steps(tree)
        assert len(steps) == len(leaves(tree)) - 1
        for step in steps:
            left, right = step.split(" = ")
            assert re.fullmatch(r"[0-9]+ [-+*/] [0-9]+", left) and fraction_of(left) == int(right), step
        assert int(steps[-1].split(" = ")[1]) == data.value_of(tree)


def test_simplest_solutions():
    for numbers, target, trees in itertools.islice(data.draw(random.Random(12)), 30):
        texts = [data.spell(tree) for tree in data.simplest(trees)]
        assert texts == sorted(set(texts)) and all(verify(tagged(text), numbers, target).ok for text in texts)
        heavy = {len(re.findall("[*/]", text)) for text in texts}
        assert heavy == {min(len(re.findall("[*/]", data.spell(tree))) for tree in trees)}


# redaction


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("I am sorry.", "I am sorry."),
        (
            "Use (34 - 2) * 6.",
            "Use ….",
        ),
        ("34 - 2 = 32, 32 × 6 = 192, yes. Use (34 − 2) × 6.", "34 - 2 = 32, 32 × 6 = 192, yes. Use …."),
        ("Ｗｉｄｅ: (34 - 2)(6)!", "Ｗｉｄｅ: …!"),
        (r"So $6 \cdot \frac{34}{2}$, or **(34 - 2)** * **6** = 192.", r"So $6 \cdot \frac{34}{2}$, or **…** = 192."),
        ("(My (34 - 2)*6 is it) - ((34 - 2)*6) -(2 - 34)*6", None),
        ("- 6 * (34 - 2)\n- or (34 - 2) * 6", None),
        ("(34 - 2) * 6 (34 - 2) * 6", None),
        ("34 + 2 + 6 = 42, no.", "34 + 2 + 6 = 42, no."),
    ],
)
def test_redaction_takes_the_answers_and_nothing_else(text, without):
    problem = {"numbers": [34, 2, 6], "target": 192}
    found = TASK.redact(problem, text)
    assert not contains_answer(problem, found)
    if without is not None:
        assert found == without
    assert (found == text) == (not contains_answer(problem, text))


@quick
@given(st.lists(st.sampled_from([*"34+-*/() .×={}[]\n$xy", "**", "- ", r"\frac{", r"\times", r"\left("])).map("".join))
def test_a_redacted_text_never_holds_an_answer(text):
    for problem in ({"numbers": [3, 4], "target": 12}, {"numbers": [3], "target": 3}, {"numbers": [3, 3], "target": 1}):
        without = TASK.redact(problem, text)
        assert not contains_answer(problem, without)
        assert (without == text) == (not contains_answer(problem, text))
