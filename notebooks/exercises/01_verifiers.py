# %% [markdown] verify_countdown · medium · 20 minutes · A verifier for Countdown
# Write the rule of section 2: the last `<answer>…</answer>` counts; it holds an equation's left side with `+ - * /`,
# parentheses, spaces and line breaks; each given number is used exactly once; its exact value is the target. `exact`
# works a tree out without running anything. (The check leaves out three parts of the rule: a minus before a number,
# answers without a digit, and thoughts between `<think>` and `</think>`.)

# %%
import ast
import operator
import re
from fractions import Fraction

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def exact(node):
    """The exact value of `ast.parse(text, mode="eval").body`; ValueError if it is no arithmetic."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return OPERATORS[type(node.op)](exact(node.left), exact(node.right))
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return Fraction(node.value)
    raise ValueError("not arithmetic")


def verify_countdown(response, numbers, target):
    """True if the response is right, False for whatever else it may be; it never raises.

    response: the model's text. numbers: a list of whole numbers.

    >>> verify_countdown("So: <answer>(3 + 5) * 2</answer>", [2, 3, 5], 16)
    True
    """
    ### BEGIN SOLUTION
    answers = re.findall(r"<answer>([^<]*)</answer>", response) if isinstance(response, str) else []
    if not answers or not re.fullmatch(r"[-+*/()0-9 \t\r\n]+", answers[-1]):
        return False
    used = [int(number) for number in re.findall(r"[0-9]+", answers[-1])]
    try:
        text = " ".join(answers[-1].split())  # Python wants it on one line
        tree = ast.parse(text, mode="eval").body
        return sorted(used) == sorted(numbers) and exact(tree) == target
    except Exception:  # whatever a model may write, it is a no
        return False
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("sorted(used) == sorted(numbers)", "set(used) == set(numbers)", "a set forgets how often"),
    ("sorted(used) == sorted(numbers) and ", "", "every given number must be used"),
    ("exact(tree) == target", "eval(answers[-1]) == target", "with floats it is not quite 24"),
    (r" \t\r\n]+", " ]+", "line breaks around an equation and in it are allowed"),
    ("except Exception:", "except (SyntaxError, ValueError):", "a division by zero is a no, not an exception"),
    ("if isinstance(response, str) else []", "", "never raises, whatever it is given"),
    (
        "answers = re",
        'response = response and response.partition("</answer>")[0] + "</answer>"\n    answers = re',
        "the last one counts",
    ),
]

# %% [markdown] same_value · easy · 10 minutes · Equal in JSON
# Section 8's naive judge compares arguments with Python's `==`. Write the comparison that it should have used, for
# values as `json.loads` returns them: `true` is not 1, `"5"` is not 5, but 5 and 5.0 are one number.


# %%
def same_value(a, b):
    """Whether two JSON values (None, bool, int, float, str, list, dict) are equal; True or False.

    >>> same_value({"days": [1, 2.0]}, {"days": [1, 2]}), same_value([True], [1])
    (True, False)
    """
    ### BEGIN SOLUTION
    if isinstance(a, bool) != isinstance(b, bool):
        return False
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_value(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_value, a, b))
    return a == b
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("return a == b", "return str(a) == str(b)", "5 and 5.0 are one number"),
    ("isinstance(a, bool) != isinstance(b, bool)", "False", "in JSON they are two values"),
    ("all(map(same_value, a, b))", "all(one in b for one in a)", "the order of a list counts"),
    ("len(a) == len(b) and ", "", "lists of different length differ"),
    ("all(map(same_value, a, b))", "a == b", "holds inside lists too"),
    ("a.keys() == b.keys() and ", "", "a key too many is a difference"),
]

# %% [markdown] same_calls · medium · 10 minutes · The same calls, in any order
# An answer is right if it makes the gold calls: each of them, as often as gold has it, in any order, and no other.
# Use the kit's `same`, so that `true` is not 1. It compares two JSON values (the exercise before), so also two whole
# calls.

# %%
from r3lib.problems.function_calling import same


def same_calls(calls, gold):
    """Whether the calls are the gold calls, in any order; True or False.

    Both are lists of {"name": str, "arguments": dict}; `same(call, other)` compares two of them.

    >>> f, g = {"name": "f", "arguments": {"a": 1}}, {"name": "g", "arguments": {}}
    >>> same_calls([f, g], [g, f]), same_calls([f, f], [g, f])
    (True, False)
    """
    ### BEGIN SOLUTION
    left = list(gold)
    for call in calls:
        partner = next((i for i, right in enumerate(left) if same(call, right)), None)
        if partner is None:
            return False
        del left[partner]
    return not left
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("return not left", "return True", "a gold call that was not made is missing"),
    (
        "left = list(gold)",
        "return len(calls) == len(gold) and all(map(same, calls, gold))",
        "parallel calls may come in any order",
    ),
    (
        "left = list(gold)",
        "return len(calls) == len(gold) and all(any(same(c, g) for g in gold) for c in calls)",
        "each gold call can be matched only once",
    ),
    ("if same(call, right)", "if call == right", "true is not 1"),
]
