"""The function-calling verifier: are the calls in an answer the right ones, yes or no, and if not, why? Standard
library only. A problem is a row of APIGen's xLAM data (paper section 4.1): a query, the tools offered, the gold calls.

The rule, all of it:

- The multiset of calls equals the gold one: nothing missing, nothing extra, parallel calls in any order. Two calls are
  equal if their names are and their arguments are, as JSON values: keys in any order, lists in theirs, `true` is not 1,
  "5" is not 5. Numbers are equal if their exact decimal values are: 5, 5.0 and 5e0 are one number.
- What stands before the last `</think>` is thinking and never the answer, unless a JSON string holds that tag: on its
  line a quote follows it, and then one of `, : } ]`. If what is left begins with `<think>`, it is unfinished: no_call.
- Read is what model families write, without one end-of-turn token at the end. What the text begins with decides: `[` or
  `{` is a JSON list of calls, a call, or calls with `;` between them (Llama, with or without `<|python_tag|>` before
  them); ``` or ```json and then `[` or `{` is the same in a fence. Both stand alone: prose after them is invalid_json,
  prose before them no_call. Any other text is read for `<tool_call>` blocks, each with one call (Hermes, Qwen) or a
  list of calls (SmolLM2), and the prose around them is ignored. A `<tool_call>` that no `{` or `[` follows is a mention
  and belongs to the prose; a text with no other is invalid_json.
- A call is an object with a "name", a string, and "arguments" (or Llama's "parameters"), an object or, as on OpenAI's
  wire, an object written as a JSON string. "id" and "type" may stand beside them and are ignored; nothing else may.
- JSON is RFC 8259's, of any length, in at most MAX_DEPTH levels. Refused: a key twice in one object, NaN and Infinity,
  numbers of more than MAX_DIGITS characters, fractions and powers that double precision cannot hold.

The first part that an answer fails gives its kind: no_call (also the list `[]`), invalid_json (also JSON that is not
calls), wrong_call_count (how many), wrong_tool (the multisets of names differ), wrong_parameter_name (the multisets of
names with their sets of parameter names differ), wrong_parameter_value. If gold is empty, only `[]` is right. The time
is linear in the answer's length.

`tools` makes reasons clearer and never changes a verdict or a kind: a parameter left out is not equal to one that
spells the tool's default. The Berkeley leaderboard's (BFCL's) checker takes more: values that people listed for each
parameter, optional ones left out, strings in any case, spacing and punctuation, an int for a float. xLAM has one gold
answer, the paper's reward is the exact match, and a reward must not rest on a guess at what else could have been meant.

Not here: Python notation such as f(x=1) (the leak check reads it), XML parameters, other families' tags.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter

from r3lib.problems.tools import parameter_names, read_tools
from r3lib.prompts import FUNCTION_CALLING_REFLECT
from r3lib.tasks import Task, Verdict

MAX_DEPTH = 300  # lists and objects inside each other; Python's parser gives up at 1,000 less the depth of its callers
MAX_DIGITS = 400  # characters of a number; int() refuses more than 640 at its strictest setting
OPEN, CLOSE = "<tool_call>", "</tool_call>"
THINK, THINK_END, PYTHON_TAG = "<think>", "</think>", "<|python_tag|>"
END_TOKENS = ("<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|endoftext|>", "<|end_of_text|>", "<|end|>", "</s>")
SPACE = " \t\r\n"
# the end of thinking, to the last on its line, and what tells that it stands in a string
THOUGHT = re.compile(rf'{THINK_END}((?:[^"\\\n]+|\\.)*)("[ \t\r\n]*[,:}}\]])?')
ALONE = re.compile(r"(```(?:json)?[ \t\r\n]*)?(?=[\[{])")
# what may stand between brackets (strings too, an unclosed one to its end), then the next character; its end always
# matches, so that it never goes back
TOKEN = re.compile(r'(?:[ \t\r\n:,.+\-0-9A-Za-z]+|"(?:[^"\\]+|\\.)*"?)*(.?)', re.DOTALL)
# JSON's tokens and those of Python's spelling; a key is a parameter's name before its "="
PYTHON = re.compile(
    r"""[ \t\r\n]*(?:'(?P<single>(?:[^'\\\n]|\\.)*+)'|(?P<double>"(?:[^"\\\n]|\\.)*+")|(?P<open>[\[({])"""
    r"""|(?P<close>[\])}])|(?P<comma>,(?=[ \t\r\n]*[\])}]))|(?P<key>[^\W\d]\w*)[ \t]*=|(?P<word>[:,]|[-+.\w]+))"""
)
QUOTE = re.compile(r"""\\.|\"""")
AS_JSON = {"True": "true", "False": "false", "None": "null", "(": "[", ")": "]", r"\'": "'", '"': r"\""}
SPACES = re.compile(r"[ \t\r\n]*")
SEPARATOR = re.compile(r"[ \t\r\n]*(;?)[ \t\r\n]*")
BLOCK = re.compile(rf"{OPEN}(?=[ \t\r\n]*[\[{{])")
CALL_KEYS = frozenset(("name", "arguments", "parameters", "id", "type"))
ENCODER = json.JSONEncoder(ensure_ascii=False, default=float)

