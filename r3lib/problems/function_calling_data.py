"""Function-calling problems in the xLAM/APIGen format: drawing them, and how each argument follows from the query.

A problem is `{"query", "tools", "answers"}` as in `Salesforce/xlam-function-calling-60k` (paper section 4.1): some
tools are offered, the query asks for one or two calls. The tools are written by hand (data/function_calling/
catalogue.jsonl: for each its queries, with a slot for every parameter), the values are drawn
(`r3lib.problems.function_calling_values`).

Not here: the verifier (`r3lib.problems.function_calling`), which knows nothing of how problems are made.
"""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Iterator
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from r3lib.files import DATA, HOME, read_jsonl, write_text
from r3lib.problems.function_calling_values import TYPES, Said, computable, pools_of, say

FOLDER = DATA / "function_calling"
SIZES = {"train": 2000, "validation": 500, "test": 1000}
HELD_OUT = ("pets", "photos", "energy", "crafts")  # of each family of these, only the first tool is seen in training


class Fact(NamedTuple):
    """Why an argument is what it is: the call's place in the answers, the parameter, and what `Said` says."""

    call: int
    parameter: str
    phrase: str
    working: list[str]
    value: Any


class Item(NamedTuple):
    """A problem and the facts behind every argument; only the problem is stored."""

    query: str
    tools: list[dict]
    answers: list[dict]
    facts: list[Fact]

    def problem(self) -> dict:
        return {"query": self.query, "tools": self.tools, "answers": self.answers}


# --- the catalogue -------------------------------------------------------------------------------------------------


@cache
def catalogue() -> tuple[dict, ...]:
    """The tools: `{"domain", "family", "name", "description", "parameters", "queries"}`, as written by hand.

    A parameter has a "concept" (`function_calling_values`), a "description" and, if it is optional, a "default".
    Tools of a family are easily confused. The first query of a tool is an order without its last full stop; what
    stands in [brackets] goes with an optional parameter. Raises R3Error if the file is missing or damaged.
    """
    return tuple(read_jsonl(FOLDER / "catalogue.jsonl"))


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word of the tools and of the values, of all splits, as it is written there and in small letters."""
    text = " ".join((FOLDER / name).read_text(encoding="utf-8") for name in ("catalogue.jsonl", "words.json"))
    words = set(re.findall("[A-Z]?[a-z]+|[A-Z]+", text))
    return tuple(sorted(words | {word.lower() for word in words}))


@cache
def _families() -> dict[tuple[str, str], list[str]]:
    out: dict[tuple[str, str], list[str]] = {}
    for tool in catalogue():
        out.setdefault((tool["domain"], tool["family"]), []).append(tool["name"])
    return out


def split_of(tool: dict) -> str:
    """The one split that a tool occurs in. An unseen tool has neighbours: its family's first one is in training."""
    family = tool["domain"], tool["family"]
    share = zlib.crc32("/".join(family).encode()) % 100
    if _families()[family][0] == tool["name"] or (share < 78 and tool["domain"] not in HELD_OUT):
        return "train"
    return "validation" if 78 <= share < 90 and tool["domain"] not in HELD_OUT else "test"


def tools_of(split: str) -> list[dict]:
    """The catalogue's tools of one split: "train", "validation" or "test"."""
    return [tool for tool in catalogue() if split_of(tool) == split]


def offered(tool: dict) -> dict:
    """A catalogue tool as a model sees it: name, description, parameters with their types."""
    parameters = {}
    for name, parameter in tool["parameters"].items():
        shape = dict(TYPES.get(parameter["concept"], {"type": "string"}))
        parameters[name] = {"type": shape.pop("type"), "description": parameter["description"], **shape}
        parameters[name].update({field: parameter[field] for field in ("enum", "default") if field in parameter})
    return {"name": tool["name"], "description": tool["description"], "parameters": parameters}


@cache
def verb(name: str) -> str:
    """What a tool does, by its name: "play" for music.play_song, playSong and play_song."""
    return re.match("[A-Z]?[a-z]*", name.rpartition(".")[2])[0].lower()


# --- problems ------------------------------------------------------------------------------------------------------

ORDERS = (
    ("{}.", 6),
    ("{}", 3),
    ("Please {}.", 3),
    ("Could you {}?", 2),
    ("Can you {}, please?", 1),
    ("I need you to {}.", 1),
    ("I would like you to {}.", 1),
    ("Hi, {}, thanks.", 1),
    ("Would you mind helping me? {}.", 1),
)
BOTH = ("{} and {}.", "{}, then {}.", "{}, and also {}.", "Please {} and {}.", "Can you {} and then {}?", "{} and {}")
THEN = ("{} Also, {}.", "{} Then {}.", "{} And please {}.", "{} After that, {}.", "{} Could you also {}?")


