# %% [markdown] worth_the_price · medium · 20 minutes · Which systems are worth their price?
# A system is a model with a way to use it. It has a price per problem, and it solves a share of the problems. Another
# system *dominates* it if it costs no more, solves no less, and is better in at least one of the two. Name the systems
# that no other dominates, the cheapest first.


# %%
def worth_the_price(systems):
    """A list of names.

    systems: a dict, name -> (price, share that is solved).

    >>> worth_the_price({"large": (40, 0.5), "small": (5, 0.3), "small, twice": (50, 0.45)})
    ['small', 'large']
    """
    ### BEGIN SOLUTION
    kept = []
    for name, (price, solved) in systems.items():
        others = ((p, s) for p, s in systems.values() if p <= price and s >= solved)
        if not any((p, s) != (price, solved) for p, s in others):
            kept.append(name)
    return sorted(kept, key=lambda name: systems[name])
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("p <= price and s >= solved", "p < price and s > solved", "at the same price, the one that solves less"),
    ("any((p, s) != (price, solved) for p, s in others)", "list(others)", "no system dominates itself"),
    ("sorted(kept, key=lambda name: systems[name])", "kept", "the cheapest comes first"),
    ("p <= price and s >= solved", "s >= solved", "dearer systems dominate nobody"),
]

# %% [markdown] sign_test · medium · 15 minutes · Is the difference chance?
# Two models met the same problems. Only those that exactly one of them solves can tell the two apart. If neither is
# better, each such problem is as likely to be solved by the one as by the other, like the two sides of a coin. How
# likely is a split at least as uneven as the one that was found, in either direction? (With n such problems, k of them
# on the rarer side: twice the probability of at most k heads in n throws, and at most 1.)

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
