# %% [markdown] reflect_and_retry · medium · 10 minutes · The loop as one function
# Take problems through the whole loop with the methods of `Loop` (sections 3 and 4): try, verify, go on with the
# failures alone, reflect, retry, verify. Return each reflection with its reward. The check brings its own model and
# tasks.


# %%
def reflect_and_retry(loop):
    """The reflections on all failures, with their rewards: [(text, 1.0 or 0.0), ...].

    loop: an `r3lib.loop.Loop` that has just been opened, with one row for each problem.
    Example: two problems, the first is right at once, the retry of the second is right:
    [("I used 4 twice.", 1.0)].
    """
    ### BEGIN SOLUTION
    verdicts = loop.verify(loop.attempt())
    rows = [row for row, verdict in enumerate(verdicts) if not verdict.ok]
    if not rows:
        return []
    loop.keep(rows)
    reflections = loop.reflect()
    rewards = [float(verdict.ok) for verdict in loop.verify(loop.retry())]
    return list(zip(reflections, rewards))
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("loop.verify(loop.retry())", "loop.verify(reflections)", "the reward is the verifier's word on the retry"),
    ("loop.keep(rows)", "pass", "go on with the failures alone"),
    ("if not rows:", "if False:", "where nothing failed there is nothing to reflect on"),
]

# %% [markdown] second_try_rate · easy · 5 minutes · Solved at the second try
# The paper's second column counts a problem as solved if its first **or** its second try is right. Work it out.


# %%
def second_try_rate(first, second):
    """The share of problems, 0 to 1, that are right at the first or at the second try.

    first: a list of True and False. second: as long; None where the first try was right, as there
    was no second.

    >>> second_try_rate([True, False, False, False], [None, True, False, False])
    0.5
    """
    ### BEGIN SOLUTION
    solved = [one or bool(other) for one, other in zip(first, second)]
    return sum(solved) / len(first)
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("one or bool(other)", "one and bool(other)", "one right try of the two is enough"),
    ("one or bool(other)", "bool(other)", "a problem that was right at once counts as solved too"),
    (
        "return sum(solved) / len(first)",
        "return second.count(True) / max(1, first.count(False))",
        "the share is of all problems, not of the failures",
    ),
]
