"""Training the reflection: TRL's GRPOTrainer with a rollout of our own, over the NF4 base and its LoRA adapter.

What differs from stock GRPO is one function: the completion is the reflection, and its reward is the verdict on the
retry that follows it (paper section 3.2). Nothing after the reflection can receive gradient, so the sequence is cut
there; `whole_transcript=True` keeps the retry behind a mask instead and gives the same gradient. `Profile.arm` names
the other ways to reward that R3 is compared with.

A run is the same however it is cut: killed and resumed, or shared among processes by `accelerate launch`.
`rollout_func` is experimental in TRL 1.x; this is the only module that touches it.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback
from trl import GRPOConfig, GRPOTrainer

from r3lib import models, record
from r3lib.config import R3, Arm, Profile, check_seed
from r3lib.conversation import Conversation
from r3lib.files import R3Error, fingerprint, read_json, rewind, write_json, writing
from r3lib.loop import Loop
from r3lib.progress import Manifest, Progress, last_whole_checkpoint, step_of
from r3lib.shared_prefix import SharedPrefix
from r3lib.tasks import Task


def training_rows(task: Task, failures: Dataset, arm: Arm = R3) -> Dataset:
    """What TRL trains on: `prompt`, the messages up to the reflection prompt; `problem` and `answer` for the rollout.

    Where the arm does not reflect, the prompt is the task alone: the same problems, each once. `answer` is the wrong
    answer's token ids (its text, if the failure set has none).

    TRL hands a rollout the prompt alone, so it must tell the problem: of failures that differ only in what the messages
    do not show (the tools on offer), the first is kept.
    """
    rows: dict[str, dict] = {}
    for failure in failures:
        prompt = task.messages(json.loads(failure["problem"]))
        if arm.reflects:
            prompt += [
                {"role": "assistant", "content": failure["answer"]},
                {"role": "user", "content": task.reflect_prompt},
            ]
        answer = failure.get("answer_ids") or failure["answer"]
        rows.setdefault(json.dumps(prompt), {"prompt": prompt, "problem": failure["problem"], "answer": answer})
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

    def __init__(
        self, task: Task, profile: Profile, rows: Dataset, seed: int, whole_transcript: bool = False, served=None
    ):
        self.task, self.seed, self.whole_transcript, self.served = task, seed, whole_transcript, served
        self.profile = replace(profile, reflection_tokens=profile.train_reflection_tokens or profile.reflection_tokens)
        self.sampled = 0  # tokens written so far, retries too
        self.rows = {json.dumps(row["prompt"]): row for row in rows}

    def __call__(self, prompts: list[list[dict]], trainer: GRPOTrainer) -> dict[str, list]:
        """prompts: TRL's batch, each failure repeated G times in a row; returns the lists that TRL asks for."""
        model = trainer.accelerator.unwrap_model(trainer.model)
        was_training = model.training
        model.eval()
        out: dict[str, list] = {}
        for rows, copies in self.parts(prompts):
            for name, values in self.converse(rows, copies, trainer, model).items():
                out.setdefault(name, []).extend(values)
        model.train(was_training)
        return {"logprobs": None, **out}

    def parts(self, prompts: list[list[dict]]) -> Iterator[tuple[list[dict], list[int]]]:
        """Rows and their numbers of copies, at most `rollout_batch_size` conversations; a larger group alone."""
        rows: list[dict] = []
        copies: list[int] = []
        for key, same in groupby(json.dumps(p) for p in prompts):
            count = len(list(same))
            if rows and sum(copies) + count > self.profile.rollout_batch_size:
                yield rows, copies
                rows, copies = [], []
            rows.append(self.rows[key])
            copies.append(count)
        yield rows, copies

    def converse(self, rows: list[dict], copies: list[int], trainer: GRPOTrainer, model: PreTrainedModel) -> dict:
        """The loop on these groups, and what TRL is given of it."""
        tokenizer = trainer.processing_class
        if trainer.use_vllm:
            conversation = self.served(trainer.vllm_generation, model, tokenizer)
        else:
            conversation = Conversation(model, tokenizer, (self.seed, trainer.state.global_step))
        loop = Loop(conversation, self.task, [json.loads(row["problem"]) for row in rows], self.profile)
        if self.profile.arm.reflects:
            loop.attempt([row["answer"] for row in rows])
            conversation.tell_apart()
            loop.reflect(copies=copies)
            judged = loop.retry()
        else:
            judged = loop.attempt(copies=copies)
        return self.collect(conversation, judged)

    def collect(self, conversation: Conversation, judged: list[str]) -> dict[str, list]:
        """Prompts, completions and masks: the rewarded spans carry the reward, the texts in `judged` decide it."""
        spans, transcripts = self.profile.arm.rewarded, conversation.transcripts
        written = ("reflection", "retry") if self.profile.arm.reflects else ("attempt",)
        self.sampled += sum(conversation.written(span) for span in written)
        starts = [t.spans[spans[0]][0] for t in transcripts]
        logprobs = getattr(conversation, "logprobs", None)
        out: dict[str, list] = {"prompt_ids": [t.ids[:s] for t, s in zip(transcripts, starts)], "retry": judged}
        if not self.whole_transcript and len(spans) == 1:
            out["completion_ids"] = [t.tokens(spans[0]) for t in transcripts]
            return out | ({"logprobs": logprobs[spans[0]]} if logprobs else {})
        masks = [[max(bits) for bits in zip(*(t.mask(span) for span in spans))] for t in transcripts]
        out["completion_ids"] = [t.ids[s:] for t, s in zip(transcripts, starts)]
        out["env_mask"] = [mask[s:] for mask, s in zip(masks, starts)]
        if logprobs:  # of the tokens behind the mask none is needed
            own = [iter([p for span in spans for p in logprobs[span][row]]) for row in range(len(judged))]
            out["logprobs"] = [[next(p) if m else 0.0 for m in mask] for p, mask in zip(own, out["env_mask"])]
        return out