def _lower(order: str) -> str:
    return order[0].lower() + order[1:]


def _order(frame: str, *orders: str) -> str:
    """Orders set in a frame: small letters unless one opens a sentence."""
    parts = re.split(r"(\{\})", frame)
    for i, part in enumerate(parts):
        if part == "{}":
            order, *orders = orders
            before = "".join(parts[:i]).rstrip()
            parts[i] = order if not before or before[-1] in ".?!" else _lower(order)
    return "".join(parts)


def _arguments(rng: random.Random, tool: dict, computed: float, pools: dict[str, list[str]]) -> dict[str, Said]:
    """What is said of each parameter; some optional ones stay unsaid, and no two of one concept are equal."""
    parameters = tool["parameters"]
    able = [name for name, parameter in parameters.items() if computable(parameter)]
    worked = {rng.choice(able)} if able and rng.random() < computed else set()
    if worked:
        worked |= {name for name in able if rng.random() < 0.4}
    while True:
        out = {}
        for name, parameter in parameters.items():
            if "default" not in parameter or name in worked or rng.random() < 0.5:
                out[name] = say(rng, parameter, name in worked, pools)
        values = [(parameters[name]["concept"], str(said.value)) for name, said in out.items()]
        if len(set(values)) == len(values):
            return out


def _values(said: dict[str, Said]) -> dict[str, Any]:
    return {name: one.value for name, one in said.items()}


def _fill(query: str, said: dict[str, Said]) -> str:
    """Put the phrases into the slots of a catalogue query and leave out the tails of what is not said."""

    def tail(match: re.Match) -> str:
        return match[1] if set(re.findall(r"{(\w+)}", match[1])) <= set(said) else ""

    text = re.sub(r"\[([^\]]*)\]", tail, query)
    text = re.sub(r"{(\w+)}", lambda match: said[match[1]].phrase, text)
    return re.sub(r"\b([Aa]) (?=[aeio]|8\d?\b|11\b|18\b)", r"\1n ", text)


def _query(rng: random.Random, calls: list[tuple[dict, dict[str, Said]]]) -> str:
    """One query for one or two calls, in the words of their tools."""
    orders = [_fill(tool["queries"][0], said) for tool, said in calls]
    sentences = [_fill(rng.choice(tool["queries"][1:]), said) for tool, said in calls]
    form = rng.random()
    if len(calls) == 1:
        frames, weights = zip(*ORDERS)
        return _order(rng.choices(frames, weights)[0], *orders) if form < 0.4 else sentences[0]
    if form < 0.4:
        return _order(rng.choice(BOTH), *orders)
    first = sentences[0] if form < 0.85 else f"{orders[0]}."
    return _order(rng.choice(THEN), first, orders[1]) if form < 0.7 else f"{first} {sentences[1]}"


def _near(tool: dict, other: dict) -> bool:
    return other["domain"] == tool["domain"] or verb(other["name"]) == verb(tool["name"])


def _distractors(rng: random.Random, tools: list[dict], right: list[dict], count: int) -> list[dict]:
    """Other tools: most of them of the family of a right one, the rest of its domain or with its verb."""
    out: list[dict] = []
    while len(out) < count:
        like, taken = rng.choice(right), {tool["name"] for tool in right + out}
        others = [tool for tool in tools if tool["name"] not in taken]
        near = [tool for tool in others if _near(like, tool)]
        family = [tool for tool in near if (tool["domain"], tool["family"]) == (like["domain"], like["family"])]
        out.append(rng.choice((rng.random() < 0.7 and family) or near or others))
    return out


COMPUTED = 0.85  # share of problems with something to work out


def draw(
    rng: random.Random,
    split: str = "train",
    computed: float = COMPUTED,
    kinds: tuple[float, float, float] = (0.25, 0.55, 0.2),
) -> Iterator[Item]:
    """Endless problems with the tools of one split.

    computed: share of problems with at least one value that has to be worked out. kinds: shares of problems with one
    tool on offer, with two to four of which one is right, and with two calls (of one tool, or of two).
    """
    tools, pools = tools_of(split), pools_of(split)
    workable = [tool for tool in tools if any(map(computable, tool["parameters"].values()))]
    while True:
        kind = rng.choices(range(3), kinds)[0]
        work = rng.random() < computed
        right = [rng.choice(workable if work else tools)]
        if kind == 2 and rng.random() < 0.5:
            right.append(
                rng.choice([tool for tool in tools if tool is not right[0] and _near(right[0], tool)] or tools)
            )
        calls = [(tool, _arguments(rng, tool, float(work and i == 0), pools)) for i, tool in enumerate(right)]
        if kind == 2 and len(right) == 1:
            while _values(calls[-1][1]) == _values(calls[0][1]):
                calls[1:] = [(right[0], _arguments(rng, right[0], 0.5 * work, pools))]
        on_offer = right + _distractors(rng, tools, right, (0, rng.randint(1, 3), rng.randint(0, 2))[kind])
        rng.shuffle(on_offer)
        yield _item(rng, calls, on_offer)


