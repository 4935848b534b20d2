"""What each choice in the step pays: the kit's way beside the plain one, in one process, taking turns.

Each line of the result is one choice: the median of seconds with it and without it, and the ratios of the pairs. Both
do the same work on r3-nano: the rollout of one training step (16 failures x 8 reflections with their retries), or one
training step.

Usage: python benchmarks/choices.py [--repeats 5]. Writes benchmarks/results/choices.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
from transformers import DynamicCache, StaticCache
from trl import GRPOTrainer

from r3lib import failures, folded, grpo, models
from r3lib.config import Profile
from r3lib.conversation import Conversation, prompt_ids
from r3lib.files import read_jsonl, write_json
from r3lib.machine.profiles import PROFILES
from r3lib.problems import splits

sys.path.insert(0, str(Path(__file__).parent))
from verifier import machine, spread

RESULT = Path(__file__).parent / "results" / "choices.json"
SEED = 0
TASK = splits.TASKS["countdown"]


class Apart(Conversation):
    """Every row of a group reads the prompt itself."""

    def read(self):
        """Not before the copies are made."""
        if not self.forking:
            super().read()

    def fork(self, copies):
        self.forking = True
        super().fork(copies)
        self.forking = False

    forking = False


class Anew(Conversation):
    """Every message is written after reading the whole conversation again."""

    def say(self, texts, span):
        super().say(texts, span)
        self._cache = DynamicCache(config=self.model.config)
        self._mask = self._mask[:, :0]
        self._queue = [list(t.ids) for t in self.transcripts]


class Staying(Conversation):
    """Rows that have finished stay in the batch to its end."""

    leave_below = 0.0


@contextmanager
def each_token_unpacks():
    with mock.patch.object(folded, "folded", lambda model: nullcontext()):
        yield


def conversations(kind: type[Conversation]):
    return mock.patch.object(grpo, "Conversation", kind)


def trl_reads():
    """TRL's own log-probabilities: every row with its whole prompt, rows in the order they come."""
    plain = GRPOTrainer._get_per_token_logps_and_entropies
    return mock.patch.object(grpo.SharedPrefix, "_get_per_token_logps_and_entropies", plain)


def pairs(with_it: Callable[[], None], without: Callable[[], None], repeats: int) -> dict:
    """Seconds of both, in turn; the first pair warms up."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(repeats + 1):
        for which in (0, 1) if number % 2 else (1, 0):
            began = time.perf_counter()
            (with_it, without)[which]()
            if number:
                found[which].append(time.perf_counter() - began)
    return {
        "seconds_with": round(statistics.median(found[0]), 3),
        "seconds_without": round(statistics.median(found[1]), 3),
        "times_faster": {k: round(v, 2) for k, v in spread([b / a for a, b in zip(*found)]).items()},
    }


def trainer_of(model, tokenizer) -> SimpleNamespace:
    """As much of TRL's trainer as a rollout looks at."""
    return SimpleNamespace(
        model=model,
        processing_class=tokenizer,
        use_vllm=False,
        state=SimpleNamespace(global_step=0),
        accelerator=SimpleNamespace(unwrap_model=lambda m: m, process_index=0),
    )


def rollouts(profile: Profile, model, tokenizer, found, repeats: int) -> dict[str, dict]:
    """The choices of the rollout."""
    rows = grpo.training_rows(TASK, found)
    prompts = [
        row["prompt"] for row in rows.select(range(profile.prompts_per_step)) for _ in range(profile.num_generations)
    ]
    run = trainer_of(model, tokenizer)

    def once() -> None:
        grpo.ReflectRetry(TASK, profile, rows, SEED)(prompts, run)

    def otherwise(patch) -> Callable[[], None]:
        def run_it() -> None:
            with patch():
                once()

        return run_it

    return {
        name: pairs(once, otherwise(patch), repeats)
        for name, patch in (
            ("a group shares the reading of its prompt", lambda: conversations(Apart)),
            ("the retry continues from the reflection's cache", lambda: conversations(Anew)),
            ("rows that have finished leave the batch", lambda: conversations(Staying)),
            ("NF4 weights are unpacked, with the adapter folded in, once a message (CPU)", each_token_unpacks),
        )
    }


