"""The masked GRPO loss against values worked out by hand, against autograd, and against TRL's own loss."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.testing import assert_close

from r3lib.conversation import Conversation, Transcript, prompt_ids
from r3lib.loss import group_advantages, masked_grpo_loss, token_logps, zero_advantage_fraction
from r3lib.problems.countdown import TASK

# advantages


def test_advantages_by_hand():
    """Group 1: mean 1/4, sample deviation 1/2. Group 2: mean 1/2, deviation sqrt(1/3)."""
    rewards = torch.tensor([1.0, 0, 0, 0, 1, 0, 1, 0])
    high, low, half = 0.75 / 0.5001, -0.25 / 0.5001, 0.5 / (math.sqrt(1 / 3) + 1e-4)
    assert_close(group_advantages(rewards, 4), torch.tensor([high, low, low, low, half, -half, half, -half]))


def test_advantages_without_scaling():
    assert group_advantages(torch.tensor([1, 0, 0, 0]), 4, scale=False).tolist() == [0.75, -0.25, -0.25, -0.25]


@pytest.mark.parametrize("scale", [True, False])
def test_equal_rewards_give_no_advantage(scale):
    assert group_advantages(torch.tensor([1.0, 1, 1, 0, 0, 0]), 3, scale).tolist() == [0] * 6


@pytest.mark.parametrize("size", [1, 3])
def test_groups_that_do_not_divide_the_batch_are_an_error(size):
    with pytest.raises(ValueError, match="groups of 2 or more"):
        group_advantages(torch.zeros(8), size)


def test_zero_advantage_fraction_counts_groups_without_signal():
    assert zero_advantage_fraction(torch.tensor([1.0, 1, 0, 0, 0, 1, 1, 1]), 2) == 0.75


# the loss by hand


def test_clipping_by_hand():
    """Ratios 1.5 and 0.5, epsilon 0.2: a gain counts 1.2 and 0.5, a loss 1.5 and 0.8; each row weighs 1/2."""
    old = torch.zeros(2, 3)
    logps = torch.tensor([[1.5, 0.5, 9.0], [1.5, 0.5, 1.0]]).log()
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    loss, seen = masked_grpo_loss(logps, mask, torch.tensor([1.0, -1.0]), old)
    assert loss.item() == pytest.approx((-(1.2 + 0.5) / 2 + (1.5 + 0.8 + 1.0) / 3) / 2, abs=1e-6)
    assert seen["clipped"] == pytest.approx(2 / 5)  # the gain of 1.5 and the loss of 0.5
    assert seen["kl"] == 0


def test_kl_by_hand():
    """k3 for a reference twice as likely is 2 - ln 2 - 1; beta weighs it."""
    logps, mask = torch.zeros(2, 2), torch.tensor([[1, 1], [1, 0]])
    ref = torch.tensor([[math.log(2), 0.0], [0.0, 5.0]])
    loss, seen = masked_grpo_loss(logps, mask, torch.zeros(2), ref_logps=ref, beta=0.1)
    k3 = 2 - math.log(2) - 1
    assert loss.item() == pytest.approx(0.1 * (k3 / 2 + 0) / 2, abs=1e-7)
    assert seen["kl"] == pytest.approx(k3 / 3)


def test_an_on_policy_loss_is_zero_and_its_gradient_is_the_policy_gradient():
    """Why a flat loss near 0 is no fault: with ratio 1 only the gradient carries the signal, -A / (T B) a token."""
    logps = torch.tensor([[-1.0, -2.0], [-3.0, -0.5]], requires_grad=True)
    loss, _ = masked_grpo_loss(logps, torch.ones(2, 2), torch.tensor([1.0, -1.0]))
    loss.backward()
    assert loss.item() == 0
    assert_close(logps.grad, torch.tensor([[-0.25, -0.25], [0.25, 0.25]]))


def test_a_row_without_reflection_counts_nothing():
    loss, seen = masked_grpo_loss(torch.full((2, 2), -1.0), torch.tensor([[0, 0], [1, 1]]), torch.tensor([1.0, -1.0]))
    assert loss.item() == pytest.approx(0.5)
    assert seen == {"kl": 0, "clipped": 0}


def test_token_level_by_hand():
    """One token against three: every token weighs 1/4."""
    logps, mask = torch.zeros(2, 3), torch.tensor([[1, 0, 0], [1, 1, 1]])
    loss, _ = masked_grpo_loss(logps, mask, torch.tensor([1.0, -1.0]), level="token")
    assert loss.item() == pytest.approx((-1 + 3) / 4)
    with pytest.raises(ValueError, match="sequence or token"):
        masked_grpo_loss(logps, mask, torch.tensor([1.0, -1.0]), level="word")


def test_kl_needs_a_reference():
    with pytest.raises(ValueError, match="ref_logps"):
        masked_grpo_loss(torch.zeros(1, 1), torch.ones(1, 1), torch.ones(1), beta=0.1)


# the mask


@pytest.fixture(scope="module")
def transcripts(tiny, problems) -> list[Transcript]:
    """Four whole conversations, sampled, in two groups that share their prompt."""
    model, tokenizer = tiny
    talk = Conversation(model, tokenizer, 2)
    talk.start([prompt_ids(tokenizer, TASK.messages(p)) for p in problems[:2]])
    talk.fork([2, 2])
    talk.reply("attempt", 5, 1.0)
    talk.say(TASK.reflect_prompt, "reflection_prompt")
    talk.put(["I forgot a number.", "No.", "Use (1 + 2) * 3.", "I will take my time."], "reflection")
    talk.say("Again.", "retry_prompt")
    talk.reply("retry", 6, 1.0)
    return talk.transcripts


def batch(transcripts: list[Transcript], pad: int, until: str) -> dict[str, torch.Tensor]:
    """TRL's tensors: prompts padded on the left, completions (reflection to the span `until`) padded on the right."""
    starts = [t.spans["reflection"][0] for t in transcripts]
    heads = [t.ids[:s] for t, s in zip(transcripts, starts)]
    tails = [t.ids[s : t.spans[until][1]] for t, s in zip(transcripts, starts)]
    masks = [t.mask()[s : t.spans[until][1]] for t, s in zip(transcripts, starts)]
    left, right = max(map(len, heads)), max(map(len, tails))
    return {
        "prompt_ids": torch.tensor([[pad] * (left - len(h)) + h for h in heads]),
        "prompt_mask": torch.tensor([[0] * (left - len(h)) + [1] * len(h) for h in heads]),
        "completion_ids": torch.tensor([t + [pad] * (right - len(t)) for t in tails]),
        "completion_mask": torch.tensor([[1] * len(t) + [0] * (right - len(t)) for t in tails]),
        "tool_mask": torch.tensor([m + [1] * (right - len(m)) for m in masks]),
    }  # TRL pads this one with 1


