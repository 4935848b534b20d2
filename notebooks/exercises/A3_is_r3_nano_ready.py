# %% [markdown] opening_gains · medium · 15 minutes · One opening, or the right one each time
# Section 3 asks what a choice that depends on the failure is worth. Compute it from the counts: the share of all
# failures that is corrected with the best *single* opening for all of them, and the share with the best opening *for
# each kind* of failure. A kind that occurs more often counts more.


# %%
def opening_gains(counts):
    """(share with the best single opening, share with the best opening for each kind of failure).

    counts: {opening: {kind of failure: (corrected, how many)}}. Every opening was tried on the same
    failures, so `how many` of a kind is the same for all openings.

    >>> counts = {"search": {"missed": (3, 10), "bracket": (0, 10)}}
    >>> counts["check"] = {"missed": (1, 10), "bracket": (5, 10)}
    >>> opening_gains(counts)
    (0.3, 0.4)
    """
    ### BEGIN SOLUTION
    rows = list(counts.values())
    total = sum(n for _, n in rows[0].values())
    single = max(sum(right for right, _ in row.values()) for row in rows)
    each = sum(max(row[kind][0] for row in rows) for kind in rows[0])
    return single / total, each / total
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("return single / total, each / total", "return each / total, single / total", "the single opening comes first"),
    ("single = max(", "single = sum(", "the best single opening is one of them"),
    ("single / total, each", "single / total, max(r / n for row in rows for r, n in row.values()), each", "two shares"),
    (
        "each / total",
        "sum(max(row[k][0] / row[k][1] for row in rows) for k in rows[0]) / len(rows[0])",
        "a kind that occurs more often counts more",
    ),
]

# %% [markdown] smallest_group · easy · 10 minutes · How large must a group be?
# Section 4 has the probability that a group of G reflections carries signal: 1 − (1 − s)^G − s^G, where s is the share
# of retries that are right. Turn the question around: find the smallest group for which it is at least `wanted`.


# %%
def smallest_group(share, wanted):
    """The smallest group size, at least 2, that carries signal with probability `wanted` or more.

    share: the share of retries that are right, between 0 and 1. wanted: below 1.

    >>> smallest_group(0.5, 0.7)
    3
    """
    ### BEGIN SOLUTION
    size = 2
    while 1 - (1 - share) ** size - share**size < wanted:
        size += 1
    return size
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    (" - share**size", "", "a group whose retries are all right has no signal either"),
    ("size = 2", "size = 3", "groups begin with two"),
    ("return size", "return size - 1", "groups begin with two"),
    ("size += 1", "size *= 2", "try every size, one after another"),
]
