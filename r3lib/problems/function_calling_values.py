"""Values of function-calling arguments, and how people put them in a query.

A parameter's *concept* says both. Most values are copied from the query ("Lisbon"); others have to be worked out from
it, in one to five steps between 0 and 999: "2 hours and 15 minutes plus 3 hours" is 315 where a tool asks for
minutes. The lists of words are in data/function_calling/words.json.

Not here: tools and whole problems (`r3lib.problems.function_calling_data`).
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any, NamedTuple

from r3lib.files import DATA, read_json


class Said(NamedTuple):
    """A value, how a query puts it, and the steps from the one to the other (none if it is merely copied)."""

    value: Any
    phrase: str
    working: list[str]


# concept: large unit, large units, one of the large, small units, how many small make a large
UNITS = {
    "seconds": ("minute", "minutes", "a minute", "seconds", 60),
    "minutes": ("hour", "hours", "an hour", "minutes", 60),
    "hours": ("day", "days", "a day", "hours", 24),
    "days": ("week", "weeks", "a week", "days", 7),
    "months": ("year", "years", "a year", "months", 12),
    "ounces": ("pound", "pounds", "a pound", "ounces", 16),
    "inches": ("foot", "feet", "a foot", "inches", 12),
    "feet": ("yard", "yards", "a yard", "feet", 3),
    "centimetres": ("metre", "metres", "a metre", "centimetres", 100),
    "cents": ("dollar", "dollars", "a dollar", "cents", 100),
    "teaspoons": ("tablespoon", "tablespoons", "a tablespoon", "teaspoons", 3),
}
# concept: ways to say a value, each with the steps that give it, from left to right; the first needs none.
# n and m are small numbers, p the size of a part, w of a whole, r what is left over of a large unit.
RULES = {
    "count": (
        ("{p}", "p"),
        ("{n} dozen", "n * 12"),
        ("{n} dozen plus {m} more", "n * 12 + m"),
        *((f"{{n}} {parts} of {{p}}", "n * p") for parts in ("boxes", "packs", "bags", "crates")),
        ("{n} boxes of {p} plus {m} more", "n * p + m"),
        ("{p} plus {m} more", "p + m"),
    ),
    "some": (
        ("{p}", "p"),
        *((f"all but {{{rest}}} of the {{w}}", f"w - {rest}") for rest in "np"),
        *((f"{share} of the {{w}}", f"w / {k}") for share, k in (("half", 2), ("a third", 3), ("a quarter", 4))),
    ),
    "reps": (
        ("{p}", "p"),
        *((f"{{n}} {parts} of {{p}}", "n * p") for parts in ("sets", "rounds")),
        ("{n} sets of {p} plus {m} more", "n * p + m"),
    ),
    "pages": (
        ("{p} pages", "p"),
        *((f"{{n}} {parts} of {{p}} pages", "n * p") for parts in ("chapters", "sections")),
        ("{n} chapters of {p} pages plus {m} more pages", "n * p + m"),
        ("{p} pages plus {m} more pages", "p + m"),
    ),
    "grams": (
        ("{p} grams", "p"),
        *((f"{{n}} {parts} of {{p}} grams", "n * p") for parts in ("portions", "bags", "servings")),
    ),
    "millilitres": (
        ("{p} millilitres", "p"),
        *((f"{{n}} {parts} of {{p}} millilitres", "n * p") for parts in ("glasses", "cups", "bottles")),
    ),
    "metres": (
        ("{p} metres", "p"),
        *((f"{{n}} times {{p}} {more}metres", f"n * p{step}") for more, step in (("", ""), ("plus {m} ", " + m"))),
        ("half of {w} metres", "w / 2"),
    ),
    "kilometres": (
        ("{p} kilometres", "p"),
        *((f"{{n}} {parts} of {{p}} kilometres", "n * p") for parts in ("stages", "laps", "rounds")),
        ("{n} laps of {p} kilometres plus {m} kilometres", "n * p + m"),
    ),
    "people": (
        ("{n} people", "n"),
        ("me and {n} friends", "n + 1"),
        ("{n} couples", "n * 2"),
        ("{n} couples and {m} children", "n * 2 + m"),
        *((f"{{n}} {some} and {{m}} {others}", "n + m") for some, others in (("adults", "children"), ("men", "women"))),
        ("{n} adults, {m} children and a baby", "n + m + 1"),
    ),
    "money": (
        ("{w} dollars", "w"),
        ("{w} dollars plus {p} dollars", "w + p"),
        ("{w} dollars minus {p} dollars", "w - p"),
        ("{n} times {p} dollars", "n * p"),
        ("{n} times {p} dollars plus {w} dollars", "n * p + w"),
        ("{w} dollars plus {n} times {p} dollars", "n * p + w"),
        *((f"{share} of {{w}} dollars", f"w / {k}") for share, k in (("half", 2), ("a third", 3), ("a fifth", 5))),
    ),
    "bill": (
        ("{w} dollars", "w"),
        ("{n} {things} at {p} dollars each", "n * p"),
        ("{n} {things} at {p} dollars each, minus {m} dollars off", "n * p - m"),
        ("{n} {things} at {p} dollars each, plus {m} dollars for service", "n * p + m"),
    ),
    "percent": (
        ("{p} percent", "p"),
        *((name, f"100 / {k}") for name, k in (("half", 2), ("a quarter", 4), ("a fifth", 5), ("a tenth", 10))),
        ("three quarters", "100 / 4 * 3"),
        *((f"{above} fifths", f"100 / 5 * {n}") for above, n in (("two", 2), ("three", 3), ("four", 4))),
        *((f"{above} tenths", f"100 / 10 * {n}") for above, n in (("three", 3), ("seven", 7), ("nine", 9))),
        *((f"{{n}} out of {whole}", f"100 / {whole} * n") for whole in (10, 20, 25)),
    ),
    "degrees": (
        ("{p} degrees", "p"),
        ("{n} degrees above {p}", "p + n"),
        ("{n} degrees below {p}", "p - n"),
        ("halfway between {p} and {w} degrees", "p + w / 2"),
    ),
    **{
        concept: (
            (f"{{p}} {small}", "p"),
            (f"{{n}} {many}", f"n * {factor}"),
            *[(f"{{n}} {many} and {{r}} {small}", f"n * {factor} + r")] * 2,
            (f"{one} and {{r}} {small}", f"{factor} + r"),
            *(
                ((f"half {one}", f"{factor} / 2"), (f"{{n}} and a half {many}", f"n * {factor} + {factor // 2}"))
                if factor % 2 == 0
                else ()
            ),
        )
        for concept, (_, many, one, small, factor) in UNITS.items()
    },
}
SPANS = {"n": range(2, 10), "m": range(2, 10), "p": range(4, 31), "w": range(20, 100)}
OWN_SPANS = {
    "grams": {"p": range(20, 95, 5)},
    "millilitres": {"p": range(20, 95, 5)},
    "metres": {"p": range(10, 55, 5), "w": range(100, 400, 20)},
    "kilometres": {"p": range(3, 31)},
    "money": {"w": range(20, 200)},
    "bill": {"p": range(6, 31), "w": range(20, 200)},
    "percent": {"p": range(15, 100, 5)},
    "degrees": {"p": range(12, 25), "w": range(25, 31)},
    **{concept: {"p": range(2, max(40, factor)), "r": range(2, factor)} for concept, (*_, factor) in UNITS.items()},
}
ALONE = ("some", "percent", "degrees")  # concepts whose values are not added up
NUMERALS = "zero one two three four five six seven eight nine ten eleven twelve".split()


def _work(formula: str, drawn: dict[str, int]) -> tuple[int, list[str]]:
    """Take a formula's steps from left to right: "n * 60 + r" with 2 and 15 gives 135 and its two steps.

    Raises ValueError if a division leaves a remainder or a result is not between 0 and 999.
    """
    first, *rest = (drawn[token] if token in drawn else token for token in formula.split())
    value, steps = int(first), []
    for op, operand in zip(rest[::2], map(int, rest[1::2])):
        if op == "/" and value % operand:
            raise ValueError(f"{value} / {operand} leaves a remainder")
        result = {"+": value + operand, "-": value - operand, "*": value * operand, "/": value // operand}[op]
        if not 0 <= result <= 999:
            raise ValueError(f"{result} is out of range")
        steps.append(f"{value} {op} {operand} = {result}")
        value = result
    return value, steps


def _number(rng: random.Random, n: int) -> str:
    return NUMERALS[n] if n <= 12 and rng.random() < 0.25 else str(n)


def _by_rule(rng: random.Random, concept: str, computed: bool, things: str) -> Said:
    """things: what is paid for, where a value is a price of several."""
    spans = SPANS | OWN_SPANS.get(concept, {})
    while True:
        phrase, formula = rng.choice(RULES[concept][1:]) if computed else RULES[concept][0]
        drawn = {letter: rng.choice(span) for letter, span in spans.items()}
        try:
            value, working = _work(formula, drawn)
        except ValueError:
            continue
        spelled = {letter: _number(rng, n) if computed else str(n) for letter, n in drawn.items()}
        return Said(value, phrase.format(things=things, **spelled), working)


def _by_rules(rng: random.Random, concept: str, computed: bool, things: str) -> Said:
    """A value by one rule, or (more often than not, where that makes sense) by two that are added or taken away."""
    one = _by_rule(rng, concept, computed, things)
    while computed and concept not in ALONE and rng.random() < 0.65:
        other = _by_rule(rng, concept, True, things)
        if other.value > 99:  # as in Countdown: sums of two large numbers are a skill of their own
            continue
        word, op = rng.choice((("plus", "+"), ("and another", "+"), ("minus", "-")))
        try:
            value, last = _work(f"a {op} b", {"a": one.value, "b": other.value})
        except ValueError:
            continue
        return Said(value, f"{one.phrase} {word} {other.phrase}", one.working + other.working + last)
    return one


def _time(rng: random.Random, computed: bool) -> Said:
    """Clock times "HH:MM". Of "25 minutes before 11:10" only the minutes are worked out: an hour less is read off."""
    hour, minute, late = rng.randint(8, 18), rng.randrange(0, 60, 5), rng.randint(2, 11)
    if not computed:
        return Said(f"{hour:02}:{minute:02}", f"{hour:02}:{minute:02}", [])
    start, named = f"{hour:02}:{minute:02}", _number(rng, late)
    of_day = "in the afternoon" if late < 6 else "in the evening"
    kind = rng.randrange(7)
    if kind < 2:
        past, minute = rng.choice((("a quarter", 15), ("half", 30), ("5", 5), ("10", 10), ("20", 20), ("25", 25)))
        phrase, (hour, steps) = f"{past} past {named} {of_day}", _work("h + 12", {"h": late})
    elif kind == 2:
        phrase = f"{late}:{minute:02} {rng.choice(('pm', of_day))}"
        hour, steps = _work("h + 12", {"h": late})
    elif kind == 3:
        phrase, minute = f"a quarter to {named} {of_day}", 45
        hour, steps = _work("h - 1 + 12", {"h": late})
    elif kind == 4:
        to, late = rng.choice((5, 10, 20, 25)), rng.randint(7, 11)
        phrase = f"{to} to {_number(rng, late)} in the morning"
        (hour, first), (minute, second) = _work("h - 1", {"h": late}), _work("60 - m", {"m": to})
        steps = first + second
    elif kind == 5:
        shift, (word, op) = rng.randint(2, 5), rng.choice((("after", "+"), ("before", "-")))
        phrase, (hour, steps) = f"{_number(rng, shift)} hours {word} {start}", _work(f"h {op} {shift}", {"h": hour})
    else:
        shift = rng.choice((10, 15, 20, 25, 35, 40))
        phrase, earlier = f"{shift} minutes before {start}", shift > minute
        minute, steps = _work("m + 60 - s" if earlier else "m - s", {"m": minute, "s": shift})
        hour -= earlier
    return Said(f"{hour:02}:{minute:02}", phrase, steps)


@cache
def words() -> dict[str, list[str]]:
    """The lists that copied values are drawn from. Raises R3Error if the file is missing or damaged."""
    return read_json(DATA / "function_calling" / "words.json")


@cache
def pools_of(split: str) -> dict[str, list[str]]:
    """The words of a split: training never sees a quarter of each list, the other splits draw from it half the time."""
    kept = (0, 1, 2) if split == "train" else (2, 3)
    return {name: [word for i, word in enumerate(rows) if i % 4 in kept] for name, rows in words().items()}


def _title(rng: random.Random, pools: dict[str, list[str]]) -> str:
    adjective, (one, two) = rng.choice(pools["adjective"]), rng.sample(pools["noun"], 2)
    return rng.choice((f"The {adjective} {one}", f"{adjective} {one}", f"The {one} and the {two}", f"{one} of {two}s"))


# concepts that are not lists of words themselves: put together of words of the lists, or drawn from a range
JOINED = {
    "fullname": "{name} {surname}",
    "band": "The {adjective} {noun}s",
    "file": "{file}_{small}.{ending}",
    "picture": "{picture}_{small}.jpg",
    "video": "{video}_{small}.mp4",
    "code": "{letter}{large}",
    "date": "{small} {month}",
    "text": "{news} {happening}",
    "street": "{small} {street}",
}
NUMBERS = {"integer": range(2, 21), "rate": range(21, 200), "number": range(21, 1000), "digits": range(100, 1000)}


def _copied(rng: random.Random, concept: str, pools: dict[str, list[str]]) -> Said:
    """A value that stands in the query as it is, or nearly so."""

    def one(name: str) -> str:
        if name not in JOINED:
            return rng.choice(pools[name])
        drawn = {pool: rng.choice(pools[pool]) for pool in pools if f"{{{pool}}}" in JOINED[name]}
        drawn |= {"small": rng.randint(1, 28), "large": rng.randint(100, 999), "letter": rng.choice("ABCDEFGHKLMNPRST")}
        return JOINED[name].format(**drawn)

    value: Any
    if concept in NUMBERS:
        value = rng.choice(NUMBERS[concept])
    elif concept == "decimal":
        value = rng.randint(1, 4) + rng.randint(1, 9) / 10
    elif concept in ("names", "foods", "numbers"):
        pool = range(2, 60) if concept == "numbers" else pools[concept[:-1]]
        value = rng.sample(pool, rng.randint(2, 4))
        return Said(value, f"{', '.join(map(str, value[:-1]))} and {value[-1]}", [])
    elif concept == "address":
        value = {"street": one("street"), "city": one("city")}
        return Said(value, "{street} in {city}".format(**value), [])
    elif concept == "range":
        value = dict(zip(("min", "max"), sorted(rng.sample(range(5, 200, 5), 2))))
        return Said(value, "between {min} and {max}".format(**value), [])
    elif concept == "email":
        value = f"{one('name')}.{one('surname')}@{one('mail')}".lower()
    elif concept == "title":
        value = _title(rng, pools)
        return Said(value, rng.choice((value, f"'{value}'")), [])
    else:
        value = one(concept)
    return Said(value, f"'{value}'" if concept == "text" else str(value), [])


# words around a boolean's slot in a query go on as after "with", after "turn it", or as an order
SWITCHES = {
    "with": {True: "with", False: "without"},
    "on": {True: "on", False: "off"},
    "also": {True: "and", False: "but do not"},
}
TYPES: dict[str, dict] = {
    "decimal": {"type": "number"},
    "numbers": {"type": "array", "items": {"type": "integer"}},
    "names": {"type": "array", "items": {"type": "string"}},
    "foods": {"type": "array", "items": {"type": "string"}},
    "address": {"type": "object", "properties": {"street": {"type": "string"}, "city": {"type": "string"}}},
    "range": {"type": "object", "properties": {"min": {"type": "integer"}, "max": {"type": "integer"}}},
    "time": {"type": "string"},
    **{concept: {"type": "integer"} for concept in (*NUMBERS, *RULES)},
    **{concept: {"type": "boolean"} for concept in SWITCHES},
}


def computable(parameter: dict) -> bool:
    """Whether values of this parameter can be put so that they must be worked out."""
    return parameter["concept"] in RULES or parameter["concept"] == "time"


def say(rng: random.Random, parameter: dict, computed: bool, pools: dict[str, list[str]]) -> Said:
    """A value of a catalogue parameter and a phrase for it, never the parameter's default."""
    concept = parameter["concept"]
    while True:
        if concept == "enum":
            value = rng.choice(parameter["enum"])
            said = Said(value, value.replace("_", " "), [])
        elif concept in SWITCHES:
            value = rng.random() < 0.5
            said = Said(value, SWITCHES[concept][value], [])
        elif concept == "time":
            said = _time(rng, computed)
        elif concept in RULES:
            said = _by_rules(rng, concept, computed, parameter.get("things", ""))
        else:
            said = _copied(rng, concept, pools)
        if "default" not in parameter or said.value != parameter["default"]:
            return said
