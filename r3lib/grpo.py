"""Training the reflection: TRL's GRPOTrainer with a rollout of our own, over the NF4 base and its LoRA adapter.

What differs from stock GRPO is one function: the completion is the reflection, and its reward is the verdict on the
retry that follows it (paper section 3.2). Nothing after the reflection can receive gradient, so the sequence is cut
there; `whole_transcript=True` keeps the retry behind a mask instead and gives the same gradient. `Profile.arm` names
the other ways to reward that R3 is compared with.

A run is the same however it is cut: killed and resumed, or shared among processes by `accelerate launch` (each takes
its part of every step's groups and draws what one process would have drawn there).

`rollout_func` is experimental in TRL 1.x; this is the only module that touches it.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import time
import warnings
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from datasets import Dataset
from peft import PeftModel
from tqdm.auto import tqdm
from transformers import (
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    TrainerCallback,
    set_seed,
)
from trl import GRPOConfig, GRPOTrainer

from r3lib import models
from r3lib.config import ARMS, Profile
from r3lib.conversation import Conversation, Served, prompt_ids
from r3lib.files import R3Error, read_json, rewind, write_json
from r3lib.tasks import Task


def training_rows(task: Task, failures: Dataset, arm: str = "r3") -> Dataset:
    """What TRL trains on: `prompt`, the conversation up to the reflection prompt, and `problem` for the verifier.

    In the arm "first" the prompt is the task alone: the same problems, each once, without their wrong answers.

    TRL hands a rollout the prompt alone, so it must tell the problem: of failures that differ only in what the messages
    do not show (the tools on offer), the first is kept.
    """
    rows: dict[str, dict] = {}
    for failure in failures:
        messages = task.messages(json.loads(failure["problem"]))
        failed = [
            {"role": "assistant", "content": failure["answer"]},
            {"role": "user", "content": task.reflect_prompt},
        ]
        prompt = messages if arm == "first" else [*messages, *failed]
        rows.setdefault(json.dumps(prompt), {"prompt": prompt, "problem": failure["problem"]})
    return Dataset.from_list([*rows.values()])


def in_order(rows: Dataset, count: int, seed: int) -> Dataset:
    """`count` rows as training takes them: all of them shuffled, then all shuffled anew, and so on.

    The whole run is laid out as one epoch because TRL's sampler, resumed in a later epoch, starts from its first order.
    """
    order: list[int] = []
    for epoch in range(math.ceil(count / len(rows))):
        once = list(range(len(rows)))
        random.Random(f"{seed} {epoch}").shuffle(once)
        order += once
    return rows.select(order[:count])


class ReflectRetry:
    """TRL's `rollout_func`: reflections for a batch of failures, each with the retry that follows it."""

    def __init__(self, task: Task, profile: Profile, rows: Dataset, seed: int, whole_transcript: bool = False):
        self.task, self.profile, self.seed, self.whole_transcript = task, profile, seed, whole_transcript
        self.limit = completion_limit(profile)
        self.sampled = 0  # tokens written so far, retries too
        self.problems = {json.dumps(r["prompt"]): json.loads(r["problem"]) for r in rows}

    def __call__(self, prompts: list[list[dict]], trainer: GRPOTrainer) -> dict[str, list]:
        """prompts: TRL's batch, each failure repeated G times in a row; returns the lists that TRL asks for."""
        model = trainer.accelerator.unwrap_model(trainer.model)
        was_training = model.training
        model.eval()
        first = trainer.accelerator.process_index * len(prompts)  # each process has as many
        out: dict[str, list] = {}
        for groups in self.parts(prompts):
            for name, values in self.converse(groups, trainer, model, first).items():
                out.setdefault(name, []).extend(values)
            first += sum(copies for _, copies in groups)
        model.train(was_training)
        return {"logprobs": None, **out}

    def parts(self, prompts: list[list[dict]]) -> Iterator[list[tuple[list[dict], int]]]:
        """Groups (messages, copies) in parts of at most `profile.rows` conversations; a larger group is a part."""
        part: list[tuple[list[dict], int]] = []
        for key, same in groupby(json.dumps(p) for p in prompts):
            copies = len(list(same))
            if part and sum(n for _, n in part) + copies > self.profile.rows:
                yield part
                part = []
            part.append((json.loads(key), copies))
        yield part

    def converse(
        self, groups: list[tuple[list[dict], int]], trainer: GRPOTrainer, model, first: int
    ) -> dict[str, list]:
        """Reflections and retries of these groups, written together."""
        tokenizer = trainer.processing_class
        problems = [self.problems[json.dumps(messages)] for messages, _ in groups]
        if trainer.use_vllm:
            talk = Served(trainer.vllm_generation, model, tokenizer, len(groups))
        else:
            seed = hash((self.seed, trainer.state.global_step)) % 2**31
            talk = Conversation(model, tokenizer, len(groups), seed, first)
        talk.start([prompt_ids(tokenizer, messages, self.task.tools(p)) for (messages, _), p in zip(groups, problems)])
        talk.fork([copies for _, copies in groups])
        if self.profile.arm == "first":
            answers = talk.reply("attempt", self.limit, self.profile.temperature)
            return self.collect(talk, "attempt", answers)
        talk.reply("reflection", self.limit, self.profile.temperature)
        talk.say([self.task.ask(p) for p, (_, copies) in zip(problems, groups) for _ in range(copies)], "retry_prompt")
        retries = talk.reply("retry", self.profile.retry_tokens, self.profile.temperature)
        return self.collect(talk, "reflection", retries)

    def collect(self, talk: Conversation, rewarded: str, judged: list[str]) -> dict:
        """What TRL is given of these conversations: the span that is rewarded, and the text that is judged."""
        spans = ("reflection", "retry") if self.profile.arm == "both" else (rewarded,)
        self.sampled += sum(len(t.tokens(s)) for t in talk.transcripts for s in (rewarded, "retry") if s in t.spans)
        out: dict[str, list] = {"prompt_ids": [t.tokens("prompt") for t in talk.transcripts], "retry": judged}
        logprobs = talk.logprobs if isinstance(talk, Served) else None
        if not self.whole_transcript and len(spans) == 1:
            out["completion_ids"] = [t.tokens(rewarded) for t in talk.transcripts]
            return out | ({"logprobs": logprobs[rewarded]} if logprobs else {})
        starts = [t.spans[rewarded][0] for t in talk.transcripts]
        masks = [[max(bits) for bits in zip(*(t.mask(span) for span in spans))] for t in talk.transcripts]
        out["completion_ids"] = [t.ids[s:] for t, s in zip(talk.transcripts, starts)]
        out["env_mask"] = [mask[s:] for mask, s in zip(masks, starts)]
        if logprobs:  # of the tokens behind the mask none is needed
            own = [iter([p for span in spans for p in logprobs[span][row]]) for row in range(len(judged))]
            out["logprobs"] = [[next(p) if m else 0.0 for m in mask] for p, mask in zip(own, out["env_mask"])]
        return out


