# %% [markdown] others · medium · 15 minutes · A control: another problem's reflection
# For the shuffled control each failure gets another one's reflection. No failure may get its own reflection back, each
# is handed out once, the same seed gives the same list, and a single reflection is replaced by `GENERIC_REFLECTION`.

# %%
import random

from r3lib.prompts import GENERIC_REFLECTION


def others(reflections, seed):
    """A list of texts, as long as `reflections`: what stands in the place of each.

    Example: others(["a", "b"], 0) is ["b", "a"], as there is no other way.
    """
    ### BEGIN SOLUTION
    if len(reflections) < 2:
        return [GENERIC_REFLECTION] * len(reflections)
    order = list(range(len(reflections)))
    random.Random(seed).shuffle(order)
    next_of = dict(zip(order, order[1:] + order[:1]))
    return [reflections[next_of[i]] for i in range(len(reflections))]
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("reflections[next_of[i]]", "reflections[order[i]]", "shuffling does not see to that"),
    (
        "order = list",
        "rng = random.Random(seed)\n"
        "    return [rng.choice([r for r in reflections if r != own]) for own in reflections]\n"
        "    order = list",
        "hand out each reflection once",
    ),
    ("random.Random(seed).shuffle", "random.shuffle", "draw from random.Random(seed)"),
    ("if len(reflections) < 2:", "if not reflections:", "there is no other to take"),
]

# %% [markdown] hide_numbers · medium · 10 minutes · Numbers or words?
# What helps: the numbers that a reflection works out, or its words? Put the reflection in its own place with
# every number hidden that the task does not have. (To run it: `loop.reflect([hide_numbers(task.ask(p), text) for p,
# text in …])`.)

# %%
import re


def hide_numbers(task, reflection):
    """The reflection with "…" for each whole number that does not stand in the task's text.

    >>> hide_numbers("Make 24 from 3 and 8.", "3 + 8 is 11, not 24.")
    '3 + 8 is …, not 24.'
    """
    ### BEGIN SOLUTION
    given = set(re.findall(r"\d+", task))
    return re.sub(r"\d+", lambda found: found[0] if found[0] in given else "…", reflection)
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("found[0] if found[0] in given else ", "", "numbers of the task give nothing away and stay"),
    ('else "…"', 'else ""', "a number that was worked out becomes …"),
    (
        "return re.sub",
        'for number in set(re.findall(r"\\d+", reflection)) - given:\n'
        '        reflection = reflection.replace(number, "…")\n'
        "    return reflection\n"
        "    return re.sub",
        "the 4 in 34 is no 4",
    ),
    ('re.sub(r"\\d+"', 're.sub(r"\\d"', "a number that was worked out becomes …"),
]
