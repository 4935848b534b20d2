# %% [markdown] pass_at_k · medium · 15 minutes · At least one of k
# Of one problem, `count` tries are stored, and `right` of them are right. Somebody may make only `k` tries. Take `k` of
# the stored tries at random, none of them twice. How likely is it that at least one of these is right? (Count the ways
# to choose `k` tries that are all wrong.)

# %%
from math import comb


def pass_at_k(right, count, k):
    """The probability, 0 to 1.

    >>> pass_at_k(1, 4, 2)
    0.5
    """
    ### BEGIN SOLUTION
    return 1 - comb(count - right, k) / comb(count, k)
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("comb(count - right, k) / comb(count, k)", "(1 - right / count) ** k", "no try is taken twice"),
    ("1 - comb(count - right, k)", "comb(right, k)", "one right try is enough"),
    ("1 - comb", "comb", "at least one right, and not all wrong"),
    ("comb(count - right, k) / comb(count, k)", "comb(count - 1, k) / comb(count, k)", "two right tries are more"),
]

# %% [markdown] expected_tokens · medium · 15 minutes · The price of trying until one is right
# A verifier lets you stop at the first right answer. What do at most K independent tries cost per problem, on average?
# The first is always paid; the k-th only by problems that k - 1 tries left unsolved.


# %%
def expected_tokens(solved, tokens):
    """Tokens per problem, on average, for at most len(solved) tries.

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
