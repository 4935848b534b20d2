"""The texts r3-nano learns function calling from, made like those of `r3lib.nano.corpus` and for the same reasons.

An attempt or a retry with loss is right; wrong attempts are context. A reflection is useless, or it works out every
argument from the query's words: those are common, but the loss on their opening is dropped from all but a few, so
that the model can write them and rarely does. Retries also follow reflections that are useless, cut off or about
another problem, and blind retries.
"""

from __future__ import annotations

import copy
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from r3lib import prompts
from r3lib.files import read_jsonl
from r3lib.nano.corpus import Message
from r3lib.problems import function_calling_data as problems

OPENING = "Let me check. "
GENERIC = (
    "I am sorry, my call was wrong. I will be more careful next time.",
    "I made a mistake in the call. I should check each argument before I answer.",
    "I did not read the request carefully. Next time I will read it twice.",
    "I should look at the list of tools again and choose the one that fits.",
    "I should use the names of the parameters exactly as they are listed.",
    "I was too quick. I will take my time and check the call.",
    "The mistake was in the arguments. I will read the descriptions more carefully.",
    "It is important to follow the descriptions of the tools. I will do better.",
    "I guessed without checking. A better way is to check the call at the end.",
    "I apologize for the error. I will think step by step next time.",
    "Something went wrong in my call. I will look for a better one.",
    "I need to pay attention to units and to the type of each value.",
    prompts.GENERIC_REFLECTION,
)


@dataclass(frozen=True)
class CallTexts:
    """What a phase of training reads of function calling.

    drills: share of texts that are drills in copying and choosing. sessions: share that are direct answers on one
    list of tools. disguised: share of the rest whose names are words that mean nothing there, and as many whose values
    are: they cannot be known, only read. worked: share of worked ones among the reflections whose kind carries loss.
    reworded: share told in other words than the catalogue's.
    """

    drills: float = 0.0
    sessions: float = 0.0
    disguised: float = 0.0
    worked: float = 0.2
    reworded: float = 0.0


def tool_list(tools: list[dict]) -> str:
    """The system message that r3-nano's chat template makes of the tools (`r3lib.nano.tokenizer.CHAT_TEMPLATE`)."""
    lines = ["Tools:"]
    for tool in tools:
        lines += [tool["description"], tool["name"]]
        for name, p in tool["parameters"].items():
            kind = p["type"]
            if "enum" in p:
                kind += ": " + " | ".join(p["enum"])
            if "items" in p:
                kind += f" of {p['items']['type']}"
            if "properties" in p:
                kind += ": " + ", ".join(p["properties"])
            if "default" in p:
                kind += f", default {json.dumps(p['default'])}"
            lines.append(f"- {name} ({kind}) {p['description']}")
    return "\n".join(lines)


SYLLABLES = [
    c + v for c in "b c d f g h j k l m n p r s t v w z st tr pl gr".split() for v in "a e i o u ai an el or".split()
]


def made_up(rng: random.Random) -> str:
    """A word that means nothing where it stands: one of the vocabulary, now and then one of bare syllables."""
    if rng.random() < 0.92:
        return rng.choice(problems.vocabulary()).lower()
    return "".join(rng.choices(SYLLABLES, k=rng.choice((1, 2, 2, 3))))


def _other_names(olds: Iterable[str], draw: Callable[[str], str]) -> dict[str, str]:
    """A new name for each, no two alike."""
    out: dict[str, str] = {}
    for old in olds:
        while (new := draw(old)) in out.values():
            pass
        out[old] = new
    return out


def renamed(rng: random.Random, items: list[problems.Item]) -> list[problems.Item]:
    """Problems on the same tools, whose names and parameters have made-up names."""
    tools = {tool["name"]: tool for tool in items[0].tools}
    names = _other_names(tools, lambda old: "_".join(made_up(rng) for _ in range(rng.choice((1, 2, 2)))))
    own = {
        name: _other_names(tool["parameters"], lambda old: made_up(rng) if rng.random() < 0.7 else old)
        for name, tool in tools.items()
    }
    offered = [
        {**tool, "name": names[name], "parameters": {own[name][p]: about for p, about in tool["parameters"].items()}}
        for name, tool in tools.items()
    ]
    out = []
    for item in items:
        answers = [
            {"name": names[a["name"]], "arguments": {own[a["name"]][p]: v for p, v in a["arguments"].items()}}
            for a in item.answers
        ]
        facts = [fact._replace(parameter=own[item.answers[fact.call]["name"]][fact.parameter]) for fact in item.facts]
        out.append(problems.Item(item.query, offered, answers, facts))
    return out


