"""The second edition's texts of r3-nano: Countdown where the reflection that helps depends on the failure.

As in `r3lib.nano.corpus`, what the model *says* is set by the texts that carry loss, what it can *use* by texts that
need not. What is new:

- answers have habits. Half of all first answers break a rule on the way to a right equation: a number that was not
  given, one used twice, a bracket without its partner (`FAULTS`); a habit stays in the next answer unless the
  reflection before it names that very fault. A missed target is repaired by a search for another equation; what a
  search comes to has the habit still;
- a reflection is useless (the most frequent kind), checks the answer for one of the faults, or is worked: a search
  among candidates. It is chosen almost without regard to the failure (`Habits.checks`). A check that looks for another
  fault than there is finds none;
- a worked reflection is careful (it keeps account of the numbers, repeats nothing, is right in its sums and stops) or,
  mostly, sloppy;
- one first answer in eleven thinks first, in the same words as a worked reflection, and is then free of faults.

What is common enough to be learned well and yet rarely said is taught with loss on everything but the words that begin
it. That is what reinforcement learning may later find; nothing in the RL stage knows of it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

from r3lib import prompts
from r3lib.nano.corpus import GENERIC, Message, book, dead_end, drill, task, working, wrong_tree
from r3lib.problems import countdown
from r3lib.problems import countdown_data as problems

FAULTS = ("number", "count", "bracket")
SEARCHES = ("Let me try.", "What else is there?")
CHECKS = {
    "number": ("I look at the numbers:", "Were they all given?"),
    "count": ("How often did I use each?", "Counting them,"),
    "bracket": ("The brackets:", "Is every bracket closed?"),
}
KINDS = {"search": SEARCHES, **CHECKS}  # of reflections that may help, each with the words it begins with
# how often 0, 1, 2, ... misses come before the candidate that fits: in short and in long searches
MISSES = (
    {3: (35, 25, 18, 12, 6, 4), 4: (45, 30, 15, 10)},
    {3: (18, 16, 15, 13, 11, 10, 9, 8), 4: (22, 22, 20, 20, 16)},
)


def kind_of_failure(problem: dict, text: str) -> str | None:
    """Which of FAULTS an answer has, "missed" if it breaks no rule; None if it is right or no answer."""
    verdict = countdown.verify(text, problem["numbers"], problem["target"])
    if verdict.kind != "wrong_numbers":
        return {"invalid_equation": "bracket", "missed_target": "missed"}.get(verdict.kind)
    used = re.findall(r"\d+", text.rpartition("<answer>")[2])
    return "count" if all(int(number) in problem["numbers"] for number in used) else "number"


def kind_of_reflection(text: str) -> str:
    """What a text of r3-nano's begins like: "search", a check for one of FAULTS, or "useless"."""
    return next((kind for kind, known in KINDS.items() if text.startswith(known)), "useless")


@dataclass(frozen=True)
class Habits:
    """What a phase of training reads.

    drills: share of texts that are bare arithmetic. books: share that only keep account of numbers. firsts: share that
    are a first answer alone; thought: share of those that think. dead_ends: share of misses that stop at a division
    that leaves a remainder, or a product above 999. misses: row of `MISSES`. honest: above 0, misses carry loss on
    their choices as well (a model that only ever learned from choices that fit invents the number that would fit),
    except on the first choice of the first candidate; on the first choice of the others in this share of cases.

    What the model comes to say: faulty: share of answers with a fault. checks: share of the reflections that are of the
    kind that repairs the failure, and of each of the other three kinds; the rest are useless. sloppy: share of worked
    ones that are. thinks: share of first answers that think.
    """

    drills: float = 0.0
    books: float = 0.0
    firsts: float = 0.25
    thought: float = 0.25
    dead_ends: float = 0.2
    misses: int = 1
    honest: float = 1.0
    faulty: float = 0.62
    checks: tuple[float, float] = (0.24, 0.08)
    sloppy: float = 0.65
    thinks: float = 0.09


def answer(equation: str) -> str:
    return f"<answer>{equation}</answer>"


def spoil(rng: random.Random, equation: str, fault: str | None) -> tuple[str, str]:
    """The equation with one fault, and the remark that names it ("" for none).

    A fault is plain to see for a model of this size, by a token or by its place: a number with digits too many (above
    99, as none is given), the last number a second time, a square bracket that is never closed.
    """
    places = list(re.finditer(r"\d+", equation))
    if fault == "number":
        place = rng.choice(places)
        right = int(place[0])
        wrong = 10 * right + rng.randint(0, 9) if right > 9 else 100 * right + rng.randint(0, 99)
        spoiled = f"{equation[: place.start()]}{wrong}{equation[place.end() :]}"
        return spoiled, f"{wrong} was not given, it should be {right}."
    if fault == "count":
        last = places[-1][0]
        return f"{equation} {rng.choice('+-')} {last}", f"The last {last} is too many."
    if fault == "bracket":
        place = rng.choice(places)
        return f"{equation[: place.start()]}[{equation[place.start() :]}", "The [ is not closed, it is too many."
    return equation, ""


