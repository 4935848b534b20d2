"""What a failure costs, from 1,000 to 100,000 of them: seconds, memory and disk of a failure set that grows.

Each size is built by a process of its own on generated Countdown problems (four answers to each), with r3-nano; then it
is loaded and laid out for training, as a run does. Cost per failure should not grow with the size.

Usage: python benchmarks/failures.py [--sizes 1000 10000 100000]. Writes benchmarks/results/failures.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch

from r3lib import failures, grpo, models
from r3lib.files import R3Error, write_json
from r3lib.machine.profiles import PROFILES
from r3lib.problems import countdown_data, splits

sys.path.insert(0, str(Path(__file__).parent))
from verifier import machine

RESULT = Path(__file__).parent / "results" / "failures.json"
TASK = splits.TASKS["countdown"]


def one(size: int) -> dict:
    """Build about `size` failures in this process, of as many problems as the first five hundred say it takes."""
    profile = replace(PROFILES["nano"], failure_samples=4)
    drawn = ({"numbers": n, "target": t} for n, t, _ in countdown_data.draw(random.Random(0), per_draw=20))
    model, tokenizer = models.load(profile)
    with tempfile.TemporaryDirectory(prefix="r3-") as scratch:
        out = Path(scratch)
        problems = list(islice(drawn, min(size, 500)))
        first = failures.build(model, tokenizer, TASK, problems, profile, out / "first")
        needed = round(size * len(problems) / len(first))
        problems = [*problems, *islice(drawn, max(0, needed - len(problems)))][:needed]
        began = time.perf_counter()
        found = failures.build(model, tokenizer, TASK, problems, profile, out / "failures")
        building = time.perf_counter() - began
        disk = sum(path.stat().st_size for path in (out / "failures").rglob("*") if path.is_file())
        began = time.perf_counter()
        rows = grpo.training_rows(TASK, found)
        grpo.in_order(rows, profile.steps * profile.prompts_per_step, 0)
        laying_out = time.perf_counter() - began
    return {
        "failures": len(found),
        "problems": needed,
        "seconds": round(building, 1),
        "ms_per_failure": round(1000 * building / len(found), 2),
        "ms_per_failure_laid_out": round(1000 * laying_out / len(found), 3),
        "bytes_per_failure": round(disk / len(found)),
    }


def apart(size: int) -> dict:
    """The same in a process of its own, with the GB of its memory at their peak."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        process = subprocess.Popen([sys.executable, __file__, "--one", str(size)], stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        output.seek(0)
        said = output.read().strip()
    if status:
        raise R3Error(f"Building {size} failures ended with {os.waitstatus_to_exitcode(status)}.")
    return json.loads(said.rpartition("\n")[2]) | {"memory_gb": round(usage.ru_maxrss / 2**20, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--toy", action="store_true", help="nothing is written")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.one)))
        return
    sizes = [apart(size) for size in options.sizes]
    found = {"machine": machine(), "threads": torch.get_num_threads(), "sizes": sizes}
    print(json.dumps(found, indent=1))
    if not options.toy:
        write_json(RESULT, found)


if __name__ == "__main__":
    main()
