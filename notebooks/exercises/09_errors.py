# %% [markdown] flow_shares · medium · 10 minutes · What became of a failure?
# The flows of section 2 show, for each kind of failed first answer, which share became what. Work the shares out.

# %%
from collections import Counter


def flow_shares(first, second):
    """(first kind, second kind) -> its share of all first answers of that kind; failures only.

    first, second: lists of kinds, problem by problem; "correct" is the kind of a right answer.

    >>> flow_shares(["no_answer", "no_answer", "correct"], ["correct", "no_answer", "correct"])
    {('no_answer', 'correct'): 0.5, ('no_answer', 'no_answer'): 0.5}
    """
    ### BEGIN SOLUTION
    pairs = Counter(pair for pair in zip(first, second) if pair[0] != "correct")
    total = Counter(first)
    return {pair: n / total[pair[0]] for pair, n in pairs.items()}
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("zip(first, second)", "zip(second, first)", "keys are (first kind, second kind)"),
    (' if pair[0] != "correct"', "", "a right first try is not tried again"),
    ("n / total[pair[0]]", "n / sum(pairs.values())", "add up to 1, kind by kind"),
    ("return {pair: n / total[pair[0]] for", "return {pair: n for", "values shares"),
]

# %% [markdown] follows_rules · easy · 5 minutes · Form and result
# Which share of Countdown answers follows the rules, right or not? An answer does if nothing but its result is wrong.
# The kinds are `correct`, `missed_target`, `wrong_numbers`, `invalid_equation` and `no_answer`.


# %%
def follows_rules(kinds):
    """The share of answers, 0 to 1, that follow the rules.

    >>> follows_rules(["correct", "missed_target", "wrong_numbers", "no_answer"])
    0.5
    """
    ### BEGIN SOLUTION
    return sum(kind in ("correct", "missed_target") for kind in kinds) / len(kinds)
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ('("correct", "missed_target")', '("missed_target",)', "a right answer follows the rules"),
    ('("correct", "missed_target")', '("correct",)', "a wrong result breaks no rule of form"),
    ('("correct", "missed_target")', '("correct", "missed_target", "wrong_numbers")', "other numbers breaks the rules"),
    ('kind in ("correct", "missed_target")', 'kind not in ("no_answer", "wrong_numbers")', "what is no equation"),
]
