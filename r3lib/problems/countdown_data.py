"""Countdown problems: drawing them, solving them by brute force, writing their solutions.

A problem is a list of 3 or 4 numbers from 1 to 99 and a target from 10 to 100 that some equation over *all* the
numbers reaches with whole-number steps, as in `Jiayi-Pan/Countdown-Tasks-3to4` (paper section 4.2).

Not here: the verifier (`r3lib.problems.countdown.verify`), which knows nothing of how problems are made.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

Node = int | tuple  # a number, or (operator, left Node, right Node)
TARGETS = range(10, 101)


def key(numbers: list[int], target: int) -> tuple:
    """Identity of a problem up to the order of its numbers: the splits share no key."""
    return tuple(sorted(numbers)), target


def reachable(numbers: list[int]) -> dict[int, list[Node]]:
    """Every whole-number value of an equation that uses each number once, with the trees that reach it.

    Subset dynamic programming: the values of a set of numbers come from all ways to split it in two. Intermediate
    values are whole and never negative; a target above zero that negative steps reach, other steps reach as well.

    Returns: {value: [tree, ...]}, trees not yet deduplicated (`spell` maps equal equations to one text).
    """
    n = len(numbers)
    table: list[list[tuple[int, Node]]] = [[] for _ in range(1 << n)]
    for i, number in enumerate(numbers):
        table[1 << i] = [(number, number)]
    for mask in range(1, 1 << n):
        low = mask & -mask
        left = (mask - 1) & mask
        while left:
            if left & low:  # each split once; both orders of - and / are tried below
                for a, x in table[left]:
                    for b, y in table[mask ^ left]:
                        if a < b:
                            big, small, p, q = b, a, y, x
                        else:
                            big, small, p, q = a, b, x, y
                        out = table[mask]
                        out.append((a + b, ("+", p, q)))
                        out.append((a * b, ("*", p, q)))
                        out.append((big - small, ("-", p, q)))
                        if small and big % small == 0:
                            out.append((big // small, ("/", p, q)))
            left = (left - 1) & mask
    solutions: dict[int, list[Node]] = {}
    for value, node in table[-1]:
        solutions.setdefault(value, []).append(node)
    return solutions


def value_of(node: Node) -> int:
    """Value of a tree whose steps are whole (as `reachable` builds them)."""
    if isinstance(node, int):
        return node
    op, a, b = node[0], value_of(node[1]), value_of(node[2])
    return a + b if op == "+" else a - b if op == "-" else a * b if op == "*" else a // b


def _terms(node: Node, plus: str, minus: str) -> tuple[list[Node], list[Node]]:
    """Flatten nested + and - (or * and /) into what is added and what is taken away."""
    if isinstance(node, int) or node[0] not in (plus, minus):
        return [node], []
    ups, downs = _terms(node[1], plus, minus)
    more, less = _terms(node[2], plus, minus)
    return (ups + more, downs + less) if node[0] == plus else (ups + less, downs + more)


def canonical(node: Node) -> Node:
    """One tree for all trees that differ only in the order of sums and products: larger terms first, adding first."""
    if isinstance(node, int):
        return node
    plus, minus = ("+", "-") if node[0] in "+-" else ("*", "/")
    ups, downs = (
        sorted(map(canonical, side), key=lambda t: (-value_of(t), str(t))) for side in _terms(node, plus, minus)
    )
    tree, pending = ups[0], downs
    for term in [*ups[1:], None]:
        if plus == "*":  # divide as early as it comes out whole: smaller steps than multiplying first
            for divisor in list(pending):
                if value_of(tree) % value_of(divisor) == 0:
                    tree = ("/", tree, divisor)
                    pending.remove(divisor)
        if term is not None:
            tree = (plus, tree, term)
    for term in pending:
        tree = (minus, tree, term)
    return tree


def spell(node: Node) -> str:
    """Equation text with the fewest parentheses: `(34 - 2) * 6`."""
    if isinstance(node, int):
        return str(node)
    op, left, right = node
    a, b = spell(left), spell(right)
    if op in "*/" and not isinstance(left, int) and left[0] in "+-":
        a = f"({a})"
    if not isinstance(right, int) and (op in "*/" and right[0] in "+-" or op == "-" and right[0] in "+-" or op == "/"):
        b = f"({b})"
    return f"{a} {op} {b}"


def steps(node: Node) -> list[str]:
    """The equation worked out one operation at a time: ['34 - 2 = 32', '32 * 6 = 192']."""
    if isinstance(node, int):
        return []
    op, left, right = node
    return steps(left) + steps(right) + [f"{value_of(left)} {op} {value_of(right)} = {value_of(node)}"]


def _operators(node: Node) -> str:
    return "" if isinstance(node, int) else _operators(node[1]) + node[0] + _operators(node[2])


def simplest(nodes: list[Node]) -> list[Node]:
    """The distinct canonical trees with the fewest multiplications and divisions, in a fixed order."""

    def cost(node: Node) -> int:
        return sum(op in "*/" for op in _operators(node))

    fewest = min(map(cost, nodes))
    trees = {spell(t): t for t in (canonical(n) for n in nodes if cost(n) == fewest)}
    return [trees[text] for text in sorted(trees)]


def draw(
    rng: random.Random, sizes: tuple[int, ...] = (3, 4), per_draw: int = 1
) -> Iterator[tuple[list[int], int, list[Node]]]:
    """Endless solvable problems `(numbers, target, trees)`: size, numbers and target uniform, unsolvable ones dropped.

    per_draw: targets tried for each set of numbers (above 1 only where speed matters more than independence).
    """
    while True:
        size = rng.choice(sizes)
        found = 0
        while not found:
            numbers = [rng.randint(1, 99) for _ in range(size)]
            solutions = reachable(numbers)
            for target in rng.sample(TARGETS, per_draw):
                if target in solutions:
                    found += 1
                    yield numbers, target, solutions[target]


def splits(seed: int, sizes: dict[str, int]) -> dict[str, list[dict]]:
    """Named lists of distinct problems `{"numbers", "target"}`; no two problems, in one list or in two, share a key."""
    rng, seen, out = random.Random(seed), set(), {}
    problems = draw(rng)
    for name, size in sizes.items():
        rows = out[name] = []
        while len(rows) < size:
            numbers, target, _ = next(problems)
            if key(numbers, target) not in seen:
                seen.add(key(numbers, target))
                rows.append({"numbers": numbers, "target": target})
    return out


HUB_NAME = "Jiayi-Pan/Countdown-Tasks-3to4"


def hub_splits(sizes: dict[str, int], seed: int = 0) -> dict[str, list[dict]]:
    """The paper's data set from the hub, cut into named splits that share no key, the same for one seed.

    sizes: split name -> number of problems, filled in this order; a size beyond what is left takes what is left.
    Needs the network once (the hub caches it). Raises R3Error if the hub or the data set cannot be reached.
    """
    from datasets import load_dataset

    from r3lib.files import R3Error

    try:
        rows = load_dataset(HUB_NAME, split="train")
    except Exception as error:  # the hub's client raises many kinds
        raise R3Error(
            f"Cannot load {HUB_NAME} ({type(error).__name__}). Connect to the hub once, or use the profile nano, whose "
            "problems are in data/countdown."
        ) from error
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    numbers, targets = rows["nums"], rows["target"]
    seen, out, names = set(), {name: [] for name in sizes}, iter(sizes.items())
    name, size = next(names)
    for i in order:
        identity = key(numbers[i], targets[i])
        if identity in seen:
            continue
        while len(out[name]) >= size:
            following = next(names, None)
            if following is None:
                return out
            name, size = following
        seen.add(identity)
        out[name].append({"numbers": list(numbers[i]), "target": targets[i]})
    return out
