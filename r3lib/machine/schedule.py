"""Everything that `r3 experiment --all` runs: jobs that lie in results/ when they are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from r3lib import models
from r3lib.config import ARMS, R3, Profile
from r3lib.files import HOME, RESULTS, R3Error, read_json
from r3lib.machine import experiment
from r3lib.machine.profiles import PARTNERS, override, profile
from r3lib.measure import controls, forgetting, probes
from r3lib.outcomes import load_outcomes, outcomes_path
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
        return HOME / "runs" / self.task / profile(self.profile).name / f"seed{self.seed}"


def everything(name: str, seeds: list[int]) -> list[Job]:
    """All experiments of a profile: both tasks, every arm, what is asked of R3's models, and a small one beside them.

    R3 has all the seeds, what is compared with it the first three.
    Those of smol are its own: the paper's tasks, of which it solves nothing, and the task that it can do.
    """
    if name == "smol":
        vanilla = [Job(task, name, "vanilla", seeds[0]) for task in splits.PAPER]
        return vanilla + [Job("instructions", name, arm, seed) for arm, seed in product(("r3", "first", "both"), seeds)]
    some = seeds[:3]
    jobs = [
        Job(task, name, arm, seed)
        for task, arm in product(splits.PAPER, ARMS)
        for seed in (seeds if arm == R3.name else some)
    ]
    asked = product(splits.PAPER, ("probes", "forgetting"), some)
    jobs += [Job(task, name, what, seed) for task, what, seed in asked]
    small = PARTNERS.get(name)
    return jobs + [Job("countdown", small, "r3", seed) for seed in some if small]


def run(job: Job, settings: Sequence[str] = (), fresh: bool = False) -> None:
    """Run one job; what it has written already is not made again. settings: as `--set` gives them.

    Raises R3Error if it needs what another job makes: all but R3 and the vanilla model need that seed's R3.
    """
    task = splits.TASKS[job.task]
    chosen = override(profile(job.profile, job.task), list(settings))
    problems = splits.train_and_test(task, chosen, job.seed)
    r3 = job._replace(what="r3")
    if job.what in ARMS:
        chosen = same_tokens(replace(chosen, arm=ARMS[job.what]), r3.out)
    if job.what in ("probes", "forgetting") and models.processes().num_processes > 1:
        raise R3Error(f"The {job.what} job is one process's work; run it without `accelerate launch`.")
    if job.what == "forgetting":
        forgetting.run(task, chosen, job.seed, job.out, r3.out / "adapter", fresh)
        return
    if job.what == "probes":
        others = [r3._replace(task=name).out / "adapter" for name in splits.PAPER if name != job.task]
        other = next((o for o in others if o.exists()), None)
        probes.run(task, chosen, job.seed, job.out, problems[1], r3.out / "adapter", other, fresh)
        return
    temperatures = None if chosen.arm == R3 else (chosen.temperature,)
    experiment.run(
        task, chosen, job.seed, job.out, job.work, problems, temperatures, train=job.what in ARMS, fresh=fresh
    )
    adapter = experiment.training_folder(job.work, chosen) / "adapter"
    if job.what == R3.name:
        trained, validation = adapter if adapter.exists() else job.out / "adapter", splits.validation(task, chosen)
        controls.run(task, chosen, job.seed, job.out, job.work, (*problems, validation), trained, fresh)
    if models.processes().is_main_process and job.what == R3.name and adapter.exists():
        card.write_card(adapter, chosen, report.collect(job.out))
        card.keep(adapter, job.out / "adapter")


def same_tokens(profile: Profile, r3: Path) -> Profile:
    """The profile with a group so large that a run samples about as many tokens as R3 did in the run in `r3`.

    For an arm that does not reflect, whose answers are short; another arm's profile is left as it is. Raises R3Error if
    the run in `r3` is not there.
    """
    if profile.arm.reflects:
        return profile
    sampled = sum(step["sampled_tokens"] for step in read_json(r3 / "training.json")["log"])
    header, vanilla = load_outcomes(outcomes_path(r3, False, profile.temperature))
    answer = vanilla.tokens["first"] / header["n"]
    group = max(2, round(sampled / (profile.steps * profile.prompts_per_step * answer)))
    return replace(profile, num_generations=group)


def run_all(jobs: list[Job], settings: Sequence[str] = (), fresh: bool = False) -> None:
    """Run the jobs in turn under one bar; the bar of the job stands below it.

    The time left is tqdm's estimate. Jobs that were finished before take a moment each, so after a restart it is too
    short until the first new jobs are done.
    """
    single = len(jobs) < 2 or not models.processes().is_main_process
    with tqdm(jobs, desc="experiments", unit="job", disable=single) as bar:
        for job in bar:
            bar.set_postfix_str(f"{job.task} {job.what} seed {job.seed}")
            run(job, settings, fresh)


def jobs(tasks: list[str], name: str, what: list[str], seeds: list[int]) -> list[Job]:
    """The jobs of a command line. Raises R3Error for an unknown task."""
    for task in tasks:
        splits.task(task)
    return [Job(*each) for each in product(tasks, [name], what, seeds)]
