"""The benchmarks on a toy size: they run, both sides do the same work, and nothing is written."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from r3lib.files import ROOT

FOLDER = ROOT / "benchmarks"


def toy(script: str, *arguments: str) -> dict:
    """The JSON that a benchmark prints last; its results folder must stay as it is."""
    before = {path: path.read_bytes() for path in (FOLDER / "results").iterdir()}
    command = [sys.executable, str(FOLDER / script), "--toy", *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert {path: path.read_bytes() for path in (FOLDER / "results").iterdir()} == before
    return json.loads(done.stdout[done.stdout.index("\n{\n" if "\n{\n" in done.stdout else "{\n") :])


def test_a_step_beside_stock_trl():
    found = toy("step.py", "--pairs", "1")
    for kind in ("r3", "stock"):
        one = found[kind]
        assert one["seconds_low"] <= one["seconds_per_step"] <= one["seconds_high"] and one["tokens_per_second"] > 0
        assert 0 < one["reflection_tokens"] <= 160 and 0 <= one["reward"] <= 1
        assert 0 < one["share_of_compute_bound"] < 1 and one["memory_gb"] > 0.1
    assert found["times_faster"]["median"] > 0 and found["batch"] == "2 failures x 4 reflections"


def test_a_shape_that_needs_a_gpu_is_not_measured_without_one():
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU to measure on")
    command = [sys.executable, str(FOLDER / "step.py"), "--model", "Qwen/Qwen2.5-1.5B-Instruct"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=600)
    assert done.returncode == 1 and "No GPU" in done.stderr


def test_the_cost_of_a_failure():
    [one] = toy("failures.py", "--sizes", "60")["sizes"]
    assert 20 <= one["failures"] <= 200 and one["ms_per_failure"] > 0 and one["bytes_per_failure"] > 50


def test_the_plain_ways_give_the_same_rollouts(monkeypatch):
    """Each choice saves work and nothing else: with and without it the same reflections and retries."""
    from dataclasses import replace

    monkeypatch.syspath_prepend(str(FOLDER))
    import choices
    from datasets import Dataset

    from r3lib import grpo, models
    from r3lib.machine.profiles import PROFILES

    profile = replace(PROFILES["nano"], prompts_per_step=2, num_generations=3, four_bit=False)
    model, tokenizer = models.load(profile)
    problems = choices.splits.problems(choices.TASK, "train", 2)
    wrong = [{"problem": json.dumps(p), "answer": "<answer>1 + 1</answer>"} for p in problems]
    rows = grpo.training_rows(choices.TASK, Dataset.from_list(wrong))
    run = choices.trainer_of(model, tokenizer)
    prompts = [row["prompt"] for row in rows for _ in range(profile.num_generations)]

    def rollout() -> dict:
        return grpo.ReflectRetry(choices.TASK, profile, rows, 0)(prompts, run)

    ours = rollout()
    for kind in (choices.Apart, choices.Anew, choices.Staying):
        with choices.conversations(kind):
            assert rollout() == ours, kind.__name__


def test_a_long_run():
    found = toy("long.py")
    assert [line["step"] for line in found["log"]] == [1, 2] and found["validation_problems"] == 8
    assert found["gain"]["low"] <= found["second_try_after"] - found["second_try_before"] <= found["gain"]["high"]


def test_the_coverage_of_intervals():
    cells = [cell for kind, found in toy("intervals.py").items() if kind != "settings" for cell in found]
    assert {(cell["seeds"], cell["sd"]) for cell in cells} == {(3, 0), (3, 3)}
    for cell in cells:
        assert 90 <= cell["coverage"]["the kit's"] <= 100
        assert cell["width"]["the kit's"] > cell["width"]["every outcome as if independent"] > 0


def test_every_mutant_still_changes_a_line_of_the_library(monkeypatch):
    """`make mutants` tries whether the tests notice; here, that the list is of this library, and what it must have."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import mutants

    listed = mutants.listed()
    for mutant in listed:
        compile(mutant.patched(), mutant.file, "exec")
        for test in mutant.tests:
            file, _, name = test.partition("::")
            assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8") if name else (ROOT / file).exists(), test
    assert len({(one.file, one.old, one.new) for one in listed}) == len(listed)
    one = listed[0]
    with pytest.raises(mutants.Unproven, match="0 times, not once"):
        mutants.Mutant(one.file, "no such line", "", "", []).patched()