JSON = dict | list | str | int | Decimal | bool | None
Call = dict[str, JSON]  # {"name": str, "arguments": dict}


class Refused(ValueError):
    """The text holds no readable calls; the message is the verdict's reason."""

    def __init__(self, reason: str, kind: str = "invalid_json"):
        super().__init__(reason)
        self.kind = kind


def spell(value: JSON) -> str:
    """A value in a reason: short, and printable where a lone surrogate would break the file it is written to."""
    text = ENCODER.encode(value)
    return (text if len(text) <= 80 else text[:80] + "…").encode("utf-8", "backslashreplace").decode()


def _object(pairs: list[tuple[str, JSON]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):  # parsers disagree on which of the two counts
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise Refused(f"The key {spell(twice)} stands twice in one object.")
    return found


def _number(text: str) -> int | Decimal:
    if not text[-1].isdigit():
        raise Refused(f"{text} is not JSON.")  # NaN and Infinity, which Python's parser takes
    if len(text) > MAX_DIGITS:
        raise Refused(f"A number is longer than {MAX_DIGITS} characters.")
    if text.lstrip("-").isdigit():
        return int(text)
    if not text.lower().partition("e")[0].strip("-.0"):
        return 0
    if not 0 < abs(float(text)) < math.inf:
        raise Refused(f"The number {text[:40]} is beyond double precision.")
    return Decimal(text)  # not the float, which takes 0.1 and 0.10000000000000001 for one number


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_number, parse_float=_number, parse_constant=_number)


def read_value(text: str, start: int = 0) -> tuple[JSON, int]:
    """The list or object that begins at `start` or after space, and where it ends. Raises Refused.

    A scan over the brackets finds the end, and bounds the depth before the recursive parser sees the text.
    """
    start = SPACES.match(text, start).end()
    if text[start : start + 1] not in ("[", "{"):
        raise Refused("A call must be a JSON object, which begins with '{'.")
    depth, end = 0, start
    while depth or end == start:
        token = TOKEN.match(text, end)
        end, symbol = token.end(), token[1]
        if symbol in ("{", "["):
            depth += 1
        elif symbol in ("}", "]"):
            depth -= 1
        elif not symbol:
            raise Refused("The JSON stops before its last bracket is closed.")
        else:
            hint = "strings stand in double quotes" if symbol in "'`“”‘’" else "it can stand in strings only"
            raise Refused(f"{symbol!r} is not JSON: {hint}.")
        if depth > MAX_DEPTH:
            raise Refused(f"The JSON is nested more than {MAX_DEPTH} levels deep.")
    try:
        return DECODER.raw_decode(text[start:end])[0], end
    except json.JSONDecodeError as error:
        raise Refused(f"The JSON is broken at its character {error.pos + 1}: {error.msg}.") from None


