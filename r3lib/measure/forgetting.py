"""What did training on reflections cost elsewhere? lm-evaluation-harness before and after, on the same documents.

On real models: the paper's four benchmarks (section 4.4), which the harness brings. Offline: task files of our own in
its format (data/harness/), over committed data. The harness's figures come with its standard errors; the difference of
two models is paired by document here, which the harness does not do.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r3lib import models, record
from r3lib.config import Profile
from r3lib.files import DATA, HOME, R3Error, hash_file, write_json, write_text
from r3lib.pages.compare import forgetting_table as table  # noqa: F401  it needs no torch, so it is there
from r3lib.problems import splits
from r3lib.tasks import Task

FOLDER = DATA / "harness"
OFFLINE = ("r3_countdown", "r3_function_calling", "r3_text")
DOCUMENTS = 500  # of each of these
HUB = ("mmlu_pro", "gsm8k", "hellaswag", "hendrycks_math")  # the paper's
SHIPPED = ("r3-nano-2", "r3-nano-calls")  # the models whose texts are held out
UNSEEN = 20_241_124  # the seed of the held-out texts; training texts have the recipes' and small ones


def held_out(name: str, count: int) -> list[str]:
    """Conversations of the kind that a small model was trained on last, from a seed of their own."""
    from r3lib.models import load_tokenizer
    from r3lib.nano.train import RECIPES, encode, texts_of

    recipe, tokenizer = RECIPES[name], load_tokenizer(str(DATA / name))
    texts = texts_of(recipe.phases[-1], UNSEEN, splits.countdown_keys(), recipe.sizes)
    return [tokenizer.decode(ids) for ids, _ in encode(tokenizer, [next(texts) for _ in range(count)])]


def write_held_out(count: int = DOCUMENTS) -> None:
    """Make data/harness/held_out-*.jsonl again."""
    for name in SHIPPED:
        lines = (json.dumps({"text": text}, ensure_ascii=False) for text in held_out(name, count))
        write_text(HOME / "data" / "harness" / f"held_out-{name}.jsonl", "\n".join(lines) + "\n")


def judge(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    profile: Profile,
    tasks: tuple[str, ...] = OFFLINE,
    limit: int | None = None,
    batch_size: int = 32,
) -> dict[str, dict[str, Any]]:
    """Run the harness: task -> {"metric", "value", "stderr", "higher_is_better", "samples"}, one value a document.

    limit: documents of each task, all if None. The harness's own `simple_evaluate` does the work, greedily; its random
    numbers are fixed. Raises R3Error if the harness is not installed.
    """
    try:
        import lm_eval
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise R3Error("The forgetting experiment needs lm-evaluation-harness: `pip install lm-eval`.") from error
    judged = HFLM(
        pretrained=model,
        tokenizer=tokenizer,
        batch_size=batch_size,
        add_bos_token=False,  # the prompts are rendered whole
        device=str(model.device),
    )
    ours = set(tasks) <= set(OFFLINE)
    manager = TaskManager(include_path=str(FOLDER), include_defaults=not ours, metadata={"model": profile.model})
    out = lm_eval.simple_evaluate(
        judged, tasks=list(tasks), limit=limit, task_manager=manager, bootstrap_iters=1000, log_samples=True
    )
    return {task: _first_metric(task, out) for task in tasks}


def _first_metric(task: str, out: dict[str, Any]) -> dict[str, Any]:
    """The task's first metric, whole and document by document (empty where the harness does not keep it so)."""
    found = out["results"][task]
    name = next(key for key in found if key.endswith(",none") or "," in key and "stderr" not in key)
    metric = name.partition(",")[0]
    samples = [sample.get(metric) for sample in sorted(out["samples"].get(task, []), key=lambda s: s["doc_id"])]
    if metric == "bits_per_byte":  # the harness keeps the two it divides: log-likelihood in nats, and bytes
        samples = [-nats / size / np.log(2) for nats, size in samples]
    stderr = found.get(name.replace(metric, f"{metric}_stderr", 1))
    return {
        "metric": metric,
        "value": float(found[name]),
        "stderr": float(stderr) if isinstance(stderr, float) else None,
        "higher_is_better": bool(out["higher_is_better"][task][metric]),
        "samples": samples if all(isinstance(x, (int, float)) for x in samples) else [],
        "n": len(samples),
    }


def tests(task: Task, profile: Profile) -> tuple[str, ...]:
    """What is asked of a profile's model: a shipped one's own task and texts, of another the paper's benchmarks."""
    return (f"r3_{task.name}", "r3_text") if Path(profile.model).parent == DATA else HUB


def run(task: Task, profile: Profile, seed: int, out: Path, adapter: Path, fresh: bool = False) -> None:
    """Judge one seed's model without its adapter and with it, into out/forgetting.json, unless that is there.

    Raises R3Error if there is no adapter in that folder, or if `out` holds what was made by something else (deleted, if
    `fresh`).
    """
    if not adapter.exists():
        raise R3Error(f"There is no adapter in {adapter}; run the experiment of this seed first.")
    path, asked = out / "forgetting.json", tests(task, profile)
    limit = DOCUMENTS if "r3_text" in asked else None
    made = record.make(task, profile, seed, asked=[*asked], n=limit)
    made["adapter"] = hash_file(next(adapter.glob("*model.safetensors")))
    if record.reusable(path, made, record.JUDGING, fresh):
        return
    began = time.monotonic()
    model, tokenizer = models.load(profile, adapter)
    with model.disable_adapter():
        before = judge(model, tokenizer, profile, asked, limit)
    after = judge(model, tokenizer, profile, asked, limit)
    write_json(path, {**made, "seconds": round(time.monotonic() - began, 1), "before": before, "after": after})
