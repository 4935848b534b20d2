"""The function-calling verifier, its leak check and the tool descriptions, against an independent reference: canonical
JSON texts, sorted."""

from __future__ import annotations

import json
import random
import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r3lib import prompts
from r3lib.problems.function_calling import MAX_DEPTH, MAX_DIGITS, TASK, contains_answer, verify
from r3lib.problems.tools import read_tools, schema
from r3lib.tasks import Verdict

KINDS = {
    "correct",
    "no_call",
    "invalid_json",
    "wrong_call_count",
    "wrong_tool",
    "wrong_parameter_name",
    "wrong_parameter_value",
}
quick = settings(deadline=None, max_examples=150, database=None)

WEATHER = {"name": "weather", "arguments": {"city": "Paris", "days": 5, "metric": True}}
CLOCK = {"name": "clock", "arguments": {"zone": "Europe/Paris"}}
GOLD = [WEATHER, CLOCK]
TOOLS = [
    {
        "name": "weather",
        "description": "Weather of a city.",
        "parameters": {
            "city": {"type": "str", "description": "The city."},
            "days": {"type": "int", "description": "How many.", "default": 3},
            "metric": {"type": "bool, optional", "description": "Celsius?"},
            "wind": {"type": "bool", "description": "Wind too?", "default": False},
        },
    },
    {"name": "clock", "description": "Time now.", "parameters": {"zone": {"type": "str", "description": "A zone."}}},
]


def call(name="f", **arguments) -> dict:
    return {"name": name, "arguments": arguments}


def hermes(calls: list[dict]) -> str:
    return "\n".join(f"<tool_call>\n{json.dumps(c)}\n</tool_call>" for c in calls)


def llama(calls: list[dict]) -> str:
    return "; ".join(json.dumps({"name": c["name"], "parameters": c["arguments"]}) for c in calls)


def wire(calls: list[dict]) -> str:
    rows = [
        {"id": "call_1", "type": "function", "name": c["name"], "arguments": json.dumps(c["arguments"])} for c in calls
    ]
    return json.dumps(rows)


FORMATS = {
    "list": json.dumps,
    "indented": lambda calls: json.dumps(calls, indent=2),
    "compact": lambda calls: f" \r\n\t{json.dumps(calls, separators=(',', ':'))}\n",
    "escaped": lambda calls: json.dumps(calls).replace('"name"', '"n\\u0061me"'),
    "fence": lambda calls: f"```json\n{json.dumps(calls)}\n```",
    "bare fence": lambda calls: f"```\n{json.dumps(calls)}\n```",
    "one-line fence": lambda calls: f"```json{json.dumps(calls)}```",
    "hermes": hermes,
    "hermes on a line": lambda calls: hermes(calls).replace("\n", ""),
    "hermes in prose": lambda calls: f"I need [two] calls:\n{hermes(calls)}\nThat is {{all}}.",
    "hermes in a fence": lambda calls: f"```xml\n{hermes(calls)}\n```",
    "llama": llama,
    "llama in a fence": lambda calls: f"```\n{llama(calls)}\n```",
    "python tag": lambda calls: f"<|python_tag|>{llama(calls)}<|eom_id|>",
    "end of turn": lambda calls: f"{llama(calls)}<|eot_id|>\n",
    "end of message": lambda calls: f"{hermes(calls)}<|im_end|>",
    "wire": wire,
    "thinking": lambda calls: f"<think>\nNot [{{}}] or <tool_call>.\n</think>\n\n{json.dumps(calls)}",
    "thinking that the prompt opened": lambda calls: f"Not [{{}}] or <tool_call>.\n</think>\n\n{json.dumps(calls)}",
    "thinking, a draft": lambda calls: f"{CALL} or {hermes([CLOCK])}?</think>\n{hermes(calls)}",
    "thinking twice": lambda calls: f"<think>a</think><think>b</think>Prose {hermes(calls)}",
    "smollm": lambda calls: f"<tool_call>{json.dumps(calls)}</tool_call>",
    "two lists": lambda calls: "".join(f"<tool_call>\n{json.dumps([c])}\n</tool_call>\n" for c in calls),
    "mentions": lambda calls: f"I use <tool_call> and </tool_call>, the <tool_call> tag:\n{hermes(calls)}\n<tool_call>",
    "thinking, hermes": lambda calls: f"<think></think>{hermes(calls)}",
}


# --- every format -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("write", FORMATS.values(), ids=FORMATS.keys())
def test_right_and_wrong_calls_in_every_format(write):
    def kind(*calls: dict) -> str:
        return verify(write(list(calls)), GOLD).kind

    assert kind(WEATHER, CLOCK) == kind(CLOCK, WEATHER) == "correct"
    assert verify(write([CLOCK]), json.dumps([CLOCK])).ok
    assert kind(WEATHER) == kind(WEATHER, CLOCK, CLOCK) == "wrong_call_count"
    assert kind(WEATHER, WEATHER) == "wrong_tool"
    assert kind(WEATHER, call("clock", place="Europe/Paris")) == "wrong_parameter_name"
    assert kind(WEATHER, call("clock", zone="Europe/Rome")) == "wrong_parameter_value"


def test_one_call_stands_without_a_list():
    assert verify(json.dumps(CLOCK), [CLOCK]).ok
    assert verify(f"```json\n{json.dumps(CLOCK)}\n```", [CLOCK]).ok
    assert verify("[]", []).ok and verify("I need no tool.", []).kind == "no_call"
    assert verify(json.dumps([CLOCK]), []).kind == "wrong_call_count"


CALL = json.dumps(CLOCK)


