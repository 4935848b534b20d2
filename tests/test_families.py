"""Every architecture the kit names, small and with random weights, through the whole path: NF4, LoRA, rollout, GRPO,
save, resume, merge. Weights of the hub are not needed for any of it."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from datasets import Dataset
from peft import PeftModel, get_peft_model
from test_conversation import assert_cache_is_exact, sampled
from test_grpo import Alternating
from transformers import AutoModelForCausalLM

from r3lib import models
from r3lib.files import R3Error, read_jsonl
from r3lib.grpo import train
from r3lib.loss import masked_grpo_loss, token_logps
from r3lib.machine import families
from r3lib.machine.profiles import PROFILES
from r3lib.pages import compare
from r3lib.problems.countdown import TASK

PUBLISHED = {  # parameters in millions, as the models' cards and reports give them
    "Qwen/Qwen2-1.5B-Instruct": 1_540,
    "Qwen/Qwen2-7B-Instruct": 7_620,
    "Qwen/Qwen2.5-1.5B-Instruct": 1_540,
    "Qwen/Qwen2.5-3B-Instruct": 3_090,
    "Qwen/Qwen2.5-7B-Instruct": 7_610,
    "Qwen/Qwen3-1.7B": 1_700,
    "Qwen/Qwen3-4B": 4_000,
    "meta-llama/Llama-3.2-1B-Instruct": 1_230,
    "meta-llama/Llama-3.2-3B-Instruct": 3_210,
    "meta-llama/Llama-3.1-8B-Instruct": 8_030,
    "microsoft/Phi-3.5-mini-instruct": 3_820,
    "HuggingFaceTB/SmolLM2-1.7B-Instruct": 1_710,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134.5,
    "HuggingFaceTB/SmolLM3-3B": 3_080,
}
# one model of each architecture; grouped heads, ties and ropes differ
TRIED = (
    "Qwen/Qwen2.5-1.5B-Instruct",
    "Qwen/Qwen2.5-7B-Instruct",
    "Qwen/Qwen3-1.7B",
    "meta-llama/Llama-3.2-1B-Instruct",
    "meta-llama/Llama-3.1-8B-Instruct",
    "microsoft/Phi-3.5-mini-instruct",
    "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    "HuggingFaceTB/SmolLM3-3B",
)


def test_every_profile_and_every_published_size_is_known():
    assert families.known().keys() == PUBLISHED.keys()
    assert {p.model for p in PROFILES.values() if p.gpu} <= families.known().keys()
    for name, millions in PUBLISHED.items():
        assert families.size(name).all / 1e6 == pytest.approx(millions, rel=0.015), name


def test_a_size_without_torch_is_the_size_that_torch_counts():
    """`compare.parameters` reads a header or data/models.json."""
    shipped = ("r3-nano", "r3-nano-calls", "r3-pico", "r3-nano-2", "r3-pico-2")
    for name in (*families.known(), *shipped):
        assert compare.parameters(name) == families.size(name).all, name
    assert compare.parameters("Qwen3-4B") == compare.parameters("Qwen/Qwen3-4B")
    with pytest.raises(R3Error, match="models.json"):
        compare.parameters("nobody/nothing")


def test_an_estimate_grows_with_what_it_is_made_of():
    profile = PROFILES["rtx12"]
    base = families.estimate(profile)
    assert 2 < base < 12
    full = dataclasses.replace(profile, four_bit=False, lora_rank=None)
    assert families.estimate(full) > 18 * families.size(profile.model).all / 2**30  # and the reference in 16 bits
    for change in (
        {"four_bit": False},
        {"lora_rank": 64},
        {"model": "Qwen/Qwen2.5-7B-Instruct"},
        {"rollout_batch_size": 512},
        {"reflection_tokens": 1024},
    ):
        assert families.estimate(dataclasses.replace(profile, **change)) > base, change


def test_hours_grow_with_what_they_are_made_of():
    profile = PROFILES["rtx12"]
    base = families.hours(profile)
    for change in (
        {"steps": 240},
        {"train_problems": 4000},
        {"failure_samples": 16},
        {"test_problems": 1000},
        {"attempt_tokens": 512},
        {"retry_tokens": 512},
        {"reflection_tokens": 512},
        {"rollout_batch_size": 32},
        {"model": "Qwen/Qwen2.5-3B-Instruct"},
        {"gpu": "Tesla T4 with 16 GB", "steps": 360},
    ):
        assert families.hours(dataclasses.replace(profile, **change)) > base, change
    assert families.hours(profile, temperatures=2) > base


def test_hours_are_the_sum_that_is_stated():
    """One step of one group in one batch, no evaluation to speak of: by hand."""
    one = dict(train_problems=1, failure_samples=1, test_problems=1, steps=1, prompts_per_step=1)
    profile = dataclasses.replace(PROFILES["rtx12"], **one, attempt_tokens=100, reflection_tokens=50, retry_tokens=100)
    written = 0.8 * (100 + (50 + 100) + 2 * (100 + 50 + 6 * 100))  # failure set, rollout, vanilla and trained
    weights = sum(shape.numel() for shape in families.size(profile.model).linear)
    read = 8 * (200 + 0.8 * 150)
    seconds = written * 28 * 1e-3 + read * 8 * weights / 10e12
    assert families.hours(profile) == pytest.approx(seconds / 3600)


@pytest.mark.parametrize("name", ["t4", "rtx12", "rtx24"])
def test_a_first_table_comes_within_an_evening_and_there_is_a_long_run_beside(name):
    assert 1.5 < families.hours(PROFILES[name]) < 3
    if name != "t4":
        long = PROFILES[f"{name}-long"]
        assert long.model == PROFILES[name].model and families.hours(long) > 12
    assert families.fits(PROFILES[name]).count(f"({families.ESTIMATED})") == 2


@pytest.fixture(scope="module", params=TRIED, ids=lambda name: name.split("/")[1])
def folder(request, tmp_path_factory):
    """A folder in the hub's format: the architecture made small, random weights, r3-nano's tokenizer."""
    tokenizer = models.load_tokenizer(PROFILES["nano"].model)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(families.known()[request.param].small(len(tokenizer)))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    out = tmp_path_factory.mktemp("family") / "model"
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


@pytest.fixture(scope="module")
def tiny_profile(folder, small):
    return dataclasses.replace(small, model=str(folder), lora_rank=2, dtype="float32")


@pytest.fixture(scope="module")
def failures(problems) -> Dataset:
    return Dataset.from_list([{"problem": json.dumps(p), "answer": "<answer>1 + 1</answer>"} for p in problems])


def test_a_rollout_from_the_cache_says_what_a_plain_forward_says(folder, problems):
    """Rows of unequal length, holes in the mask, three messages: next-token logits as without a cache."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert_cache_is_exact(sampled(model, models.load_tokenizer(str(folder)), problems), 2e-4)


