"""Function-calling problems: every answer follows from query and tools, and no split knows another's tools."""

import json
import random
import re
from collections import Counter
from itertools import islice

import pytest

from r3lib.files import DATA, R3Error, read_jsonl
from r3lib.problems import function_calling_data as data
from r3lib.problems import function_calling_values as values

FOLDER = DATA / "function_calling"
NAMES = ("train", "validation", "test")
JSON_TYPES = {"integer": int, "number": float, "string": str, "boolean": bool, "array": list, "object": dict}
SLOT = re.compile(r"{(\w+)}")


@pytest.fixture(scope="module")
def drawn():
    """Items of each split, drawn with the defaults."""
    return {name: list(islice(data.draw(random.Random(1), name), 1000)) for name in NAMES}


@pytest.fixture(scope="module")
def items(drawn):
    return [item for name in NAMES for item in drawn[name]]


@pytest.fixture(scope="module")
def stored():
    return {name: read_jsonl(FOLDER / f"{name}.jsonl") for name in NAMES}


def fits(value, shape) -> bool:
    """Whether a value has the type a tool declares; True is no number, and 3.0 no whole one."""
    if type(value) is not JSON_TYPES[shape["type"]] or "enum" in shape and value not in shape["enum"]:
        return False
    if shape["type"] == "array":
        return len(value) > 1 and all(fits(entry, shape["items"]) for entry in value)
    if shape["type"] == "object":
        return set(value) == set(shape["properties"]) and all(
            fits(value[name], inner) for name, inner in shape["properties"].items()
        )
    return True


def kind(problem) -> str:
    return "two" if len(problem["answers"]) == 2 else "one" if len(problem["tools"]) == 1 else "choose"


# --- the catalogue -------------------------------------------------------------------------------------------------


def test_catalogue_is_large_and_its_names_are_unique():
    tools = data.catalogue()
    assert len({tool["name"] for tool in tools}) == len(tools) >= 320
    assert len({tool["domain"] for tool in tools}) >= 24
    styles = Counter("." in t["name"] and "dotted" or "_" in t["name"] and "snake" or "camel" for t in tools)
    assert styles["snake"] > 200 and styles["dotted"] >= 10 and styles["camel"] >= 10
    assert all(re.fullmatch(r"[a-z]+(\.[a-z]+)?((_[a-z]+)*|([A-Z][a-z]+)*)", tool["name"]) for tool in tools)
    assert (FOLDER / "catalogue.jsonl").read_bytes().isascii() and (FOLDER / "words.json").read_bytes().isascii()


def test_queries_of_the_catalogue_use_the_declared_parameters():
    for tool in data.catalogue():
        order, *sentences = tool["queries"]
        assert order[0].isupper() and order[-1] not in ".?!" and all(text[-1] in ".?" for text in sentences), tool[
            "name"
        ]
        assert len(set(tool["queries"])) == 3
        for text in tool["queries"]:
            assert sorted(SLOT.findall(text)) == sorted(tool["parameters"]), (tool["name"], text)
            optional = SLOT.findall("".join(re.findall(r"\[[^]]*\]", text)))
            assert set(optional) == {n for n, p in tool["parameters"].items() if "default" in p}, (tool["name"], text)


def test_parameters_of_the_catalogue_are_well_formed():
    known = {*values.TYPES, *values.words(), *values.JOINED, "enum", "email", "title"}
    for tool in data.catalogue():
        assert 1 <= len(tool["parameters"]) <= 4 and len(tool["description"].split()) <= 10
        for name, parameter in tool["parameters"].items():
            assert parameter["concept"] in known and len(parameter["description"].split()) <= 8, (tool["name"], name)
            assert ("enum" in parameter) == (parameter["concept"] == "enum")
            assert ("things" in parameter) == (parameter["concept"] == "bill")
        for shape in data.offered(tool)["parameters"].values():
            default = shape.get("default")
            assert default is None or default in ([], "") or fits(default, shape), (tool["name"], shape)


def test_units_are_named():
    units = {concept: concept for concept in values.UNITS} | {"percent": "percent", "money": "dollar", "bill": "dollar"}
    units |= {concept: concept for concept in ("grams", "millilitres", "metres", "kilometres", "pages", "degrees")}
    for tool in data.catalogue():
        for name, parameter in tool["parameters"].items():
            words = f"{name} {parameter['description']}".lower()
            assert units.get(parameter["concept"], "") in words, (tool["name"], name)
            assert parameter["concept"] != "time" or "HH:MM" in words.upper()


def test_parameters_of_one_concept_differ_in_words():
    for tool in data.catalogue():
        told = [(p["concept"], p["description"]) for p in tool["parameters"].values()]
        assert len(set(told)) == len(told), tool["name"]