@pytest.mark.parametrize(
    "response, kind",
    [
        # nothing to read
        ("", "no_call"),
        (None, "no_call"),
        (5, "no_call"),
        (CALL.encode(), "no_call"),
        ([CLOCK], "no_call"),
        ("I cannot do that.", "no_call"),
        ("clock(zone='Europe/Paris')", "no_call"),
        ("[]", "no_call"),
        ("```json\n[]\n```", "no_call"),
        ("```\n```", "no_call"),
        ('"clock"', "no_call"),
        ("5", "no_call"),
        ("null", "no_call"),
        ("\u00a0" + CALL, "no_call"),
        # thinking
        (f"<think>{CALL}", "no_call"),
        (f"<think>{CALL}</think>", "no_call"),
        (f"<think><tool_call>{CALL}</tool_call>", "no_call"),
        (f"<think>{CALL}</think>I am done.", "no_call"),
        (f"<think>a</think><think>{CALL}", "no_call"),
        (f"<think>a</think><think>b</think>{CALL}", "correct"),
        (f"a</think>{CALL}", "correct"),
        (f"{CALL}</think>I am done.", "no_call"),
        (f"<tool_call>{CALL}</tool_call></think>", "no_call"),
        (f"<tool_call>{CALL}</tool_call></think>[]", "no_call"),
        # prose around JSON that must stand alone
        (f"Here it is: {CALL}", "no_call"),
        (f"Here it is:\n```json\n{CALL}\n```", "no_call"),
        (f"{CALL} is the call.", "invalid_json"),
        (f"```json\n{CALL}\n``` is the call.", "invalid_json"),
        (f"```json\n{CALL}", "invalid_json"),
        (f"```json\n{CALL}\n```\n```json\n{CALL}\n```", "invalid_json"),
        (f"[Note] <tool_call>{CALL}</tool_call>", "invalid_json"),
        (f"{CALL} {CALL}", "invalid_json"),
        (f"{CALL}\n{CALL}", "invalid_json"),
        (f"{CALL};", "invalid_json"),
        (f"{CALL},", "invalid_json"),
        (f"[{CALL}]; [{CALL}]", "invalid_json"),
        (f"{CALL}</tool_call>", "invalid_json"),
        (f"{CALL}<|eot_id|><|eot_id|>", "invalid_json"),
        # tags
        (f"<tool_call>{CALL}", "invalid_json"),
        (f"<tool_call>{CALL}</tool_call><tool_call>", "correct"),
        (f"<tool_call>{CALL}</tool_call><tool_call>{{", "invalid_json"),
        (f"<tool_call>{CALL}</tool_call><tool_call>{CALL}", "invalid_json"),
        (f"<tool_call>{CALL} {CALL}</tool_call>", "invalid_json"),
        (f"<tool_call>[{CALL}]</tool_call>", "correct"),
        (f"<tool_call>[{CALL}, {CALL}]</tool_call>", "wrong_call_count"),
        (f"<tool_call>[{CALL}]</tool_call><tool_call>{CALL}</tool_call>", "wrong_call_count"),
        (f"<tool_call>[[{CALL}]]</tool_call>", "invalid_json"),
        (f"<tool_call>[{CALL}</tool_call>", "invalid_json"),
        ("<tool_call>[]</tool_call>", "no_call"),
        (f"<tool_call>call: {CALL}</tool_call>", "invalid_json"),
        (f"<tool_call><tool_call>{CALL}</tool_call></tool_call>", "correct"),
        ("I will use the <tool_call> tag.", "invalid_json"),
        (f"The <tool_call> {{tag}}: <tool_call>{CALL}</tool_call>", "invalid_json"),
        ("<tool_call></tool_call>", "invalid_json"),
        (f"<TOOL_CALL>{CALL}</TOOL_CALL>", "no_call"),
        # truncated
        (CALL[:-1], "invalid_json"),
        (CALL[:-3], "invalid_json"),
        (f"[{CALL}", "invalid_json"),
        (f"[{CALL},]", "invalid_json"),
        ("{", "invalid_json"),
        ('{"', "invalid_json"),
        # JSON that is not calls
        ("{}", "invalid_json"),
        ("[[]]", "invalid_json"),
        ("[5]", "invalid_json"),
        (f"[[{CALL}]]", "invalid_json"),
        ('{"name": "clock"}', "invalid_json"),
        ('{"name": 5, "arguments": {}}', "invalid_json"),
        ('{"name": null, "arguments": {}}', "invalid_json"),
        ('{"arguments": {}}', "invalid_json"),
        ('{"name": "clock", "arguments": null}', "invalid_json"),
        ('{"name": "clock", "arguments": []}', "invalid_json"),
        ('{"name": "clock", "arguments": 5}', "invalid_json"),
        ('{"name": "clock", "arguments": {}, "parameters": {}}', "invalid_json"),
        ('{"name": "clock", "arguments": {}, "zone": "UTC"}', "invalid_json"),
        ('{"tool_calls": [' + CALL + "]}", "invalid_json"),
        ('{"type": "function", "function": ' + CALL + "}", "invalid_json"),
        ('{"name": "clock", "arguments": ""}', "invalid_json"),
        ('{"name": "clock", "arguments": "zone"}', "invalid_json"),
        ('{"name": "clock", "arguments": "[]"}', "invalid_json"),
        ('{"name": "clock", "arguments": "{} {}"}', "invalid_json"),
        (r'{"name": "clock", "arguments": "\"{}\""}', "invalid_json"),
        # not JSON, though some parsers take it
        ("{'name': 'clock', 'arguments': {'zone': 'Europe/Paris'}}", "invalid_json"),
        ('{"name": "clock", "arguments": {"zone": "Europe/Paris",}}', "invalid_json"),
        ('{"name": "clock", /* */ "arguments": {"zone": "Europe/Paris"}}', "invalid_json"),
        ('{name: "clock", "arguments": {"zone": "Europe/Paris"}}', "invalid_json"),
        ('{"name": "clock", "arguments": {"zone": "Europe/\nParis"}}', "invalid_json"),
        ('{"name": "clock", "arguments": {"zone": True}}', "invalid_json"),
        ("__import__('os').system('true')", "no_call"),
        ("[__import__('os').system('true')]", "invalid_json"),
        ('{"name": "clock", "arguments": {"zone": "Europe/Paris"]}', "invalid_json"),
        # right calls, for the end
        (CALL, "correct"),
        (f"<|python_tag|> {CALL}", "correct"),
        (f"Prose. <tool_call> {CALL} </tool_call> Prose </tool_call>.", "correct"),
    ],
)
def test_which_answers_are_read(response, kind):
    assert verify(response, [CLOCK]).kind == kind


@pytest.mark.parametrize(
    "arguments",
    [
        '{"x": 1, "x": 1}',
        '{"x": {"y": 1, "y": 1}}',
        '{"x": [{"y": 1, "z": 2, "y": 1}]}',
        '{"x": 1, "\\u0078": 1}',
        '{"x": NaN}',
        '{"x": Infinity}',
        '{"x": -Infinity}',
        '{"x": [1e999]}',
        '{"x": -1e999}',
        '{"x": 1e-999}',
        '{"x": 1E99999999999999999999}',
        '{"x": 1e-99999999999999999999}',
        '{"x": 01}',
        '{"x": .5}',
        '{"x": 5.}',
        '{"x": +5}',
        '{"x": 0x5}',
        '{"x": 1_000}',
        '{"x": ٣}',
        '{"x": ' + "9" * (MAX_DIGITS + 1) + "}",
        '{"x": ' + "9" * 5_000 + "}",
        '{"x": 0.' + "9" * MAX_DIGITS + "}",
    ],
)
def test_refused_json(arguments):
    for gold in ([call(x=1)], [call(x=float(5))]):
        assert verify(f'[{{"name": "f", "arguments": {arguments}}}]', gold).kind == "invalid_json"
        assert verify(json.dumps(call()).replace("{}", json.dumps(arguments)), gold).kind == "invalid_json"


