"""What an experiment passes on: seeds, temperatures, problems and models."""

from __future__ import annotations

import dataclasses

import pytest
from datasets import Dataset

from r3lib import record
from r3lib.config import ARMS
from r3lib.files import write_json
from r3lib.machine import experiment
from r3lib.outcomes import Outcomes, outcomes_path
from r3lib.problems.countdown import TASK
from r3lib.tasks import Verdict


@pytest.fixture
def asked(small, problems, tmp_path, monkeypatch):
    """asked(seed, ...): what evaluation, failure set and training are called with in a run; none of them is run."""
    calls = []

    def evaluate(model, tokenizer, task, problems, profile, temperature, seed=0, desc=""):
        calls.append(("judge", model, problems, temperature, seed))
        found = Outcomes()
        for _ in problems:
            found.add(Verdict(True, "correct", ""), {})
        return found

    def build(model, tokenizer, task, problems, profile, out, seed=0, fresh=False):
        calls.append(("build", model, problems, seed))
        return Dataset.from_dict({"difficulty": [1.0, 0.5]})

    def train(model, tokenizer, task, failures, profile, out, seed=0, fresh=False, served=None, watch=None):
        calls.append(("train", model, len(failures), seed))
        write_json(out / "record.json", record.make(task, profile, seed, arm=profile.arm.name))
        (out / "log.jsonl").write_text('{"step": 1}\n', encoding="utf-8")
        return "trained"

    monkeypatch.setattr(experiment.models, "load", lambda profile: ("base", "tokenizer"))
    monkeypatch.setattr(experiment.evaluate, "evaluate", evaluate)
    monkeypatch.setattr(experiment.failures, "build", build)
    monkeypatch.setattr(experiment.grpo, "train", train)

    def run(seed, profile=small, **options):
        calls.clear()
        parts = problems[:5], problems[5:]
        experiment.run(TASK, profile, seed, tmp_path / "out", tmp_path / "work", parts, **options)
        return [*calls]

    return run


def test_every_stage_has_the_seed_its_problems_and_its_model(asked, problems, small, tmp_path):
    """Sampled and greedy, before and after; a second run asks for what is missing and no more."""
    training, test = problems[:5], problems[5:]
    before, after = (
        [("judge", model, test, temperature, 7) for temperature in (small.temperature, 0.0)]
        for model in ("base", "trained")
    )
    made = [("build", "base", training, 7), ("train", "base", 2, 7)]
    assert asked(7) == [*before, *made, *after]
    assert asked(7) == []
    outcomes_path(tmp_path / "out", True, 0.0).unlink()
    assert asked(7) == [*made, after[1]]


def test_another_arm_leaves_the_vanilla_model_out(asked, small):
    calls = asked(7, dataclasses.replace(small, arm=ARMS["first"]), temperatures=(0.7,))
    assert [call[:2] for call in calls] == [("build", "base"), ("train", "base"), ("judge", "trained")]