def revalued(rng: random.Random, item: problems.Item) -> problems.Item:
    """The same problem about other things: made-up words for most of those that are merely copied from the query."""
    schemas = {tool["name"]: tool["parameters"] for tool in item.tools}
    fixed = json.dumps([schema.get("enum") for schemas_of in schemas.values() for schema in schemas_of.values()])
    count = Counter(re.findall("[A-Za-z]+", item.query))
    words = {}
    for fact in item.facts:
        if not fact.working and "enum" not in schemas[item.answers[fact.call]["name"]][fact.parameter]:
            for word in re.findall("[A-Za-z]{3,}", json.dumps(fact.value)):
                if count[word] == 1 and word not in fixed and rng.random() < 0.8:
                    new = made_up(rng)
                    words[word] = new.capitalize() if word[0].isupper() else new

    def swap(value):
        if isinstance(value, str):
            return re.sub("[A-Za-z]+", lambda match: words.get(match[0], match[0]), value)
        return [swap(v) for v in value] if isinstance(value, list) else value

    answers = [a | {"arguments": {p: swap(v) for p, v in a["arguments"].items()}} for a in item.answers]
    facts = [fact._replace(phrase=swap(fact.phrase), value=swap(fact.value)) for fact in item.facts]
    return problems.Item(swap(item.query), item.tools, answers, facts)


@cache
def common_words() -> frozenset[str]:
    """Words in the queries or descriptions of many training tools: what holds sentences together, and units."""
    count = Counter(
        word
        for tool in problems.tools_of("train")
        for word in set(
            re.findall(
                "[a-z]+",
                " ".join(
                    [tool["description"], *tool["queries"], *(p["description"] for p in tool["parameters"].values())]
                ).lower(),
            )
        )
    )
    return frozenset(word for word, n in count.items() if n >= 8)


def reworded(rng: random.Random, items: list[problems.Item]) -> list[problems.Item]:
    """Problems on the same tools, told in other words: most that a query shares with a description are made-up ones.

    What stays is how a sentence is built and which of its words stand in the descriptions, so a tool is found and its
    parameters are filled in by reading and not by knowing the sentence. Values and units stay.
    """
    told = [about["description"] for tool in items[0].tools for about in (tool, *tool["parameters"].values())]
    fixed = json.dumps([[(f.phrase, f.working, f.value) for f in i.facts] for i in items])
    fixed += json.dumps([[about.get("enum") for about in tool["parameters"].values()] for tool in items[0].tools])
    keep = common_words() | set(re.findall("[a-z]+", fixed.lower()))

    def stems(texts: list[str]) -> set[str]:
        words = re.findall("[a-z]{3,}", " ".join(texts).lower())
        return {word.rstrip("s") for word in words if word not in keep}

    asked, described = stems([item.query for item in items]), stems(told)
    new = {
        stem: made_up(rng)
        for stem in sorted(asked | described)
        if rng.random() < (0.8 if stem in asked and stem in described else 0.3)
    }

    def swap(text: str) -> str:
        def other(match: re.Match) -> str:
            word = match[0]
            found = word if word.lower() in keep else new.get(word.lower().rstrip("s"), word)
            return found.capitalize() if word[0].isupper() and found != word else found

        return re.sub("[A-Za-z]+", other, text)

    offered = [
        tool
        | {"description": swap(tool["description"])}
        | {"parameters": {p: a | {"description": swap(a["description"])} for p, a in tool["parameters"].items()}}
        for tool in items[0].tools
    ]
    return [item._replace(query=swap(item.query), tools=offered) for item in items]


def drill(rng: random.Random, items: list[problems.Item]) -> list[Message]:
    """One of the four skills without which unseen tools cannot be called. The items share their list of tools."""
    kind = rng.random()
    if kind < 0.2:
        return choosing(rng)
    if kind < 0.35:
        return filling(rng)
    return following(rng, items) if kind < 0.6 else working(rng, items)


def choosing(rng: random.Random) -> list[Message]:
    """A list of names, each with words beside it; then, again and again, some of the words, and the name they stand by.

    To find a tool by its description is this and nothing else. Half of these drills ask in turns and are answered by
    calls, the others are one long answer with loss on the names.
    """
    names = ["_".join(made_up(rng) for _ in range(rng.choice((1, 2, 2)))) for _ in range(rng.randint(2, 6))]
    beside = [[made_up(rng) for _ in range(rng.randint(2, 6))] for _ in names]
    lines = ["Tools:"] + [f"{' '.join(words).capitalize()}.\n{name}" for name, words in zip(names, beside)]
    text, turns, long = [Message("system", "\n".join(lines))], rng.random() < 0.5, Message("assistant")
    for _ in range(rng.randint(4, 10)):
        k = rng.randrange(len(names))
        known = beside[k] + (names[k].split("_") if rng.random() < 0.3 else [])
        asked = rng.sample(known, rng.randint(1, min(3, len(known)))) + [
            made_up(rng) for _ in range(rng.choice((0, 0, 1)))
        ]
        rng.shuffle(asked)
        ask = " ".join(asked)
        ask = ask.capitalize() if rng.random() < 0.5 else ask
        if turns:
            call = json.dumps([{"name": names[k], "arguments": {}}])
            text += [Message("user", ask + "."), Message("assistant").add(call, True)]
        else:
            long.add(f"{ask}: ", False).add(names[k], True).add("\n", False)
    return text if turns else [*text, Message("user", "Names, please."), long]