def test_bounds_are_exact():
    number = "9" * MAX_DIGITS
    assert verify(f'{{"name": "f", "arguments": {{"x": {number}}}}}', [call(x=int(number))]).ok
    x = 1
    for _ in range(MAX_DEPTH - 2):
        x = [x]
    assert verify(json.dumps(call(x=x)), f"[{json.dumps(call(x=x[0]))}]").kind == "wrong_parameter_value"
    assert verify(json.dumps(call(x=[x])), [call(x=1)]).kind == "invalid_json"
    assert verify(json.dumps(call(x="[{" * 100)), [call(x="[{" * 100)]).ok  # brackets in strings nest nothing
    assert verify(json.dumps(call(x='\\"[' * 100)), [call(x='\\"[' * 100)]).ok


def test_long_and_deep_calls_are_judged_as_others():
    nest = lambda inner: json.loads("[" * 30 + '{"a":' * 30 + json.dumps(inner) + "}" * 30 + "]" * 30)  # noqa: E731
    rows = [(nest(1), nest(2)), (nest(1), nest(True)), ("é\"' {" * 40_000, "é\"' [" * 40_000), ([1] * 50_000, [2])]
    for right, wrong in rows:
        for write in FORMATS.values():
            assert verify(write([call(x=right)]), [call(x=right)]).ok
            assert verify(write([call(x=wrong)]), [call(x=right)]).kind in ("wrong_parameter_value", "wrong_tool")
        for text in (json.dumps(call(x=right)), str(call(x=right)), f"f(x={right!r})"):
            assert contains_answer({"answers": [call(x=right)]}, f"It is {text}.")
            assert not contains_answer({"answers": [call(x=wrong)]}, f"It is {text}.")
    assert verify(f"<think>{'x' * 100_000}</think>{' ' * 100_000}{CALL}", [CLOCK]).ok


def test_the_deepest_call_is_judged_below_a_deep_stack():
    x = 1
    for _ in range(MAX_DEPTH - 3):
        x = [x]

    def below(depth: int) -> bool:
        return below(depth - 1) if depth else verify(json.dumps(call(x=x)), [call(x=x)]).ok

    assert below(300)


# --- equal values -------------------------------------------------------------------------------------------------

VALUES = [
    ["5", "5.0", "5e0", "50E-1", "0.5e+1", "5.000"],
    ["0", "-0", "0.0", "-0.0", "0e5", "0E99999999999999999999"],
    ["1", "1.0"],
    ["true"],
    ["false"],
    ["null"],
    ['"5"'],
    ['"5.0"'],
    ['"true"'],
    ['"null"'],
    ['""'],
    ['" "'],
    ["[]"],
    ["{}"],
    ["[5]", "[5.0]", "[ 5e0 ]"],
    ["[true]"],
    ["[1]"],
    ["[[1]]"],
    ["[1, 2]", "[1,2.0]"],
    ["[2, 1]"],
    ["[1, 2, 2]"],
    ['{"a": 1}', '{"a": 1.0}'],
    ['{"a": true}'],
    ['{"a": 1, "b": 2}', '{"b": 2, "a": 1}'],
    ['{"a": 1, "b": null}'],
    ['{"a": [{"b": 5}]}', '{ "a" : [ { "b" : 5.0 } ] }'],
    ["0.1", "1e-1", "0.10"],
    ["0.1000000000000000055511151231257827"],  # equal to 0.1 as a float
    ["0.30000000000000004"],
    ["0.3"],
    ["100000000000000000000", "1e20", "1.0e20"],
    ["100000000000000000001"],
    ["1e22", "10000000000000000000000"],
    ["1e23", "100000000000000000000000"],  # unequal as float and int
    ["99999999999999991611392"],  # the float nearest to 1e23
    ["9007199254740993"],
    ["9007199254740992", "9007199254740992.0"],
    ['"Paris"', '"\\u0050aris"'],
    ['"paris"'],
    ['"Paris "'],
    ['"é"', '"\\u00e9"'],
    ['"e\\u0301"'],  # the same letter to a reader
    ['"\\ud800"'],
    ['"\\ud83d\\ude00"', '"😀"'],
    ['"a/b"', '"a\\/b"'],
    ['"</tool_call>"', '"\\u003c/tool_call>"'],
    ['"<think></think><|eot_id|>```"'],
]


def test_values_are_equal_within_their_row_and_nowhere_else():
    for i, row in enumerate(VALUES):
        for j, others in enumerate(VALUES):
            for mine in row:
                for other in others if i == j else others[:1]:
                    gold = f'[{{"name": "f", "arguments": {{"x": {mine}}}}}]'
                    answer = f'{{"name": "f", "arguments": {{"x": {other}}}}}'
                    kind = "correct" if i == j else "wrong_parameter_value"
                    for response in (answer, f"<tool_call>{answer}</tool_call>"):
                        assert verify(response, gold).kind == kind, (mine, other)


def test_parsed_gold_is_the_same_as_its_text():
    for value in (0.1, 1e22, 10**22, 5, 5.0, True, None, "é\ud800", [1, {"a": 2.5}], {"b": [], "a": False}):
        assert verify(json.dumps(call(x=value)), [call(x=value)]).ok
        assert verify(json.dumps(call(x=value)), json.dumps([call(x=value)])).ok
    assert verify(json.dumps(call(x=1)), [call(x=True)]).kind == "wrong_parameter_value"
    assert verify(json.dumps(call(x=0.1)), [call(x=0.1000000001)]).kind == "wrong_parameter_value"


def test_names_match_exactly():
    for name in ("Clock", "clock ", " clock", "get.clock", "cl\u200bock", ""):
        assert verify(json.dumps([call(name, **CLOCK["arguments"])]), [CLOCK]).kind == "wrong_tool"
    for key in ("Zone", "zone ", "", "zon"):
        assert verify(json.dumps([call("clock", **{key: "Europe/Paris"})]), [CLOCK]).kind == "wrong_parameter_name"


