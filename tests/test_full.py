"""Training all weights instead of an adapter: what moves, what the KL term is taken to, resuming, reloading."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from test_grpo import Alternating
from trl import GRPOTrainer

from r3lib import grpo, models, record
from r3lib.config import Profile
from r3lib.files import R3Error, read_jsonl, write_json
from r3lib.grpo import train
from r3lib.pages import card
from r3lib.problems.countdown import TASK


@pytest.fixture(scope="module")
def profile(tiny, small, tmp_path_factory) -> Profile:
    """All weights of the tiny model, which lies in a folder, as TRL loads the reference from there."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    for part in tiny:
        part.save_pretrained(folder)
    rate = dict(learning_rate=1e-3, beta=0.05)
    return dataclasses.replace(small, model=str(folder), four_bit=False, lora_rank=None, **rate)


@pytest.fixture(scope="module")
def failures(problems) -> Dataset:
    return Dataset.from_list([{"problem": json.dumps(p), "answer": "<answer>1 + 1</answer>"} for p in problems])


@pytest.fixture(scope="module")
def run(profile, failures, tmp_path_factory):
    """A whole run of two steps: the trained model, the weights before it, the reference's after it."""
    out, kept = tmp_path_factory.mktemp("full") / "train", []

    class Kept(grpo.SharedPrefix):
        def __init__(self, **options):
            super().__init__(**options)
            kept.append(self.ref_model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grpo, "SharedPrefix", Kept)
        base, tokenizer = models.load(profile)
        before = {name: weight.clone() for name, weight in base.state_dict().items()}
        model = train(base, tokenizer, Alternating().task, failures, profile, out, seed=5)
    [reference] = kept
    return SimpleNamespace(
        out=out, before=before, model=model, reference=reference.state_dict(), log=read_jsonl(out / "log.jsonl")
    )


def logits(model, tokenizer) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([tokenizer("user\nsome words to read")["input_ids"]])).logits


def test_every_weight_moves_and_the_reference_is_the_base(run):
    after = run.model.state_dict()
    assert after.keys() == run.before.keys() == run.reference.keys()
    assert [name for name, weight in run.before.items() if torch.equal(after[name], weight)] == []
    assert all(torch.equal(run.reference[name], weight) for name, weight in run.before.items())
    assert "model.embed_tokens.weight" in after and not any("lora_" in name for name in after)
    assert run.log[0]["kl"] == pytest.approx(0, abs=1e-6) and all(line["grad_norm"] > 0 for line in run.log)


def test_the_whole_model_is_saved_and_names_nothing_of_this_machine(run):
    found = {path.name for path in (run.out / "adapter").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "record.json"} <= found
    assert not {"adapter_config.json", "README.md"} & found and not list(run.out.glob("checkpoint-*"))
    config = (run.out / "adapter" / "config.json").read_text(encoding="utf-8")
    assert str(run.out.parent) not in config and json.loads(config)["use_cache"]


def test_a_reloaded_model_says_the_same(run, profile, failures):
    stub = Alternating()
    model, tokenizer = models.load(profile, adapter=run.out / "adapter")
    again = train(*models.load(profile), stub.task, failures, profile, run.out, seed=5)
    wanted = logits(run.model, tokenizer)
    assert torch.equal(logits(model, tokenizer), wanted) and torch.equal(logits(again, tokenizer), wanted)
    assert stub.calls == 0 and not torch.equal(logits(models.load(profile)[0], tokenizer), wanted)


def test_a_killed_run_ends_with_the_weights_of_a_whole_one(run, profile, failures, tmp_path):
    per_step, stub = profile.prompts_per_step * profile.num_generations, Alternating()
    with pytest.raises(KeyboardInterrupt):
        killed = Alternating(fail_at=per_step + 1)
        train(*models.load(profile), killed.task, failures, profile, tmp_path, seed=5, save_steps=1)
    assert (tmp_path / "checkpoint-1").exists() and not (tmp_path / "adapter").exists()
    model = train(*models.load(profile), stub.task, failures, profile, tmp_path, seed=5, save_steps=1)
    assert stub.calls == per_step
    assert all(torch.equal(weight, run.model.state_dict()[name]) for name, weight in model.state_dict().items())


def test_a_shared_prompt_trains_as_plain_trl_does(run, profile, failures, tmp_path, monkeypatch):
    monkeypatch.setattr(grpo, "SharedPrefix", GRPOTrainer)
    model = train(*models.load(profile), Alternating().task, failures, profile, tmp_path, seed=5)
    for ours, plain in zip(run.log, read_jsonl(tmp_path / "log.jsonl"), strict=True):
        assert ours["loss"] == pytest.approx(plain["loss"], abs=1e-5)
        assert ours["grad_norm"] == pytest.approx(plain["grad_norm"], rel=1e-3)
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, run.model.state_dict()[name], atol=0.05 * profile.learning_rate, rtol=0)


def test_small_steps_are_not_lost_in_bfloat16(profile, failures, tmp_path):
    """5e-7 is far below bfloat16's spacing, so the weights are trained and kept in float32."""
    half = dataclasses.replace(profile, dtype="bfloat16", learning_rate=5e-7)
    base, tokenizer = models.load(half)
    before = {name: weight.float() for name, weight in base.state_dict().items()}
    train(base, tokenizer, Alternating().task, failures, half, tmp_path, seed=5)
    after = models.load(half, adapter=tmp_path / "adapter")[0].state_dict()
    assert {weight.dtype for weight in after.values()} == {torch.float32}
    assert all(0 < (after[name] - weight).abs().max() < 1e-5 for name, weight in before.items())


def test_weights_in_nf4_cannot_be_trained_and_an_adapter_is_another_run(profile, tmp_path):
    with pytest.raises(R3Error, match="NF4 cannot be trained; add `--set four_bit=false`"):
        dataclasses.replace(profile, four_bit=True)
    adapter = dataclasses.replace(profile, lora_rank=16)
    write_json(tmp_path / "record.json", record.make(TASK, adapter, 0))
    wanted = record.make(TASK, profile, 0)
    assert record.why_not(tmp_path, wanted, record.TRAINING) == "was made with lora_rank 16, not None"
    write_json(tmp_path / "record.json", wanted)
    why = record.why_not(tmp_path, record.make(TASK, adapter, 0), record.TRAINING)
    assert why == "was made with lora_rank None, not 16"


def test_what_is_kept_of_a_whole_model_loads(run, profile, tmp_path):
    card.keep(run.out / "adapter", tmp_path)
    assert not (tmp_path / "training_args.bin").exists() and (tmp_path / "record.json").exists()
    model, tokenizer = models.load(profile, adapter=tmp_path)
    assert torch.equal(logits(model, tokenizer), logits(run.model, tokenizer))