def retry_reward(task: Task, wrong: float = 0.0):
    """The only reward: 1 if the retry (or the answer of an arm that does not reflect) verifies, else `wrong`.

    It sees the verdict, never the reflection.
    """

    def retry_verified(completions: list, problem: list[str], retry: list[str], **_: Any) -> list[float]:
        return [1.0 if task.verify(json.loads(p), text).ok else wrong for p, text in zip(problem, retry)]

    return retry_verified


def trl_config(profile: Profile, out: Path, seed: int, **changes: Any) -> GRPOConfig:
    """TRL's configuration of a run; `changes` are GRPOConfig's own fields.

    A step's batch is shared among the processes, so that it is the same on any number of them, and read in parts of at
    most `micro_batch`. Raises R3Error if they cannot share it equally, in whole groups.
    """
    processes, arm = models.processes().num_processes, profile.arm
    if profile.prompts_per_step % processes:
        raise R3Error(
            f"{processes} processes cannot share the {profile.prompts_per_step} prompts of a step equally; set "
            f"prompts_per_step to a multiple of {processes}."
        )
    share = profile.prompts_per_step * profile.num_generations // processes
    micro_batch = next(size for size in range(min(profile.micro_batch, share), 0, -1) if share % size == 0)
    longest = profile.train_reflection_tokens or profile.reflection_tokens
    given: dict[str, Any] = dict(
        output_dir=str(out),
        seed=seed,
        max_steps=profile.steps,
        learning_rate=profile.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=max(1, round(0.03 * profile.steps)),
        beta=profile.beta,
        temperature=profile.temperature,
        num_generations=profile.num_generations,
        max_completion_length=longest if arm.reflects else profile.attempt_tokens,
        per_device_train_batch_size=micro_batch,
        gradient_accumulation_steps=share // micro_batch,
        loss_type="dapo",  # token level: else the first word of a long reflection counts less than that of a short one
        scale_rewards="group",
        max_grad_norm=1.0,
        use_cpu=not torch.cuda.is_available(),
        bf16=profile.dtype == "bfloat16",
        fp16=profile.dtype == "float16",
        shuffle_dataset=False,  # see in_order
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is not a number must be seen
        save_total_limit=2,  # the one before is there if the last is not whole
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
    fresh: bool = False,
    served: type[Conversation] | None = None,
    watch: Callable[[PreTrainedModel], dict[str, float]] | None = None,
) -> PreTrainedModel:
    """Run `profile.steps` steps of GRPO on the reflections and save the adapter to `out/adapter`.

    model: the base from `r3lib.models.load`. Where all its weights are trained (no `lora_rank`), in float32, TRL loads
    the base once more for the KL term, and the whole model is saved in the adapter's place. A killed run resumes from
    its last whole checkpoint in `out`, with optimizer, weights and random states, to the same weights; a finished one
    is loaded. If `out` was made by anything else, raises R3Error or, if `fresh`, deletes it. Under `accelerate launch`
    every process calls this with the same arguments; the first writes. served: who converses where `profile.vllm` is
    set (`r3lib.machine.vllm.Served`). watch: what a line of the log has besides. Paper: KL 0.001, cosine, warm-up 0.03.
    """
    out, state, arm = Path(out), models.processes(), profile.arm
    rows = training_rows(task, failures, arm)
    made = record.make(task, profile, check_seed(seed), arm=arm.name, failures=fingerprint([*rows["prompt"]]))
    if record.reusable(out, made, record.TRAINING, fresh) and (out / "adapter" / "record.json").exists():
        return models.with_adapter(model, out / "adapter")
    if len(rows) < profile.prompts_per_step:
        raise R3Error(
            f"The failure set has {len(rows)} different rows, fewer than the {profile.prompts_per_step} prompts of one "
            "step; build a larger one, or lower prompts_per_step."
        )
    rollout, log = ReflectRetry(task, profile, rows, seed, whole_transcript, served), out / "log.jsonl"
    if state.is_main_process:
        write_json(out / "record.json", made)
    state.wait_for_everyone()
    resume = last_whole_checkpoint(out)
    if state.is_main_process:
        rewind(log, step_of(resume) if resume else 0)
    trainer = SharedPrefix(
        model=model,
        processing_class=tokenizer,
        reward_funcs=retry_reward(task, arm.wrong),
        args=trl_config(profile, out, seed, save_steps=save_steps, gradient_checkpointing=model.device.type == "cuda"),
        train_dataset=in_order(rows.remove_columns("answer"), profile.steps * profile.prompts_per_step, seed),
        peft_config=models.lora(profile) if profile.lora_rank else None,
        rollout_func=rollout,
        callbacks=[Progress(log, rollout, arm.wrong, watch=watch), Manifest()],
    )
    trainer.remove_callback(PrinterCallback)
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:  # in bfloat16, as TRL casts a new adapter over NF4, small steps round to none
            parameter.data = parameter.data.float()
    partial = out / "adapter.partial"
    with models.memory_explained(profile), writing(out, "the same command resumes from the last whole checkpoint"):
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        model.config.use_cache = True  # it is saved with a whole model, and training has turned it off
        trainer.save_model(str(partial))
    if state.is_main_process:
        (partial / "README.md").unlink(missing_ok=True)  # PEFT's; r3lib.pages.card writes one that tells the results
        if profile.lora_rank:
            saved = partial / "adapter_config.json"
            name = Path(profile.base).name if Path(profile.base).is_absolute() else profile.base
            base = {"base_model_name_or_path": name}  # not the folder it lay in on this machine
            write_json(saved, read_json(saved) | base)
        write_json(partial / "record.json", made)  # goes with the adapter wherever it is copied
        shutil.rmtree(out / "adapter", ignore_errors=True)
        partial.rename(out / "adapter")
        for checkpoint in out.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    state.wait_for_everyone()
    return trainer.accelerator.unwrap_model(trainer.model).eval()