def test_defaults_are_not_filled_in():
    spelled, short = call("weather", city="Paris", days=3), call("weather", city="Paris")
    for gold, answer in ((spelled, short), (short, spelled)):
        assert verify(json.dumps([answer]), [gold], TOOLS).kind == "wrong_parameter_name"
    assert verify(json.dumps([call("clock", zone=None)]), [call("clock")], TOOLS).kind == "wrong_parameter_name"


# --- kinds, in their order, and reasons ---------------------------------------------------------------------------


def test_the_first_fault_gives_the_kind():
    gold = [call("f", x=1), call("f", x=2), call("g", y=3)]

    def kind(*calls: dict) -> str:
        return verify(json.dumps(calls), gold).kind

    assert kind(call("h", z=0)) == "wrong_call_count"  # before its tool
    assert kind(call("f", x=1), call("h", x=2), call("g", z=3)) == "wrong_tool"  # before a parameter's name
    assert kind(call("f", x=1), call("g", y=3), call("g", y=3)) == "wrong_tool"  # offered, but once too often
    assert kind(call("f", x=1), call("f", z=2), call("g", y=0)) == "wrong_parameter_name"  # before a value
    assert kind(call("f", x=1), call("f"), call("g", y=3)) == "wrong_parameter_name"
    assert kind(call("f", x=1), call("f", x=2, y=3), call("g", y=3)) == "wrong_parameter_name"
    assert kind(call("f", x=2), call("f", x=2), call("g", y=3)) == "wrong_parameter_value"  # a multiset, not a set
    assert kind(call("f", x=3), call("f", x=2), call("g", y=1)) == "wrong_parameter_value"
    assert kind(call("g", y=3), call("f", x=2), call("f", x=1)) == "correct"


def test_reasons_teach():
    def reason(answer, gold=GOLD, tools=TOOLS) -> str:
        return verify(answer if isinstance(answer, str) else json.dumps(answer), gold, tools).reason

    wrong = call("weather", city="Rome", days=5, metric=True)
    assert all(word in reason([CLOCK, wrong]) for word in ("weather", "city", "Rome", "Paris"))
    assert '"5", not 5' in reason([CLOCK, call("weather", city="Paris", days="5", metric=True)])
    assert "1, not true" in reason([CLOCK, call("weather", city="Paris", days=5, metric=1)])
    three = [call(city=c, days=d) for c, d in (("Rome", 1), ("Paris", 2), ("Oslo", 3))]
    answer = [three[2], call(city="Paris", days=7), three[0]]
    assert '"days" is 7, not 2' in reason(answer, three)
    near = [call(a=1, b=1, c=1), call(a=2, b=2, c=2)]
    assert '"c" is 3, not 2' in reason([call(a=2, b=2, c=3), call(a=5, b=1, c=1)], near)  # the nearest gold call
    renamed = call("weather", city="Paris", days=5, celsius=True)
    assert all(w in reason([CLOCK, renamed]) for w in ('leaves out "metric"', '"celsius", which the tool does not'))
    for unknown in (None, []):
        assert '"celsius", which the right call does not' in reason([CLOCK, renamed], tools=unknown)
    extra = call("weather", city="Paris", days=5, metric=True, wind=True)
    assert '"wind", which the right call does not' in reason([CLOCK, extra])
    assert "leaves out" not in reason([CLOCK, extra])
    keys = [call(a=1, b=1), call(c=1, d=1)]
    assert 'leaves out "d" and has "e"' in reason([call(c=1, e=1), call(a=1, f=1)], keys)
    assert "not among the tools offered" in reason([CLOCK, call("forecast")])
    assert "offered" not in reason([CLOCK, call("forecast")], tools=None)
    assert "offered" not in reason([CLOCK, CLOCK]) and '"weather" must be called' in reason([CLOCK, CLOCK])
    assert "1, not 2" in reason([CLOCK])
    assert "empty" in reason("[]")
    assert "never closed" in reason("<think>so") and "</think>" in reason("<think>so")
    assert "<tool_call>" in reason("No.") and "</tool_call>" in reason(f"<tool_call>{CALL}")
    assert "twice" in reason('[{"name": "f", "arguments": {"a": 1, "zone": 1, "zone": 1}}]')
    assert '"zone"' in reason('[{"name": "f", "arguments": {"a": 1, "zone": 1, "zone": 1}}]')
    assert "NaN" in reason('[{"name": "f", "arguments": {"a": NaN}}]')
    assert "1e999" in reason('[{"name": "f", "arguments": {"a": 1e999}}]')
    assert str(MAX_DIGITS) in reason(f'[{{"name": "f", "arguments": {{"a": {"9" * 999}}}}}]')
    assert str(MAX_DEPTH) in reason("[" * 999) and "<tool_call>" in reason("a <tool_call> tag")
    assert "double quotes" in reason("[{'name': 'f'}]") and "before its last bracket" in reason("[{")
    assert "at its character 4" in reason("[5 5]")
    assert "stand alone" in reason(f"{CALL} yes") and "yes" in reason(f"{CALL} yes")
    assert '"zone" is neither' in reason('{"name": "clock", "zone": "UTC"}')
    assert '"arguments"' in reason('{"name": "clock"}') and '"name"' in reason('{"arguments": {}}')


def test_tools_never_change_a_kind():
    openai = read_tools(TOOLS)
    for answer in ([CLOCK, WEATHER], [CLOCK], [CLOCK, call("x")], [CLOCK, call("weather")], [call("clock", z=1)] * 2):
        for gold in (GOLD, [CLOCK], [call("weather", city="Paris")], [CLOCK, call("weather", wind=1)]):
            verdicts = [verify(json.dumps(answer), gold, t) for t in (None, [], TOOLS, json.dumps(TOOLS), openai)]
            assert len({v[:2] for v in verdicts}) == 1
            assert len(set(verdicts[2:])) == 1  # the form of the tools does not matter


@pytest.mark.parametrize(
    "answers",
    [
        "",
        "calls",
        "[",
        CALL,
        f"[{CALL}] x",
        "null",
        '[{"name": "f"}]',
        '[{"name": "f", "arguments": [1]}]',
        '[{"name": "f", "arguments": {"x": NaN}}]',
        '[{"name": "f", "arguments": {"x": 1, "x": 1}}]',
        "[" * 100_000,
        None,
        5,
        CLOCK,
        [5],
        [{"name": "f", "arguments": {"x": float("inf")}}],
        [{"name": "f", "arguments": {"x": {1, 2}}}],
        [{"name": "f", "arguments": {"x": 10**5000}}],
    ],
)
def test_malformed_gold_is_the_callers_mistake(answers):
    for response in (CALL, "", None):
        with pytest.raises(ValueError, match="`answers` must be a"):
            verify(response, answers)