def completion_limit(profile: Profile) -> int:
    """Tokens that the rewarded message may have in training."""
    if profile.arm == "first":
        return profile.attempt_tokens
    return profile.train_reflection_tokens or profile.reflection_tokens


def retry_reward(task: Task, wrong: float = 0.0):
    """The only reward: 1 if the retry (in the arm "first", the answer) verifies, else `wrong`.

    It sees the verdict, never the reflection.
    """

    def retry_verified(completions: list, problem: list[str], retry: list[str], **_: Any) -> list[float]:
        return [1.0 if task.verify(json.loads(p), text).ok else wrong for p, text in zip(problem, retry)]

    return retry_verified


class SharedPrompt(GRPOTrainer):
    """GRPOTrainer that reads a prompt once for all reflections on it, and reflections of like length together.

    A group's rows are the same but for their ends, and a failed conversation is longer than most reflections on it, so
    the prompt is most of a batch. Here the reflections attend to one cache of it, through which the gradient flows; the
    log-probabilities are the same. Under gradient checkpointing, which keeps no cache, rows are read whole. This is the
    kit's one use of a private method of TRL's (trl 1.16; tests/test_trainer.py compares).
    """

    rows_at_once = 8

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **options
    ):
        """input_ids, attention_mask: (rows, columns), padded on both sides. Returns tensors (rows, logits_to_keep)."""
        columns = input_ids.shape[1]
        before = columns - logits_to_keep - 1  # columns of the prompt but its last token, which foretells the first
        whole = self.args.gradient_checkpointing
        prompts = None if whole else self._read_prompts(model, input_ids[:, :before], attention_mask[:, :before])
        ends = columns - attention_mask.flip(1).argmax(1)  # (rows,) one past a row's last token
        order = ends.argsort(stable=True)
        parts = []
        for rows in order.split(self.rows_at_once):
            cut = min(columns - int(ends[rows].max()), logits_to_keep - 1)
            ids, mask, keep = (
                input_ids[rows, : columns - cut],
                attention_mask[rows, : columns - cut],
                logits_to_keep - cut,
            )
            if whole:
                found = super()._get_per_token_logps_and_entropies(
                    model, ids, mask, keep, batch_size, compute_entropy, **options
                )
            else:
                read = self._read_reflections(model, *prompts, rows, ids[:, before:], mask[:, before:])
                found = read.log_probs[:, -keep:], read.entropy[:, -keep:] if compute_entropy else None, None
            parts.append([x if x is None else torch.nn.functional.pad(x, (0, cut)) for x in found])
        back = order.argsort()
        return tuple(None if x[0] is None else torch.cat(x)[back] for x in zip(*parts))

    def _read_prompts(self, model, ids, attention) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
        """Each of the different prompts once: their cache, their mask (prompts, columns), and every row's prompt."""
        different, which = torch.cat([ids, attention], 1).unique(dim=0, return_inverse=True)
        ids, mask = different.chunk(2, 1)
        skip = int(mask.argmax(1).min())  # columns of padding in every row
        ids, mask = ids[:, skip:], mask[:, skip:]
        with self.accelerator.autocast():
            cache = model(input_ids=ids, attention_mask=mask, use_cache=True, logits_to_keep=1).past_key_values
        return cache, mask, which

    def _read_reflections(self, model, shared, mask, which, rows, ids, own):
        """TRL's scores of these rows' tokens after the first, which is the prompt's last."""
        cache = DynamicCache(config=self.accelerator.unwrap_model(model).config)
        for layer, one in enumerate(shared.layers):
            cache.update(one.keys[which[rows]], one.values[which[rows]], layer)
        labels = ids.masked_fill(own == 0, -100)
        labels[:, 0] = -100
        with self.accelerator.autocast():
            return model(
                input_ids=ids,
                attention_mask=torch.cat([mask[which[rows]], own], 1),
                past_key_values=cache,
                use_cache=True,
                labels=labels,
                fused_lm_head=True,
            )


