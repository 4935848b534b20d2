"""One training step of the kit beside one of stock TRL: same model, failures, batch, lengths, settings and seed.

Stock TRL is GRPOTrainer with a reward function that lets the model retry through `generate`: what a reader of the
paper would write. Both take the steps of one run, the first of which warms up and is not counted; each run has a
process of its own, and the two take turns. A step's time is the whole step's: rollout, verdicts, log-probabilities,
update.

The share of the compute bound is the arithmetic that a step cannot do without (two operations a weight for every token
that must be read once, and twice that again for the tokens that are trained), over what the machine multiplies in the
same time.

Usage: python benchmarks/step.py [--pairs 3] [--model NAME]. Without --model: r3-nano on Countdown, on the CPU. smollm2:
SmolLM2-135M-Instruct (`r3 fetch smollm2`), on the CPU, whose every second retry is called right. A name of
the hub's: that model's shape with random weights, on a GPU. Writes the case into benchmarks/results/step.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from datasets import Dataset
from transformers import PrinterCallback
from trl import GRPOTrainer

from r3lib import failures, grpo, models
from r3lib.config import Profile
from r3lib.conversation import end_tokens, prompt_ids
from r3lib.files import R3Error, read_json, read_jsonl, write_json
from r3lib.machine import families
from r3lib.machine.profiles import PROFILES
from r3lib.problems import splits
from r3lib.tasks import Task

sys.path.insert(0, str(Path(__file__).parent))
import fit
from verifier import machine, spread

RESULT = Path(__file__).parent / "results" / "step.json"
STEPS = 3
REAL = "smollm2"
SEED = 0


def case(folder: Path, toy: bool = False) -> tuple[Profile, Task]:
    """The settings and the task of a case, whose model and failures `prepare` put into `folder`."""
    if (folder / REAL).exists():
        countdown = splits.TASKS["countdown"]
        profile = replace(PROFILES["smol"], steps=STEPS, prompts_per_step=4, train_problems=20)
        return profile, countdown._replace(verify=fit.half_right().verify)
    if (folder / "model").exists():
        return replace(PROFILES["rtx12"], model=str(folder / "model"), steps=STEPS), fit.half_right()
    small = (
        dict(prompts_per_step=2, num_generations=4, micro_batch=4, train_problems=20, rollout_batch_size=10)
        if toy
        else dict(train_problems=120)
    )
    return replace(PROFILES["nano"], steps=STEPS, **small), splits.TASKS["countdown"]


def prepare(folder: Path, model_name: str | None, toy: bool) -> None:
    """What both runs start from: a model of the shape, or r3-nano's own failures."""
    if model_name == REAL:
        (folder / REAL).touch()
    elif model_name:
        fit.make(families.known()[model_name].full(), folder / "model")
        profile, _ = case(folder)
        fit.failures_for(profile, models.load_tokenizer(profile.model)).save_to_disk(folder / "failures")
        return
    profile, task = case(folder, toy)
    problems = splits.problems(task, "train", profile.train_problems, SEED)
    failures.build(*models.load(profile), task, problems, profile, folder / "failures", SEED)


def retry_by_generate(task: Task, profile: Profile, model, tokenizer):
    """Stock TRL's reward: the conversation is rendered and read anew, and `generate` writes the retry."""

    def reward(prompts: list, completions: list, problem: list[str], **_) -> list[float]:
        found = [json.loads(p) for p in problem]
        asked = [
            prompt_ids(tokenizer, [*prompt, *reflection, {"role": "user", "content": task.ask(p)}], task.tools(p))
            for prompt, reflection, p in zip(prompts, completions, found)
        ]
        batch = tokenizer.pad({"input_ids": asked}, return_tensors="pt").to(model.device)
        training = model.training
        model.eval()
        with torch.no_grad():
            out = model.generate(
                **batch,
                do_sample=True,
                temperature=profile.temperature,
                top_k=0,
                top_p=1.0,
                max_new_tokens=profile.retry_tokens,
                eos_token_id=end_tokens(model, tokenizer),
                pad_token_id=tokenizer.pad_token_id,
            )
        model.train(training)
        retries = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        return [float(task.verify(p, text).ok) for p, text in zip(found, retries)]

    return reward


def stock(profile: Profile, task: Task, found: Dataset, out: Path) -> None:
    """The same steps by GRPOTrainer as it comes."""
    model, tokenizer = models.load(profile)
    rows = grpo.training_rows(task, found)
    settings = grpo.trl_config(
        profile, out, SEED, save_strategy="no", gradient_checkpointing=model.device.type == "cuda"
    )
    out.mkdir(parents=True)
    run = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        reward_funcs=retry_by_generate(task, profile, model, tokenizer),
        args=settings,
        train_dataset=grpo.in_order(rows, profile.steps * profile.prompts_per_step, SEED),
        peft_config=models.lora(profile),
        callbacks=[grpo.Progress(out / "log.jsonl")],
    )
    run.remove_callback(PrinterCallback)
    with models.memory_explained(profile):
        run.train()


def one(kind: str, folder: Path, toy: bool) -> dict:
    """The steps of one run, in this process: seconds and tokens of those that count."""
    profile, task = case(folder, toy)
    found = failures.load(folder / "failures")
    with tempfile.TemporaryDirectory(prefix="r3-") as scratch:
        out = Path(scratch) / "train"
        if kind == "r3":
            grpo.train(*models.load(profile), task, found, profile, out, SEED, save_steps=10**6)
        else:
            stock(profile, task, found, out)
        log = read_jsonl(out / "log.jsonl")[1:]
    return {
        "seconds": [entry["seconds"] for entry in log],
        "tokens": [entry["seconds"] * entry["tokens_per_second"] for entry in log],
        "reflection_tokens": [entry["reflection_tokens"] for entry in log],
        "reward": [entry["reward"] for entry in log],
        "gpu_gb": torch.cuda.max_memory_reserved() / 2**30 if torch.cuda.is_available() else None,
    }


