# %% [markdown] paired_change · medium · 10 minutes · Before and after, paired
# The harness gives each model a mean and a standard error. The change needs one of its own: pair the scores by
# document, take the differences (after minus before), and give their mean and its standard error.

# %%
import numpy as np


def paired_change(before, after):
    """(mean, standard error) of the change, over the documents that both have.

    before, after: document id -> score, in any order. The error is the standard deviation of the
    differences, with n - 1, over the square root of n.

    >>> tuple(map(float, paired_change({1: 0.0, 2: 1.0}, {2: 1.5, 1: 0.5})))
    (0.5, 0.0)
    """
    ### BEGIN SOLUTION
    changes = np.array([after[key] - before[key] for key in before if key in after])
    return changes.mean(), changes.std(ddof=1) / np.sqrt(len(changes))
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("after[key] - before[key]", "before[key] - after[key]", "after minus before"),
    (
        "changes = np.array([after[key] - before[key] for key in before if key in after])",
        "changes = np.array([*after.values()]) - np.array([*before.values()])",
        "pair by the document's id, not by its place",
    ),
    (" if key in after", "", "only documents that both have make a pair"),
    (
        "return changes.mean(), changes.std(ddof=1) / np.sqrt(len(changes))",
        "old, new = np.array([*before.values()]), np.array([*after.values()])\n"
        "    return changes.mean(), np.sqrt((old.var(ddof=1) + new.var(ddof=1)) / len(changes))",
        "take the difference of each document first",
    ),
    ("ddof=1", "ddof=0", "with n - 1, over the square root of n"),
]

# %% [markdown] bits_per_byte · easy · 5 minutes · Bits per byte
# Held-out texts are judged by how well the model predicts them. Take the negative of its log-probability of all texts,
# turn it from nats (natural logarithm) into bits (logarithm to base 2), and divide it by the length of the texts in
# bytes of UTF-8. Lower is better.

# %%
import math


def bits_per_byte(nats, texts):
    """Bits per byte of all texts together, a number above 0.

    nats: the log-probability of each text, below 0. texts: as many texts.
    Example: two texts of 3 and 5 bytes with log-probabilities -2.0 and -1.0: 0.541.
    """
    ### BEGIN SOLUTION
    size = sum(len(text.encode("utf-8")) for text in texts)
    return -sum(nats) / math.log(2) / size
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    (" / math.log(2)", "", "a probability of one half costs one bit"),
    ("-sum(nats)", "sum(nats)", "bits are above 0"),
    ('text.encode("utf-8")', "text", "a letter such as é takes more than one byte"),
    (
        "size =",
        "parts = [-n / math.log(2) / len(t.encode()) for n, t in zip(nats, texts)]\n"
        "    return sum(parts) / len(parts)\n"
        "    size =",
        "then divide once: long texts weigh more",
    ),
]
