# %% [markdown] names_error · medium · 15 minutes · Does it name the error?
# The verifier's reason tells what was wrong, for example the value that an equation gave. Write the crude sign of
# section 5: does the reflection contain a number of the reason that does not occur in the problem, or a quoted word of
# the reason? (A quoted number of the problem does not count.)

# %%
import re


def names_error(reason, problem, reflection):
    """True or False.

    reason, reflection: texts. problem: a dict; `str(problem)` has all its numbers, the target too.
    Numbers are runs of digits (`\\d+`), quoted words stand in double quotes in the reason.

    >>> names_error("It gives 11, not 24.", {"numbers": [3, 8], "target": 24}, "I got 11.")
    True
    """
    ### BEGIN SOLUTION
    known = set(re.findall(r"\d+", str(problem)))
    numbers = set(re.findall(r"\d+", reason)) - known
    words = set(re.findall(r'"([^"]+)"', reason)) - known
    said = set(re.findall(r"\d+", reflection))
    return bool(numbers & said) or any(word in reflection for word in words)
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ('re.findall(r"\\d+", reason)) - known', 're.findall(r"\\d+", reason))', "the problem's own number"),
    (" or any(word in reflection for word in words)", "", "a word that the reason has in quotes counts as well"),
    ("bool(numbers & said)", "bool(said)", "the problem's own number"),
    ('re.findall(r"\\d+", reason)', 're.findall(r"\\d", reason)', "11 stands in the reason and not in the problem"),
    ("bool(numbers & said)", "any(s in n for s in said for n in numbers)", "a number is all its digits"),
]

# %% [markdown] top_template · easy · 10 minutes · Has it collapsed?
# Texts that differ only in their particulars are copies of one template. Replace each number by `#` and each word in
# double quotes by `"#"`, and compute the share of the most frequent template. If it is near 1, the model says the same
# each time.

# %%
import re
from collections import Counter


def top_template(texts):
    """The share, 0 to 1, of the most frequent template.

    >>> top_template(["I got 3.", "I got 38.", "Sorry.", 'Use "days".'])
    0.5
    """
    ### BEGIN SOLUTION
    templates = [re.sub(r"\d+", "#", re.sub(r'"[^"]*"', '"#"', text)) for text in texts]
    return Counter(templates).most_common(1)[0][1] / len(texts)
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("Counter(templates).most_common(1)[0][1]", "len(set(templates))", "not the share of different ones"),
    ('re.sub(r"\\d+", "#", re.sub(r\'"[^"]*"\', \'"#"\', text))', "text", "differ in a number only are one template"),
    ('r"\\d+"', 'r"\\d"', "however many digits it has"),
    ('re.sub(r\'"[^"]*"\', \'"#"\', text)', "text", "what stands in double quotes is a particular too"),
]