# --- nothing raises, nothing hangs --------------------------------------------------------------------------------

any_text = st.text(st.characters(exclude_categories=()), max_size=100)  # lone surrogates and NUL among them
TOKENS = ["{", "}", "[", "]", '"', "\\", ":", ",", ";", " ", "\n", "'", "x", "5", "-", "1e9", "true", "NaN", "\ud800"]
TOKENS += ["\\ud800", "\x00", '"name":', '"arguments":', '"parameters":', '"f"', '"{}"', "{}", "é", "9" * 700, "1e999"]
TOKENS += ["<tool_call>", "</tool_call>", "<think>", "</think>", "<|python_tag|>", "<|eot_id|>", "```", "```json\n"]
TOKENS += ['{"name":"f","arguments":{"x":1}}', "[" * 400, '{"name":"g","arguments":{"\\ud800":"\\ud800"}}']
PROBLEM = {"query": "Do it.", "tools": TOOLS, "answers": [call(x=1)]}


def check_well_formed(verdict: Verdict) -> None:
    assert isinstance(verdict, Verdict) and verdict.kind in KINDS and verdict.ok == (verdict.kind == "correct")
    verdict.reason.encode("utf-8")
    assert verdict.reason.endswith(".") and len(verdict.reason) < 1000


@quick
@given(any_text)
def test_any_text_gets_a_verdict(text):
    for before, after in (("", ""), ("[", "]"), ("<tool_call>", "</tool_call>"), ('[{"name":"f","arguments":{"', "")):
        check_well_formed(verify(before + text + after, [call(x=1)], TOOLS))
    value = json.dumps([{"name": text, "arguments": {text: [text] * 20}}])
    for gold in ([call(x=1)], [call(text, x=1)], [{"name": text, "arguments": {text: 1}}], json.loads(value)):
        check_well_formed(verify(value, gold, TOOLS))
    assert verify(value, json.loads(value)).ok
    assert contains_answer(PROBLEM, text) in (True, False)


@settings(quick, max_examples=500)
@given(st.lists(st.sampled_from(TOKENS), max_size=30).map("".join))
def test_any_near_answer_gets_a_verdict(text):
    for gold in ([call(x=1)], [call("g", y=1)]):
        check_well_formed(verify(text, gold, TOOLS))
    assert contains_answer(PROBLEM, text) in (True, False)


def seconds(judge, text: str) -> float:
    def once() -> float:
        start = time.process_time()
        judge(text)
        return time.process_time() - start

    return min(once() for _ in range(2))


UNITS = [
    "[",
    "{",
    "]",
    '{"a":',
    '{"',
    '{"a',
    '"',
    '\\"',
    '{\\"',
    '{"\\\\',
    "{[]",
    '{"a":[]',
    '{"a":1,',
    "{}",
    "[];",
    "{};",
]
UNITS += [
    "<tool_call>",
    "</tool_call>",
    "<tool_call>{",
    "<think>",
    "</think>",
    "```",
    "```json{",
    "<|eot_id|>",
    " ",
    "9",
]
UNITS += [CALL, f"{CALL};", f"<tool_call>{CALL}</tool_call>", '{"a":{}},', '"a":1,', "é", "1e9,", "{ "]


