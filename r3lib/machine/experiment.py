"""One experiment, one seed, start to end: failure set -> vanilla evaluation -> training -> trained evaluation.

Every step leaves an artifact with its record (r3lib.record) and is skipped where just that artifact is there, so a
killed run resumes and nothing stale is used.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from pathlib import Path

from r3lib import evaluate, failures, grpo, models, record
from r3lib.config import R3, Profile, check_seed
from r3lib.files import R3Error, lock, read_jsonl, write_json
from r3lib.machine import vllm
from r3lib.measure import mode
from r3lib.outcomes import load_outcomes, outcomes_path
from r3lib.tasks import Task


def training_folder(work: Path, profile: Profile) -> Path:
    """Where a run of this arm keeps its log, checkpoints and adapter."""
    return work / f"train-{profile.arm.name}"


def run(
    task: Task,
    profile: Profile,
    seed: int,
    out: Path,
    work: Path,
    problems: tuple[list[dict], list[dict]],
    temperatures: tuple[float, ...] | None = None,
    train: bool = True,
    fresh: bool = False,
) -> None:
    """Run one seed. Results (JSON) go to `out`, failure set, checkpoints and adapter to `work`.

    problems: those it trains on and those it is judged on, which neither training nor any choice of settings has seen
    (`r3lib.problems.splits`, or your own). Without `train`, the vanilla model is judged and no more. Another arm than
    R3 trains on the same failure set, beside it in `work`, and leaves out the vanilla model, which is the same. Under
    `accelerate launch` every process calls this; they share the work, and the first writes. Raises R3Error, before
    anything is run, if the folders hold what was made by something else (deleted, if `fresh`), if another run is at
    work there, or for an input that no run can have.
    """
    state, (training, test) = models.processes(), problems
    check_seed(seed)
    if not test or train and not training:
        raise R3Error("There are no problems to train on, or none to be judged on; give at least one of each.")
    temperatures = temperatures or (profile.temperature, 0.0)
    with lock(out) if state.is_main_process else nullcontext(), lock(work) if state.is_main_process else nullcontext():
        model, tokenizer = models.load(profile)
        folder = training_folder(work, profile)
        made = _records(task, profile, seed, out, work, (training, test), temperatures, train)
        if state.is_main_process:
            record.clear({path: record.why_not(path, *how) for path, how in made.items()}, fresh)
        state.wait_for_everyone()

        def judge(trained: bool) -> None:
            for temperature in temperatures:
                path = outcomes_path(out, trained, temperature)
                if path.exists():
                    load_outcomes(path)  # raises if it is damaged
                    continue
                started = time.monotonic()
                label = f"{'trained' if trained else 'vanilla'}, temperature {temperature:g}"
                with vllm.serving(profile, model, tokenizer):
                    found = evaluate.evaluate(model, tokenizer, task, test, profile, temperature, seed, desc=label)
                state.wait_for_everyone()  # all have looked for the file
                if state.is_main_process:
                    seconds = round(time.monotonic() - started, 1)
                    write_json(path, {**made[path][0], "seconds": seconds, "outcomes": found.to_json()})

        if profile.arm == R3:
            judge(trained=False)
        if not train or all(outcomes_path(out, True, t).exists() for t in temperatures):
            return
        state.wait_for_everyone()
        with vllm.serving(profile, model, tokenizer):
            wrong = failures.build(model, tokenizer, task, training, profile, work / "failures", seed, fresh)
        options = dict(fresh=fresh, served=vllm.Served, watch=mode.watch(tokenizer, task, training))
        model = grpo.train(model, tokenizer, task, wrong, profile, folder, seed, **options)
        if state.is_main_process:
            found = {
                "failures": len(wrong),
                "difficulty": round(sum(wrong["difficulty"]) / len(wrong), 4),
                "log": read_jsonl(folder / "log.jsonl"),
            }
            write_json(out / "training.json", made[out / "training.json"][0] | found)
        judge(trained=True)


def _records(
    task: Task,
    profile: Profile,
    seed: int,
    out: Path,
    work: Path,
    problems: tuple[list[dict], list[dict]],
    temperatures: tuple[float, ...],
    train: bool,
) -> dict[Path, tuple[dict, tuple[str, ...]]]:
    """Every artifact of a run: path -> its record and the settings that it depends on."""
    learned, asked = (record.of_problems(task, part) for part in problems)
    made: dict[Path, tuple[dict, tuple[str, ...]]] = {}

    def outcomes(trained: bool, uses: tuple[str, ...], **what) -> None:
        for t in temperatures:
            what |= {"trained": trained, "temperature": t, "n": len(problems[1]), "problems": asked}
            made[outcomes_path(out, trained, t)] = record.make(task, profile, seed, **what), uses

    if profile.arm == R3:
        outcomes(False, record.JUDGING, arm="vanilla")
    if train:
        outcomes(True, record.TRAINING, arm=profile.arm.name, trained_on=learned)
        set_of = record.make(task, profile, seed, problems=learned)
        for name in ("failures", "failures.parts"):
            made[work / name] = set_of, record.FAILURES
        training = record.make(task, profile, seed, arm=profile.arm.name)
        made[training_folder(work, profile)] = training, record.TRAINING
        made[out / "training.json"] = training | {"trained_on": learned}, record.TRAINING
    return made