def logps_of(model, inputs: dict, temperature: float = 1.0) -> torch.Tensor:
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
    return token_logps(model, ids, attention, inputs["completion_ids"].shape[1], temperature)


def noisy(values: torch.Tensor, seed: int) -> torch.Tensor:
    return values.detach() + 0.3 * torch.randn(values.shape, generator=torch.Generator().manual_seed(seed))


def gradients(model, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def test_token_logps_are_those_of_each_sequence_alone(tiny, transcripts):
    """Padding on both sides changes nothing."""
    model, tokenizer = tiny
    inputs = batch(transcripts, tokenizer.pad_token_id, "retry")
    with torch.no_grad():
        together = logps_of(model, inputs)
        for row, transcript in zip(together, transcripts):
            alone = torch.log_softmax(model(input_ids=torch.tensor([transcript.ids])).logits[0, :-1], -1)
            start = transcript.spans["reflection"][0]
            expected = [alone[i - 1, transcript.ids[i]].item() for i in range(start, len(transcript.ids))]
            assert row[: len(expected)].tolist() == pytest.approx(expected, abs=1e-4)


def test_nothing_but_the_reflection_gets_a_gradient(transcripts, tiny):
    """With KL and ratios off 1, the gradient by each token's log-probability is exactly 0 outside the mask."""
    model, tokenizer = tiny
    inputs = batch(transcripts, tokenizer.pad_token_id, "retry")
    logps = logps_of(model, inputs).detach().requires_grad_()
    mask = inputs["completion_mask"] * inputs["tool_mask"]
    loss, _ = masked_grpo_loss(logps, mask, torch.tensor([1.0, -1, -1, 1]), noisy(logps, 1), noisy(logps, 2), beta=0.1)
    loss.backward()
    assert 0 < mask.sum() < inputs["completion_mask"].sum()
    assert (logps.grad[mask == 0] == 0).all()
    assert (logps.grad[mask == 1] != 0).all()


def test_the_retry_is_invisible_to_the_loss(transcripts, tiny):
    """Another retry, token by token, leaves every parameter's gradient as it is."""
    model, tokenizer = tiny
    inputs = batch(transcripts, tokenizer.pad_token_id, "retry")
    mask = inputs["completion_mask"] * inputs["tool_mask"]
    swapped = dict(inputs, completion_ids=torch.where(mask == 1, inputs["completion_ids"], 9))
    assert (swapped["completion_ids"] != inputs["completion_ids"]).any()
    one, other = (
        gradients(model, masked_grpo_loss(logps_of(model, i), mask, torch.tensor([1.0, -1, -1, 1]))[0])
        for i in (inputs, swapped)
    )
    assert_close(one, other, atol=1e-6, rtol=0)


def test_cut_after_the_reflection_is_the_same_loss(transcripts, tiny):
    """The whole transcript behind its mask and the sequence cut after the reflection: one loss, one gradient."""
    model, tokenizer = tiny
    results = []
    for until in ("retry", "reflection"):
        inputs = batch(transcripts, tokenizer.pad_token_id, until)
        logps = logps_of(model, inputs)
        width = batch(transcripts, tokenizer.pad_token_id, "reflection")["completion_ids"].shape[1]
        old, ref = (
            torch.nn.functional.pad(noisy(torch.full((4, width), -6.0), seed), (0, logps.shape[1] - width))
            for seed in (1, 2)
        )
        loss, seen = masked_grpo_loss(
            logps, inputs["completion_mask"] * inputs["tool_mask"], torch.tensor([1.0, -1, -1, 1]), old, ref, beta=0.1
        )
        results.append((loss.item(), seen, gradients(model, loss)))
    (loss, seen, grads), (cut_loss, cut_seen, cut_grads) = results
    assert loss == pytest.approx(cut_loss, rel=1e-5)
    assert seen == pytest.approx(cut_seen, rel=1e-5)
    assert_close(grads, cut_grads, atol=1e-5, rtol=1e-4)
    assert max(g.abs().max() for g in grads.values()) > 1e-3


# TRL


@pytest.mark.parametrize(("loss_type", "level"), [("grpo", "sequence"), ("dapo", "token")])
def test_loss_and_gradient_equal_those_of_trl(tiny, transcripts, tmp_path, loss_type, level):
    """One batch with pads, masks, clipped ratios, KL and a temperature through GRPOTrainer's own loss."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    model, tokenizer = copy.deepcopy(tiny[0]), tiny[1]
    ours = copy.deepcopy(model)
    temperature, beta = 0.7, 0.2
    config = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        num_generations=2,
        loss_type=loss_type,
        temperature=temperature,
        beta=0.0,
        epsilon=0.2,
        report_to="none",
        bf16=False,
        use_cpu=True,
        gradient_checkpointing=False,
        log_level="error",
        use_bias_correction_kl=False,
    )  # TRL's default multiplies the KL term by the ratio
    trainer = GRPOTrainer(
        model=model,
        processing_class=tokenizer,
        args=config,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": "."}]}] * 2),
    )
    trainer.beta = beta  # set here, not in the config: with it TRL would look for a reference model by its name
    trainer.model.eval()  # TRL divides by accumulation steps in training mode; the model has no dropout
    inputs = batch(transcripts, tokenizer.pad_token_id, "retry")
    with torch.no_grad():
        now = logps_of(ours, inputs, temperature)
    inputs |= {
        "old_per_token_logps": noisy(now, 1),
        "ref_per_token_logps": noisy(now, 2),
        "advantages": group_advantages(torch.tensor([1.0, 0, 0, 1]), 2),
        "num_items_in_batch": (inputs["completion_mask"] * inputs["tool_mask"]).sum(),
    }
    theirs = trainer._compute_loss(trainer.model, inputs)
    loss, seen = masked_grpo_loss(
        logps_of(ours, inputs, temperature),
        inputs["completion_mask"] * inputs["tool_mask"],
        inputs["advantages"],
        inputs["old_per_token_logps"],
        inputs["ref_per_token_logps"],
        epsilon=0.2,
        beta=beta,
        level=level,
    )
    assert abs(loss.item() - theirs.item()) < 1e-5
    assert abs(loss.item()) > 1e-2 and seen["clipped"] > 0 and seen["kl"] > 0  # a batch in which every term counts
    assert seen["kl"] == pytest.approx(trainer._metrics["eval"]["kl"][0], abs=1e-5)
    assert seen["clipped"] == pytest.approx(trainer._metrics["eval"]["clip_ratio/region_mean"][0], abs=1e-5)
    assert_close(gradients(ours, loss), gradients(trainer.model, theirs), atol=1e-5, rtol=1e-4)