@pytest.mark.parametrize("start", ["", '[{"name":"', "<tool_call>", "<think>"])
def test_time_grows_linearly(start):
    """Eight times the text takes about eight times as long, and two megabytes less than a few seconds."""
    judges = {
        6_000: lambda text: verify(text, [CLOCK]),
        4_000: lambda text: contains_answer({"answers": [CLOCK]}, text),
    }
    for unit in UNITS:
        for size, judge in judges.items():
            small, large = (start + unit * (n // len(unit)) for n in (size, 8 * size))
            assert seconds(judge, large) < 28 * max(seconds(judge, small), 5e-4), unit
        for end in ("", "]}"):
            text = start + unit * (2_000_000 // len(unit)) + end
            began = time.process_time()
            verify(text, [CLOCK])
            assert time.process_time() - began < 20, unit


LEAKY_UNITS = [
    '{"',
    '{"a":[]',
    '{"a"',
    '{\\"',
    "{",
    '{"a":{"b":"c',
    "{'",
    '{"name":',
    '{"name":"',
    "{'name':\"",
    '{"name":[]',
]
LEAKY_UNITS += [
    "clock(",
    "clock('",
    "clock(\"'",
    "clock([],",
    "clock(zone=",
    "clock()",
    '{"name":"clock","arguments":{}',
]


@pytest.mark.parametrize("unit", LEAKY_UNITS)
def test_a_megabyte_is_checked_for_leaks_in_a_second_or_two(unit):
    for start in ("", "{'name':", '[{"name":"'):
        began = time.process_time()
        contains_answer({"answers": [CLOCK]}, start + unit * (1_000_000 // len(unit)))
        assert time.process_time() - began < 20


def test_many_keys_and_calls_take_no_quadratic_time():
    keys = ",".join(f'"{i}":1' for i in range(5_000))
    twice = f'{{"name": "f", "arguments": {{{keys},"4999":1}}}}'
    many = json.dumps([call(x=i) for i in range(1_200)])
    for text in (twice, many):
        assert seconds(lambda t: verify(t, [call(x=-1)]), text) < 0.5


# --- random calls against the reference ---------------------------------------------------------------------------

keys = st.sampled_from(["x", "y", "city", "Ω", ""])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(),
    st.sampled_from([0.0, 1.0, -1.0, 0.5, 0.1, 1e22, 1e23]),
    st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    st.sampled_from(["", "1", "true", "null", "</tool_call>", "[{", '"', "\\", "\ud800"]),
    st.text(max_size=5),
)
values = st.recursive(
    scalars, lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(keys, v, max_size=3)), max_leaves=6
)
calls = st.builds(
    lambda name, arguments: {"name": name, "arguments": arguments},
    st.sampled_from(["f", "g", "F"]),
    st.dictionaries(keys, values, max_size=3),
)
few = st.lists(calls, max_size=4)
simple = st.builds(
    lambda name, key, value: call(name, **{key: value}),
    st.sampled_from("fg"),
    st.sampled_from("xy"),
    st.sampled_from([1, 1.0, True, "1", 2, [1], [True]]),
)


def canonical(value) -> str:
    """A text that two values share if and only if they are equal as JSON."""
    if isinstance(value, dict):
        return "{" + ",".join(sorted(f"{json.dumps(k)}:{canonical(v)}" for k, v in value.items())) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, float) or type(value) is int:
        return f"n{Fraction(repr(value))}"
    return json.dumps(value)


def reference(answer: list[dict], gold: list[dict]) -> str:
    """The kind that the rule gives, from sorted lists of texts."""
    if gold and not answer:
        return "no_call"
    views = {
        "wrong_call_count": lambda c: "",
        "wrong_tool": lambda c: c["name"],
        "wrong_parameter_name": lambda c: json.dumps([c["name"], sorted(c["arguments"])]),
        "wrong_parameter_value": canonical,
    }
    for kind, view in views.items():
        if sorted(map(view, answer)) != sorted(map(view, gold)):
            return kind
    return "correct"


@settings(quick, max_examples=400)
@given(
    st.one_of(
        st.tuples(few, few),
        st.lists(simple, min_size=1, max_size=3).flatmap(
            lambda gold: st.tuples(st.lists(simple, min_size=len(gold), max_size=len(gold)), st.just(gold))
        ),
    ),
    st.sampled_from(sorted(FORMATS)),
)
def test_random_answers_agree_with_the_reference(pair, form):
    answer, gold = pair
    if len(answer) != 1 and not answer:
        form = "list"  # the other formats cannot write an empty list
    verdict = verify(FORMATS[form](answer), gold, TOOLS)
    check_well_formed(verdict)
    assert verdict.kind == reference(answer, gold)


def respell(rng: random.Random, value) -> str:
    """JSON text of an equal value: other key order, spaces, number spellings and escapes."""
    space = rng.choice(("", " ", "\n", "\t "))
    if isinstance(value, dict):
        items = rng.sample(list(value.items()), len(value))
        inside = f",{space}".join(f"{respell(rng, k)}{space}:{respell(rng, v)}" for k, v in items)
        return f"{{{space}{inside}{space}}}"
    if isinstance(value, list):
        return f"[{space}{f'{space},'.join(respell(rng, v) for v in value)}]"
    if type(value) is int:
        return rng.choice(
            (f"{value}", f"{value}.0", f"{value}e0", f"{value}.00E+0", f"{value}0e-1" if value else "0e-1")
        )
    if isinstance(value, float):
        text = repr(value)
        return rng.choice((text, text.upper(), text if "e" in text or "." not in text else text + "00"))
    if isinstance(value, str):
        whole = "".join(
            f"\\u{ord(c):04x}" if ord(c) < 65536 and rng.random() < 0.3 else json.dumps(c)[1:-1] for c in value
        )
        return f'"{whole}"'
    return json.dumps(value)


@settings(quick, max_examples=300)
@given(st.lists(calls, min_size=1, max_size=4), st.integers(0, 2**32).map(random.Random))
def test_equivalent_rewritings_stay_correct(gold, rng):
    shuffled = rng.sample(gold, len(gold))
    texts = [respell(rng, c) for c in shuffled]
    listed = f"[{','.join(texts)}]"
    for response in (listed, f"```json\n{listed}\n```", "; ".join(texts), f"<think>.</think>\n{listed}<|eot_id|>"):
        assert verify(response, gold).ok, response
    assert verify(" and ".join(f"<tool_call>{t}</tool_call>" for t in texts), json.dumps(gold)).ok
    assert contains_answer({"answers": gold}, "I should call " + " and ".join(texts) + ", then stop.")


def mutate(rng: random.Random, gold: list[dict]) -> list[dict]:
    """One thing changed somewhere; now and then the result is equal after all."""
    answer = json.loads(json.dumps(gold))
    chosen = rng.choice(answer)
    arguments = chosen["arguments"]
    kind = rng.randrange(7)
    if kind == 0:
        answer.remove(chosen)
    elif kind == 1:
        answer.append(rng.choice(answer))
    elif kind == 2:
        chosen["name"] += rng.choice(("", "x", " "))
    elif kind == 3:
        arguments[rng.choice(("x", "extra"))] = rng.choice((1, None, "1"))
    elif not arguments:
        arguments["x"] = None
    elif kind == 4:
        del arguments[rng.choice(list(arguments))]
    elif kind == 5:
        key = rng.choice(list(arguments))
        arguments[key + rng.choice(("", "s"))] = arguments.pop(key)
    else:
        key = rng.choice(list(arguments))
        value = arguments[key]
        arguments[key] = rng.choice(([value], str(value), not value, value, json.dumps(value), {"x": value}, 1, None))
    return answer


@settings(quick, max_examples=300)
@given(st.lists(calls, min_size=1, max_size=3), st.integers(0, 2**32).map(random.Random))
def test_mutated_answers_are_right_only_if_equal(gold, rng):
    for _ in range(5):
        answer = mutate(rng, gold)
        text = f"[{','.join(respell(rng, c) for c in rng.sample(answer, len(answer)))}]"
        assert verify(text, gold, TOOLS).kind == reference(answer, gold), text


@settings(quick, max_examples=100)
@given(st.lists(calls, min_size=1, max_size=2), st.sampled_from(sorted(FORMATS)), st.data())
def test_cut_answers_are_never_correct(gold, form, data):
    text = FORMATS[form](gold).rstrip()
    body = text.removesuffix("<|eom_id|>").removesuffix("<|eot_id|>").removesuffix("<|im_end|>")
    body = body.removesuffix("\n<tool_call>")  # a mention
    body = (
        body.removesuffix("That is {all}.").rstrip().removesuffix("```" if form == "hermes in a fence" else "").rstrip()
    )
    cut = body[: data.draw(st.integers(0, len(body) - 1))]
    assert not verify(cut, gold).ok


# --- the leak check -----------------------------------------------------------------------------------------------

LEAK = {"query": "?", "tools": json.dumps(TOOLS), "answers": json.dumps(GOLD)}
A, B = json.dumps(WEATHER), json.dumps(CLOCK)


@pytest.mark.parametrize(
    "text",
    [
        f"[{A}, {B}]",
        f"[{B}, {A}]",
        f"I should have called {A} and then {B}.",
        f"The calls:\n```json\n[{A}, {B}]\n```\nI forgot one.",
        hermes(GOLD),
        llama(GOLD),
        f"<think>{A}</think> {B}",
        f'He said 5" and {A}, {B}',
        f"{{ {A}, [ {B}",
        f'{{"tool_calls": [{A}, {B}]}}',
        f'{{"type": "function", "function": {A}}} {{"function": {B}}}',
        wire(GOLD),
        f"{A} {A} {{}} {B} }}",
        f'{{"oops {A} {B}',
        json.dumps(GOLD, indent=4),
        A.replace("5", "5.0") + B,
        "x" * 20_000 + A + B,
        '{"name": "clock", "arguments": {"zone": "UTC"}}' + A + B,
        "x" * 200_000 + A + B,
        # Python's spelling
        f"{WEATHER}, {CLOCK}",
        str(GOLD),
        f"I wouldn't say {A}, it's {CLOCK}",
        f"{A[:-2]},}},}} {B}",
        f"[{A}, {B},]",
        "weather(city='Paris', days=5, metric=True), clock(zone='Europe/Paris')",
        'Call `weather(city="Paris", days=5.0, metric=true)` and\nclock(\n    zone="Europe/Paris",\n)',
        "tools.weather(days = 5, metric = True, city = 'Paris'); then tools.clock (zone='Europe/Paris').",
        "weather(weather(city='Paris', days=5, metric=True), clock(zone='Europe/Paris')",
        "{'name': 'clock', 'parameters': {'zone': 'Europe/Paris'}} " + A.replace("name", "n\\u0061me"),
    ],
)
def test_leaks_are_found(text):
    assert contains_answer(LEAK, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I should call weather for Paris, 5 days, and clock.",
        A,
        f"{B} {B}",
        f"{A} {B[:-1]}",
        f"{A} {B.replace('Paris', 'Rome')}",
        f"{A.replace('true', '1')} {B}",
        f"{A.replace('5', json.dumps('5'))} {B}",
        f"{A} {json.dumps(CLOCK['arguments'])}",
        f'{A} {{"name": "clock", "name": "clock", "arguments": {{"zone": "Europe/Paris"}}}}',
        "weather(city='Paris', days=5, metric=1), clock(zone='Europe/Paris')",
        "weather(city='Paris', days=5), clock(zone='Europe/Paris')",
        "weather(city='Paris', days=5, metric=True), clock(zone='Europe/Paris'",
        "weather(city='Paris', days=5, metric=True), my_clock(zone='Europe/Paris')",
        "weather('Paris', 5, True), clock('Europe/Paris')",
        "weather(city='Paris', days=2 + 3, metric=True), clock(zone='Europe/Paris')",
        "weather(city='Paris', days=int('5'), metric=True), clock(zone='Europe/Paris')",
        "weather(**{'city': 'Paris', 'days': 5, 'metric': True}), clock(zone='Europe/Paris')",
        str(GOLD).replace("Paris", "Rome"),
        str(GOLD).replace("}", ""),
        "weather(city=Paris, days=5, metric=True), clock(zone=Europe/Paris)",
    ],
)
def test_texts_without_the_calls_are_not_leaks(text):
    assert not contains_answer(LEAK, text)


@pytest.mark.parametrize(
    "value",
    [1, -2.5, 1e22, True, False, None, "", "it's", 'say "x"', "both ' and \"", "a\\b\n", "Ω", "(1, 2)", "x=1", ",}", []]
    + [[1, "a", None], {"k": [True, {"l": 0.1}]}, {}],
)
def test_pythons_spelling_of_any_value_is_a_leak(value):
    gold = [call("get.it", x=value, y=[value])]
    spelled = f"get.it(x={value!r}, y=[{value!r},])"
    for text in (str(gold), spelled, f"It isn't {gold[0]}, is it?", f"Don't forget `{spelled}`!"):
        problem = {"answers": gold}
        assert contains_answer(problem, text), text
        assert "…" in TASK.redact(problem, text) and not contains_answer(problem, TASK.redact(problem, text))
        assert not contains_answer({"answers": [call("get.it", x=value, y=[value, 0])]}, text)
        assert not verify(text, gold).ok


@quick
@given(
    st.lists(st.sampled_from([*"{}[]()'\"\\,:= \n", "f", "x", "f(x=", "'name'", "True", "1", "{'name': 'f'"])).map(
        "".join
    )
)
def test_any_near_python_is_no_trouble(text):
    problem = {"answers": [call(x=1)]}
    without = TASK.redact(problem, text + "f(x=1)")
    assert not contains_answer(problem, without)
    assert contains_answer(problem, text + " f(x=1)")


def test_the_leak_of_repeated_and_of_no_calls():
    assert contains_answer({"answers": [CLOCK, CLOCK]}, f"Call {B} twice.")
    assert not contains_answer({"answers": []}, "[]")


# --- tools and the task -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind, expected",
    [
        ("str", {"type": "string"}),
        ("int", {"type": "integer"}),
        ("float", {"type": "number"}),
        ("bool", {"type": "boolean"}),
        ("list", {"type": "array"}),
        ("dict", {"type": "object"}),
        ("str, optional", {"type": "string"}),
        ("int,optional", {"type": "integer"}),
        ("List[int]", {"type": "array", "items": {"type": "integer"}}),
        ("list[str]", {"type": "array", "items": {"type": "string"}}),
        ("List[int], optional", {"type": "array", "items": {"type": "integer"}}),
        ("List[List[float]]", {"type": "array", "items": {"type": "array", "items": {"type": "number"}}}),
        ("List[Dict[str, Any]]", {"type": "array", "items": {"type": "object"}}),
        ("List[Tuple[int, int]]", {"type": "array", "items": {"type": "array"}}),
        ("List[Any]", {"type": "array"}),
        ("Set[str]", {"type": "array", "items": {"type": "string"}}),
        ("Tuple[int, int]", {"type": "array"}),
        ("Dict[str, int]", {"type": "object"}),
        ("Dict[str, Any], optional", {"type": "object"}),
        ("Optional[str]", {"type": "string"}),
        ("Optional[List[int]]", {"type": "array", "items": {"type": "integer"}}),
        ("string", {"type": "string"}),
        ("number", {"type": "number"}),
        ("array", {"type": "array"}),
        ("Union[int, float]", {}),
        ("Callable[[float], float]", {}),
        ("Any", {}),
        ("", {}),
        ("null", {"type": "null"}),
        (["string", "null"], {"type": ["string", "null"]}),
        (["str", "int"], {"type": ["string", "integer"]}),
        (["List[int]", "null"], {"type": ["array", "null"], "items": {"type": "integer"}}),
        (["str", "Any"], {}),
        ([], {}),
        (["string", None], {}),
        (None, {}),
        ({"a": 1}, {}),
        (5, {}),
    ],
)
def test_types(kind, expected):
    assert schema(kind) == expected