def read_call(value: JSON) -> Call:
    """A call in its plain form. Raises Refused."""
    if not isinstance(value, dict):
        raise Refused(f"A call must be an object with a name and arguments, not {spell(value)}.")
    if stray := value.keys() - CALL_KEYS:
        raise Refused(f"A call has a name and arguments; {spell(min(stray))} is neither.")
    if not isinstance(value.get("name"), str):
        raise Refused('A call needs a "name", which is a string.')
    if ("arguments" in value) == ("parameters" in value):
        raise Refused('A call needs "arguments" or "parameters", and not both.')
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(written := arguments, str):
        arguments, end = read_value(written)
        if written[end:].strip(SPACE):
            raise Refused("Something follows the object in a string of arguments.")
    if not isinstance(arguments, dict):
        raise Refused(f"The arguments of {spell(value['name'])} must be an object, not {spell(arguments)}.")
    return {"name": value["name"], "arguments": arguments}


def read_calls(response: str) -> list[Call]:
    """The calls that a response makes, in its order. Raises Refused, whose kind may be no_call."""
    if not isinstance(response, str):
        raise Refused("The response is not text.", "no_call")
    ends = [end.end(1) - len(end[1].rpartition(THINK_END)[2]) for end in THOUGHT.finditer(response) if not end[2]]
    text = response[ends[-1] if ends else 0 :].strip(SPACE)
    if text.startswith(THINK):
        raise Refused(f"The thinking is never closed by {THINK_END}, so no answer was given.", "no_call")
    if text.endswith(END_TOKENS):
        text = text[: text.rindex("<")].rstrip(SPACE)
    text = text.lstrip(SPACE).removeprefix(PYTHON_TAG).lstrip(SPACE)
    alone = ALONE.match(text)
    if not alone and OPEN not in text:
        raise Refused(f"The answer is neither JSON that stands alone nor in {OPEN} tags.", "no_call")
    values = _alone(text, alone.end(), "```" if alone[1] else "") if alone else _tagged(text)
    return [read_call(value) for value in values]


def _alone(text: str, start: int, closing: str) -> list[JSON]:
    """The elements of one list, or one or more objects with `;` between them, up to `closing`."""
    values, separator = [], ";"
    while separator:
        value, end = read_value(text, start)
        values.append(value)
        found = SEPARATOR.match(text, end)
        separator, start = found[1], found.end()
    if (rest := text[start:]) != closing:
        what = spell(rest[:30]) if rest else "nothing, and the fence is never closed"
        raise Refused(f"The JSON must stand alone; what follows it is {what}.")
    return values[0] if len(values) == 1 and isinstance(values[0], list) else values


def _tagged(text: str) -> list[JSON]:
    values, block = [], BLOCK.search(text)
    if not block:
        raise Refused(f"No {OPEN} is followed by an object, which begins with '{{'.")
    while block:
        value, end = read_value(text, block.end())
        values += value if isinstance(value, list) else [value]
        if not text.startswith(CLOSE, SPACES.match(text, end).end()):
            raise Refused(f"A {OPEN} is not closed by {CLOSE} right after its object.")
        block = BLOCK.search(text, end)
    return values


def same(a: JSON, b: JSON) -> bool:
    """Whether two JSON values are equal. Not Python's ==, which takes true for 1."""
    if a != b:
        return False
    pairs = [(a, b)]
    while pairs:
        one, other = pairs.pop()
        if isinstance(one, bool) != isinstance(other, bool):
            return False
        if isinstance(one, dict):
            pairs += ((one[key], other[key]) for key in one)
        elif isinstance(one, list):
            pairs += zip(one, other)
    return True