def training(profile: Profile, found, repeats: int) -> dict[str, dict]:
    """The choice of the training pass: one step's share of it, by the log of a run."""

    def seconds(patch) -> float:
        with tempfile.TemporaryDirectory(prefix="r3-") as folder, patch:
            short = replace(profile, steps=3)
            out = Path(folder) / "train"
            grpo.train(*models.load(short), TASK, found, short, out, SEED, save_steps=10**6)
            return sum(line["seconds"] for line in read_jsonl(out / "log.jsonl")[1:])

    ours, plain = [], []
    for number in range(repeats):
        for which in (0, 1) if number % 2 else (1, 0):
            (ours, plain)[which].append(seconds((nullcontext(), trl_reads())[which]))
    return {
        "reflections share the training pass over their prompt (whole step)": {
            "seconds_with": round(statistics.median(ours) / 2, 3),
            "seconds_without": round(statistics.median(plain) / 2, 3),
            "times_faster": {k: round(v, 2) for k, v in spread([b / a for a, b in zip(ours, plain)]).items()},
        }
    }


def tokens(profile: Profile, model, tokenizer, problems, count: int, repeats: int) -> dict[str, dict]:
    """Not taken: a static cache under torch.compile, beside the growing one, for `count` tokens of every row."""
    rows = [prompt_ids(tokenizer, TASK.messages(p)) for p in problems]
    batch = tokenizer.pad({"input_ids": rows}, return_tensors="pt")
    mask, width = batch["attention_mask"], batch["input_ids"].shape[1]

    @torch.no_grad()
    def write(forward, cache, whole: bool) -> None:
        seen = torch.nn.functional.pad(mask, (0, count)) if whole else mask
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        token = batch["input_ids"]
        for step in range(count):
            if whole:
                seen[:, width : width + step] = 1
            out = forward(
                input_ids=token,
                attention_mask=seen,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            token = out.logits[:, -1].argmax(-1, keepdim=True)
            positions = positions[:, -1:] + 1
            if not whole:
                seen = torch.nn.functional.pad(seen, (0, 1), value=1)

    compiled = torch.compile(model.forward, dynamic=False)
    static = StaticCache(config=model.config, max_cache_len=width + count)

    def fast() -> None:
        static.reset()
        write(compiled, static, True)

    with folded.folded(model):
        began = time.perf_counter()
        fast()
        compiling = time.perf_counter() - began
        found = pairs(fast, lambda: write(model.forward, DynamicCache(config=model.config), False), repeats)
    return {"not taken: static cache and torch.compile": found | {"seconds_to_compile": round(compiling, 1)}}


def measure(repeats: int, toy: bool) -> dict:
    small = (
        dict(prompts_per_step=2, num_generations=2, micro_batch=2, train_problems=20, rollout_batch_size=10)
        if toy
        else dict(train_problems=120)
    )
    profile = replace(PROFILES["nano"], **small)
    problems = splits.problems(TASK, "train", profile.train_problems, SEED)
    model, tokenizer = models.load(profile)
    with tempfile.TemporaryDirectory(prefix="r3-") as scratch:
        found = failures.build(model, tokenizer, TASK, problems, profile, Path(scratch) / "failures", SEED)
        choices = rollouts(profile, model, tokenizer, found, repeats)
        choices |= training(profile, found, min(repeats, 3))
    rows = problems[: profile.prompts_per_step * profile.num_generations]
    try:
        choices |= tokens(profile, model, tokenizer, rows, 8 if toy else 64, repeats)
    except Exception as error:  # no C++ compiler, say
        choices["not taken: static cache and torch.compile"] = {"error": f"{type(error).__name__}: {error}"[:200]}
    return {"machine": machine(), "threads": torch.get_num_threads(), "repeats": repeats, "choices": choices}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--toy", action="store_true", help="a small batch, to try the script; nothing is written")
    options = parser.parse_args()
    found = measure(options.repeats, options.toy)
    print(json.dumps(found, indent=1))
    if not options.toy:
        write_json(RESULT, found)


if __name__ == "__main__":
    main()