def test_an_unseen_tool_has_a_neighbour_that_was_seen():
    parts = {name: data.tools_of(name) for name in NAMES}
    assert sum(map(len, parts.values())) == len(data.catalogue()) == len({tool["name"] for tool in data.catalogue()})
    of_part = {name: {(tool["domain"], tool["family"]) for tool in tools} for name, tools in parts.items()}
    assert len(of_part["train"]) == len({(tool["domain"], tool["family"]) for tool in data.catalogue()})
    assert not of_part["validation"] & of_part["test"]
    shares = {name: len(tools) / len(data.catalogue()) for name, tools in parts.items()}
    assert shares["validation"] > 0.05 and shares["test"] > 0.15
    for name in NAMES[1:]:  # each has one to be confused with, too
        families = Counter((tool["domain"], tool["family"]) for tool in parts[name])
        assert min(families.values()) >= 2


@pytest.mark.parametrize("file", ["catalogue.jsonl", "words.json"])
def test_a_missing_file_is_told(file, tmp_path, monkeypatch):
    monkeypatch.setattr(data, "FOLDER", tmp_path)
    monkeypatch.setattr(values, "DATA", tmp_path)
    read = data.catalogue if file == "catalogue.jsonl" else values.words
    with pytest.raises(R3Error, match=f"{file} is missing"):
        read.__wrapped__()


# --- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("concept", "phrase", "value", "working"),
    [
        ("minutes", "2 hours and 15 minutes", 135, ["2 * 60 = 120", "120 + 15 = 135"]),
        ("minutes", "an hour and 20 minutes", 80, ["60 + 20 = 80"]),
        ("minutes", "two and a half hours", 150, ["2 * 60 = 120", "120 + 30 = 150"]),
        ("count", "3 dozen", 36, ["3 * 12 = 36"]),
        ("some", "all but 14 of the 60", 46, ["60 - 14 = 46"]),
        ("percent", "three quarters", 75, ["100 / 4 = 25", "25 * 3 = 75"]),
        ("time", "a quarter to 9 in the evening", "20:45", ["9 - 1 = 8", "8 + 12 = 20"]),
        ("time", "20 past 3 in the afternoon", "15:20", ["3 + 12 = 15"]),
        ("time", "25 minutes before 11:10", "10:45", ["10 + 60 = 70", "70 - 25 = 45"]),
        ("people", "me and 4 friends", 5, ["4 + 1 = 5"]),
        ("bill", "7 tickets at 13 dollars each", 91, ["7 * 13 = 91"]),
        ("minutes", "half an hour and another half an hour", 60, ["60 / 2 = 30", "60 / 2 = 30", "30 + 30 = 60"]),
        ("people", "me and 4 friends minus 2 couples", 1, ["4 + 1 = 5", "2 * 2 = 4", "5 - 4 = 1"]),
    ],
)
def test_phrases_and_their_workings(concept, phrase, value, working):
    rng, parameter = random.Random(2), {"concept": concept, "things": "tickets"}
    said = next(s for s in (values.say(rng, parameter, True, {}) for _ in range(60_000)) if s.phrase == phrase)
    assert (said.value, said.working) == (value, working)


def test_workings_are_true_and_end_in_the_value(items):
    seen = 0
    for fact in (fact for item in items for fact in item.facts if fact.working):
        seen += 1
        results = []
        assert len(fact.working) <= 5
        for step in fact.working:
            a, op, b, result = re.fullmatch(r"(\d+) ([-+*/]) (\d+) = (\d+)", step).groups()
            assert all(0 <= int(n) <= 999 for n in (a, b, result)), step
            assert {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}.get(op) == int(result) or (
                op == "/" and int(b) * int(result) == int(a)
            ), step
            results.append(int(result))
        if isinstance(fact.value, str):
            assert results[-1] in map(int, fact.value.split(":")), fact
        else:
            assert results[-1] == fact.value, fact
    assert seen > 1000


def works(formula, drawn) -> bool:
    try:
        return values._work(formula, drawn)[0] >= 0
    except ValueError:
        return False


def test_every_rule_is_within_bounds_and_can_be_said():
    rng = random.Random(3)
    for concept, rules in values.RULES.items():
        assert " " not in rules[0][1], f"the first rule of {concept} needs no working"
        for phrase, formula in rules[1:]:
            tries = [
                {k: rng.choice(v) for k, v in (values.SPANS | values.OWN_SPANS.get(concept, {})).items()}
                for _ in range(200)
            ]
            assert (
                set(SLOT.findall(phrase)) - {"things"}
                <= set(formula.split())
                <= {*SLOT.findall(phrase), *"+-*/", *map(str, range(101))}
            )
            assert sum(works(formula, drawn) for drawn in tries) > 10, (concept, phrase)
        for _ in range(200):
            said = values.say(rng, {"concept": concept, "things": "seats"}, True, {})
            assert said.working and 0 <= said.value <= 999
        plain = [values.say(rng, {"concept": concept}, False, {}) for _ in range(50)]
        assert all(not one.working and str(one.value) in one.phrase.split() for one in plain)


