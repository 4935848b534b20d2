# %% [markdown] failure_rows · easy · 10 minutes · The failures of one problem
# From several sampled answers to one problem, keep the distinct wrong ones, in the order they came. Each carries the
# problem's difficulty: the share of **all** its samples that were wrong. Do not round it (0.667 in the example below
# stands for 2/3).


# %%
def failure_rows(answers, verify):
    """The rows of one problem: [(wrong answer, difficulty), ...].

    answers: a list of texts, not empty. verify(text) returns a Verdict; its `.ok` is True or False.
    Example: of the answers "1+2", "1+2", "3*4", only the last one is right:
    [("1+2", 0.667)].
    """
    ### BEGIN SOLUTION
    wrong = [answer for answer in answers if not verify(answer).ok]
    difficulty = len(wrong) / len(answers)
    return [(answer, difficulty) for answer in dict.fromkeys(wrong)]
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("if not verify(answer).ok", "if verify(answer).ok", "wrong answers are kept"),
    ("dict.fromkeys(wrong)", "wrong", "the same wrong answer is one failure"),
    ("len(wrong) / len(answers)", "len(set(wrong)) / len(set(answers))", "difficulty still counts all samples"),
    ("in dict.fromkeys(wrong)", "in sorted(set(wrong), reverse=True)", "in the order they came"),
]

# %% [markdown] mixed_share · medium · 15 minutes · Groups with signal, counted
# Section 7's formula needs the true p. You have `count` retries on one failure, and `right` of them were right. Among
# all groups of `size` different retries that could be made of them, what share has both verdicts? (`comb(n, k)`
# counts the groups of k among n.) With few retries this is a better guess than the formula with p = right / count.

# %%
from math import comb


def mixed_share(right, count, size):
    """The share of groups, 0 to 1, that hold a right and a wrong retry.

    >>> mixed_share(1, 2, 2)
    1.0
    """
    ### BEGIN SOLUTION
    groups = comb(count, size)
    return 1 - comb(right, size) / groups - comb(count - right, size) / groups
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("1 - comb(right, size) / groups - comb", "comb(right, size) / groups + comb", "no group has both verdicts"),
    (" - comb(right, size) / groups", "", "all right teach as little"),
    (
        "groups = comb(count, size)",
        "return 1 - (right / count) ** size - (1 - right / count) ** size",
        "without putting one back",
    ),
]