def unmatched(calls: list[Call], gold: list[Call], view: Callable[[Call], JSON]) -> tuple[list[Call], list[Call]]:
    """What is left of both sides when calls whose views are the same are struck out in pairs."""
    extra, missing = [], list(gold)
    for call in calls:
        partner = next((i for i, right in enumerate(missing) if same(view(call), view(right))), None)
        if partner is None:
            extra.append(call)
        else:
            del missing[partner]
    return extra, missing


def judge(calls: list[Call], gold: list[Call], tools: str | list | None = None) -> Verdict:
    """The verdict on calls that were read. Takes time quadratic in the number of gold calls, which the problem bounds.

    Each kind compares a finer view of the calls; only the reason pairs a wrong call with the gold call nearest to it.
    """
    if not calls and gold:
        return Verdict(False, "no_call", "The list of calls is empty.")
    if len(calls) != len(gold):
        return Verdict(False, "wrong_call_count", f"The number of calls is {len(calls)}, not {len(gold)}.")
    calls, gold = unmatched(calls, gold, lambda call: call)
    if not calls:
        return Verdict(True, "correct", "The calls are the right ones.")
    extra, missing = unmatched(calls, gold, itemgetter("name"))
    if extra:
        name = extra[0]["name"]
        stranger = tools is not None and name not in parameter_names(tools)
        remark = ", which is not among the tools offered" if stranger else ""
        reason = f"{spell(missing[0]['name'])} must be called, but the call is of {spell(name)}{remark}."
        return Verdict(False, "wrong_tool", reason)
    extra, missing = unmatched(calls, gold, lambda call: [call["name"], sorted(call["arguments"])])
    if extra:
        return _wrong_parameter_name(extra[0], missing, tools)
    name, arguments = calls[0]["name"], calls[0]["arguments"]
    partners = [right["arguments"] for right in gold if right["name"] == name]
    partners = [right for right in partners if right.keys() == arguments.keys()]
    faults = [[(key, right[key]) for key in right if not same(arguments[key], right[key])] for right in partners]
    key, wanted = min(faults, key=len)[0]
    reason = f"In the call of {spell(name)}, {spell(key)} is {spell(arguments[key])}, not {spell(wanted)}."
    return Verdict(False, "wrong_parameter_value", reason)


def _wrong_parameter_name(call: Call, missing: list[Call], tools: str | list | None) -> Verdict:
    name, keys = call["name"], call["arguments"].keys()
    partners = [right["arguments"].keys() for right in missing if right["name"] == name]
    right = min(partners, key=lambda right: len(right ^ keys))
    faults = [f"leaves out {spell(min(right - keys))}"] if right - keys else []
    if keys - right:
        stranger = min(keys - right)
        unknown = tools is not None and stranger not in parameter_names(tools).get(name, {stranger})
        faults.append(f"has {spell(stranger)}, which the {'tool' if unknown else 'right call'} does not have")
    return Verdict(False, "wrong_parameter_name", f"The call of {spell(name)} {' and '.join(faults)}.")


@lru_cache(maxsize=1024)
def _gold(answers: str) -> list[Call]:
    value, end = read_value(answers)
    if not isinstance(value, list) or answers[end:].strip(SPACE):
        raise Refused("It is not one list.")
    return [read_call(call) for call in value]


def gold_calls(answers: str | list) -> list[Call]:
    """The gold calls, read by the same rule (a parsed list is written as JSON first). Raises ValueError."""
    try:
        return _gold(answers if isinstance(answers, str) else json.dumps(answers))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"`answers` must be a JSON list of calls with name and arguments. {error}") from None


def verify(response: str, answers: str | list, tools: str | list | None = None) -> Verdict:
    """Judge a response by its problem's gold calls: the paper's reward (section 4.1) is whether they match exactly.

    Raises: nothing, whatever `response` is; ValueError if `answers` (or `tools`, where a reason needs it) is malformed.
    """
    gold = gold_calls(answers)
    try:
        return judge(read_calls(response), gold, tools)
    except Refused as refusal:
        return Verdict(False, refusal.kind, str(refusal))


