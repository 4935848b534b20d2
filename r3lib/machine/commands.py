"""What each command of `r3` does. Only those that run a model import torch, each for itself."""

from __future__ import annotations

import argparse
import os
import shutil
from itertools import product
from pathlib import Path

from r3lib import config
from r3lib.files import DATA, HOME, INSTALLED, RESULTS, ROOT, R3Error, results, write_json
from r3lib.machine.profiles import BRIEF, PARTNERS, assignments, override, profile
from r3lib.pages import card, page, report, tables
from r3lib.problems import splits


def reproduce(options: argparse.Namespace) -> None:
    """One seed of an experiment at the sampling temperature, then its table, plots and page, beside the stored runs."""
    from r3lib import models
    from r3lib.machine import experiment, families
    from r3lib.measure import controls

    task = splits.task(options.task)
    chosen = profile(options.profile, task.name)
    chosen = override(chosen, BRIEF.get((chosen.name, task.name), []) + assignments(options))
    chosen = config.quick(chosen, test_problems=min(options.test_problems, chosen.test_problems))
    out = options.out / f"{task.name}-{chosen.slug}-seed{options.seed}"
    say = models.processes().print  # the first process alone
    say(f"{task.name} with {chosen.base}, seed {options.seed}, {chosen.test_problems} test problems, into {out}")
    say(f"Profile {chosen.name}: {families.fits(chosen)}.")
    problems, work, temperatures = (
        splits.train_and_test(task, chosen, options.seed),
        out / "work",
        (chosen.temperature,),
    )
    experiment.run(task, chosen, options.seed, out, work, problems, temperatures, fresh=options.fresh)
    adapter = experiment.training_folder(work, chosen) / "adapter"
    validation = splits.validation(task, chosen)[: chosen.test_problems]
    controls.run(task, chosen, options.seed, out, work, (*problems, validation), adapter, options.fresh)
    if not models.processes().is_main_process:
        return
    runs = report.collect(out)
    report.write_summary(runs, out / "summary.csv")
    card.write_card(adapter, chosen, runs, options.push_to_hub)
    stored_folder = results(task.name, chosen.name)
    stored = report.collect(stored_folder) if stored_folder.exists() else None
    page.one_run(f"R3, {task.name}", runs, out, stored)
    told = f"\nTables, plots and conversations: {out / 'report.html'}\nAdapter and its card: {adapter}"
    try:
        if options.push_to_hub:
            told += f"\nOn the hub: {card.push(adapter, options.push_to_hub)}"
    finally:  # pushed before anything can go wrong with the printing, and printed though the hub be out of reach
        print("\n" + tables.plain(report.table(runs, chosen.temperature)))
        if stored:
            print(f"\n{page.beside(runs, stored)}:\n" + tables.plain(report.table(stored, chosen.temperature)))
        print(told)


def experiment_(options: argparse.Namespace) -> None:
    """Jobs, each run in turn; then the report. What is there already is not made again."""
    from r3lib import models
    from r3lib.machine import schedule

    name = options.profile or os.environ.get("R3_PROFILE") or "nano"
    everything = schedule.everything(name, options.seeds) if options.all else None
    jobs = everything or schedule.jobs(options.task, name, options.arms, options.seeds)
    schedule.run_all(jobs, assignments(options), options.fresh)
    if models.processes().is_main_process:
        report_(options)


def report_(_: argparse.Namespace) -> None:
    """Rebuild every table and plot from results/, which begins as a copy of what came with an installed kit."""
    if not RESULTS.exists() and RESULTS != ROOT / "results":
        whole = RESULTS.with_name(".results")  # so that a copy that is interrupted is not taken for all
        shutil.rmtree(whole, ignore_errors=True)
        shutil.copytree(ROOT / "results", whole).rename(RESULTS)
    page.rebuild(RESULTS, ROOT / "benchmarks" / "results" / "reproduce.json")
    pages = [name for name in page.PAGES if (HOME / name).exists()]
    print(
        f"Wrote {RESULTS / 'report.html'}, {RESULTS / 'summary.csv'}, and the tables and plots beside the results"
        + (f"; up to date: {', '.join(pages)}." if pages else ".")
    )


def nano(options: argparse.Namespace) -> None:
    """Train one of the small models into a folder of its own; data/ is not touched."""
    from r3lib.nano.train import RECIPES, train

    if options.model not in RECIPES:
        raise R3Error(f"There is no recipe for {options.model!r}; choose one of {', '.join(RECIPES)}.")
    held_out = splits.countdown_keys()
    out = options.out / options.model
    train(RECIPES[options.model], out, held_out)
    use = f"--profile nano:{out}" if INSTALLED else f"copy what is there to {DATA / options.model}, then `r3 readiness`"
    print(f"The model is in {out}. To use it: {use}")


def readiness_(_: argparse.Namespace) -> None:
    """Measure the small models before RL, in float32 and NF4, on validation problems, into their cards."""
    from r3lib import models
    from r3lib.measure import readiness

    first, small = "nano:r3-nano", PARTNERS["nano"]
    for name, kind in (*product(["countdown"], [first, small, "nano"]), ("function_calling", "nano")):
        if not Path(profile(kind, name).model).is_dir():
            print(f"There is no {profile(kind, name).base}; `r3 nano` makes it.")
            continue
        chosen, given, measured = profile(kind, name), readiness.GIVEN[name], {}
        for precision, four_bit in (("float32", False), ("NF4", True)):
            if four_bit and not chosen.four_bit:
                continue
            variant = config.quick(chosen, four_bit=four_bit)
            model, tokenizer = models.load(variant)
            measured[precision] = readiness.measure(model, tokenizer, splits.task(name), given(500), variant)
        folder = Path(chosen.model)
        write_json(HOME / "data" / folder.name / "readiness.json", measured)
        report.insert(folder / "README.md", "readiness", readiness.table(measured))
        print(f"{folder.name}, {name}\n" + tables.plain(readiness.table(measured)))
        if (kind, name) == ("nano", "countdown"):
            found = readiness.repairs(model, tokenizer, splits.problems(splits.task(name), "validation", 500), variant)
            write_json(HOME / "data" / folder.name / "repairs.json", found)
            report.insert(folder / "README.md", "repairs", readiness.repairs_table(found))


def fetch_(_: argparse.Namespace) -> None:
    """Bring the model of the profile smol."""
    from r3lib.machine import fetch

    folder = fetch.smollm2()
    print(f"The model is in {folder}. To use it: r3 reproduce --profile smol")


def course_(options: argparse.Namespace) -> None:
    """The notebooks as a course, or their exercises put in."""
    try:
        from r3lib.pages import course
    except ImportError as error:
        raise R3Error(
            f"The course needs {error.name}; install the kit with its notebooks, `r3lib[notebooks]`."
        ) from error
    if options.insert:
        written = course.insert_all()
        print("Written, to be run again:", *([path.name for path in written] or ["nothing"]))
        return
    course.write(options.out)
    print(f"Lessons are in {options.out}: {', '.join(course.VERSIONS)}.")


def doctor_(_: argparse.Namespace) -> None:
    """What this machine can run."""
    from r3lib.machine import doctor

    print(doctor.text(doctor.machine()))


COMMANDS = {
    "reproduce": reproduce,
    "experiment": experiment_,
    "report": report_,
    "nano": nano,
    "readiness": readiness_,
    "fetch": fetch_,
    "course": course_,
    "doctor": doctor_,
}
