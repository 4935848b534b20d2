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
from collections.abc import Iterator

from r3lib import function_calling_data as problems
from r3lib import prompts
from r3lib.files import read_jsonl
from r3lib.nano.corpus import Message, Texts

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


def tool_list(tools: list[dict]) -> str:
    """The system message that r3-nano's chat template makes of the tools (`r3lib.nano.tokenizer.CHAT_TEMPLATE`)."""
    lines = ["Tools:"]
    for tool in tools:
        lines.append(f"{tool['name']}: {tool['description']}")
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


SYLLABLES = [c + v for c in "b c d f g h j k l m n p r s t v w z st tr pl gr".split() for v in "a e i o u ai an el or".split()]


def made_up(rng: random.Random) -> str:
    """A word that means nothing."""
    return "".join(rng.choices(SYLLABLES, k=rng.choice((1, 2, 2, 3))))


def disguise(rng: random.Random, item: problems.Item) -> problems.Item:
    """The same problem with made-up names of tools and parameters, and made-up words for values that are one word."""
    tools, calls = {tool["name"]: tool for tool in item.tools}, [answer["name"] for answer in item.answers]
    names = {old: "_".join(made_up(rng) for _ in range(rng.choice((1, 2, 2)))) for old in tools}
    own = {
        tool: {old: made_up(rng) if rng.random() < 0.7 else old for old in about["parameters"]}
        for tool, about in tools.items()
    }
    words: dict[str, str] = {}
    for fact in item.facts:
        kind = tools[calls[fact.call]]["parameters"][fact.parameter]
        free = isinstance(fact.value, str) and fact.value.isalpha() and "enum" not in kind and fact.phrase == fact.value
        if free and rng.random() < 0.6:
            new = made_up(rng)
            words[fact.value] = new.capitalize() if fact.value[0].isupper() else new
    query = re.sub(r"[A-Za-z]+", lambda match: words.get(match[0], match[0]), item.query)

    def value(old):
        return words.get(old, old) if isinstance(old, str) else old

    return problems.Item(
        query,
        [
            {**tool, "name": names[name], "parameters": {own[name][p]: about for p, about in tool["parameters"].items()}}
            for name, tool in tools.items()
        ],
        [
            {"name": names[a["name"]], "arguments": {own[a["name"]][p]: value(v) for p, v in a["arguments"].items()}}
            for a in item.answers
        ],
        [
            fact._replace(
                parameter=own[calls[fact.call]][fact.parameter], phrase=value(fact.phrase), value=value(fact.value)
            )
            for fact in item.facts
        ],
    )


def copying(rng: random.Random) -> list[Message]:
    """A drill: a list of names and values, some of which are asked for. Loss on what is copied."""
    names = ["_".join(made_up(rng) for _ in range(rng.choice((1, 1, 2)))) for _ in range(rng.randint(3, 9))]
    values = [
        rng.choice((made_up(rng).capitalize(), " ".join((made_up(rng), made_up(rng))), str(rng.randint(1, 999))))
        for _ in names
    ]
    lines = [f"- {name} ({value})" if rng.random() < 0.5 else f"{name}: {value}" for name, value in zip(names, values)]
    asked = rng.sample(range(len(names)), rng.randint(2, len(names)))
    reply = Message("assistant").add("[", True)
    for i, k in enumerate(asked):
        reply.add(", " * bool(i) + f'{{"name": "{names[k]}", "value": "{values[k]}"}}', True)
    ask = Message("user", ", ".join(names[k] for k in asked))
    return [Message("system", "\n".join(lines)), ask, reply.add("]", True)]


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
    near = fact.value + rng.choice((-10, -5, -2, -1, 1, 2, 5, 10))
    return rng.choice((rng.choice(sorted(seen)), max(near, 0) if near != fact.value else fact.value + 1))


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


def conversation(rng: random.Random, item: problems.Item, other: str, texts: Texts) -> list[Message]:
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


def corpus(seed: int, texts: Texts = Texts()) -> Iterator[list[Message]]:
    """Endless conversations about the tools of the training split, and about no problem of its file."""
    rng = random.Random(seed)
    held_out = {problems.key(p) for p in read_jsonl(problems.FOLDER / "train.jsonl")}
    other = rng.choice(GENERIC)
    for item in problems.draw(rng, "train"):
        if rng.random() < texts.copies:
            yield copying(rng)
            continue
        if problems.key(item.problem()) in held_out:
            continue
        if rng.random() < texts.disguised:
            item = disguise(rng, item)
        text = conversation(rng, item, other, texts)
        if len(text) == 7:
            other = text[4].text
        yield text