def test_tools_become_schemas():
    weather, clock = TASK.tools({"tools": json.dumps(TOOLS)})
    assert weather == {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "The city."},
                    "days": {"type": "integer", "description": "How many.", "default": 3},
                    "metric": {"type": "boolean", "description": "Celsius?"},
                    "wind": {"type": "boolean", "description": "Wind too?", "default": False},
                },
                "required": ["city"],
            },
        },
    }
    assert clock["function"]["parameters"]["required"] == ["zone"]
    assert read_tools([weather, clock]) == [weather, clock]  # OpenAI's form passes through
    assert read_tools([clock["function"]]) == [clock]  # and so does a schema without its wrapper
    said = {"a": {"type": "int", "required": True, "default": 1}, "b": {"type": "str", "required": False}}
    assert read_tools([{"name": "f", "parameters": said}])[0]["function"]["parameters"]["required"] == ["a"]
    rich = {
        "a": {"type": "array", "items": {"type": "integer"}, "description": "Which."},
        "b": {"type": "string", "enum": ["x", "y"], "default": "x"},
        "c": {"type": "object", "properties": {"d": {"type": "string"}}},
    }
    assert read_tools([{"name": "f", "parameters": rich}])[0]["function"]["parameters"]["properties"] == rich
    odd = read_tools([{"name": "f", "parameters": {"type": {"type": "str"}, "properties": {"type": "int"}}}])
    assert odd[0]["function"]["parameters"]["properties"] == {
        "type": {"type": "string"},
        "properties": {"type": "integer"},
    }
    for empty in ({"name": "f"}, {"name": "f", "parameters": {}}, {"name": "f", "parameters": None}):
        assert read_tools([empty])[0]["function"]["parameters"] == {"type": "object", "properties": {}, "required": []}


