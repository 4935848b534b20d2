"""Everything that `make experiments` runs: jobs that lie in results/ when they are done, and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from tqdm.auto import tqdm

from r3lib import experiment, models
from r3lib.config import ARMS, R3
from r3lib.files import RESULTS, ROOT, R3Error, read_json
from r3lib.machine.profiles import PARTNERS, override, profile
from r3lib.measure import probes
from r3lib.pages import card, report
from r3lib.problems import splits


class Job(NamedTuple):
    """One run. profile: as `profiles.profile` takes it; what: of `profiles.JOBS`."""

    task: str
    profile: str
    what: str
    seed: int

    @property
    def out(self) -> Path:
        """Where its results go: R3's, the vanilla model's and the probes' side by side, another arm's apart."""
        base = RESULTS / "arms" if self.what in ARMS and self.what != R3.name else RESULTS
        arm = (self.what,) if base != RESULTS else ()
        return base.joinpath(self.task, profile(self.profile).name, *arm, f"seed{self.seed}")

    @property
    def work(self) -> Path:
        """Where its failure set, checkpoints and adapters lie, for all arms of this seed."""
        return ROOT / "runs" / self.task / profile(self.profile).name / f"seed{self.seed}"


def everything(name: str, seeds: list[int]) -> list[Job]:
    """All experiments of a profile: both tasks, every arm, the probes, and the small model that is set beside it."""
    jobs = [Job(task, name, arm, seed) for task, arm, seed in product(splits.TASKS, ARMS, seeds)]
    jobs += [Job(task, name, "probes", seed) for task, seed in product(splits.TASKS, seeds)]
    return jobs + [Job("countdown", PARTNERS[name], "r3", seed) for seed in seeds if name in PARTNERS]


def run(job: Job, settings: Sequence[str] = (), fresh: bool = False) -> None:
    """Run one job; what it has written already is not made again. settings: as `--set` gives them.

    Raises R3Error if it needs what another job makes: another arm than R3, and the probes, need that seed's R3.
    """
    task = splits.TASKS[job.task]
    chosen = override(profile(job.profile, job.task), list(settings))
    problems = splits.train_and_test(task, chosen, job.seed)
    r3 = job._replace(what="r3")
    if job.what in ARMS:
        chosen = experiment.same_tokens(replace(chosen, arm=ARMS[job.what]), r3.out)
    if job.what == "probes":
        if models.processes().num_processes > 1:
            raise R3Error("The probes are asked by one process; run them without `accelerate launch`.")
        others = [r3._replace(task=name).out / "adapter" for name in splits.TASKS if name != job.task]
        other = next((o for o in others if o.exists()), None)
        probes.run(task, chosen, job.seed, job.out, problems[1], r3.out / "adapter", other, fresh)
        return
    temperatures = None if chosen.arm == R3 else (chosen.temperature,)
    experiment.run(
        task, chosen, job.seed, job.out, job.work, problems, temperatures, train=job.what in ARMS, fresh=fresh
    )
    adapter = experiment.training_folder(job.work, chosen) / "adapter"
    if models.processes().is_main_process and job.what == R3.name and adapter.exists():
        card.write_card(adapter, chosen, report.collect(job.out))
        card.keep(adapter, job.out / "adapter")


def stored_seconds(job: Job) -> float | None:
    """How long a finished job took, by the files it wrote (its failure set not counted); None if there are none."""
    prefixes = {"probes": ("probes-",), "r3": ("vanilla-T", "trained-T"), "vanilla": ("vanilla-T",)}
    paths = [p for x in prefixes.get(job.what, ("trained-T",)) for p in job.out.glob(f"{x}*.json")]
    training = job.out / "training.json"
    if not paths or (job.what in ARMS and not training.exists()):
        return None
    steps = read_json(training)["log"] if job.what in ARMS else []
    return sum(read_json(path)["seconds"] for path in paths) + sum(step["seconds"] for step in steps)


def left(jobs: list[Job], took: dict[Job, float]) -> float | None:
    """Seconds that `jobs` will take, each as long as the jobs in `took` that are most like it; None if it is empty."""

    def guess(job: Job) -> float:
        """What it is and on which task and profile weighs most, then the task and profile alone, then nothing."""
        alike = [
            [s for j, s in took.items() if (j.task, j.profile, j.what) == (job.task, job.profile, job.what)],
            [s for j, s in took.items() if (j.task, j.profile) == (job.task, job.profile)],
            list(took.values()),
        ]
        return mean(next(seconds for seconds in alike if seconds))

    return sum(map(guess, jobs)) if took else None


def run_all(jobs: list[Job], settings: Sequence[str] = (), fresh: bool = False) -> None:
    """Run the jobs in turn under one bar, which says when they will all be done; the bar of the job stands below it.

    The time left is reckoned from jobs that were finished, now or (at first) in the stored results.
    """
    stored = {job: seconds for job in jobs if (seconds := stored_seconds(job))}
    took: dict[Job, float] = {}
    single = len(jobs) < 2 or not models.processes().is_main_process
    with tqdm(total=len(jobs), desc="experiments", unit="job", disable=single, bar_format=BAR) as bar:
        for i, job in enumerate(jobs):
            seconds = left([j for j in jobs[i:] if j not in stored], took or stored)
            bar.set_postfix_str(f"{job.task} {job.what} seed {job.seed}; {_when(seconds)}")
            began = time.monotonic()
            run(job, settings, fresh)
            if job not in stored:
                took[job] = time.monotonic() - began
            bar.update()


BAR = "{desc}: {n_fmt} of {total_fmt} {bar} {elapsed}{postfix}"


def _when(seconds: float | None) -> str:
    if seconds is None:
        return "time left: known after the first job"
    end = datetime.now() + timedelta(seconds=seconds)
    return f"about {seconds / 60:.0f} min left, until {end:%a %H:%M}"


def jobs(tasks: list[str], name: str, what: list[str], seeds: list[int]) -> list[Job]:
    """The jobs of a command line. Raises R3Error for a task that is none."""
    for task in tasks:
        splits.task(task)
    return [Job(*each) for each in product(tasks, [name], what, seeds)]
