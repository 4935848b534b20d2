"""A trained adapter as the hub has them: its card, filled from the run's results, and the way there.

The folder that `r3lib.grpo.train` leaves is in the hub's layout already (PEFT's, or a whole model's where all weights
were trained); this adds README.md. Nothing is sent anywhere unless `push` is called (`--push-to-hub OWNER/NAME`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from r3lib.config import Profile
from r3lib.files import DATA, R3Error, read_json, whole, write_text
from r3lib.outcomes import METRICS
from r3lib.pages import report, tables

PAPER = "arXiv:2505.24726"
TEMPLATE = Path(__file__).with_name("card.md.jinja")


def card(profile: Profile, runs: list[report.Run], name: str) -> str:
    """The README of an adapter: what it is, what it does with its controls and intervals, what made it.

    runs: those of one seed, vanilla and trained (`report.collect`). name: what it is loaded by. Every figure is read
    from `runs`; raises R3Error if none of them is of the trained model.
    """
    trained = [run for run in runs if run.record["trained"]]
    if not trained:
        raise R3Error("There are no results of the trained model yet; run the experiment to its end first.")
    record, title = trained[0].record, name.rpartition("/")[2]
    temperatures = sorted({run.record["temperature"] for run in trained}, reverse=True)
    settings = [[key, str(value)] for key, value in record["settings"].items() if key != "name"]
    preset = profile.name.removesuffix(f"-{profile.slug}")
    card = ModelCard.from_template(
        _metadata(profile, trained, title),
        template_path=TEMPLATE,
        title=title,
        base=profile.base,
        whole=profile.lora_rank is None,
        name=name,
        paper=PAPER,
        profile=preset if preset == profile.name else f"{preset}:{profile.base}",  # as `profiles.profile` takes it
        record=record,
        results="\n\n".join(report.table(runs, t) for t in temperatures),
        settings=tables.markdown(["setting", profile.name], settings),
    )
    return card.content + "\n"


def _metadata(profile: Profile, trained: list[report.Run], title: str) -> ModelCardData:
    """What the hub shows and searches: base model, licence, tags, and every figure of the trained model."""
    whole = profile.lora_rank is None
    ours, known = (DATA / profile.base).is_dir(), read_json(DATA / "models.json").get(profile.model, {})
    licence = "apache-2.0" if ours else known.get("licence", "other").split()[0]
    on_hub = not Path(profile.model).is_absolute()
    task = trained[0].record["task"]
    return ModelCardData(
        model_name=title,
        eval_results=[_result(row) for run in trained for row in report.figures([run], run.record["seed"])],
        base_model=profile.model if on_hub else None,
        library_name="transformers" if whole else "peft",
        license=licence if licence != "qwen-research" else "other",
        license_name=licence if licence == "qwen-research" else None,
        pipeline_tag="text-generation",
        tags=[*["lora"] * (not whole), "grpo", "r3", "self-reflection", PAPER, task.replace("_", "-")],
    )


def _result(row: dict) -> EvalResult:
    """A figure (`report.figures`) as the hub has them, as a fraction."""
    labels, metric = {arm: label for label, arm in report.TABLE}, row["metric"]
    return EvalResult(
        task_type="text-generation",
        dataset_type=row["task"],
        dataset_name=f"{row['task'].replace('_', ' ')}, test problems",
        dataset_split="test",
        metric_type=metric if metric in ("leak_rate", *report.FOLLOWS) else "accuracy",
        metric_name=f"{labels[METRICS.get(metric, metric)]}, temperature {row['temperature']:g}",
        metric_value=round(row["mean"], 4),
        metric_args={"temperature": row["temperature"], "n": row["n"]},
    )


def write_card(adapter: Path, profile: Profile, runs: list[report.Run], name: str | None = None) -> None:
    """Put the card into an adapter's folder."""
    write_text(adapter / "README.md", card(profile, runs, name or f"{profile.base}-r3-{runs[0].record['task']}"))


def keep(adapter: Path, folder: Path) -> None:
    """Copy what an adapter needs to be loaded, its record and its card, each whole or not at all."""
    names = ("adapter_config.json", "README.md", "record.json", "adapter_model.safetensors")
    if not (adapter / names[0]).exists():  # a whole model
        names = [path.name for path in adapter.iterdir() if path.name != "training_args.bin"]
    for name in names:
        with whole(folder / name) as partial:
            shutil.copyfile(adapter / name, partial)


def push(adapter: Path, name: str) -> str:
    """Upload an adapter's folder to the hub's repository `name` (OWNER/NAME), made if need be; returns its address.

    Raises R3Error if the name is none, nobody is signed in, or the hub refuses or cannot be reached.
    """
    hub = huggingface_hub.HfApi()
    try:
        hub.create_repo(name, exist_ok=True)
        hub.upload_folder(
            repo_id=name,
            folder_path=adapter,
            commit_message="Weights and results of the R3 kit",
            ignore_patterns=["training_args.bin"],  # names folders of this machine
        )
    except Exception as error:  # the hub's, the system's, and those of whichever network library the hub's client uses
        raise R3Error(
            f"Cannot push to {name} ({type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}); the "
            f"adapter and its card are kept in {adapter}: check the name (OWNER/NAME) and the network, sign in with "
            f'`hf auth login` and a token that may write, and repeat with `hf upload {name} "{adapter}" . '
            "--exclude training_args.bin`."
        ) from error
    return f"https://huggingface.co/{name}"
