# %% [markdown] attack_texts · medium · 15 minutes · Play the model
# Here are three verifiers of the problem *make 20 from 2, 5 and 10*. Each has one hole. `finds_target` says yes if an
# answer has the digits 20 in it; `same_set` computes the value of the last answer, and compares the **set** of its
# numbers with the given ones; `any_answer` says yes if any of several answers is right. Write a text for each that
# earns a yes without deserving it.


# %%
def attack_texts():
    """Name of a verifier -> a text with <answer> tags that fools it and that the kit refuses.

    Example of one that fools nobody: {"finds_target": "<answer>2 + 5 + 10</answer>", ...}.
    """
    ### BEGIN SOLUTION
    return {
        "finds_target": "<answer>20</answer>",
        "same_set": "<answer>2 * 10 * 5 / 5</answer>",
        "any_answer": "<answer>2 * 5 + 10</answer> or <answer>2 + 5 + 10</answer>",
    }
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("<answer>20</answer>", "<answer>2 * 5 + 10</answer>", "whether an answer has the digits 20 in it"),
    ("<answer>20</answer>", "<answer>2 * 5 + 10</answer>, so 20", "whether an answer has the digits 20 in it"),
    ("2 * 10 * 5 / 5", "2 * 10", "a set forgets how often each was used"),
    ("2 * 10 * 5 / 5", "5 * 2 + 10", "a right answer deserves its yes"),
    (" or <answer>2 + 5 + 10</answer>", "", "a right answer deserves its yes"),
    ("<answer>2 * 5 + 10</answer> or ", "", "it takes any answer of several"),
]

# %% [markdown] make_task · hard · 30 minutes · A whole task
# Make a task of *put these numbers in ascending order*: problems are `{"numbers": [9, 4, 7]}`, a right answer is
# `<answer>4, 7, 9</answer>`. Write the four functions and return the `Task`. The verifier never raises, takes the
# last answer, and ignores spaces around the numbers; the leak check finds the right list without tags, too; `redact`
# puts … in its place.

# %%
import re

from r3lib.tasks import Task, Verdict


def make_task():
    """A `Task` named "sorting".

    Example: with problem = {"numbers": [2, 1]}, its verify(problem, "<answer>1, 2</answer>").ok is
    True, and its redact(problem, "It is 1, 2!") is "It is …!".
    """
    ### BEGIN SOLUTION

    def right(problem):
        return ", ".join(map(str, sorted(problem["numbers"])))

    def ask(problem):
        numbers = ", ".join(map(str, problem["numbers"]))
        return f"Put {numbers} in ascending order, with commas between, in <answer> </answer> tags."

    def verify(problem, text):
        answers = re.findall("<answer>([^<]*)</answer>", text) if isinstance(text, str) else []
        if not answers:
            return Verdict(False, "no_answer", "There is no answer between tags.")
        found = ", ".join(part.strip() for part in answers[-1].split(","))
        if found != right(problem):
            return Verdict(False, "wrong_order", f"The order is {right(problem)}.")
        return Verdict(True, "correct", "The order is right.")

    def contains_answer(problem, text):
        return right(problem) in text

    def redact(problem, text):
        return text.replace(right(problem), "…")

    reflect = "Your answer was wrong. Reflect on what went wrong, in a sentence or two."
    return Task("sorting", ask, verify, contains_answer, reflect, redact=redact)
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("return Task(", "return tuple(", "build a `Task` and return it"),
    (" if isinstance(text, str) else []", "", "never raises, whatever it is given"),
    ("answers[-1]", "answers[0]", "of several answers the last one counts"),
    ("found != right(problem)", 'set(found.split(", ")) != set(right(problem).split(", "))', "the order is the task"),
    ('", ".join(part.strip() for part in answers[-1].split(","))', "answers[-1]", "spaces around a number are free"),
    ("return right(problem) in text", "return verify(problem, text).ok", "without tags, too"),
    (", redact=redact", "", "the right answer becomes …"),
    ("Put {numbers} in", "Put the numbers in", "the model knows only what the question tells it"),
]
