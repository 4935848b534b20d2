"""benchmarks/fit.py on a small shape: what it will do on a GPU, tried without one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from r3lib.files import ROOT

SCRIPT = ROOT / "benchmarks" / "fit.py"


def test_three_steps_are_timed_on_a_small_shape():
    done = subprocess.run([sys.executable, SCRIPT, "--toy"], capture_output=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout[done.stdout.index("{") :])
    assert found["seconds_per_step"] > 0
    assert found["reflection_tokens"] == 8  # a random model does not end a message
    assert found["peak_gb"] is None or found["peak_gb"] > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure on")
def test_without_a_gpu_nothing_is_measured():
    result = ROOT / "benchmarks" / "results" / "fit.json"
    before = result.read_bytes() if result.exists() else None
    done = subprocess.run([sys.executable, SCRIPT], capture_output=True, encoding="utf-8", timeout=600)
    assert done.returncode == 1 and "No GPU" in done.stderr and "--toy" in done.stderr
    assert (result.read_bytes() if result.exists() else None) == before