@pytest.mark.parametrize("key", ["inputSchema", "input_schema", "parameters"])
def test_other_families_tools(key):
    given = {"type": "object", "properties": {"x": {"type": ["string", "null"]}}, "required": ["x"]}
    [tool] = read_tools([{"name": "f", "description": "It.", key: given}])
    assert tool == {"type": "function", "function": {"name": "f", "description": "It.", "parameters": given}}
    answer = verify(json.dumps(call(y="a")), [call(x="a")], [{"name": "f", key: given}])
    assert answer.kind == "wrong_parameter_name" and "which the tool does not" in answer.reason
    [bare] = read_tools([{"name": "f", key: {}}])
    assert bare["function"]["parameters"]["type"] == "object"


def test_a_union_of_types_in_the_flat_form():
    flat = {"x": {"type": ["string", "null"], "description": "It."}, "y": {"type": ["int", "null"], "default": None}}
    [tool] = read_tools([{"name": "f", "parameters": flat | {"z": {"type": None}}}])
    assert tool["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "x": {"type": ["string", "null"], "description": "It."},
            "y": {"type": ["integer", "null"], "default": None},
            "z": {},
        },
        "required": ["x", "z"],
    }


@pytest.mark.parametrize(
    "tools",
    [
        "",
        "x",
        "5",
        "[5]",
        '["function"]',
        [{}],
        [{"parameters": {}}],
        [{"name": "f", "parameters": {"x": 5}}],
        5,
        [{"function": {}}],
        [{"function": {"name": "f", "parameters": {"properties": 5}}}],
        [{"name": "f", "inputSchema": {"properties": 5}}],
        [{"name": "f", "inputSchema": 5}],
        [{"name": 5, "parameters": {}}],
        "[" * 100_000,
    ],
)
def test_malformed_tools_are_the_callers_mistake(tools):
    with pytest.raises(ValueError, match="`tools` must be a list of tools"):
        read_tools(tools)


def test_the_task():
    problem = {"query": "Weather?", "tools": json.dumps(TOOLS), "answers": json.dumps([CLOCK])}
    assert TASK.name == "function_calling" and TASK.reflect_prompt == prompts.FUNCTION_CALLING_REFLECT
    assert TASK.messages(problem) == [{"role": "user", "content": "Weather?"}]
    assert TASK.verify(problem, CALL).ok and TASK.contains_answer(problem, CALL)
    assert "offered" in TASK.verify(problem, json.dumps(call("x"))).reason


def test_redaction_takes_the_gold_calls_and_nothing_else():
    gold = [{"name": "add", "arguments": {"a": 1}}, {"name": "say", "arguments": {"text": "x"}}]
    problem = {"query": "Add 1 and say x.", "tools": [], "answers": gold}
    wrong = '{"name": "add", "arguments": {"a": 2}}'
    text = f"Not {wrong} but {json.dumps(gold[0])}, then [{json.dumps(gold[1])}]. Add 1."
    assert TASK.redact(problem, text) == f"Not {wrong} but …, then […]. Add 1."
    for same in ("I am sorry.", wrong, '{"name": "add", "arguments": {"a": '):
        assert TASK.redact(problem, same) == same
    nested = f'{{"name": "add", "arguments": {{"a": 1, "b": {json.dumps(gold[0])}}}}}'
    assert not contains_answer(problem, TASK.redact(problem, nested + json.dumps(gold)))


@pytest.mark.parametrize(
    ("value", "text", "without"),
    [
        (80, "four fifths, 100 / 5 = 20, 20 * 4 = 80.", "four fifths, 100 / 5 = 20, 20 * 4 = …."),
        (80, "180 and 80.5 and 0.80 and a80", "180 and 80.5 and 0.80 and a80"),
        ("2026-05-09", "Next Saturday is 2026-05-09, so day is 2026-05-09", "Next Saturday is …, so day is …"),
        ("solar", "The kind is solar.", "The kind is solar."),  # the query spells it
        (["a", "b"], 'letters is ["a", "b"], of course', "letters is …, of course"),
        ("", "It is empty.", "It is empty."),
        (0.5, "share is 0.5", "share is …"),
    ],
)
def test_redaction_takes_the_arguments_that_were_worked_out(value, text, without):
    problem = {"query": "Sell four fifths of my solar power next Saturday.", "answers": [call("sell", share=value)]}
    assert TASK.redact(problem, text) == without