def test_clock_times():
    rng = random.Random(4)
    for computed in (True, False):
        for _ in range(2000):
            said = values.say(rng, {"concept": "time"}, computed, {})
            hour, minute = map(int, said.value.split(":"))
            assert re.fullmatch(r"\d\d:\d\d", said.value) and 0 <= hour < 24 and 0 <= minute < 60
            assert bool(said.working) == computed and (computed or said.phrase == said.value)
            if match := re.fullmatch(r"(\w+) (minutes|hours) (before|after) (\d\d):(\d\d)", said.phrase):
                count, unit, side, h, m = match.groups()
                shift = (int(count) if count.isdigit() else values.NUMERALS.index(count)) * (
                    60 if unit == "hours" else 1
                )
                assert hour * 60 + minute == int(h) * 60 + int(m) + (shift if side == "after" else -shift)


def test_a_value_is_never_the_default():
    rng = random.Random(5)
    for parameter in (
        {"concept": "with", "default": True},
        {"concept": "enum", "enum": ["a", "b"], "default": "a"},
        {"concept": "integer", "default": 3},
    ):
        said = {values.say(rng, parameter, False, {}).value for _ in range(200)}
        assert said and parameter["default"] not in said


def test_training_never_sees_a_quarter_of_the_words():
    for name, rows in values.words().items():
        assert len(set(rows)) == len(rows)
        train, test = (set(values.pools_of(split)[name]) for split in ("train", "test"))
        assert test - train and (test & train or len(rows) < 6) and train | test == set(rows), name


# --- problems ------------------------------------------------------------------------------------------------------


def test_draw_repeats_with_its_seed():
    first, again, other = (list(islice(data.draw(random.Random(seed)), 20)) for seed in (6, 6, 7))
    assert first == again != other


def test_problems_have_the_format(items):
    for item in items:
        problem = item.problem()
        assert list(problem) == ["query", "tools", "answers"] and json.loads(json.dumps(problem)) == problem
        assert 1 <= len(problem["tools"]) <= 4 and len(problem["answers"]) in (1, 2)
        assert len({tool["name"] for tool in problem["tools"]}) == len(problem["tools"])
        for tool in problem["tools"]:
            assert list(tool) == ["name", "description", "parameters"]
            for shape in tool["parameters"].values():
                assert (
                    {"type", "description"}
                    <= set(shape)
                    <= {"type", "description", "default", "enum", "items", "properties"}
                )


def test_arguments_have_the_declared_types(items):
    for item in items:
        tools = {tool["name"]: tool["parameters"] for tool in item.tools}
        for answer in item.answers:
            shapes = tools[answer["name"]]
            assert {name for name, shape in shapes.items() if "default" not in shape} <= set(answer["arguments"])
            for name, value in answer["arguments"].items():
                assert fits(value, shapes[name]), (name, value)
                assert value != shapes[name].get("default")


def test_every_argument_has_its_fact_and_every_fact_is_in_the_query(items):
    for item in items:
        told = {(fact.call, fact.parameter): fact.value for fact in item.facts}
        given = {(i, name): v for i, a in enumerate(item.answers) for name, v in a["arguments"].items()}
        assert told == given and len(told) == len(item.facts)
        assert all(fact.phrase in item.query for fact in item.facts), item


def test_copied_values_are_in_the_query(items):
    for item in items:
        shapes = [{t["name"]: t for t in item.tools}[a["name"]]["parameters"] for a in item.answers]
        for fact in (fact for fact in item.facts if not fact.working):
            shape = shapes[fact.call][fact.parameter]
            if shape["type"] == "boolean":
                continue
            inner = fact.value.values() if isinstance(fact.value, dict) else fact.value
            for value in inner if isinstance(fact.value, dict | list) else [fact.value]:
                assert (value.replace("_", " ") if "enum" in shape else str(value)) in fact.phrase, fact


