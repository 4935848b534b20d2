"""How the first turn begins: exact, apart from the training that it watches, and stored in the log."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from r3lib import failures, grpo
from r3lib.conversation import prompt_ids
from r3lib.files import read_jsonl
from r3lib.measure import mode
from r3lib.problems import splits
from r3lib.problems.countdown import TASK


def test_it_is_what_one_problem_after_another_gives_without_padding(nano, problems):
    model, tokenizer = nano
    shares = []
    for problem in problems[:5]:
        ids = torch.tensor([prompt_ids(tokenizer, TASK.messages(problem))])
        with torch.no_grad():
            likely = model(ids).logits[0, -1].float().softmax(-1)
        begins = [tokenizer.decode([i]) for i in range(len(tokenizer))]
        at_once = [p for p, text in zip(likely, begins) if text and ("<answer>".startswith(text) or "<answer>" in text)]
        shares.append(1 - sum(at_once).item())
    found = mode.thinks_first(model, tokenizer, TASK, problems[:5])
    assert found == {"thinks_first": pytest.approx(sum(shares) / 5, abs=1e-4)}


def test_the_model_stays_in_its_mode(nano, problems):
    model, tokenizer = nano
    for training in (True, False):
        model.train(training)
        mode.thinks_first(model, tokenizer, TASK, problems[:2])
        assert model.training == training


def test_a_task_whose_answers_begin_otherwise_is_not_watched(nano):
    other = splits.TASKS["function_calling"]
    assert mode.watch(nano[1], other, splits.problems(other, "validation", 2)) is None


def test_a_watched_run_logs_every_step_and_has_the_bits_of_another(load_nano, small, problems, tmp_path):
    adapters = []
    for name in ("watched", "alone"):
        model, tokenizer = load_nano()
        setting = dataclasses.replace(small, failure_samples=1)
        wrong = failures.build(model, tokenizer, TASK, problems, setting, tmp_path / "failures", 0)
        watch = mode.watch(tokenizer, TASK, problems) if name == "watched" else None
        grpo.train(model, tokenizer, TASK, wrong, setting, tmp_path / name, 0, watch=watch)
        adapters.append(load_file(tmp_path / name / "adapter" / "adapter_model.safetensors"))
    watched, alone = adapters
    assert all(torch.equal(watched[key], alone[key]) for key in watched)
    logged = read_jsonl(tmp_path / "watched" / "log.jsonl")
    assert len(logged) == small.steps and all(0 <= line["thinks_first"] <= 1 for line in logged)
    assert "thinks_first" not in read_jsonl(tmp_path / "alone" / "log.jsonl")[0]