def contains_answer(problem: dict, text: str) -> bool:
    """Whether a text gives all gold calls away: the leak check on reflections (the paper does not have it).

    A gold call counts wherever it stands, as a JSON object, in Python's spelling of one (single quotes, True, None, a
    comma before a closing bracket), or as Python's f(x=1) with its parameters named; one made twice need stand there
    once. Calls told in words are not found. Raises as `verify` does.
    """
    gold = gold_calls(problem["answers"])
    told = [call for call, _, _ in _told(gold, text)]
    return bool(gold) and all(any(same(call, right) for call in told) for right in gold)


def redact(problem: dict, text: str) -> str:
    """The text with "…" for what gives the answer away (the leak ablation); all other words stay.

    That is every gold call that `contains_answer` finds, and every gold argument that was worked out, which the query
    does not spell.
    """
    gold = gold_calls(problem["answers"])
    out, last = "", 0
    for _, start, end in _told(gold, text):
        if start >= last:
            out, last = out + text[last:start] + "…", end
    out += text[last:]
    for value in (value for call in gold for value in call["arguments"].values()):
        if written := ENCODER.encode(value).strip('"'):
            alone = rf"(?<![\w.]){re.escape(written)}(?!\w|\.\d)"  # 5, and not the 5 of 15 or of 0.5
            if not re.search(alone, problem.get("query", "")):
                out = re.sub(alone, "…", out)
    return out


def _told(gold: list[Call], text: str) -> Iterator[tuple[Call, int, int]]:
    """The gold calls written in a text, and where they stand; those inside another object, too."""
    if not gold:
        return
    names = "|".join(re.escape(call["name"]) for call in gold)
    key = r"""["'](?:[a-z]|\\u00[0-9a-fA-F]{2}){2,10}["']"""
    # nothing is read deeper than a gold call's brackets can go, which keeps the time linear
    deepest = max(written.count("[") + written.count("{") for written in map(ENCODER.encode, gold))
    for start in re.finditer(rf"(?=\{{[ \t\r\n]*{key})|(?<!\w)({names})(?=[ \t]*\()", text):
        with suppress(Refused):  # what is no call gives none away
            written, end = _as_json(text, start.end(), min(deepest, MAX_DEPTH), start[1])
            call = read_call(read_value(written)[0])
            if any(same(call, right) for right in gold):
                yield call, start.start(), end


def _as_json(text: str, start: int, deepest: int, name: str | None) -> tuple[str, int]:
    """The JSON of an object or, if it has a name, of a call in parentheses, and where it ends. Raises Refused."""
    out, depth, end = [], 0, start
    while depth or end == start:
        token = PYTHON.match(text, end)
        if not token or depth > deepest:
            raise Refused("What begins here is no call.")
        kind, said, end = token.lastgroup, token[token.lastgroup], token.end()
        depth += {"open": 1, "close": -1}.get(kind, 0)
        if kind == "single":
            said = f'"{QUOTE.sub(lambda quote: AS_JSON.get(quote[0], quote[0]), said)}"'
        elif kind == "key":
            said = f'"{said}":'
        out.append("" if kind == "comma" else AS_JSON.get(said, said))
    if name is not None:
        out[0], out[-1] = f'{{"name": {ENCODER.encode(name)}, "arguments": {{', "}}"
    return " ".join(out), end


def _verify(problem: dict, text: str) -> Verdict:
    return verify(text, problem["answers"], problem.get("tools"))


def _tools(problem: dict) -> list[dict]:
    return read_tools(problem["tools"])


TASK = Task("function_calling", itemgetter("query"), _verify, contains_answer, FUNCTION_CALLING_REFLECT, _tools, redact)