def groups(rng: random.Random, split: str = "train", computed: float = COMPUTED) -> Iterator[list[Item]]:
    """Endless groups of three to six problems that are offered the same two to four tools."""
    tools, pools = tools_of(split), pools_of(split)
    while True:
        first = rng.choice(tools)
        on_offer = [first, *_distractors(rng, tools, [first], rng.randint(1, 3))]
        rng.shuffle(on_offer)
        asked = [rng.sample(on_offer, rng.choices((1, 2), (0.8, 0.2))[0]) for _ in range(rng.randint(3, 6))]
        yield [_item(rng, [(t, _arguments(rng, t, computed, pools)) for t in right], on_offer) for right in asked]


def _item(rng: random.Random, calls: list[tuple[dict, dict[str, Said]]], on_offer: list[dict]) -> Item:
    answers = [{"name": tool["name"], "arguments": _values(said)} for tool, said in calls]
    facts = [
        Fact(i, name, said.phrase, said.working, said.value)
        for i, (_, call) in enumerate(calls)
        for name, said in call.items()
    ]
    return Item(_query(rng, calls), [offered(tool) for tool in on_offer], answers, facts)


def key(problem: dict) -> tuple:
    """Identity of a problem: the calls it asks for, in any order. The splits share no key."""
    return tuple(sorted(json.dumps(answer, sort_keys=True) for answer in problem["answers"]))


def splits(seed: int = 0, sizes: dict[str, int] | None = None) -> dict[str, list[dict]]:
    """Named lists of distinct problems; no tool occurs in two of them, and no two problems share a key.

    sizes: of "train", "validation", "test"; those of the files in data/function_calling unless told.
    """
    sizes = SIZES if sizes is None else sizes
    return {name: [item.problem() for item in islice(distinct(name, seed), size)] for name, size in sizes.items()}


def distinct(split: str, seed: int = 0) -> Iterator[Item]:
    """Endless items of a split without the same problem twice: with seed 0, those of the split's file, in its order."""
    seen: set[tuple] = set()
    for item in draw(random.Random(f"{seed} {split}"), split):
        identity = key(item.problem())
        if identity not in seen:
            seen.add(identity)
            yield item


def write(
    folder: Path = HOME / "data" / "function_calling", seed: int = 0, sizes: dict[str, int] | None = None
) -> None:
    """Write one file of problems for each split. Raises R3Error if the folder cannot be written."""
    for name, rows in splits(seed, sizes).items():
        lines = (json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
        write_text(Path(folder) / f"{name}.jsonl", "".join(lines))


HUB_NAME = "Salesforce/xlam-function-calling-60k"


def hub_splits(sizes: dict[str, int], seed: int = 0) -> dict[str, list[dict]]:
    """The paper's data set from the hub, cut into named splits that share no problem, the same for one seed.

    A problem is known by its query and its gold calls, so neither a row that comes twice nor the order of the hub's
    rows moves a problem from one split to another. Rows whose gold calls the verifier cannot read are left out.

    sizes: split name -> number of problems, filled in this order; a size beyond what is left takes what is left. The
    paper's are {"train": 48_000, "test": 12_000}.
    Needs the network and access to the data set once (the hub caches it). Raises R3Error if there is neither.
    """
    from datasets import load_dataset

    from r3lib.files import R3Error
    from r3lib.problems.function_calling import gold_calls

    try:
        rows = load_dataset(HUB_NAME, split="train")
    except Exception as error:  # the hub's client raises many kinds
        raise R3Error(
            f"Cannot load {HUB_NAME} ({type(error).__name__}): accept its terms on https://huggingface.co/datasets/"
            f"{HUB_NAME}, log in with `hf auth login`, and connect to the hub once. The profile nano needs no network."
        ) from error
    problems = {}
    for query, tools, answers in sorted(zip(rows["query"], rows["tools"], rows["answers"])):
        try:
            gold_calls(answers)
            identity = query, json.dumps(json.loads(answers), sort_keys=True)
        except ValueError:
            continue
        problems.setdefault(identity, {"query": query, "tools": tools, "answers": answers})
    shuffled = [problems[identity] for identity in sorted(problems)]
    random.Random(seed).shuffle(shuffled)
    out, start = {}, 0
    for name, size in sizes.items():
        out[name] = shuffled[start : start + size]
        start += size
    return out