def check(rng: random.Random, kind: str, tried: str, remark: str, fixed: str) -> tuple[str, str]:
    """A check of an answer for one fault, as (opening, rest). remark: "" if it finds nothing. fixed: the equation."""
    used = re.findall(r"\d+", tried)
    if kind == "number":
        found, nothing = ", ".join(used), "All of them were given."
    elif kind == "count":
        times = ("", "once", "twice", "three times", "four times", "five times")
        found, nothing = ", ".join(f"{n} {times[used.count(n)]}" for n in dict.fromkeys(used)), "None is used twice."
    else:
        opened = sum(map(tried.count, "(["))
        found, nothing = f"{opened} opened, {tried.count(')')} closed", "They match."
    rest = f" {found}. {remark or nothing}"
    if remark and rng.random() < 0.5:
        rest += f" Use {fixed}."
    return rng.choice(CHECKS[kind]), rest


def _parts(steps: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """The steps of `working` as (choice, result, the numbers left, named after it)."""
    return [(choice, *re.fullmatch(r"( = \d+)?( \(.*\))?", said).groups(default="")) for choice, said in steps]


def careful(
    rng: random.Random,
    message: Message,
    numbers: list[int],
    target: int,
    trees: list[problems.Node],
    said: bool,
    texts: Habits,
    fault: str | None = None,
) -> str:
    """Add candidates worked out step by step until one fits; the equation to use. said: loss on the manner."""
    tried = {problems.spell(t) for t in trees}
    begun = {working(numbers, t)[0][0] for t in trees}
    often = MISSES[texts.misses][len(numbers)]
    shown = said  # the numbers left, first named, tell the manner
    for k in range(rng.choices(range(len(often)), often)[0]):
        candidate = wrong_tree(rng, numbers, target)
        if problems.value_of(candidate) == target or problems.spell(candidate) in tried:
            continue
        tried.add(problems.spell(candidate))
        steps = _parts(working(numbers, candidate))
        if rng.random() < texts.dead_ends:
            steps = _parts(dead_end(rng, numbers, True)) or steps
        honest = texts.honest > 0 and steps[0][0] not in begun  # never a lesson in leaving the path to a right one
        first = honest and k > 0 and rng.random() < texts.honest
        for i, (choice, result, left) in enumerate(steps):
            chosen = bool(result) and (first if i == 0 else honest)
            message.add(f"{', ' if i else ' '}{choice}", chosen).add(result, bool(result))
            if left:
                message.add(left, shown)
                shown = True
        message.add(", no.", True)
    tree = rng.choice(trees)
    for i, (choice, result, left) in enumerate(_parts(working(numbers, tree))):
        message.add(f"{', ' if i else ' '}{choice}{result}", True)
        if left:
            message.add(left, shown)
            shown = True
    used, _ = spoil(rng, problems.spell(tree), fault)
    message.add(f", yes. Use {used}.", True)
    return used


def sloppy(
    rng: random.Random,
    message: Message,
    numbers: list[int],
    target: int,
    trees: list[problems.Node],
    said: bool,
    texts: Habits,
    fault: str | None = None,
) -> str | None:
    """Add a poor search: no account of numbers, candidates twice, wrong sums, often no end. The equation to use, with
    the fault, if it comes to one (it need not be right)."""
    often = MISSES[texts.misses][len(numbers)]
    misses = [problems.canonical(wrong_tree(rng, numbers, target))]
    for _ in range(rng.choices(range(len(often)), often)[0]):
        again = rng.random() < 0.35
        misses.append(rng.choice(misses) if again else wrong_tree(rng, numbers, target))
    end = rng.random()
    rest: list[tuple[problems.Node, bool]] = [(tree, False) for tree in misses]
    if end < 0.55:
        rest.append((rng.choice(trees), True))
    elif end < 0.75:
        rest.append((misses[-1], True))  # a sum is bent until it fits
    else:
        rest += [(rng.choice(misses), False) for _ in range(2)]
    shown = said
    for tree, fits in rest:
        steps = [list(step) for step in _parts(working(numbers, tree, left=False))]
        if fits and problems.value_of(tree) != target:
            steps[-1][1] = f" = {target}"
        elif not fits and rng.random() < 0.25:
            bent = problems.value_of(tree) + rng.choice((-10, -2, -1, 1, 2, 10))
            steps[-1][1] = f" = {abs(bent) if abs(bent) != target else target + 1}"
        for i, (choice, result, _) in enumerate(steps):
            message.add(", " if i else " ", shown if i else True).add(choice + result, True)
            shown = shown or i > 0
        message.add(", yes." if fits else ", no.", True)
    if rest[-1][1]:
        used, _ = spoil(rng, problems.spell(rest[-1][0]), fault)
        message.add(f" Use {used}.", True)
        return used
    return None


def search(
    rng: random.Random,
    message: Message,
    numbers: list[int],
    target: int,
    trees: list[problems.Node],
    said: bool,
    texts: Habits,
    fault: str | None = None,
) -> str | None:
    """Add a worked search, careful or sloppy; the equation that it comes to, with the fault, if any. said: loss on how
    it begins."""
    message.add(rng.choice(SEARCHES), said)
    poor = rng.random() < (texts.sloppy if said else 0.2)
    return (sloppy if poor else careful)(rng, message, numbers, target, trees, said, texts, fault)


def useless(rng: random.Random, numbers: list[int]) -> str:
    if rng.random() < 0.8:
        return rng.choice(GENERIC)
    a, b = rng.sample(numbers, 2)
    return rng.choice(
        (
            f"Maybe I should start with {a} {rng.choice('+-*')} {b}.",
            f"I should keep {a} for the end.",
            f"Next time I will begin with {max(numbers)}, the largest number.",
        )
    )


def habit(rng: random.Random, texts: Habits) -> str | None:
    """The fault of a new answer."""
    return rng.choice(FAULTS) if rng.random() < texts.faulty else None


def first_answer(
    rng: random.Random, numbers: list[int], target: int, trees: list[problems.Node], texts: Habits
) -> Message:
    """A first answer with loss: thought about, or at once and often with a fault."""
    message, thought = Message("assistant"), texts.thought
    if rng.random() >= thought:
        equation, _ = spoil(rng, problems.spell(rng.choice(trees)), habit(rng, texts))
        return message.add(answer(equation), True)
    said = rng.random() < texts.thinks / (1 - texts.thinks) * (1 - thought) / thought
    found = search(rng, message, numbers, target, trees, said, texts)
    return message.add(f" {answer(found or problems.spell(wrong_tree(rng, numbers, target)))}", True)


def conversation(
    rng: random.Random, numbers: list[int], target: int, trees: list[problems.Node], other: str, texts: Habits
) -> list[Message]:
    """A failure and what follows. `other`: a reflection on another problem, for retries that must not follow it."""
    ask, reflect = Message("user", task(numbers, target)), Message("user", prompts.COUNTDOWN_REFLECT)
    fault = rng.choice((None, *FAULTS))
    kind = rng.random()
    matched = kind < 0.27
    right = problems.spell(rng.choice(trees))
    # only a fault keeps a right equation from being right; where the fault is to be repaired, it is the only one
    meant = right if fault and (matched or rng.random() < 0.5) else problems.spell(wrong_tree(rng, numbers, target))
    tried, remark = spoil(rng, meant, fault)
    failed = Message("assistant", answer(tried))
    # the next answer has the habit still; one that missed had none, and may catch one
    stays = rng.random() < 0.9
    fault_again = (fault if stays else None) if fault else (None if stays else habit(rng, texts))
    again, _ = spoil(rng, right, fault_again)
    if kind >= 0.92:
        blind = Message("user", prompts.BLIND_RETRY.format(task=ask.text) if rng.random() < 0.6 else ask.text)
        return [ask, failed, blind, Message("assistant").add(answer(again), True)]
    reflection, kinds = Message("assistant"), (None, *FAULTS)
    if kind < 0.50:
        looked_for = fault if matched else rng.choice([k for k in kinds if k != fault])
        # of all reflections with loss on their beginning, `checks` are of these kinds, the rest useless (0.34 of all)
        share = texts.checks[0] if matched else 3 * texts.checks[1]
        said = rng.random() < share * 0.34 / (1 - texts.checks[0] - 3 * texts.checks[1]) / (0.27 if matched else 0.23)
        if looked_for is None:
            again = search(rng, reflection, numbers, target, trees, said, texts, fault_again) or again
        else:
            opening, rest = check(rng, looked_for, tried, remark if matched else "", meant)
            reflection.add(opening, said).add(rest, True)
            again = meant if matched else again
    elif kind < 0.84:
        reflection.add(useless(rng, numbers), True)
    elif kind < 0.88:
        reflection.add(other, False)
    else:
        search(rng, reflection, numbers, target, trees, False, texts)
        reflection.text = reflection.text[: rng.randint(4, max(4, reflection.text.rfind(", ") - 2))]
        reflection.loss = []
    return [ask, failed, reflect, reflection, ask, Message("assistant").add(answer(again), True)]


def corpus(
    seed: int, held_out: set, sizes: tuple[int, ...] = (3, 4), texts: Habits = Habits()
) -> Iterator[list[Message]]:
    """Endless conversations about problems that share no key with `held_out` (train, validation and test splits)."""
    rng = random.Random(seed)
    other = rng.choice(GENERIC)
    for numbers, target, nodes in problems.draw(rng, sizes, per_draw=4):
        if problems.key(numbers, target) in held_out:
            continue
        kind = rng.random()
        if kind < texts.drills:
            yield drill(rng)
            continue
        if kind < texts.drills + texts.books:
            yield book(rng, numbers)
            continue
        trees = problems.simplest(nodes)
        if rng.random() < texts.firsts:
            yield [Message("user", task(numbers, target)), first_answer(rng, numbers, target, trees, texts)]
            continue
        text = conversation(rng, numbers, target, trees, other, texts)
        if len(text) == 6:
            other = text[3].text
        yield text
