"""Time and memory of `make reproduce` as a newcomer meets it: a fresh clone, nothing installed.

Run it with nothing else on the machine. Memory is the largest resident set of one process (the experiment's own; pip
and make are smaller). The clone holds what is committed, not what lies in the working tree.

Usage: python benchmarks/reproduce.py [EXPERIMENT ...]. Writes those (by default all) into
benchmarks/results/reproduce.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from verifier import machine, write

RESULT = Path(__file__).parent / "results" / "reproduce.json"
COMMANDS = {
    "countdown": ["make", "reproduce"],
    "function_calling": ["make", "reproduce", "EXPERIMENT=function_calling"],
}


def measure(command: list[str]) -> dict:
    """One command in a fresh clone: minutes, and GB of its largest process."""
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory(prefix="r3-") as folder:
        clone = Path(folder) / "clone"
        subprocess.run(["git", "clone", "-q", str(root), str(clone)], check=True)
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=clone, capture_output=True, encoding="utf-8", check=True
        )
        before, started = machine(), time.monotonic()
        mine = ("PYTHONPATH", "R3_HOME", "R3_PROFILE")  # would lead away from the clone
        clean = {name: value for name, value in os.environ.items() if name not in mine}
        process = subprocess.Popen(command, cwd=clone, env=clean)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise subprocess.CalledProcessError(os.waitstatus_to_exitcode(status), command)
        minutes = (time.monotonic() - started) / 60
    return {
        "command": " ".join(command),
        "commit": commit.stdout.strip(),
        "machine": before,
        "minutes": round(minutes, 1),
        "memory_gb": round(usage.ru_maxrss / 2**20, 1),  # Linux counts it in KiB
    }


def main() -> None:
    for name in sys.argv[1:] or COMMANDS:
        results = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
        write(results | {name: measure(COMMANDS[name])}, RESULT)
    print(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
