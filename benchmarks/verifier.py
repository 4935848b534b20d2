"""How many Countdown answers a core judges in a second: the kit's verifier beside one built on `eval`.

The answers are the ordinary ones, right and wrong, that the problem generator makes. Both checkers judge the same
answers in turn within each repeat, so that the ratio holds on a busy machine too. The verifier's parse cache is emptied
before every repeat: each one pays for the shapes it meets, as a fresh process would. The time is the process's own.

Usage: python benchmarks/verifier.py [--answers 20000] [--repeats 9]. Writes benchmarks/results/verifier.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from r3lib.nano import corpus
from r3lib.problems import countdown, countdown_data

RESULT = Path(__file__).parent / "results" / "verifier.json"
Answer = tuple[str, list[int], int]


def unsafe_eval_check(response: str, numbers: list[int], target: int) -> bool:
    """UNSAFE BASELINE, for timing only: a character filter and `eval`, as seen in the field.

    It accepts 2**3, 7//2, near misses, and "3.5*2" for [3, 5, 2]; "9**9**9" hangs it.
    """
    try:
        equation = re.search(r"<answer>(.*?)</answer>", response).group(1).strip()
        if sorted(int(n) for n in re.findall(r"\d+", equation)) != sorted(numbers):
            return False
        if not re.match(r"^[\d+\-*/().\s]+$", equation):
            return False
        return abs(eval(equation, {"__builtins__": None}, {}) - target) < 1e-5
    except Exception:
        return False


def ordinary_answers(count: int, seed: int) -> list[Answer]:
    """Half right, half wrong, each to its own problem; every other one after a sentence."""
    rng, answers = random.Random(seed), []
    for numbers, target, trees in countdown_data.draw(rng, per_draw=20):
        if rng.random() < 0.5:
            equation = countdown_data.spell(rng.choice(trees))
        else:
            equation, _ = corpus.wrong_answer(rng, numbers, target)
        opening = rng.choice(("", "Let me combine the numbers until they reach the target. "))
        answers.append((f"{opening}<answer>{equation}</answer>", numbers, target))
        if len(answers) == count:
            return answers


def per_second(check, answers: list[Answer]) -> float:
    start = time.process_time()
    for answer in answers:
        check(*answer)
    return len(answers) / (time.process_time() - start)


def measure(answers: list[Answer], repeats: int) -> dict:
    ours, baseline = [], []
    for _ in range(repeats):
        countdown.parse.cache_clear()
        ours.append(per_second(countdown.verify, answers))
        baseline.append(per_second(unsafe_eval_check, answers))
    shapes = countdown.parse.cache_info()
    return {
        "answers": len(answers),
        "distinct_answers": len({response for response, _, _ in answers}),
        "kinds": dict(Counter(countdown.verify(*answer).kind for answer in answers)),
        "parse_cache_hit_rate": round(shapes.hits / (shapes.hits + shapes.misses), 3),
        "verdicts_that_differ": sum(countdown.verify(*a).ok != unsafe_eval_check(*a) for a in answers),
        "repeats": repeats,
        "verify_per_second": summary(ours),
        "unsafe_eval_per_second": summary(baseline),
        "ratio": {key: round(value, 2) for key, value in spread([a / b for a, b in zip(ours, baseline)]).items()},
    }


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def summary(values: list[float]) -> dict[str, int]:
    return {key: round(value) for key, value in spread(values).items()}


def machine() -> dict:
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def write(result: dict, path: Path) -> None:
    """All or nothing: a reader never sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def run(description: str, answers_of: Callable, measure: Callable, baseline: str, path: Path) -> None:
    """A benchmark's command line: measure, write, print the figures. baseline: the name of the other checker's."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--answers", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    result = {"machine": machine(), **measure(answers_of(options.answers, seed=0), options.repeats)}
    write(result, path)
    load = result["machine"]["load_average"][0]
    print(f"answers per second and core, median of {options.repeats} (low to high), load {load}")
    for name in ("verify_per_second", baseline, "ratio"):
        row = result[name]
        print(f"{name:24}{row['median']:>12,} ({row['low']:,} to {row['high']:,})")


if __name__ == "__main__":
    run(__doc__, ordinary_answers, measure, "unsafe_eval_per_second", RESULT)
