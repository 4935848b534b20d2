"""The files for several GPUs, run with stand-ins for Slurm, vLLM's server and the launcher, which say what they got.

tests/test_processes.py launches two real processes with cluster/node8.yaml.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from r3lib.files import ROOT
from r3lib.machine.profiles import PROFILES

CLUSTER = ROOT / "cluster"


@pytest.fixture
def commands(tmp_path):
    """commands(name=script, …) puts stand-ins first in the PATH; returns the environment."""

    def make(**scripts: str) -> dict[str, str]:
        for name, text in scripts.items():
            path = tmp_path / name
            path.write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="utf-8")
            path.chmod(0o755)
        return os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    return make


def test_slurm_starts_one_launcher_a_node_for_all_gpus(commands, tmp_path):
    environment = commands(
        accelerate='echo "$@"',
        scontrol="echo first-node; echo second-node",
        srun='for node in 0 1; do SLURM_NODEID=$node "$@"; done',
    )
    checkout = tmp_path / "checkout"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "activate").touch()
    environment |= {"SLURM_SUBMIT_DIR": str(checkout), "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_NNODES": "2"}
    script = [CLUSTER / "r3.sbatch", "--profile", "paper", "--seeds", "0", "1"]
    done = subprocess.run(["bash", *script], env=environment, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for rank, line in enumerate(lines):
        assert f"--num_machines 2 --num_processes 16 --machine_rank {rank} --main_process_ip first-node" in line
        assert line.endswith("-m r3lib experiment --profile paper --seeds 0 1")


def test_the_vllm_server_is_waited_for_and_ended(commands, tmp_path):
    """The trainer starts when the server answers, on the other GPUs; the server ends with it."""
    environment = commands(
        trl=f'echo "$CUDA_VISIBLE_DEVICES $@" > {tmp_path}/server; touch {tmp_path}/up; exec sleep 600',
        curl=f"test -e {tmp_path}/up",
        accelerate=f'ls {tmp_path}/up > /dev/null && echo "$CUDA_VISIBLE_DEVICES $@"',
        sleep='exec /bin/sleep "$([ "$1" = 5 ] && echo 0.1 || echo "$1")"',
    )
    done = subprocess.run(
        ["bash", CLUSTER / "node4-vllm.sh", "--seeds", "0"],
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "server").read_text(encoding="utf-8")
    assert told.startswith("0,1,2,3 vllm-serve --model Qwen/Qwen2.5-1.5B-Instruct")
    assert done.stdout.startswith("4,5,6,7 launch") and "--num_processes 4" in done.stdout
    assert done.stdout.strip().endswith("-m r3lib experiment --profile paper --vllm server --seeds 0")


def test_a_server_that_fails_ends_the_job(commands):
    environment = commands(trl="exit 3", curl="exit 1", accelerate="echo started", sleep="exec /bin/sleep 0.1")
    done = subprocess.run(
        ["bash", CLUSTER / "node4-vllm.sh"], env=environment, capture_output=True, encoding="utf-8", timeout=60
    )
    assert done.returncode != 0 and "started" not in done.stdout


def test_the_paper_profile_can_be_shared_by_the_processes_of_these_files():
    paper = PROFILES["paper"]
    assert all(paper.prompts_per_step % processes == 0 for processes in (4, 8, 16)) and not paper.four_bit


def test_the_committed_tables_are_those_of_the_results():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import table
    finally:
        sys.path.pop(0)
    own, cluster = ((ROOT / folder / "README.md").read_text(encoding="utf-8") for folder in ("benchmarks", "cluster"))

    def marked(text: str, name: str) -> str:
        return text.partition(f"<!-- {name}:start -->\n")[2].partition(f"\n<!-- {name}:end -->")[0]

    for name, make in table.TABLES.items():
        assert marked(own, name) == make(), f"{name}: run `python benchmarks/table.py`"
    assert marked((ROOT / "docs" / "gpu.md").read_text(encoding="utf-8"), "cards") == table.cards()
    assert marked(cluster, "plan") == table.plan(2.5) and marked(cluster, "preparation") == table.preparation()