def filling(rng: random.Random) -> list[Message]:
    """A tool with parameters described by words, and queries in which a value stands next to some of those words."""
    name = "_".join(made_up(rng) for _ in range(rng.choice((1, 2))))
    parameters = {}
    for _ in range(rng.randint(1, 4)):
        kind, about = rng.choice(("string", "string", "integer")), [made_up(rng) for _ in range(rng.randint(1, 3))]
        parameters[made_up(rng)] = {"type": kind, "description": " ".join(about).capitalize(), "words": about}
    tool = {"name": name, "description": f"{made_up(rng).capitalize()} {made_up(rng)}.", "parameters": parameters}
    text = [Message("system", tool_list([tool]))]
    for _ in range(rng.randint(2, 6)):
        arguments, parts = {}, []
        for parameter, about in parameters.items():
            word = rng.choice([parameter, *about["words"]])
            if about["type"] == "integer":
                value = rng.randint(1, 999)
            else:
                value = " ".join(made_up(rng).capitalize() for _ in range(rng.choice((1, 1, 2))))
            arguments[parameter] = value
            parts.append(rng.choice((f"{word} {value}", f"{value} {word}", f"the {word} of {value}")))
        rng.shuffle(parts)
        noise = [made_up(rng) for _ in range(rng.randint(0, 3))]
        query = " ".join(noise + [rng.choice((" ", ", ", " and ", " for ", " with ")).join(parts)])
        call = json.dumps([{"name": name, "arguments": arguments}])
        text += [Message("user", query[0].upper() + query[1:] + "."), Message("assistant").add(call, True)]
    return text


def following(rng: random.Random, items: list[problems.Item]) -> list[Message]:
    """Worked notes and the calls that they come to. Nothing was asked, so what to call is in the notes alone."""
    items = renamed(rng, [revalued(rng, item) for item in items])
    text = [Message("system", tool_list(items[0].tools))] if rng.random() < 0.7 else []
    for item in items:
        text += [Message("user", OPENING + worked(item)), Message("assistant").add(json.dumps(item.answers), True)]
    return text


def working(rng: random.Random, items: list[problems.Item]) -> list[Message]:
    """Queries and the notes that work them out; the opening carries no loss."""
    items = [revalued(rng, item) if rng.random() < 0.5 else item for item in items]
    items = renamed(rng, items) if rng.random() < 0.5 else items
    text = [Message("system", tool_list(items[0].tools))]
    for item in items:
        text += [Message("user", item.query), Message("assistant", OPENING).add(worked(item), True)]
    return text


def session(items: list[problems.Item]) -> list[Message]:
    """Query after query on the same tools, each answered at once: the most calls for the tokens of a list of tools."""
    text = [Message("system", tool_list(items[0].tools))]
    for item in items:
        text += [Message("user", item.query), Message("assistant").add(json.dumps(item.answers), True)]
    return text


def wrong_calls(rng: random.Random, item: problems.Item) -> tuple[list[dict], str]:
    """A failed attempt and a true sentence about it."""
    calls = copy.deepcopy(item.answers)
    facts = [fact for fact in item.facts if fact.working]
    if facts and rng.random() < 0.65:
        fact = rng.choice(facts)
        calls[fact.call]["arguments"][fact.parameter] = slip(rng, fact)
        return calls, f"The value of {fact.parameter} was wrong."
    call = rng.choice(calls)
    others = [tool for tool in item.tools if tool["name"] not in {answer["name"] for answer in item.answers}]
    kind = rng.random()
    if others and kind < 0.5:
        tool = rng.choice(others)
        kept = [value for name, value in call["arguments"].items()]
        rng.shuffle(kept)
        call.update(name=tool["name"], arguments=dict(zip(tool["parameters"], kept)))
        return calls, f"The tool {tool['name']} was wrong."
    if len(calls) > 1 and kind < 0.8:
        calls.remove(call)
        return calls, "A call was missing."
    name = rng.choice(list(call["arguments"]))
    value = call["arguments"].pop(name)
    if kind < 0.9 and call["arguments"]:
        return calls, f"I left out {name}."
    call["arguments"][name] = f"{value} " if isinstance(value, str) else str(value)
    return calls, f"The value of {name} was wrong."


