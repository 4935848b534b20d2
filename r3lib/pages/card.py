"""A trained adapter as the hub has them: its card, filled from the run's results, and the way there.

The folder that `r3lib.grpo.train` leaves is in PEFT's layout already; this adds README.md. Nothing is sent anywhere
unless `push` is called (`--push-to-hub OWNER/NAME`).
"""

from __future__ import annotations

import shutil
from pathlib import Path

import huggingface_hub
from huggingface_hub import ModelCardData
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

from r3lib.config import Profile
from r3lib.files import R3Error, whole, write_text
from r3lib.machine import families
from r3lib.pages import report

PAPER = "arXiv:2505.24726"
USE = """from peft import PeftModel
from r3lib import models
from r3lib.machine.profiles import profile

base, tokenizer = models.load(profile("{profile}", "{task}"))
model = PeftModel.from_pretrained(base, "{name}")"""


def card(profile: Profile, runs: list[report.Run], name: str) -> str:
    """The README of an adapter: what it is, what it does with its controls and intervals, what made it.

    runs: those of one seed, vanilla and trained (`report.collect`). name: what it is loaded by. Every figure is read
    from `runs`; raises R3Error if none of them is of the trained model.
    """
    trained = [run.record for run in runs if run.record["trained"]]
    if not trained:
        raise R3Error("There are no results of the trained model yet; run the experiment to its end first.")
    record = trained[0]
    known = families.known().get(profile.model)
    licence = known.licence.split()[0] if known else "apache-2.0" if profile.base.startswith("r3-nano") else "other"
    data = ModelCardData(
        base_model=profile.model if "/" in profile.base else None,
        library_name="peft",
        license=licence if licence != "qwen-research" else "other",
        license_name=licence if licence == "qwen-research" else None,
        pipeline_tag="text-generation",
        tags=["lora", "grpo", "r3", "self-reflection", PAPER, record["task"].replace("_", "-")],
    )
    tables = [report.table(runs, t) for t in sorted({r["temperature"] for r in trained}, reverse=True)]
    settings = "\n".join(f"| {key} | {value} |" for key, value in record["settings"].items() if key != "name")
    packages = ", ".join(f"{package} {version}" for package, version in record["packages"].items())
    use = USE.format(profile=profile.name, task=record["task"], name=name)
    return "\n".join(
        [
            f"---\n{data.to_yaml()}\n---",
            f"# {name.rpartition('/')[2]}",
            "",
            f"A LoRA adapter on {profile.base}, trained with the R3 kit (seed {record['seed']}) to write reflections "
            f"after a failed try at {record['task'].replace('_', ' ')}: only the reflection's tokens were rewarded, by "
            f"the verdict on the retry (*Reflect, Retry, Reward*, {PAPER}). It says nothing of the paper's own models.",
            "",
            "## Results",
            "",
            "\n\n".join(tables),
            "",
            "Second tries are cumulative (right at the first try or at the second); intervals are over problems.",
            "",
            "## Use",
            "",
            f"```python\n{use}\n```",
            "",
            "## Made with",
            "",
            f"| setting | {profile.name} |\n|---|---|\n{settings}",
            "",
            f"{packages}; python {record['python']}; {record['machine']}; commit {record['commit']} of the kit.",
            "",
        ]
    )


def write_card(adapter: Path, profile: Profile, runs: list[report.Run], name: str | None = None) -> None:
    """Put the card into an adapter's folder."""
    write_text(adapter / "README.md", card(profile, runs, name or f"{profile.base}-r3-{runs[0].record['task']}"))


def keep(adapter: Path, folder: Path) -> None:
    """Copy what an adapter needs to be loaded, and its card, whole or not at all; not what names this machine."""
    for name in ("adapter_config.json", "README.md", "adapter_model.safetensors"):
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
            commit_message="Adapter and results of the R3 kit",
            ignore_patterns=["training_args.bin"],  # names folders of this machine
        )
    except (HFValidationError, LocalTokenNotFoundError, HfHubHTTPError, OSError) as error:
        raise R3Error(
            f"Cannot push to {name} ({type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}). Sign "
            "in with `hf auth login` and a token that may write, check the name (OWNER/NAME) and the network, and run "
            f"the same command again: nothing is trained twice. The adapter is in {adapter}."
        ) from error
    return f"https://huggingface.co/{name}"