def test_training_in_nf4_resumes_saves_and_merges(folder, tiny_profile, failures, tmp_path):
    model, tokenizer = models.load(tiny_profile)
    kinds = {type(module).__name__ for module in model.modules()}
    assert "Linear4bit" in kinds
    whole = train(model, tokenizer, Alternating().task, failures, tiny_profile, tmp_path / "whole", seed=3)
    log = read_jsonl(tmp_path / "whole" / "log.jsonl")
    assert [entry["step"] for entry in log] == [1, 2]
    assert all(torch.isfinite(torch.tensor([entry["loss"], entry["grad_norm"]])).all() for entry in log)
    assert any(entry["grad_norm"] > 0 for entry in log)
    moved = [p for n, p in whole.named_parameters() if "lora_B" in n]
    assert moved and any(p.abs().max() > 0 for p in moved)

    # killed after the first step, then started again: the same adapter
    per_step = tiny_profile.prompts_per_step * tiny_profile.num_generations
    stub, arguments = Alternating(), (failures, tiny_profile, tmp_path / "killed")
    with pytest.raises(KeyboardInterrupt):
        train(*models.load(tiny_profile), Alternating(per_step + 1).task, *arguments, seed=3, save_steps=1)
    again = train(*models.load(tiny_profile), stub.task, *arguments, seed=3, save_steps=1)
    assert stub.calls == per_step  # the second step only
    for (name, a), (_, b) in zip(whole.named_parameters(), again.named_parameters(), strict=True):
        if "lora_" in name:
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5, msg=name)

    # merged into the weights it was trained beside
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([tokenizer("user\nsome words to read")["input_ids"]])
    with torch.no_grad():
        plain = base(ids).logits
        beside = PeftModel.from_pretrained(base, tmp_path / "whole" / "adapter").eval()
        told = beside(ids).logits
        merged = beside.merge_and_unload()(ids).logits
    assert not torch.equal(plain, told)
    torch.testing.assert_close(told, merged, atol=1e-4, rtol=0)


def test_half_precision_with_a_float32_adapter_stays_finite(folder, tiny_profile, problems):
    """A T4 has no bfloat16: NF4 computed in float16 under autocast, the adapter in float32, the loss scaled as a GPU's
    scaler does. Loss and gradients are finite and near those of float32. (TRL's float16 needs a GPU; this does not.)"""
    found = {}
    for dtype in ("float32", "float16"):
        torch.manual_seed(0)
        base, tokenizer = models.load(dataclasses.replace(tiny_profile, dtype=dtype))
        model = get_peft_model(base, models.lora(tiny_profile))
        moved = [p for n, p in model.named_parameters() if "lora_" in n]
        assert {p.dtype for p in moved} == {torch.float32}
        assert {p.dtype for n, p in model.named_parameters() if "embed_tokens" in n} == {getattr(torch, dtype)}
        with torch.no_grad():
            for n, p in model.named_parameters():
                if "lora_B" in n:
                    p.copy_(torch.linspace(-0.1, 0.1, p.numel()).view_as(p))
        batch = tokenizer([TASK.ask(p) for p in problems[:4]], return_tensors="pt", padding=True)
        ids, attention, scale = batch["input_ids"], batch["attention_mask"], 2.0**12
        advantages = torch.tensor([1.0, -1.0, 0.5, -0.5])
        with torch.autocast("cpu", torch.float16, enabled=dtype == "float16"):
            logps = token_logps(model, ids, attention, 6)
        loss, _ = masked_grpo_loss(logps, torch.ones_like(logps), advantages, ref_logps=logps.detach() - 0.1, beta=0.1)
        (loss * scale).backward()
        gradients = torch.cat([p.grad.flatten() / scale for p in moved])
        assert logps.dtype == torch.float32 and torch.isfinite(loss) and torch.isfinite(gradients).all()
        found[dtype] = loss.detach(), gradients
    assert found["float16"][0] == pytest.approx(float(found["float32"][0]), abs=1e-2)
    assert torch.cosine_similarity(found["float16"][1], found["float32"][1], 0) > 0.99
