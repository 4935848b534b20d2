"""A run is the same however it is cut: among the processes of `accelerate launch`, or by SIGKILL at any moment.

What runs in the other processes is this file, as a script.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from r3lib import config, failures, grpo, models
from r3lib.files import ROOT, R3Error, read_json, read_jsonl
from r3lib.machine import experiment, profiles
from r3lib.problems import splits
from r3lib.problems.countdown import TASK
from r3lib.tasks import Verdict

SEED, KILLS = 3, 2
TWO = (  # processes; on the CPU where there is no GPU
    *("-m", "accelerate.commands.launch", "--config_file", str(ROOT / "cluster" / "node8.yaml")),
    *("--num_processes", "2", "--main_process_port", "0"),
)
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def tiny_run() -> config.Profile:
    return dataclasses.replace(
        profiles.PROFILES["nano"],
        rollout_batch_size=8,
        prompts_per_step=4,
        num_generations=4,
        micro_batch=4,
        steps=3,
        attempt_tokens=20,
        reflection_tokens=24,
        train_reflection_tokens=16,
        retry_tokens=20,
        train_problems=30,
        test_problems=28,
    )


def by_its_letters(problem: dict, text: str) -> Verdict:
    """A verdict with signal in every step: Adam would blow the rounding of a step without it up to a whole one."""
    return Verdict(zlib.crc32(text.encode()) % 2 == 0, "stub", "By its letters.")


def script(out: Path, kind: str) -> None:
    """What the processes do: an experiment, or ten steps of training on its failure set."""
    torch.set_num_threads(1)
    profile, task = tiny_run(), TASK._replace(verify=by_its_letters)
    if kind == "experiment":
        experiment.run(task, profile, SEED, out / "results", out / "work", splits.train_and_test(task, profile, SEED))
    else:
        profile = dataclasses.replace(profile, steps=10)
        found = failures.load(out / "failures")
        grpo.train(*models.load(profile), task, found, profile, out / "train", SEED, save_steps=1)


def launch(out: Path, kind: str, *launcher: str) -> subprocess.Popen:
    command = [sys.executable, *launcher, __file__, str(out), kind]
    log = (out.parent / f"{out.name}.txt").open("a", encoding="utf-8")
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True)


def finish(process: subprocess.Popen, out: Path) -> None:
    if process.wait(timeout=600) != 0:
        said = (out.parent / f"{out.name}.txt").read_text(encoding="utf-8")
        pytest.fail(said[max(0, said.find("Traceback") - 500) :][:6000])  # the first failure is the cause of the others


def adapter(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    finish(launch(out, "experiment"), out)
    return out


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    out = tmp_path_factory.mktemp("pair") / "run"
    finish(launch(out, "experiment", *TWO), out)
    return out


def test_two_processes_build_the_failure_set_of_one(alone, pair):
    one, two = (failures.load(out / "work" / "failures").to_list() for out in (alone, pair))
    assert one == two and len(one) >= tiny_run().prompts_per_step


def test_two_processes_train_the_adapter_of_one(alone, pair):
    """Each with half of a step's groups; sums are taken in another order, which moves no weight by 1 % of a step."""
    one, two = (adapter(out / "work" / "train-r3") for out in (alone, pair))
    assert one.keys() == two.keys() and any(weight.abs().max() > 0 for name, weight in one.items() if "lora_B" in name)
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=0.01 * tiny_run().learning_rate, rtol=0)
    logs = [read_jsonl(out / "work" / "train-r3" / "log.jsonl") for out in (alone, pair)]
    assert len(logs[0]) == len(logs[1]) == tiny_run().steps
    for mine, theirs in zip(*logs):
        for key in ("reward", "zero_advantage_fraction", "reflection_tokens", "clipped_ratio"):
            assert mine[key] == pytest.approx(theirs[key], abs=1e-6), key
        for key in ("loss", "grad_norm"):
            assert mine[key] == pytest.approx(theirs[key], rel=1e-2, abs=1e-6), key