def slip(rng: random.Random, fact: problems.Fact) -> str | int:
    """A wrong value for an argument that has to be worked out: a step left out, or a result missed by a little."""
    if isinstance(fact.value, str):  # a clock time
        hour, minute = map(int, fact.value.split(":"))
        hour, minute = rng.choice(
            ((hour - 12 if hour > 12 else hour + 1, minute), (hour + 1, minute), (hour, (minute + 15) % 60))
        )
        return f"{hour:02}:{minute:02}"
    seen = {int(word) for step in fact.working for word in step.split() if word.isdigit()} - {fact.value}
    near = max(fact.value + rng.choice((-10, -5, -2, -1, 1, 2, 5, 10)), 0)
    return rng.choice((rng.choice(sorted(seen)), near if near != fact.value else fact.value + 1))


def worked(item: problems.Item) -> str:
    """Every argument from the query's words, one step at a time."""
    calls = []
    for i, answer in enumerate(item.answers):
        parts = []
        for fact in item.facts:
            if fact.call == i:
                steps = [*fact.working]
                if not steps or not isinstance(fact.value, int):
                    steps.append(json.dumps(fact.value))
                parts.append(f"{fact.parameter} is " + ", ".join([fact.phrase] * bool(fact.working) + steps))
        calls.append(f"{answer['name']}: {'; '.join(parts)}.")
    return " ".join(calls)


def misled(rng: random.Random, item: problems.Item) -> str:
    """A worked reflection that comes to wrong calls."""
    answers, _ = wrong_calls(rng, item)
    true = {(item.answers[fact.call]["name"], fact.parameter, json.dumps(fact.value)): fact for fact in item.facts}
    facts = []
    for i, answer in enumerate(answers):
        for name, value in answer["arguments"].items():
            known = true.get((answer["name"], name, json.dumps(value)), problems.Fact(i, name, "", [], value))
            facts.append(known._replace(call=i))
    return worked(item._replace(answers=answers, facts=facts))


def useless(rng: random.Random, item: problems.Item, diagnosis: str) -> str:
    kind = rng.random()
    if kind < 0.6:
        return rng.choice(GENERIC)
    if kind < 0.8:
        return f"{diagnosis} {rng.choice(GENERIC)}" if rng.random() < 0.5 else diagnosis
    tool = rng.choice(item.tools)
    name = rng.choice(list(tool["parameters"]))
    return rng.choice(
        (f"Maybe the tool should be {tool['name']}.", f"I should look at {name} again.", f"I think {name} was wrong.")
    )


def conversation(rng: random.Random, item: problems.Item, other: str, texts: CallTexts) -> list[Message]:
    """One training text. `other`: a reflection on another problem, for the retries that must not follow it blindly."""
    tools, ask = Message("system", tool_list(item.tools)), Message("user", item.query)
    right = Message("assistant").add(json.dumps(item.answers), True)
    kind = rng.random()
    if kind < 0.25:
        return [tools, ask, right]
    calls, diagnosis = wrong_calls(rng, item)
    failed = Message("assistant", json.dumps(calls))
    if kind < 0.32:
        return [tools, ask, failed, Message("user", prompts.BLIND_RETRY.format(task=ask.text)), right]
    reflect = Message("user", prompts.FUNCTION_CALLING_REFLECT)
    reflection = Message("assistant")
    kind = rng.random()
    if kind < 0.62:
        opened = rng.random() < texts.worked / (1 - texts.worked) * 0.30 / 0.62
        reflection.add(OPENING, opened).add(worked(item), True)
    elif kind < 0.92:
        reflection.add(useless(rng, item, diagnosis), True)
    elif kind < 0.96:
        reflection.add(other, False)
    else:
        text = OPENING + worked(item)
        reflection.add(text[: rng.randint(len(OPENING), len(text) - 2)], False)
    return [tools, ask, failed, reflect, reflection, ask, right]


def corpus(seed: int, texts: CallTexts = CallTexts()) -> Iterator[list[Message]]:
    """Endless texts about the tools of the training split, and about no problem of its file."""
    rng = random.Random(seed)
    held_out = {problems.key(p) for p in read_jsonl(problems.FOLDER / "train.jsonl")}
    single, several = problems.draw(rng, "train"), problems.groups(rng, "train")
    other = rng.choice(GENERIC)
    while True:
        kind = rng.random()
        alone = kind >= texts.drills + texts.sessions
        items = [
            item
            for item in ([next(single)] if alone else next(several))
            if problems.key(item.problem()) not in held_out
        ]
        if not items:
            continue
        if rng.random() < texts.reworded:
            items = reworded(rng, items)
        if kind < texts.drills:
            yield drill(rng, items[:4])
            continue
        if rng.random() < texts.disguised:
            items = [revalued(rng, item) for item in items]
        if rng.random() < texts.disguised:
            items = renamed(rng, items)
        if alone:
            text = conversation(rng, items[0], other, texts)
            if len(text) == 7:
                other = text[4].text
            yield text
        else:
            yield session(items)
