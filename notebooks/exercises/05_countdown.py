# %% [markdown] paired_interval · medium · 15 minutes · A paired interval
# Both arms met the same problems. Give the mean of the differences and its 95 % t interval: mean ± t · s / √n, where
# s is the standard deviation of the differences (with n - 1) and t the quantile with n - 1 degrees of freedom,
# `stats.t.ppf(0.975, n - 1)`. (One seed; the kit's own also has the seeds' part.)

# %%
import numpy as np
from scipy import stats


def paired_interval(a, b):
    """(mean, low, high) of a - b.

    a, b: arrays (n,), the same problems in the same order; n at least 2.
    Example: differences 0, 1, 0, 1 have the mean 0.5 and the interval from -0.419 to 1.419.
    """
    ### BEGIN SOLUTION
    differences, n = a - b, len(a)
    half = stats.t.ppf(0.975, n - 1) * np.std(differences, ddof=1) / np.sqrt(n)
    mean = differences.mean()
    return mean, mean - half, mean + half
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("np.std(differences, ddof=1)", "np.sqrt(a.var(ddof=1) + b.var(ddof=1))", "take the differences first"),
    (" / np.sqrt(n)", "", "the square root of their number"),
    ("stats.t.ppf(0.975, n - 1)", "1.96", "the quantile is t's"),
    ("ddof=1", "ddof=0", "the deviation divides by n - 1"),
]

# %% [markdown] wilson_interval · medium · 10 minutes · The interval of a share
# For one seed, a share in the tables has Wilson's interval. (For several, the kit also counts how the seeds differ.)
# With p = right / n and z = 1.96 its middle is (p + z²/2n) / (1 + z²/n), and half its width is
# z · √(p(1 - p)/n + z²/4n²) / (1 + z²/n).

# %%
from math import sqrt


def wilson_interval(right, n):
    """(low, high), fractions, the 95 % interval of `right` out of `n`.

    Example: 5 of 10 give (0.237, 0.763).
    """
    ### BEGIN SOLUTION
    p, z = right / n, 1.96
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return middle - half, middle + half
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("(p + z**2 / (2 * n))", "p", "which is one half if p is"),
    ("middle =", "return p - z * sqrt(p * (1 - p) / n), p + z * sqrt(p * (1 - p) / n)\n    middle =", "Wilson's has"),
    ("1.96", "1.645", "95 % lie between -1.96 and 1.96"),
]