class Progress(TrainerCallback):
    """Writes one JSON line a step to `log.jsonl`, draws the bar, and says in words when there is nothing to learn."""

    def __init__(self, path: Path, rollout: ReflectRetry | None = None, wrong: float = 0.0, patience: int = 5):
        self.path, self.rollout, self.wrong, self.patience = path, rollout, wrong, patience
        self.silent, self.before, self.tokens = 0, time.monotonic(), 0.0
        self.bar: tqdm | None = None

    def on_train_begin(self, args, state, control, **_):
        self.before, self.tokens = time.monotonic(), state.num_input_tokens_seen
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc="GRPO on reflections",
            unit="step",
            leave=None,  # a bar that stands below another is wiped when it is done
            disable=not state.is_world_process_zero,
        )

    def on_train_end(self, args, state, control, **_):
        self.bar.close()

    def on_log(self, args, state, control, logs=None, **_):
        if "reward" not in (logs or {}):
            return
        if not math.isfinite(logs.get("loss", 0.0)):  # before this step's checkpoint is saved
            raise R3Error(
                f"The loss of step {state.global_step} is {logs['loss']}. Lower learning_rate, or on a card without "
                "bfloat16 use the profile t4; training goes on from the last checkpoint."
            )
        if not state.is_world_process_zero:
            return
        now, tokens = time.monotonic(), logs.get("num_tokens", 0.0)
        entry = {
            "step": state.global_step,
            "reward": logs["reward"],
            "retry_pass_rate": (logs["reward"] - self.wrong) / (1 - self.wrong),
            "zero_advantage_fraction": logs.get("frac_reward_zero_std"),
            "kl": logs.get("kl", 0.0),
            "reflection_tokens": logs["completions/mean_length"],
            "sampled_tokens": self.rollout.sampled if self.rollout else None,
            "clipped_ratio": logs["completions/clipped_ratio"],
            "loss": logs.get("loss"),
            "grad_norm": logs.get("grad_norm"),
            "learning_rate": logs.get("learning_rate"),
            "seconds": now - self.before,
            "tokens_per_second": (tokens - self.tokens) / max(now - self.before, 1e-9),
        }
        self.before, self.tokens = now, tokens
        if self.rollout:
            self.rollout.sampled = 0
        with self.path.open("a") as file:
            file.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in entry.items()}) + "\n")
        self.bar.update(state.global_step - self.bar.n)
        self.bar.set_postfix(reward=f"{entry['reward']:.2f}", silent=f"{entry['zero_advantage_fraction']:.0%}")
        self.silent = self.silent + 1 if entry["zero_advantage_fraction"] == 1 else 0
        if self.silent == self.patience:
            warnings.warn(nothing_to_learn(entry["retry_pass_rate"], self.patience), stacklevel=2)


