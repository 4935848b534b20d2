"""Time and memory of `make reproduce` as a newcomer meets it: a fresh clone, nothing installed.

Run it with nothing else on the machine. Memory is the largest resident set of one process (the experiment's own; pip
and make are smaller). The clone holds what is committed, not what lies in the working tree.

Usage: python benchmarks/reproduce.py. Writes benchmarks/results/reproduce.json.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from verifier import machine, write

RESULT = Path(__file__).parent / "results" / "reproduce.json"


def main() -> None:
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory(prefix="r3-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(root), str(clone)], check=True)
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=clone, capture_output=True, text=True, check=True
        )
        before, started = machine(), time.monotonic()
        mine = ("PYTHONPATH", "R3_HOME", "R3_PROFILE")  # would lead away from the clone
        clean = {name: value for name, value in os.environ.items() if name not in mine}
        subprocess.run(["make", "reproduce"], cwd=clone, env=clean, check=True)
        minutes = (time.monotonic() - started) / 60
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # Linux counts it in KiB
    result = {"command": "make reproduce", "commit": commit.stdout.strip(), "machine": before}
    write(result | {"minutes": round(minutes, 1), "memory_gb": round(peak, 1)}, RESULT)
    print(json.dumps(result | {"minutes": minutes, "memory_gb": peak}, indent=1))


if __name__ == "__main__":
    main()
