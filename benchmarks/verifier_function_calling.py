"""How many function-calling answers a core judges in a second: the kit's verifier beside a naive one.

The answers are ordinary ones, half right, half wrong, in the formats of several model families; gold calls are JSON
texts, as in xLAM's data, and eight answers in a row are to one problem, as in a group of retries. Both checkers judge
the same answers in turn within each repeat. The verifier's cache of gold calls is emptied before every repeat.

Usage: python benchmarks/verifier_function_calling.py [--answers 20000] [--repeats 9].
Writes benchmarks/results/verifier_function_calling.json.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

from verifier import per_second, run, spread, summary

from r3lib.problems import function_calling

RESULT = Path(__file__).parent / "results" / "verifier_function_calling.json"
GROUP = 8
Answer = tuple[str, str]
WORDS = ["paris", "oslo", "user_id", "limit", "2023-05-01", "query", "unit", "metric", "https://example.com/a?b=c"]


def naive_check(response: str, answers: str) -> bool:
    """NAIVE BASELINE, for timing only: json.loads and == on sorted lists. It takes true for 1 and a key twice."""
    try:
        blocks = re.findall(r"<tool_call>\s*(.*?)\s*</tool_call>", response, re.DOTALL)
        text = f"[{','.join(blocks)}]" if blocks else re.sub(r"^```(?:json)?|```$", "", response.strip())
        if text.startswith("<|python_tag|>"):
            text = f"[{text.removeprefix('<|python_tag|>').replace('}; {', '}, {')}]"
        calls = [[c["name"], c.get("arguments", c.get("parameters"))] for c in json.loads(text)]
        gold = [[c["name"], c["arguments"]] for c in json.loads(answers)]
        return sorted(calls, key=repr_sorted) == sorted(gold, key=repr_sorted)
    except Exception:
        return False


def repr_sorted(call: list) -> str:
    return json.dumps(call, sort_keys=True)


def draw_calls(rng: random.Random) -> list[dict]:
    """One to three calls (one in most rows, as in xLAM) with one to four arguments."""

    def value():
        plain = [rng.choice(WORDS), rng.randint(0, 500), rng.random() < 0.5, round(rng.uniform(0, 100), 2)]
        return rng.choice([*plain, [rng.randint(0, 9) for _ in range(4)]])

    count = rng.choice((1, 1, 2, 3))
    return [
        {
            "name": f"{rng.choice(('get', 'search', 'compute'))}_{rng.choice(WORDS[:4])}",
            "arguments": {rng.choice(WORDS): value() for _ in range(rng.randint(1, 4))},
        }
        for _ in range(count)
    ]


def spoil(rng: random.Random, calls: list[dict]) -> list[dict]:
    """One fault: a call left out or doubled, another tool, another parameter, another value."""
    calls = json.loads(json.dumps(calls))
    call = rng.choice(calls)
    key = rng.choice(list(call["arguments"]))
    fault = rng.randrange(4)
    if fault == 0:
        return calls[1:] if len(calls) > 1 else calls * 2
    if fault == 1:
        call["name"] += "s"
    elif fault == 2:
        call["arguments"][key + "s"] = call["arguments"].pop(key)
    else:
        call["arguments"][key] = "other"
    return calls


def spell(rng: random.Random, calls: list[dict]) -> str:
    calls = rng.sample(calls, len(calls))
    form = rng.randrange(4)
    if form == 0:
        return json.dumps(calls)
    if form == 1:
        return f"```json\n{json.dumps(calls, indent=2)}\n```"
    if form == 2:
        return "\n".join(f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in calls)
    return "<|python_tag|>" + "; ".join(json.dumps({"name": c["name"], "parameters": c["arguments"]}) for c in calls)


def ordinary_answers(count: int, seed: int) -> list[Answer]:
    rng, answers = random.Random(seed), []
    while len(answers) < count:
        gold = draw_calls(rng)
        for _ in range(GROUP):
            answer = gold if rng.random() < 0.5 else spoil(rng, gold)
            answers.append((spell(rng, answer), json.dumps(gold)))
    return answers[:count]


def measure(answers: list[Answer], repeats: int) -> dict:
    ours, baseline = [], []
    for _ in range(repeats):
        function_calling._gold.cache_clear()
        ours.append(per_second(function_calling.verify, answers))
        baseline.append(per_second(naive_check, answers))
    return {
        "answers": len(answers),
        "distinct_answers": len({response for response, _ in answers}),
        "mean_characters": round(sum(len(response) for response, _ in answers) / len(answers)),
        "kinds": dict(Counter(function_calling.verify(*answer).kind for answer in answers)),
        "verdicts_that_differ": sum(function_calling.verify(*a).ok != naive_check(*a) for a in answers),
        "repeats": repeats,
        "verify_per_second": summary(ours),
        "naive_per_second": summary(baseline),
        "ratio": {key: round(value, 2) for key, value in spread([a / b for a, b in zip(ours, baseline)]).items()},
    }


if __name__ == "__main__":
    run(__doc__, ordinary_answers, measure, "naive_per_second", RESULT)
