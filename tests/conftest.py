"""Fixtures: r3-nano as shipped (NF4), a random model of its make, a profile of a few seconds, and scripted replies."""

from __future__ import annotations

import copy
import dataclasses
import os
from contextlib import contextmanager

os.environ.update(HF_HUB_OFFLINE="1", TRL_EXPERIMENTAL_SILENCE="1")  # before transformers and trl are imported

import pytest
import torch

from r3lib.files import DATA, read_jsonl
from r3lib.machine.profiles import PROFILES

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 2))


@pytest.fixture(scope="session")
def small():
    """The nano profile, so small that a training run takes seconds: 2 steps of 2 failures x 4 reflections."""
    return dataclasses.replace(
        PROFILES["nano"],
        rollout_batch_size=8,
        prompts_per_step=2,
        num_generations=4,
        micro_batch=8,
        steps=2,
        attempt_tokens=8,
        reflection_tokens=16,
        train_reflection_tokens=8,
        retry_tokens=8,
    )


@pytest.fixture(scope="session")
def load_nano():
    """A function that loads r3-nano anew: training puts its adapter inside the model it is given."""
    from r3lib import models

    return lambda: models.load(PROFILES["nano"])


@pytest.fixture(scope="session")
def nano():
    """(model, tokenizer) of r3-nano in NF4, shared by the tests that only read it."""
    from r3lib import models

    return models.load(PROFILES["nano"])


@pytest.fixture(scope="session")
def tiny():
    """(model, tokenizer): a float32 Qwen2 with r3-nano's tokenizer and random weights.

    The weights are drawn wide and the head is its own, so that every token and every position sways the logits.
    """
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from r3lib.models import load_tokenizer

    tokenizer = load_tokenizer(PROFILES["nano"].model)
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=1024,
            initializer_range=0.25,
            tie_word_embeddings=False,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
        )
    )
    return model.eval(), tokenizer


@pytest.fixture(scope="session")
def problems():
    """Eight Countdown problems with three or four numbers, so that prompts differ in length."""
    return read_jsonl(DATA / "countdown" / "validation.jsonl")[:8]


@pytest.fixture
def small_disk():
    """small_disk(size): inside, no file may grow beyond `size` bytes, as on a disk that fills up at that write."""
    resource = pytest.importorskip("resource")  # not on Windows
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    @contextmanager
    def limit(size):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    return limit


@pytest.fixture
def scripted(monkeypatch):
    """scripted(module, replies): conversations in `module` say the next list of `replies` instead of sampling.

    Returns a list that gets (span, transcripts) after every reply. Everything else of a conversation is the real one.
    """
    from r3lib.conversation import Conversation

    def install(module, replies):
        script, seen = iter(replies), []

        class Scripted(Conversation):
            def reply(self, span, max_new_tokens, temperature):
                texts = next(script)
                assert len(texts) == len(self.transcripts)
                self.put(texts, span)
                self.read()
                seen.append((span, copy.deepcopy(self.transcripts)))
                return texts

        monkeypatch.setattr(module, "Conversation", Scripted)
        return seen

    return install
