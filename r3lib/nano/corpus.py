"""The texts r3-nano learns from: conversations about Countdown, generated, each with the spans that carry loss.

What the model *says* is set by the texts that carry loss; what it can *use* by texts that need not. So:

- an attempt or a retry that carries loss is always right; wrong attempts are context;
- a reflection's kind is decided by its first words. Worked reflections (candidates tried one step at a time) are common
  here, but the loss on their opening is dropped from all but a few, so that the model can write them well and rarely
  does (`Texts.worked`). That is what reinforcement learning may later find; nothing in the RL stage knows of it;
- within a worked reflection the wrong candidates carry no loss on their first choice, only on what must follow from
  it: each candidate is meant to be right, but one that was begun badly is to be finished honestly and judged, with the
  numbers that are there, and none is to be tried twice;
- a retry also follows reflections that are useless, cut off, or about another problem, and blind retries, so that no
  control is handicapped by a prompt the model never saw.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from r3lib import prompts
from r3lib.problems import countdown_data as problems

OPENING = "Let me try."
# how often 0, 1, 2, ... misses come before the candidate that fits: in short, longer and long searches
MISSES = (
    {3: (35, 25, 18, 12, 6, 4), 4: (45, 30, 15, 10)},
    {3: (18, 16, 15, 13, 11, 10, 9, 8), 4: (22, 22, 20, 20, 16)},
    {3: (10, 10, 9, 9, 8, 8, 7, 7, 6, 6, 5, 5, 4, 4), 4: (10, 10, 10, 10, 10, 9, 9, 9, 8, 8, 7)},
)

GENERIC = (
    "I am sorry, my answer was wrong. I will be more careful next time.",
    "I made a mistake in my calculation. I should check each step before I answer.",
    "I did not read the problem carefully. Next time I will read it twice.",
    "My answer did not reach the target. I need to try a different combination of operations.",
    "I should use each number exactly once and check that the result is the target.",
    "I was too quick. I will take my time and verify the result.",
    "The mistake was in the arithmetic. I will compute more carefully.",
    "I chose the wrong operations. I should consider other operations.",
    "It is important to follow the rules of the problem. I will do better.",
    "I guessed without checking. A better way is to check the answer at the end.",
    "I apologize for the error. I will think step by step next time.",
    "Something went wrong in my equation. I will look for a better equation.",
    "To do better, I should plan the equation before I write it.",
    "I need to pay attention to the order of operations and to parentheses.",
    "I forgot to verify my equation against the target.",
    prompts.GENERIC_REFLECTION,
)


@dataclass(frozen=True)
class Texts:
    """What a phase of training reads.

    drills: share of texts that are bare arithmetic. books: share that only keep account of numbers. left: workings
    name the numbers not yet touched. dead_ends: share of misses that stop at a division that leaves a remainder, or a
    product above 999. worked: share of worked ones among the reflections whose kind carries loss. misses: row of
    `MISSES` (past the longest search it has read, a model loses track). honest: above 0, misses carry loss on their
    choices as well (a model that only ever learned from choices that fit invents the number that would fit), except on
    the first choice of the first candidate; on the first choice of the others in this share of cases.
    """

    drills: float = 0.0
    books: float = 0.0
    left: bool = True
    dead_ends: float = 0.2
    worked: float = 0.2
    misses: int = 2
    honest: float = 1.0


@dataclass
class Message:
    """One message: role, text, and the character ranges of the text that carry loss."""

    role: str
    text: str = ""
    loss: list[tuple[int, int]] = field(default_factory=list)

    def add(self, text: str, loss: bool) -> Message:
        if loss:
            self.loss.append((len(self.text), len(self.text) + len(text)))
        self.text += text
        return self


def task(numbers: list[int], target: int) -> str:
    return prompts.COUNTDOWN_TASK.format(numbers=numbers, target=target)


def answer(rng: random.Random, trees: list[problems.Node]) -> str:
    return f"<answer>{problems.spell(rng.choice(trees))}</answer>"


def wrong_tree(rng: random.Random, numbers: list[int], target: int) -> problems.Node:
    """A tree over all the numbers whose value is not the target: near it as a rule, as a real mistake would be."""
    best = None
    for _ in range(6):
        parts: list[problems.Node] = list(numbers)
        rng.shuffle(parts)
        while len(parts) > 1:
            a, b = parts.pop(), parts.pop()
            x, y = problems.value_of(a), problems.value_of(b)
            if x < y:
                a, b, x, y = b, a, y, x
            op = rng.choice("++++----*")
            if y and x % y == 0 and rng.random() < 0.5:
                op = "/"
            if op == "*" and x * y > 300:
                op = "-"
            parts.insert(rng.randrange(len(parts) + 1), (op, a, b))
        miss = abs(problems.value_of(parts[0]) - target)
        if miss and (best is None or miss < best[0]):
            best = (miss, problems.canonical(parts[0]))
        if best and rng.random() < 0.3:
            break
    if best:
        return best[1]
    plus, times = numbers[0], numbers[0]
    for number in numbers[1:]:
        plus, times = ("+", plus, number), ("*", times, number)
    return problems.canonical(plus if problems.value_of(plus) != target else times)


def wrong_answer(rng: random.Random, numbers: list[int], target: int) -> tuple[str, str]:
    """A failed attempt and a true sentence about it."""
    kind = rng.random()
    if kind < 0.85:
        tree = wrong_tree(rng, numbers, target)
        return problems.spell(tree), f"My equation gives {problems.value_of(tree)}, not {target}."
    if kind < 0.93:
        left_out = list(numbers)
        left_out.remove(rng.choice(left_out))
        return problems.spell(
            wrong_tree(rng, left_out, target) if len(left_out) > 1 else left_out[0]
        ), "I did not use all the numbers."
    other = list(numbers)
    spot, number = rng.randrange(len(other)), rng.randint(1, 99)
    other[spot] = number if number != other[spot] else number % 99 + 1
    return problems.spell(wrong_tree(rng, other, target)), "I used the wrong numbers."


def _step(
    untouched: list[int], results: list[int], choice: tuple[int, str, int], value: int, left: bool
) -> tuple[str, str]:
    """Take the two operands, put down their result; what is said of it, as (choice, result)."""
    a, op, b = choice
    for operand in (a, b):
        (results if operand in results else untouched).remove(operand)
    results.append(value)
    named = f" ({' '.join(map(str, untouched))})" if left and untouched else ""
    return f"{a} {op} {b}", f" = {value}{named}"


def working(numbers: list[int], tree: problems.Node, left: bool = True) -> list[tuple[str, str]]:
    """The steps of a tree as (choice, result): ("54 + 21", " = 75 (15 89)"), untouched numbers in parentheses."""
    untouched, results, out = list(numbers), [], []
    for step in problems.steps(tree):
        a, op, b, _, value = step.split()
        out.append(_step(untouched, results, (int(a), op, int(b)), int(value), left))
    return out


def working_text(numbers: list[int], tree: problems.Node, left: bool = True) -> str:
    return ", ".join(choice + result for choice, result in working(numbers, tree, left))


def fitting(numbers: list[int], tree: problems.Node, left: bool = True) -> str:
    """How a worked reflection ends: the candidate it takes for right, and the equation to use."""
    return f" {working_text(numbers, tree, left)}, yes. Use {problems.spell(tree)}."


def dead_end(rng: random.Random, numbers: list[int], left: bool) -> list[tuple[str, str]]:
    """Steps like those of `working` whose last one cannot be taken, so that it has no result; [] if there is none."""
    untouched, results, out = list(numbers), [], []
    for _ in range(rng.randrange(len(numbers) - 1)):
        a, b = sorted(rng.sample(untouched + results, 2), reverse=True)
        op = rng.choice("+-")
        out.append(_step(untouched, results, (a, op, b), problems.value_of((op, a, b)), left))
    values = untouched + results
    pairs = [(a, b) for i, a in enumerate(values) for j, b in enumerate(values) if i != j and a >= b > 1]
    stuck = [f"{a} / {b}" for a, b in pairs if a % b] + [f"{a} * {b}" for a, b in pairs if a * b > 999]
    return [*out, (rng.choice(stuck), "")] if stuck else []


def worked(
    rng: random.Random,
    message: Message,
    numbers: list[int],
    target: int,
    trees: list[problems.Node],
    opening_loss: bool,
    texts: Texts,
) -> Message:
    """Candidates worked out step by step until one fits, and the equation to use."""
    message.add(OPENING, opening_loss)
    tried = {problems.spell(t) for t in trees}
    begun = {working(numbers, t)[0][0] for t in trees}
    often = MISSES[texts.misses][len(numbers)]
    for k in range(rng.choices(range(len(often)), often)[0]):
        candidate = wrong_tree(rng, numbers, target)
        if problems.value_of(candidate) == target or problems.spell(candidate) in tried:
            continue
        tried.add(problems.spell(candidate))
        steps = working(numbers, candidate, texts.left)
        if rng.random() < texts.dead_ends:
            steps = dead_end(rng, numbers, texts.left) or steps
        honest = texts.honest > 0 and steps[0][0] not in begun  # never a lesson in leaving the path to a right one
        first = honest and k > 0 and rng.random() < texts.honest
        for i, (choice, result) in enumerate(steps):
            chosen = bool(result) and (first if i == 0 else honest)
            message.add(f"{', ' if i else ' '}{choice}", chosen).add(result, bool(result))
        message.add(", no.", True)
    return message.add(fitting(numbers, rng.choice(trees), texts.left), True)


def useless(rng: random.Random, numbers: list[int], diagnosis: str) -> str:
    kind = rng.random()
    if kind < 0.66:
        return rng.choice(GENERIC)
    if kind < 0.85:
        return f"{diagnosis} {rng.choice(GENERIC)}" if rng.random() < 0.5 else diagnosis
    a, b = rng.sample(numbers, 2)
    return rng.choice(
        (
            f"Maybe I should start with {a} {rng.choice('+-*')} {b}.",
            f"I should keep {a} for the end.",
            f"Next time I will begin with {max(numbers)}, the largest number.",
        )
    )


def conversation(
    rng: random.Random, numbers: list[int], target: int, trees: list[problems.Node], other: str, texts: Texts
) -> list[Message]:
    """One training text. `other`: a reflection on another problem, for the retries that must not follow it blindly."""
    ask = Message("user", task(numbers, target))
    right = Message("assistant").add(answer(rng, trees), True)
    kind = rng.random()
    if kind < 0.22:
        return [ask, right]
    equation, diagnosis = wrong_answer(rng, numbers, target)
    failed = Message("assistant", f"<answer>{equation}</answer>")
    if kind < 0.30:
        return [ask, failed, Message("user", prompts.BLIND_RETRY.format(task=ask.text)), right]
    reflect = Message("user", prompts.COUNTDOWN_REFLECT)
    reflection = Message("assistant")
    kind = rng.random()
    if kind < 0.62:
        # the opening's loss on few of them makes them `texts.worked` of what carries loss (0.30 of all are useless)
        opened = rng.random() < texts.worked / (1 - texts.worked) * 0.30 / 0.62
        worked(rng, reflection, numbers, target, trees, opened, texts)
        used = reflection.text.rsplit("Use ", 1)[1][:-1]
        right = Message("assistant").add(f"<answer>{used}</answer>", True)
    elif kind < 0.92:
        reflection.add(useless(rng, numbers, diagnosis), True)
    elif kind < 0.96:
        reflection.add(other, False)
    else:
        worked(rng, reflection, numbers, target, trees, False, texts)
        reflection.text = reflection.text[
            : rng.randint(len(OPENING), max(len(OPENING), reflection.text.index("yes") - 2))
        ]
        reflection.loss = []
    return [ask, failed, reflect, reflection, ask, right]


def drill(rng: random.Random, facts: int = 13) -> list[Message]:
    """Bare arithmetic: loss on the results alone. A fact costs a sixth of the tokens it costs inside a conversation."""
    reply = Message("assistant")
    for i in range(facts):
        kind, a, b = rng.random(), rng.randint(1, 99 if rng.random() < 0.6 else 200), rng.randint(1, 99)
        if kind < 0.4:
            choice, result = f"{a} + {b}", a + b
        elif kind < 0.8:
            choice, result = f"{max(a, b)} - {min(a, b)}", abs(a - b)
        else:
            a, b = rng.randint(2, 12), rng.randint(2, 99)
            choice, result = (f"{b} * {a}", a * b) if kind < 0.9 else (f"{a * b} / {a}", b)
        reply.add(", " if i else "", True).add(choice, False).add(f" = {result}", True)
    return [Message("user", "Compute."), reply]


def book(rng: random.Random, numbers: list[int], ways: int = 3) -> list[Message]:
    """Random ways to use up the numbers, all with loss: practice in taking each number once, whatever comes out."""
    trees = [wrong_tree(rng, numbers, rng.choice(problems.TARGETS)) for _ in range(ways)]
    said = [working_text(numbers, tree) + "." for tree in trees]
    return [Message("user", f"Use up {numbers}."), Message("assistant").add(" ".join(said), True)]


def corpus(
    seed: int, held_out: set, sizes: tuple[int, ...] = (3, 4), texts: Texts = Texts()
) -> Iterator[list[Message]]:
    """Endless conversations about problems that share no key with `held_out` (train, validation and test splits)."""
    rng = random.Random(seed)
    other = rng.choice(GENERIC)
    for numbers, target, nodes in problems.draw(rng, sizes, per_draw=4):
        if problems.key(numbers, target) in held_out:
            continue
        if texts.drills and rng.random() < texts.drills:
            yield drill(rng)
            continue
        if texts.books and rng.random() < texts.books:
            yield book(rng, numbers)
            continue
        trees = problems.simplest(nodes)
        text = conversation(rng, numbers, target, trees, other, texts)
        if len(text) == 6:
            other = text[3].text
        yield text
