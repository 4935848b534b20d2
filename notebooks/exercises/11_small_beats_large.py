# %% [markdown] expected_tokens · medium · 15 minutes · The price of trying until one is right
# A verifier lets you stop at the first right answer. What do at most K independent tries cost a problem, on average?
# The first is always paid; the k-th only by problems that k - 1 tries left unsolved.


# %%
def expected_tokens(solved, tokens):
    """Tokens a problem, on average, for at most len(solved) tries.

    solved: solved[k - 1] is the share of problems that are right within k tries, k = 1, 2, ..., K.
    tokens: those of one try.

    >>> expected_tokens([0.5, 0.75], 10)
    15.0
    """
    ### BEGIN SOLUTION
    return tokens * (1 + sum(1 - share for share in solved[:-1]))
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("solved[:-1]", "solved", "the first try is always paid"),
    ("1 + sum(1 - share for share in solved[:-1])", "len(solved)", "pays for no further try"),
    ("sum(1 - share for", "sum(share for", "every try is paid"),
    (
        "sum(1 - share for share in solved[:-1])",
        "(len(solved) - 1) * (1 - solved[-1])",
        "whom the first one left unsolved",
    ),
]

# %% [markdown] sign_test · medium · 15 minutes · Is the difference chance?
# Two models met the same problems. Only those that exactly one of them solves can tell the two apart. If neither is
# better, each such problem falls to either model like a coin. How likely is a split at least as uneven as the one
# that was found, in either direction? (With n such problems, k of them on the rarer side: twice the probability of at
# most k heads in n throws, and at most 1.)

# %%
from math import comb


def sign_test(small, large):
    """The probability, 0 to 1.

    small, large: lists of True and False, problem by problem.
    Example: 4 problems that only the small model solves, none that only the large one does: 0.125.
    """
    ### BEGIN SOLUTION
    only_small = sum(s and not b for s, b in zip(small, large))
    only_large = sum(b and not s for s, b in zip(small, large))
    n, k = only_small + only_large, min(only_small, only_large)
    return min(1.0, 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n)
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("2 * sum(", "sum(", "count both tails"),
    ("n, k = only_small + only_large", "n, k = max(sum(small), 1)", "say nothing about which is better"),
    (
        "min(1.0, 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n)",
        "2 * sum(comb(n, i) for i in range(k + 1)) / 2**n",
        "at most 1",
    ),
]