def nothing_to_learn(reward: float, steps: int) -> str:
    """The sentence for a run whose groups have all been without signal for `steps` steps."""
    if reward < 0.5:
        return (
            f"For {steps} steps every retry of every group has failed, so there is no gradient. Try easier problems, "
            "a higher temperature, larger groups, or a stronger model: it must sometimes succeed on its own."
        )
    return (
        f"For {steps} steps every retry of every group has succeeded, so there is nothing left to learn. "
        "Stop here, or take harder failures."
    )


def config(profile: Profile, out: Path, seed: int, **changes: Any) -> GRPOConfig:
    """TRL's configuration of a run; `changes` are GRPOConfig's own fields.

    A step's batch of failures x group is shared among the processes, so that it is the same on any number of them, and
    read in parts of at most `micro_batch`. Raises R3Error if they cannot share it equally, in whole groups, or vLLM is
    asked for over NF4.
    """
    processes = models.processes().num_processes
    if profile.failures % processes:
        raise R3Error(
            f"{processes} processes cannot share the {profile.failures} failures of a step equally; set `failures` "
            f"to a multiple of {processes}."
        )
    if profile.vllm and profile.four_bit:
        raise R3Error(
            "vLLM gets the weights with the adapter merged in, which NF4 weights cannot take without loss; use "
            "`quick(profile, four_bit=False)`, or leave vLLM out."
        )
    share = profile.failures * profile.group // processes
    micro_batch = next(size for size in range(min(profile.micro_batch, share), 0, -1) if share % size == 0)
    given: dict[str, Any] = dict(
        output_dir=str(out),
        seed=seed,
        max_steps=profile.steps,
        learning_rate=profile.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(0.03 * profile.steps)),
        beta=profile.beta,
        temperature=profile.temperature,
        num_generations=profile.group,
        max_completion_length=completion_limit(profile),
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=share // micro_batch,
        loss_type="dapo",  # token level: else the first word of a long reflection counts less than that of a short one
        scale_rewards="none" if profile.arm == "unscaled" else "group",
        max_grad_norm=1.0,
        use_cpu=not torch.cuda.is_available(),
        bf16=profile.dtype == "bfloat16",
        fp16=profile.dtype == "float16",
        shuffle_dataset=False,  # see in_order
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is not a number must be seen
        save_total_limit=1,
        report_to="none",
        dataloader_pin_memory=False,
        log_level="error",
        disable_tqdm=True,
        use_bias_correction_kl=False,  # the plain k3 estimate, as in r3lib.loss
        use_vllm=profile.vllm is not None,
        vllm_mode=profile.vllm or "colocate",
        vllm_max_model_length=8192,  # prompt, attempt, reflection and retry; the model's own may be far more than fits
        vllm_importance_sampling_mode="token_truncate",
        vllm_importance_sampling_clip_max=2.0,
    )
    return GRPOConfig(**given | changes)


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _drop_partial_checkpoints(out: Path) -> None:
    """Remove the checkpoints that a killed run had not finished: `trainer_state.json` is what is written last."""
    for checkpoint in out.glob("checkpoint-*"):
        try:
            json.loads((checkpoint / "trainer_state.json").read_text())
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    failures: Dataset,
    profile: Profile,
    out: Path,
    seed: int = 0,
    whole_transcript: bool = False,
    save_steps: int = 10,
) -> PeftModel:
    """Run `profile.steps` steps of GRPO on the reflections and save the adapter to `out/adapter`.

    model: the quantized base from `r3lib.models.load`. A killed run continues from its last checkpoint in `out`, with
    optimizer, adapter and random states, to the same adapter; a finished one is loaded. Under `accelerate launch` every
    process calls this with the same arguments; the first writes. Paper: KL 0.001, cosine, warm-up 0.03.
    """
    out, state = Path(out), models.processes()
    if (out / "adapter" / "adapter_config.json").exists():
        return models.with_adapter(model, out / "adapter")
    if profile.arm not in ARMS:
        raise R3Error(f"There is no training arm {profile.arm!r}; choose one of {', '.join(ARMS)}.")
    rows = training_rows(task, failures, profile.arm)
    if len(rows) < profile.failures:
        raise R3Error(
            f"The failure set has {len(rows)} different rows, fewer than the {profile.failures} failures of one step; "
            "build a larger one, or lower `failures` in the profile."
        )
    rollout = ReflectRetry(task, profile, rows, seed, whole_transcript)
    wrong = -1.0 if profile.arm == "negative" else 0.0
    log = out / "log.jsonl"
    if state.is_main_process:
        _drop_partial_checkpoints(out)
    state.wait_for_everyone()
    resume = max(out.glob("checkpoint-*"), key=_step, default=None)
    if state.is_main_process:
        rewind(log, _step(resume) if resume else 0)
    set_seed(seed)  # the adapter's first weights
    trainer = SharedPrompt(
        model=model,
        processing_class=tokenizer,
        reward_funcs=retry_reward(task, wrong),
        args=config(profile, out, seed, save_steps=save_steps, gradient_checkpointing=model.device.type == "cuda"),
        train_dataset=in_order(rows, profile.steps * profile.failures, seed),
        peft_config=models.lora(profile),
        rollout_func=rollout,
        callbacks=[Progress(log, rollout, wrong)],
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:  # TRL casts a new adapter over NF4 to bfloat16, a resumed one stays float32
            parameter.data = parameter.data.float()
    with models.memory_explained(profile):
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    partial = out / "adapter.partial"
    trainer.save_model(str(partial))
    if state.is_main_process:
        (partial / "README.md").unlink()  # TRL's; r3lib.pages.card writes one that tells the results
        saved = partial / "adapter_config.json"
        base = {"base_model_name_or_path": profile.base}  # not the folder it lay in on this machine
        write_json(saved, read_json(saved) | base)
        shutil.rmtree(out / "adapter", ignore_errors=True)
        partial.rename(out / "adapter")
        for checkpoint in out.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    state.wait_for_everyone()
    return trainer.accelerator.unwrap_model(trainer.model).eval()
