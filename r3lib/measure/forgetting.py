"""What did training on reflections cost elsewhere? lm-evaluation-harness before and after, on the same documents.

On real models: the paper's four benchmarks (section 4.4), which the harness brings. Offline: task files of our own in
its format (data/harness/), over committed data. The harness's figures come with its standard errors; the difference of
two models is paired by document here, which the harness does not do.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r3lib.config import Profile
from r3lib.files import DATA, HOME, R3Error, write_text
from r3lib.measure.stats import paired_difference
from r3lib.pages import tables
from r3lib.problems import splits

FOLDER = DATA / "harness"
OFFLINE = ("r3_countdown", "r3_function_calling", "r3_text")
HUB = ("mmlu_pro", "gsm8k", "hellaswag", "hendrycks_math")  # the paper's
UNSEEN = 20_241_124  # the seed of the held-out texts; training texts have the recipes' and small ones


def held_out(name: str, count: int) -> list[str]:
    """Conversations of the kind that r3-nano or r3-nano-calls was trained on last, from a seed of their own."""
    from r3lib.models import load_tokenizer
    from r3lib.nano.train import RECIPES, encode, texts_of

    recipe, tokenizer = RECIPES[name], load_tokenizer(str(DATA / name))
    texts = texts_of(recipe.phases[-1], UNSEEN, splits.countdown_keys(), recipe.sizes)
    return [tokenizer.decode(ids) for ids, _ in encode(tokenizer, [next(texts) for _ in range(count)])]


def write_held_out(count: int = 200) -> None:
    """Make data/harness/held_out-*.jsonl again."""
    for name in ("r3-nano", "r3-nano-calls"):
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


def table(before: dict[str, dict], after: dict[str, dict]) -> str:
    """Markdown: each task before and after with the harness's standard errors, and the paired difference."""
    rows = []
    for task, old in before.items():
        new, scale = after[task], 100 if old["metric"] == "acc" else 1
        places = 2 if scale == 100 else 4
        cells = [_value(one, scale, places) for one in (old, new)]
        change = f"{scale * (new['value'] - old['value']):+.{places}f}"
        if old["samples"] and len(old["samples"]) == len(new["samples"]):
            mean, low, high = paired_difference([new["samples"]], [old["samples"]])
            change = f"{scale * mean:+.{places}f} [{scale * low:+.{places}f}, {scale * high:+.{places}f}]"
        metric = "accuracy, %" if old["metric"] == "acc" else old["metric"].replace("_", " ")
        rows.append([task, metric, str(old["n"]), *cells, change])
    return tables.markdown(["task", "metric", "n", "before ± s.e.", "after ± s.e.", "after − before [95 %]"], rows)


def _value(one: dict, scale: float, places: int) -> str:
    error = "" if one["stderr"] is None or np.isnan(one["stderr"]) else f" ± {scale * one['stderr']:.{places}f}"
    return f"{scale * one['value']:.{places}f}{error}"