def test_two_processes_judge_as_one_does(alone, pair):
    names = {p.name for p in (alone / "results").glob("*-T*.json")}
    assert names == {p.name for p in (pair / "results").glob("*-T*.json")} and len(names) == 4
    for name in names:
        one, two = (read_json(out / "results" / name) for out in (alone, pair))
        assert one["outcomes"] == two["outcomes"], name
        assert "2 processes" in two["machine"] and "processes" not in one["machine"]


def test_a_rank_that_no_launcher_gave_is_ignored_and_said_once():
    """As a shell of a cluster's job leaves them; the children of this process do not see them either."""
    code = "import os; from r3lib import models\nfor _ in 1, 2: print(models.processes().num_processes, *os.environ)"
    stray = {"LOCAL_RANK": "0", "RANK": "1", "WORLD_SIZE": "2"}
    alone = {name: value for name, value in ENVIRONMENT.items() if name != "MASTER_ADDR"}
    done = subprocess.run([sys.executable, "-c", code], env=alone | stray, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RANK, LOCAL_RANK, WORLD_SIZE: set, but no launcher runs; this is one process.") == 1
    for line in done.stdout.splitlines():
        count, *names = line.split()
        assert count == "1" and not stray.keys() & set(names)


def test_processes_that_cannot_share_a_step_are_told(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "processes", lambda: SimpleNamespace(num_processes=3))
    with pytest.raises(R3Error, match="multiple of 3"):
        grpo.trl_config(tiny_run(), tmp_path, 0)


def test_a_run_killed_at_random_moments_ends_with_the_bits_of_a_whole_one(alone, tmp_path):
    """SIGKILL, whatever it is doing; ten steps with a checkpoint at each, over more than one pass of the failures."""
    outs = [tmp_path / name for name in ("whole", "killed")]
    for out in outs:
        out.mkdir()
        (out / "failures").symlink_to(alone / "work" / "failures")
    process = launch(outs[0], "train")
    finish(process, outs[0])
    seconds = sum(line["seconds"] for line in read_jsonl(outs[0] / "train" / "log.jsonl"))
    moments = [random.SystemRandom().uniform(0, 0.6 * seconds) for _ in range(KILLS)]
    log = outs[1] / "train" / "log.jsonl"
    for moment in moments:
        process, began = launch(outs[1], "train"), None
        before = log.stat().st_mtime_ns if log.exists() else 0
        while process.poll() is None and (began is None or time.monotonic() - began < moment):
            if began is None and log.exists() and log.stat().st_mtime_ns != before:
                began = time.monotonic()
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finish(launch(outs[1], "train"), outs[1])
    whole, killed = (adapter(out / "train") for out in outs)
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[name], killed[name]) for name in whole), f"killed after {moments} s"
    steps = [[line["step"] for line in read_jsonl(out / "train" / "log.jsonl")] for out in outs]
    assert steps[0] == steps[1] == list(range(1, 11))
    rewards = [[json.dumps(line["reward"]) for line in read_jsonl(out / "train" / "log.jsonl")] for out in outs]
    assert rewards[0] == rewards[1]


def test_a_run_begun_by_one_process_is_ended_by_two(alone, tmp_path):
    """Killed with some steps done; two processes go on from there to the adapter of one."""
    outs = [tmp_path / name for name in ("whole", "begun")]
    for out in outs:
        out.mkdir()
        (out / "failures").symlink_to(alone / "work" / "failures")
    finish(launch(outs[0], "train"), outs[0])
    process = launch(outs[1], "train")
    while process.poll() is None and not (outs[1] / "train" / "checkpoint-3").exists():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = len(read_jsonl(outs[1] / "train" / "log.jsonl"))
    finish(launch(outs[1], "train", *TWO), outs[1])
    whole, begun = (adapter(out / "train") for out in outs)
    for name in whole:
        torch.testing.assert_close(begun[name], whole[name], atol=0.02 * tiny_run().learning_rate, rtol=0)
    steps = [line["step"] for line in read_jsonl(outs[1] / "train" / "log.jsonl")]
    assert 2 <= done < 10 and steps == list(range(1, 11))


if __name__ == "__main__":
    script(Path(sys.argv[1]), sys.argv[2])
