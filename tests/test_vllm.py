"""vLLM as the one that writes: the conversation and the training step through TRL's interface to it.

vLLM needs a GPU, so a stand-in takes the place of TRL's VLLMGeneration: it is asked as vLLM is asked and answers from
the model itself, which also makes the right answer known.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from trl.trainer import grpo_trainer

from r3lib import evaluate
from r3lib import failures as failure_sets
from r3lib import grpo as trainer_module
from r3lib.conversation import Conversation, end_tokens
from r3lib.files import R3Error, read_jsonl
from r3lib.grpo import train
from r3lib.loss import token_logps
from r3lib.machine import vllm
from r3lib.machine.profiles import PROFILES
from r3lib.machine.vllm import Served
from r3lib.problems.countdown import TASK
from r3lib.tasks import Verdict


class Engine:
    """TRL's VLLMGeneration, as far as a rollout uses it. `off`: how far its log-probabilities are from the model's."""

    def __init__(self, model, processing_class, temperature=1.0, max_completion_length=16, off=0.0, **options):
        self.model, self.tokenizer, self.off, self.options = model, processing_class, off, options
        self.temperature, self.max_completion_length = temperature, max_completion_length
        self.synced, self.asked = 0, []

    def sync_weights(self):
        self.synced += 1

    @torch.no_grad()
    def generate(self, prompts, images, num_generations, profiler=None):
        assert num_generations == 1 and images is None
        self.asked.append((len(prompts), self.max_completion_length))
        written, logprobs = [], []
        for number, ids in enumerate(prompts):
            torch.manual_seed(1000 * len(self.asked) + number)
            given = torch.tensor([ids])
            out = self.model.generate(
                input_ids=given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=self.max_completion_length,
                do_sample=self.temperature > 0,
                temperature=self.temperature or None,
                top_k=0,
            )
            count = out.shape[1] - len(ids)
            seen = token_logps(self.model, out, torch.ones_like(out), count, self.temperature or 1.0)[0]
            written.append(tuple(out[0, len(ids) :].tolist()))
            logprobs.append([[value + self.off] for value in seen.tolist()])
        return prompts, written, logprobs, None


def whole(conversation, problems) -> list[list[int]]:
    conversation.open(TASK, problems)
    conversation.fork([2] * len(problems))
    asks = [TASK.ask(p) for p in problems for _ in range(2)]
    conversation.reply("attempt", 7, 0)
    conversation.say(TASK.reflect_prompt, "reflection_prompt")
    conversation.reply("reflection", 9, 0)
    conversation.say(asks, "retry_prompt")
    conversation.reply("retry", 5, 0)
    return [(t.ids, t.spans) for t in conversation.transcripts]


def test_a_served_conversation_is_the_one_that_the_model_holds_itself(tiny, problems):
    """Greedy, message by message: the same tokens in the same spans, and the limit of each message is passed on."""
    model, tokenizer = tiny
    engine = Engine(model, tokenizer)
    served = Served(engine, model, tokenizer)
    assert whole(served, problems[:3]) == whole(Conversation(model, tokenizer), problems[:3])
    assert engine.asked == [(6, 7), (6, 9), (6, 5)]
    for transcript, logprobs in zip(served.transcripts, served.logprobs["reflection"], strict=True):
        assert len(logprobs) == len(transcript.tokens("reflection")) and max(logprobs) <= 0


def test_a_served_conversation_that_was_not_started_is_an_error(tiny):
    with pytest.raises(ValueError, match="nothing to answer"):
        Served(Engine(*tiny), *tiny).reply("attempt", 3, 0)


@pytest.fixture(scope="module")
def failures(problems):
    return Dataset.from_list([{"problem": json.dumps(p), "answer": "<answer>1 + 1</answer>"} for p in problems])


def by_length(problem: dict, text: str) -> Verdict:
    return Verdict(len(text) % 2 == 0, "stub", "By its length.")


@pytest.mark.parametrize("whole_transcript", [False, True])
@pytest.mark.parametrize("off", [0.0, -0.5])
def test_a_step_with_vllm_corrects_for_what_vllm_saw(small, failures, tmp_path, monkeypatch, off, whole_transcript):
    """An engine that agrees with the model gives ratios of 1; one that is off by half a nat gives e^0.5."""
    from r3lib import models

    engines, ratios = [], []

    class Made(Engine):
        def __init__(self, **given):
            super().__init__(**given, off=off)
            engines.append(self)

    real = trainer_module.SharedPrefix._compute_loss

    def loss(self, model, inputs):
        seen = inputs["importance_sampling_ratio"]
        ratios.append(seen[(inputs["completion_mask"] * inputs.get("tool_mask", 1)).bool()])
        return real(self, model, inputs)

    monkeypatch.setattr(grpo_trainer, "VLLMGeneration", Made)
    monkeypatch.setattr(trainer_module.SharedPrefix, "_compute_loss", loss)
    profile = dataclasses.replace(small, four_bit=False, vllm="colocate", steps=2)
    task = TASK._replace(verify=by_length)
    train(*models.load(profile), task, failures, profile, tmp_path, 1, whole_transcript=whole_transcript, served=Served)
    [engine] = engines
    batch = profile.prompts_per_step * profile.num_generations
    assert engine.asked == [(batch, profile.train_reflection_tokens), (batch, profile.retry_tokens)] * 2
    assert engine.synced == 2  # the weights of every step
    expected = torch.full_like(torch.cat(ratios), torch.tensor(-off).exp().item())
    torch.testing.assert_close(torch.cat(ratios), expected, atol=2e-3, rtol=0)
    assert all(line["grad_norm"] > 0 for line in read_jsonl(tmp_path / "log.jsonl"))


@pytest.fixture
def server(monkeypatch):
    """A stand-in for `trl vllm-serve`, which answers from the weights that it was sent last. Returns what it saw."""
    seen = SimpleNamespace(weights=None, open=0, asked=[])

    class Generation:
        def __init__(self, model, accelerator, processing_class, mode):
            assert mode == "server"
            seen.open += 1
            self.model, self.vllm_client = model, SimpleNamespace(close_communicator=self.close)
            seen.tokenizer = processing_class

        def sync_weights(self):
            seen.weights = copy.deepcopy(self.model)

        def close(self):
            seen.open -= 1

    class Client:
        def generate(self, prompts, temperature, max_tokens, generation_kwargs):
            seen.asked.append((len(prompts), max_tokens, generation_kwargs))
            engine = Engine(seen.weights, seen.tokenizer, temperature, max_tokens)
            _, written, logprobs, _ = engine.generate(prompts, None, 1)
            return {"completion_ids": [list(ids) for ids in written], "logprobs": logprobs}

    monkeypatch.setattr(vllm, "VLLMGeneration", Generation)
    monkeypatch.setattr(vllm, "VLLMClient", Client)
    return seen


def test_the_server_writes_failure_sets_and_evaluations(tiny, small, problems, server, tmp_path):
    """Greedy: the outcomes and the wrong answers of the model itself, and the server has its weights."""
    model, tokenizer = tiny
    own = dataclasses.replace(small, four_bit=False, dtype="float32", temperature=0.0, failure_samples=1)
    asked = dataclasses.replace(own, vllm="server")
    found = {}
    for profile in (own, asked):
        with vllm.serving(profile, model, tokenizer):
            outcomes = evaluate.evaluate(model, tokenizer, TASK, problems, profile, 0.0)
            part = next(failure_sets.first_tries(model, tokenizer, TASK, problems, profile, 0.0, 1, 0))
        found[profile.vllm] = outcomes.to_json(), [[answer.ids for answer in one] for one in part]
    assert found["server"] == found[None]
    assert server.open == 0 and not hasattr(model, "converses")
    assert {limit for _, limit, _ in server.asked} == {
        small.attempt_tokens,
        small.reflection_tokens,
        small.retry_tokens,
    }
    assert all(given == {"stop_token_ids": end_tokens(model, tokenizer)} for *_, given in server.asked)


def test_without_vllm_or_its_server_one_sentence_says_so(tiny, small):
    profile = dataclasses.replace(small, four_bit=False, vllm="server")
    with pytest.raises(R3Error, match="Start `trl vllm-serve --model .*or leave --vllm out"):
        with vllm.serving(profile, *tiny):
            pass


def test_vllm_over_nf4_is_refused_with_what_to_do():
    with pytest.raises(R3Error, match="--set four_bit=false"):
        dataclasses.replace(PROFILES["rtx12"], vllm="server")