def test_queries_are_whole_sentences(items):
    for item in items:
        text = item.query
        assert text.isascii() and not re.search(r"[\[\]{}]|  | [,.?]|\.\.|,,|,\.| $|^ ", text), text
        assert (text.lstrip("'")[0].isupper() or "@" in text.split()[0]) and not re.search(
            r"[.?] [a-z]+[^a-z.@_]", text
        ), text
        assert not re.search(r"\b(\w+) \1\b", text.lower()) or "that that" in text, text
        assert not re.search(r"\b[Aa] [aeio]|(?<![.\w])1 \w+s\b", text), text
        assert 3 <= len(text.split()) <= 90
    lengths = sorted(len(item.query.split()) for item in items)
    assert 8 <= lengths[len(lengths) // 10] and lengths[len(lengths) * 9 // 10] <= 30


def test_optional_parameters_are_often_left_out(items):
    left_out = said = 0
    for item in items:
        shapes = {tool["name"]: tool["parameters"] for tool in item.tools}
        for answer in item.answers:
            optional = {name for name, shape in shapes[answer["name"]].items() if "default" in shape}
            said += len(optional & set(answer["arguments"]))
            left_out += len(optional - set(answer["arguments"]))
    assert 0.25 < left_out / (left_out + said) < 0.6


def test_shares_are_as_asked(drawn):
    for rows in drawn.values():
        kinds = Counter(kind(item.problem()) for item in rows)
        assert abs(kinds["one"] - 250) < 60 and abs(kinds["choose"] - 550) < 70 and abs(kinds["two"] - 200) < 60
        assert abs(sum(any(fact.working for fact in item.facts) for item in rows) - 850) < 60
    items = list(islice(data.draw(random.Random(8), computed=0.0, kinds=(0, 1, 0)), 100))
    assert not any(fact.working for item in items for fact in item.facts)
    assert {kind(item.problem()) for item in items} == {"choose"}


def test_distractors_are_near(drawn):
    tools = {tool["name"]: tool for tool in data.catalogue()}
    for rows in drawn.values():
        chosen = [item for item in rows if kind(item.problem()) == "choose"]
        close = 0
        for item in chosen:
            right = tools[item.answers[0]["name"]]
            others = [tools[tool["name"]] for tool in item.tools if tool["name"] != right["name"]]
            close += any((t["domain"], t["family"]) == (right["domain"], right["family"]) for t in others)
            assert right in [tools[tool["name"]] for tool in item.tools]
        assert close > len(chosen) / 2
        assert Counter(len(item.tools) for item in chosen).keys() == {2, 3, 4}
        places = Counter(next(i for i, t in enumerate(x.tools) if t["name"] == x.answers[0]["name"]) for x in chosen)
        assert 0.3 < places[0] / len(chosen) < 0.5  # 1/2, 1/3 and 1/4 of the cases, evenly


def test_two_calls_differ(items):
    same = Counter()
    for item in items:
        if len(item.answers) == 2:
            first, second = item.answers
            assert first != second
            same[first["name"] == second["name"]] += 1
    assert 0.35 < same[True] / same.total() < 0.65


def test_key_ignores_the_order_of_calls_and_nothing_else(items):
    item = next(item for item in items if len(item.answers) == 2)
    problem = item.problem()
    assert data.key(problem) == data.key(problem | {"answers": item.answers[::-1], "query": "else"})
    assert data.key(problem) != data.key(problem | {"answers": item.answers[:1]})
    assert data.key({"answers": [{"name": "a", "arguments": {"n": 1}}]}) != data.key(
        {"answers": [{"name": "a", "arguments": {"n": "1"}}]}
    )


# --- splits and files ----------------------------------------------------------------------------------------------


def test_splits_share_no_tool_and_no_query(drawn, stored):
    for parts in (stored, {name: [item.problem() for item in rows] for name, rows in drawn.items()}):
        names = {name: {tool["name"] for row in rows for tool in row["tools"]} for name, rows in parts.items()}
        for a, b in (("train", "validation"), ("train", "test"), ("validation", "test")):
            assert names[a].isdisjoint(names[b])
        for name, found in names.items():
            tools = {tool["name"] for tool in data.tools_of(name)}
            assert found <= tools and len(found) > 0.98 * len(tools)
    queries = [row["query"] for rows in stored.values() for row in rows]
    assert len({query.lower() for query in queries}) == len(queries)


def test_splits_are_deterministic_and_distinct():
    sizes = {"train": 60, "test": 30}
    parts = data.splits(9, sizes)
    assert {name: len(rows) for name, rows in parts.items()} == sizes
    assert len({data.key(row) for rows in parts.values() for row in rows}) == 90
    assert data.splits(9, sizes) == parts != data.splits(10, sizes)
    assert data.splits(9, {"test": 20})["test"] == parts["test"][:20]


def test_the_stored_files_are_what_the_generator_writes(stored, tmp_path):
    assert {name: len(rows) for name, rows in stored.items()} == data.SIZES
    data.write(tmp_path)
    for name in NAMES:
        assert (tmp_path / f"{name}.jsonl").read_bytes() == (FOLDER / f"{name}.jsonl").read_bytes()
    for rows in stored.values():
        assert len({data.key(row) for row in rows}) == len(rows)
