# %% [markdown] signal_share · easy · 5 minutes · Can it learn anything?
# Which share of groups has signal: at least one retry that is right, and at least one that is wrong?


# %%
def signal_share(groups):
    """The share of groups, 0 to 1.

    groups: a list of groups, each a list of rewards, 1.0 or 0.0, at least two.

    >>> signal_share([[1.0, 0.0], [0.0, 0.0]])
    0.5
    """
    ### BEGIN SOLUTION
    return sum(len(set(rewards)) > 1 for rewards in groups) / len(groups)
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("len(set(rewards)) > 1 for", "any(rewards) for", "all right teaches nothing either"),
    (
        "sum(len(set(rewards)) > 1 for rewards in groups) / len(groups)",
        "sum(map(sum, groups)) / sum(map(len, groups))",
        "if its retries differ",
    ),
    ("/ len(groups)", "/ sum(map(len, groups))", "if its retries differ"),
]

# %% [markdown] problems_needed · medium · 10 minutes · How many problems?
# How many test problems does a gain need for its expected interval to exclude zero? Two models are judged on n
# **different** problems each. Their shares p and p + gain vary with p(1 - p)/n and (p + gain)(1 - p - gain)/n, and the
# variances add up. Find the smallest n at which the gain is at least 1.96 standard errors.

# %%
import math


def problems_needed(p, gain):
    """The smallest n, an int.

    p: the untrained model's share, 0 to 1. gain: more than 0, p + gain at most 1.

    >>> problems_needed(0.4, 0.1)
    189
    """
    ### BEGIN SOLUTION
    variance = p * (1 - p) + (p + gain) * (1 - p - gain)
    return math.ceil(1.96**2 * variance / gain**2)
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("/ gain**2", "/ gain", "the gain comes in squared"),
    ("p * (1 - p) + (p", "(p", "the variances of both count"),
    ("math.ceil", "int", "round up"),
]
