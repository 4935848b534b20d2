"""Everything that `make experiments` runs: in order and resumable."""

from __future__ import annotations

import dataclasses
import json

import pytest
from datasets import load_from_disk

from r3lib.__main__ import main
from r3lib.config import ARMS
from r3lib.files import DATA, R3Error, write_json
from r3lib.machine import experiment, schedule
from r3lib.machine.profiles import profile
from r3lib.machine.schedule import Job, everything
from r3lib.measure import controls, forgetting, probes
from r3lib.outcomes import Outcomes, load_outcomes, outcomes_path
from r3lib.problems import splits
from r3lib.problems.countdown import TASK


@pytest.fixture
def here(tmp_path, monkeypatch, small):
    """Jobs of a few seconds, below a folder of their own."""
    tiny = dataclasses.replace(small, train_problems=24, test_problems=4, failure_samples=1)
    monkeypatch.setattr(schedule, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(schedule, "HOME", tmp_path)
    monkeypatch.setattr(schedule, "profile", lambda name, task="countdown": tiny)
    monkeypatch.setattr(probes, "TEMPERATURES", ())
    monkeypatch.setattr(controls, "SAMPLES", 2)
    monkeypatch.setattr(forgetting, "DOCUMENTS", 2)
    monkeypatch.setattr(schedule.splits, "VALIDATION", 4)
    return tmp_path


def written(folder) -> dict:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_jobs_run_in_turn_and_are_not_run_twice(here, capsys):
    jobs = [Job("countdown", "nano", what, 0) for what in ("r3", "first", "probes", "forgetting")]
    schedule.run_all(jobs)
    found = {name for name in written(here / "results") if name.endswith(".json") and "adapter" not in name}
    r3, first = "countdown/nano/seed0", "arms/countdown/nano/first/seed0"
    outcomes = [f"{r3}/{name}-T{t}.json" for name in ("vanilla", "trained") for t in ("1", "0")]
    asked = [f"{r3}/{what}-{name}.json" for what in ("probes", "controls") for name in ("vanilla", "trained")]
    assert found == {
        *outcomes,
        *asked,
        f"{r3}/forgetting.json",
        f"{r3}/training.json",
        f"{first}/trained-T1.json",
        f"{first}/training.json",
    }
    assert (here / "results" / r3 / "adapter" / "README.md").exists()
    assert load_outcomes(here / "results" / first / "trained-T1.json")[0]["arm"] == "first"
    said = capsys.readouterr().err
    assert "0/4" in said and "4/4" in said and "countdown first seed 0" in said

    before = written(here / "results")
    lost = here / "results" / r3 / "probes-trained.json"
    lost.unlink()
    schedule.run_all(jobs)
    after = written(here / "results")
    changed = {name for name in after if after[name] != before[name]} - {f"{r3}/adapter/{n}" for n in CARD}
    assert changed == {f"{r3}/probes-trained.json"}


CARD = (
    "README.md",
    "adapter_config.json",
    "adapter_model.safetensors",
    "record.json",
)  # written anew from the same run


@pytest.fixture
def r3_run(small, tmp_path):
    """A run of R3 that sampled 240 tokens in two steps of two prompts; its first answers have six tokens each."""
    found = Outcomes()
    for arm in found.right:
        found.right[arm] = [0] * 4
    found.kinds = {"first": ["a"] * 4, "second": ["a"] * 4}
    found.leak = found.reflection_tokens = [None] * 4
    found.tokens |= {"first": 24, "second": 200}
    write_json(outcomes_path(tmp_path, False, small.temperature), {"n": 4, "outcomes": found.to_json()})
    write_json(tmp_path / "training.json", {"log": [{"sampled_tokens": 100}, {"sampled_tokens": 140}]})
    return tmp_path


def test_plain_grpo_samples_as_many_tokens_as_r3_did(small, r3_run):
    first = dataclasses.replace(small, arm=ARMS["first"])
    assert schedule.same_tokens(first, r3_run) == dataclasses.replace(first, num_generations=10)
    short = dataclasses.replace(first, steps=50)
    assert schedule.same_tokens(short, r3_run).num_generations == 2  # a group of one would teach nothing
    assert schedule.same_tokens(small, r3_run) == small


def test_an_arm_or_probes_without_r3_say_what_to_run(here):
    with pytest.raises(R3Error, match="training.json is missing"):
        schedule.run(Job("countdown", "nano", "first", 0))
    for asked in ("probes", "forgetting"):
        with pytest.raises(R3Error, match="run the experiment of this seed first"):
            schedule.run(Job("countdown", "nano", asked, 0))


def test_a_model_can_be_judged_without_training(here):
    job = Job("countdown", "nano", "vanilla", 1)
    schedule.run(job)
    assert {p.name for p in job.out.iterdir()} - {".lock"} == {"vanilla-T1.json", "vanilla-T0.json"}


def test_a_task_of_ones_own_brings_its_problems(here, small):
    """Notebook 12: another name, other problems, nothing in data/."""
    own = TASK._replace(name="mine")
    train, test = (
        [{"numbers": [1, 2, 3 + i], "target": 6 + i} for i in range(24)],
        [{"numbers": [2, 3], "target": 5}] * 3,
    )
    experiment.run(own, small, 0, here / "out", here / "work", (train, test), (0.7,))
    record, outcomes = load_outcomes(here / "out" / "trained-T0.7.json")
    assert record["task"] == "mine" and record["n"] == len(outcomes.right["first"]) == 3
    wrong = load_from_disk(str(here / "work" / "failures"))["problem"]
    assert all(json.loads(problem) in train for problem in wrong)


def test_everything_is_every_arm_of_both_tasks_the_probes_and_the_small_model():
    jobs = everything("nano", [0, 1, 2])
    assert len(jobs) == len(set(jobs)) == 2 * (len(ARMS) + 2) * 3 + 3
    assert {job.what for job in jobs} == {*ARMS, "probes", "forgetting"}
    assert jobs.index(Job("countdown", "nano", "r3", 2)) < jobs.index(Job("countdown", "nano", "first", 0))
    assert [job.profile for job in jobs[-3:]] == ["nano:r3-pico-2"] * 3
    assert jobs[-1].out.parts[-3:] == ("countdown", "nano-r3-pico-2", "seed2")
    assert len(everything("t4", [0])) == 2 * (len(ARMS) + 2)
    more = set(everything("nano", [0, 1, 2, 3, 4])) - set(jobs)  # R3's interval is the one that matters most
    assert {(job.task, job.what, job.profile) for job in more} == {(task, "r3", "nano") for task in splits.PAPER}
    assert {job.seed for job in more} == {3, 4}


def test_smol_has_experiments_of_its_own():
    jobs = everything("smol", [0, 1])
    assert jobs[:2] == [Job("countdown", "smol", "vanilla", 0), Job("function_calling", "smol", "vanilla", 0)]
    assert [(job.task, job.what) for job in jobs[2::2]] == [("instructions", arm) for arm in ("r3", "first", "both")]
    chosen = profile("smol", "instructions")
    assert (chosen.test_problems, chosen.dtype, chosen.four_bit) == (500, "bfloat16", False)


def test_a_profile_takes_another_model():
    shipped, hub = profile("nano:r3-nano-calls"), profile("rtx24:Qwen/Qwen2.5-7B-Instruct")
    assert (shipped.name, shipped.model) == ("nano-r3-nano-calls", str(DATA / "r3-nano-calls"))
    assert (hub.name, hub.model) == ("rtx24-Qwen--Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct")
    assert hub.memory_gb is hub.minutes is None
    with pytest.raises(R3Error, match="one of them:MODEL"):
        profile("rtx99:Qwen/Qwen2.5-7B-Instruct")


def test_a_task_that_is_none_is_told(capsys):
    assert main(["experiment", "--task", "chess"]) == 1
    assert "There is no task 'chess'" in capsys.readouterr().err