def apart(kind: str, folder: Path, toy: bool) -> dict:
    """The same in a process of its own, with the GB of its main memory at their peak."""
    command = [sys.executable, __file__, "--run", kind, "--folder", str(folder), *(["--toy"] if toy else [])]
    with tempfile.TemporaryFile("w+", encoding="utf-8") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        output.seek(0)
        said = output.read().strip()
    if status:
        raise R3Error(f"The run of {kind} ended with {os.waitstatus_to_exitcode(status)}: {said[-1500:]}")
    return json.loads(said.rpartition("\n")[2]) | {"memory_gb": usage.ru_maxrss / 2**20}


def operations_per_second(dtype: torch.dtype) -> float:
    """What this machine multiplies: two operations for each product of two square matrices, the best of ten."""
    device, size = ("cuda", 8192) if torch.cuda.is_available() else ("cpu", 2048)
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        (a @ a)[0, 0].item()
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def needed_operations(profile: Profile, weights: int, prompt: float, reflection: float, retry: float) -> float:
    """Arithmetic that one step cannot do without; lengths are mean tokens, `weights` those of the linear layers.

    Rollout: each prompt once, then reflections, retry prompts and retries. Training: prompts and reflections forward
    under the adapter and without it, and backward through the activations (the base's weights get no gradient; where
    all are trained they do).
    """
    group = profile.prompts_per_step * profile.num_generations
    read = profile.prompts_per_step * prompt + group * reflection
    return 2 * weights * (read + group * retry + (3 if profile.lora_rank else 4) * read)


def summary(runs: list[dict]) -> dict:
    """Medians of all counted steps of one kind's runs."""
    seconds = [x for run in runs for x in run["seconds"]]
    tokens = [x for run in runs for x in run["tokens"]]
    return {
        "seconds_per_step": round(statistics.median(seconds), 2),
        "seconds_low": round(min(seconds), 2),
        "seconds_high": round(max(seconds), 2),
        "tokens_per_second": round(sum(tokens) / sum(seconds)),
        "reflection_tokens": round(statistics.mean(x for run in runs for x in run["reflection_tokens"]), 1),
        "reward": round(statistics.mean(x for run in runs for x in run["reward"]), 3),
        "memory_gb": round(max(run["memory_gb"] for run in runs), 2),
        "gpu_gb": round(max(run["gpu_gb"] for run in runs), 2) if runs[0]["gpu_gb"] else None,
    }


def measure(folder: Path, pairs: int, toy: bool) -> dict:
    """Both kinds in turn, `pairs` times, from what `prepare` left in `folder`."""
    profile, task = case(folder, toy)
    runs: dict[str, list[dict]] = {"r3": [], "stock": []}
    for number in range(pairs):
        for kind in sorted(runs, reverse=number % 2 == 1):  # neither is always first
            runs[kind].append(apart(kind, folder, toy))
            print(f"pair {number + 1}, {kind}: {statistics.mean(runs[kind][-1]['seconds']):.2f} s a step", flush=True)
    ratios = [sum(b["seconds"]) / sum(a["seconds"]) for a, b in zip(runs["r3"], runs["stock"])]
    found = {kind: summary(of) for kind, of in runs.items()}
    model, tokenizer = models.load(profile)
    linear = sum(
        getattr(module, "in_features", 0) * getattr(module, "out_features", 0)
        for module in model.modules()
        if isinstance(module, torch.nn.Linear)
    )
    rows = grpo.training_rows(task, failures.load(folder / "failures"))
    problem = json.loads(rows[0]["problem"])
    prompt = statistics.mean(
        len(prompt_ids(tokenizer, row["prompt"], task.tools(json.loads(row["problem"])))) for row in rows
    )
    again = len(prompt_ids(tokenizer, task.messages(problem), task.tools(problem))) + profile.retry_tokens / 2
    needed = needed_operations(profile, linear, prompt, found["r3"]["reflection_tokens"], again)
    speed = operations_per_second(getattr(torch, profile.dtype))
    for row in found.values():
        row["share_of_compute_bound"] = round(needed / speed / row["seconds_per_step"], 3)
    return {
        "machine": machine(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        "threads": torch.get_num_threads(),
        "pairs": pairs,
        "steps_counted": STEPS - 1,
        "batch": f"{profile.prompts_per_step} failures x {profile.num_generations} reflections",
        "operations_per_second": round(speed),
        "times_faster": {key: round(value, 2) for key, value in spread(ratios).items()},
        **found,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--model", choices=[REAL, *families.known()], help="real weights, or a shape on a GPU")
    parser.add_argument("--toy", action="store_true", help="a batch of eight, to try the script; nothing is written")
    parser.add_argument("--run", choices=("r3", "stock"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        print(json.dumps(one(options.run, options.folder, options.toy)))
        return
    if options.model not in (None, REAL) and not torch.cuda.is_available():
        sys.exit("No GPU that torch can use: `r3 doctor` says why. Without --model r3-nano is measured.")
    with tempfile.TemporaryDirectory(prefix="r3-") as scratch:
        prepare(Path(scratch), options.model, options.toy)
        found = measure(Path(scratch), options.pairs, options.toy)
    print(json.dumps(found, indent=1))
    if not options.toy:
        results = read_json(RESULT) if RESULT.exists() else {}
        write_json(RESULT, results | {f"{options.model or 'r3-nano'} on {found['device']}": found})


if __name__ == "__main__":
    main()
