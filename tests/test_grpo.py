"""The GRPO step end to end on r3-nano in NF4: reward, adapter, log, resuming, and the rollout that TRL is given."""

from __future__ import annotations

import copy
import dataclasses
import json
import warnings
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import trl
from datasets import Dataset
from safetensors.torch import load_file
from transformers import TrainerState
from trl import GRPOTrainer

from r3lib import grpo as trainer_module
from r3lib.config import ARMS, R3
from r3lib.conversation import Conversation
from r3lib.files import R3Error, fingerprint, read_json, read_jsonl
from r3lib.grpo import ReflectRetry, SharedPrefix, in_order, retry_reward, train, training_rows
from r3lib.loop import Loop
from r3lib.problems import function_calling
from r3lib.problems.countdown import TASK
from r3lib.progress import Progress, nothing_to_learn
from r3lib.tasks import Verdict

LOG_KEYS = {
    "step",
    "reward",
    "retry_pass_rate",
    "zero_advantage_fraction",
    "kl",
    "reflection_tokens",
    "clipped_ratio",
    "sampled_tokens",
    "loss",
    "grad_norm",
    "learning_rate",
    "seconds",
    "tokens_per_second",
}
LOSS_SETTINGS = {
    "loss_type": "dapo",
    "scale_rewards": "group",
    "importance_sampling_level": "token",
    "num_iterations": 1,
    "epsilon": 0.2,
    "epsilon_high": None,
    "delta": None,
    "top_entropy_quantile": 1.0,
    "entropy_coef": 0.0,
    "mask_truncated_completions": False,
    "use_bias_correction_kl": False,
}


class Alternating:
    """Countdown, but every second retry is right, so that every group has signal whatever the model says.

    fail_at: the number of the call that is killed. calls, problems: how many verdicts were given, on what.
    """

    def __init__(self, fail_at: int | None = None):
        self.calls, self.fail_at = 0, fail_at
        self.problems: list[dict] = []
        self.task = TASK._replace(verify=self.verify)

    def verify(self, problem: dict, text: str) -> Verdict:
        self.calls += 1
        self.problems.append(problem)
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        return Verdict(self.calls % 2 == 0, "stub", "Every second retry is right.")


@pytest.fixture(scope="module")
def failures(problems) -> Dataset:
    return Dataset.from_list(
        [{"problem": json.dumps(p), "answer": f"<answer>{p['numbers'][0]} + 1</answer>"} for p in problems]
    )


def base_weights(model) -> dict[str, torch.Tensor]:
    """The frozen weights by their names without the adapter's wrapping; `lora_` tensors are left out."""
    return {
        name.replace("base_model.model.", "", 1).replace(".base_layer", ""): p.detach().clone()
        for name, p in model.named_parameters()
        if "lora_" not in name
    }


@pytest.fixture(scope="module")
def run(small, failures, tmp_path_factory):
    """One whole run of two steps, with the base weights before it."""
    from r3lib import models

    out = tmp_path_factory.mktemp("run") / "train"
    stub = Alternating()
    model, tokenizer = models.load(small)
    before = base_weights(model)
    trained = train(model, tokenizer, stub.task, failures, small, out, seed=5)
    return SimpleNamespace(out=out, stub=stub, before=before, model=trained, log=read_jsonl(out / "log.jsonl"))


def adapter(out) -> dict[str, torch.Tensor]:
    return load_file(out / "adapter" / "adapter_model.safetensors")


# a whole run


def test_log_has_a_line_a_step_with_the_documented_keys(run):
    assert [line["step"] for line in run.log] == [1, 2]
    assert all(set(line) == LOG_KEYS for line in run.log)
    for line in run.log:
        assert line["reward"] == line["retry_pass_rate"] == 0.5 and line["zero_advantage_fraction"] == 0
        assert line["grad_norm"] > 0 and line["seconds"] > 0 and line["tokens_per_second"] > 0


def test_every_retry_was_judged_once(run, small):
    assert run.stub.calls == small.steps * small.prompts_per_step * small.num_generations


def test_failures_are_taken_in_the_order_of_the_seed(run, small, failures):
    """Each group whole, all of a step's in one batch."""
    rows = in_order(training_rows(TASK, failures), small.steps * small.prompts_per_step, 5)
    assert run.stub.problems == [json.loads(p) for p in rows["problem"] for _ in range(small.num_generations)]


def test_an_order_has_every_row_once_an_epoch_and_is_the_seeds():
    rows = Dataset.from_list([{"row": i} for i in range(8)])
    order = [*in_order(rows, 20, 3)["row"]]
    epochs = order[:8], order[8:16]
    assert [sorted(epoch) for epoch in epochs] == [[*range(8)]] * 2 and len(set(order[16:])) == 4
    assert [*range(8)] != epochs[0] != epochs[1]
    assert [*in_order(rows, 20, 3)["row"]] == order != [*in_order(rows, 20, 4)["row"]]


def test_the_adapters_first_weights_are_the_seeds(small, failures, load_nano, tmp_path, monkeypatch):
    weights = []

    def before_the_first_step(self, **_):
        weights.append({name: p.detach().clone() for name, p in self.model.named_parameters() if "lora_A" in name})
        raise KeyboardInterrupt

    monkeypatch.setattr(SharedPrefix, "train", before_the_first_step)
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        with pytest.raises(KeyboardInterrupt):
            train(*load_nano(), Alternating().task, failures, small, tmp_path / out, seed)
    one, same, other = weights
    assert all(torch.equal(one[name], same[name]) and not torch.equal(one[name], other[name]) for name in one)


def test_training_changes_the_adapter_and_not_the_base(run):
    after = base_weights(run.model)
    assert after.keys() == run.before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in run.before.items())
    ups = [weight for name, weight in adapter(run.out).items() if "lora_B" in name]  # zero until the first update
    assert ups and all(weight.abs().max() > 0 for weight in ups)


def test_a_text_padded_with_its_own_end_carries_no_more_loss(run, small, failures, load_nano, tmp_path):
    """As models are that have no token to pad with: the same weights, but for rounding."""
    model, tokenizer = load_nano()
    tokenizer.pad_token = tokenizer.eos_token
    train(model, tokenizer, Alternating().task, failures, small, tmp_path / "train", seed=5)
    torch.testing.assert_close(adapter(tmp_path / "train"), adapter(run.out), atol=1e-6, rtol=0)


def test_only_the_adapter_and_the_log_stay(run):
    assert {path.name for path in run.out.iterdir()} - {"README.md"} == {
        "adapter",
        "log.jsonl",
        "record.json",
    }  # the card is TRL's


def test_an_adapter_names_its_base_and_no_folder_of_this_machine(run):
    config = (run.out / "adapter" / "adapter_config.json").read_text(encoding="utf-8")
    assert json.loads(config)["base_model_name_or_path"] == "r3-nano-2"
    assert str(run.out.parent) not in config and not (run.out / "adapter" / "README.md").exists()


def test_trl_is_asked_for_the_loss_of_this_kit(run):
    """test_loss.py shows TRL's loss under these settings to be r3lib.loss's; versions of TRL change its defaults."""
    args = torch.load(run.out / "adapter" / "training_args.bin", weights_only=False)
    asked = {name: getattr(args, name) for name in LOSS_SETTINGS}
    assert asked == LOSS_SETTINGS


def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(small, failures, load_nano, tmp_path, monkeypatch):
    real = SharedPrefix.compute_loss
    monkeypatch.setattr(SharedPrefix, "compute_loss", lambda *a, **k: real(*a, **k) * float("nan"))
    model, tokenizer = load_nano()
    with pytest.raises(R3Error, match="loss of step 1 is nan. Lower learning_rate"):
        train(model, tokenizer, Alternating().task, failures, small, tmp_path / "train", save_steps=1)
    assert not list((tmp_path / "train").glob("checkpoint-*")) and not read_jsonl(tmp_path / "train" / "log.jsonl")


def test_a_finished_run_is_loaded_not_trained_again(run, small, failures, load_nano):
    stub = Alternating()
    model = train(*load_nano(), stub.task, failures, small, run.out, seed=5)
    assert stub.calls == 0 and not model.training
    loaded = {name.replace(".default", ""): p for name, p in model.named_parameters() if "lora_" in name}
    saved = adapter(run.out)
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)


@pytest.fixture(scope="module")
def resumed(small, failures, load_nano, tmp_path_factory):
    """The same run, killed in step 2 after a checkpoint in step 1, and run again."""
    out = tmp_path_factory.mktemp("resumed") / "train"
    killed = Alternating(fail_at=small.prompts_per_step * small.num_generations + 1)
    with pytest.raises(KeyboardInterrupt):
        train(*load_nano(), killed.task, failures, small, out, seed=5, save_steps=1)
    assert (out / "checkpoint-1").exists() and not (out / "adapter").exists()
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"step": 2, "reward": 0.125}\n')  # a step that was logged, but killed before its checkpoint
    stub = Alternating()
    train(*load_nano(), stub.task, failures, small, out, seed=5, save_steps=1)
    return SimpleNamespace(out=out, stub=stub, log=read_jsonl(out / "log.jsonl"))


def test_a_killed_run_goes_on_where_it_was(run, resumed, small):
    """Step 2 alone is made again, no step is logged twice, and the steps are those of the whole run."""
    assert resumed.stub.calls == small.prompts_per_step * small.num_generations
    assert [line["step"] for line in resumed.log] == [1, 2]
    for key in ("reward", "reflection_tokens", "learning_rate"):
        assert [line[key] for line in resumed.log] == pytest.approx([line[key] for line in run.log]), key


def test_a_killed_run_ends_with_the_weights_of_a_whole_one(run, resumed):
    ours, whole = adapter(resumed.out), adapter(run.out)
    assert ours.keys() == whole.keys() and all(torch.equal(ours[name], whole[name]) for name in whole)


def test_the_adapter_is_trained_in_float32(run):
    assert {weight.dtype for name, weight in run.model.named_parameters() if "lora_" in name} == {torch.float32}


def test_speed_after_a_kill_is_that_of_the_step(run, resumed):
    tokens = [[line["tokens_per_second"] * line["seconds"] for line in log] for log in (resumed.log, run.log)]
    assert tokens[0] == pytest.approx(tokens[1], rel=1e-3)


def test_the_whole_transcript_behind_its_mask_gives_the_same_first_step(run, small, failures, load_nano, tmp_path):
    profile = dataclasses.replace(small, steps=1)
    train(*load_nano(), Alternating().task, failures, profile, tmp_path, seed=5, whole_transcript=True)
    masked, cut = read_jsonl(tmp_path / "log.jsonl")[0], run.log[0]
    assert masked["reflection_tokens"] == cut["reflection_tokens"]
    assert masked["grad_norm"] == pytest.approx(cut["grad_norm"], rel=1e-2)
    assert masked["loss"] == pytest.approx(cut["loss"], abs=1e-4)


def test_a_half_written_checkpoint_is_passed_over(small, failures, load_nano, tmp_path):
    profile = dataclasses.replace(small, steps=1)
    killed = Alternating(fail_at=1)
    with pytest.raises(KeyboardInterrupt):
        train(*load_nano(), killed.task, failures, profile, tmp_path)
    (tmp_path / "checkpoint-1").mkdir()
    train(*load_nano(), Alternating().task, failures, profile, tmp_path)
    assert [line["step"] for line in read_jsonl(tmp_path / "log.jsonl")] == [1]


def test_too_few_failures_for_one_step_are_an_error(small, failures, load_nano, tmp_path):
    with pytest.raises(R3Error, match="fail"):
        train(*load_nano(), Alternating().task, failures.select([0]), small, tmp_path)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_shared_prompt_gives_the_log_probabilities_of_plain_trl(
    checkpointing, small, failures, load_nano, tmp_path, monkeypatch
):
    """And so do rows that are read whole, as under gradient checkpointing."""
    config = trainer_module.GRPOConfig
    monkeypatch.setattr(
        trainer_module, "GRPOConfig", lambda **given: config(**given | {"gradient_checkpointing": checkpointing})
    )
    read, compared, gradients = [], [], []

    class Both(SharedPrefix):
        rows_at_once = 1 if checkpointing else 3

        def _get_per_token_logps_and_entropies(self, model, ids, attention, keep, *args, **options):
            ours = super()._get_per_token_logps_and_entropies(model, ids, attention, keep, *args, **options)
            plain = GRPOTrainer._get_per_token_logps_and_entropies(self, model, ids, attention, keep, *args, **options)
            written = attention[:, -keep:].bool()
            for mine, theirs in zip(ours[:2], plain[:2], strict=True):
                assert (mine is None) == (theirs is None)
                if mine is not None:
                    assert mine.shape == theirs.shape
                    torch.testing.assert_close(mine[written], theirs[written], atol=1e-5, rtol=1e-5)
                    compared.append(int(written.sum()))
            if ours[0].requires_grad:
                weights = torch.linspace(-1, 1, written.sum())
                moved = [p for p in model.parameters() if p.requires_grad]
                mine, theirs = (
                    torch.autograd.grad((found[0][written] * weights).sum(), moved, retain_graph=True)
                    for found in (ours, plain)
                )
                for a, b in zip(mine, theirs, strict=True):
                    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
                gradients.append(max(float(g.abs().max()) for g in mine))
            read.append(ids.shape[1] - keep + written.sum(1))
            return ours

    monkeypatch.setattr(trainer_module, "SharedPrefix", Both)
    train(*load_nano(), Alternating().task, failures, small, tmp_path, seed=5)
    assert len(torch.cat(read).unique()) > 1  # rows of several lengths were read
    assert len(compared) >= 2 * small.steps  # with the adapter and without it
    assert len(gradients) >= small.steps and min(gradients) > 0


# the other arms of training


def changed(small, **changes):
    return dataclasses.replace(small, **changes)


def test_minus_one_for_a_failed_retry_is_the_same_training(run, small, failures, load_nano, tmp_path):
    """A group's advantages are centred and scaled: what a wrong retry earns cancels (but for TRL's 1e-4)."""
    negative = dataclasses.replace(R3, wrong=-1.0)
    train(*load_nano(), Alternating().task, failures, changed(small, arm=negative), tmp_path, seed=5)
    log = read_jsonl(tmp_path / "log.jsonl")
    assert [line["reward"] for line in log] == [0, 0] and [line["retry_pass_rate"] for line in log] == [0.5, 0.5]
    for name, weight in adapter(tmp_path).items():
        torch.testing.assert_close(weight, adapter(run.out)[name], atol=0.02 * small.learning_rate, rtol=0, msg=name)


def test_plain_grpo_answers_the_task_alone(small, failures, problems, load_nano, tmp_path):
    """Its prompts end with the task, its completions are answers; each problem is one row, however often it failed."""
    twice = Dataset.from_list([*failures, *[{**row, "answer": "<answer>1</answer>"} for row in failures]])
    rows = training_rows(TASK, twice, ARMS["first"])
    assert [row["prompt"] for row in rows] == [TASK.messages(p) for p in problems]
    stub, profile = Alternating(), changed(small, arm=ARMS["first"])
    train(*load_nano(), stub.task, twice, profile, tmp_path, seed=5)
    assert read_json(tmp_path / "record.json")["failures"] == fingerprint([*rows["prompt"]])
    log = read_jsonl(tmp_path / "log.jsonl")
    assert stub.calls == small.steps * small.prompts_per_step * small.num_generations
    assert all(0 < line["reflection_tokens"] <= small.attempt_tokens and line["grad_norm"] > 0 for line in log)
    batch = small.prompts_per_step * small.num_generations
    assert [line["sampled_tokens"] for line in log] == [round(line["reflection_tokens"] * batch) for line in log]


# the rollout that TRL is given


@pytest.fixture(scope="module")
def rollouts(nano, small, failures):
    """One batch of two groups, cut after the reflection and whole, with the same seed."""
    model, tokenizer = nano
    rows = training_rows(TASK, failures)
    trainer = SimpleNamespace(
        model=model,
        processing_class=tokenizer,
        use_vllm=False,
        state=SimpleNamespace(global_step=0),
        accelerator=SimpleNamespace(unwrap_model=lambda m: m, process_index=0),
    )
    prompts = [rows[i]["prompt"] for i in (3, 0) for _ in range(small.num_generations)]
    conversation = Conversation(model, tokenizer)
    conversation.open(TASK, [json.loads(rows[i]["problem"]) for i in (3, 0)])
    conversation.put([rows[i]["answer"] for i in (3, 0)], "attempt")
    conversation.say(TASK.reflect_prompt, "reflection_prompt")
    expected = [t.ids for t in conversation.transcripts for _ in range(small.num_generations)]
    cut, whole = (ReflectRetry(TASK, small, rows, 1, keep)(prompts, trainer) for keep in (False, True))
    return SimpleNamespace(expected=expected, cut=cut, whole=whole, trainer=trainer)


def test_a_batch_written_in_parts_is_the_same(rollouts, nano, small, failures):
    """`rollout_batch_size` bounds memory and decides nothing: one group at a time gives what both together give."""
    rows = training_rows(TASK, failures)
    prompts = [rows[i]["prompt"] for i in (3, 0) for _ in range(small.num_generations)]
    one_by_one = dataclasses.replace(small, rollout_batch_size=small.num_generations + 1)
    rollout = ReflectRetry(TASK, one_by_one, rows, 1)
    assert [copies for _, copies in rollout.parts(prompts)] == [[small.num_generations]] * 2
    assert rollout(prompts, rollouts.trainer) == rollouts.cut


def test_groups_share_their_prompt(rollouts, small):
    assert rollouts.cut["prompt_ids"] == rollouts.whole["prompt_ids"] == rollouts.expected
    reflections = rollouts.cut["completion_ids"]
    assert len({tuple(ids) for ids in reflections[: small.num_generations]}) > 1  # and are sampled apart


def test_completions_are_the_reflections(rollouts, small):
    """Cut: the reflection. Whole: the same tokens with mask 1, then the retry prompt and the retry with mask 0."""
    assert rollouts.cut["retry"] == rollouts.whole["retry"]
    assert "env_mask" not in rollouts.cut
    assert max(map(len, rollouts.cut["completion_ids"])) == small.train_reflection_tokens < small.reflection_tokens
    for cut, whole, mask in zip(
        rollouts.cut["completion_ids"], rollouts.whole["completion_ids"], rollouts.whole["env_mask"], strict=True
    ):
        assert len(cut) > 0
        assert whole[: len(cut)] == cut and len(whole) > len(cut)
        assert mask == [1] * len(cut) + [0] * (len(whole) - len(cut))


def test_the_arm_that_rewards_both_marks_reflection_and_retry(rollouts, small, failures):
    rows = training_rows(TASK, failures)
    prompts = [rows[i]["prompt"] for i in (3, 0) for _ in range(small.num_generations)]
    rollout = ReflectRetry(TASK, changed(small, arm=ARMS["both"]), rows, 1)
    both, tokenizer = rollout(prompts, rollouts.trainer), rollouts.trainer.processing_class
    assert both["completion_ids"] == rollouts.whole["completion_ids"] and both["retry"] == rollouts.whole["retry"]
    marked = 0
    for ids, mask, own, text in zip(
        both["completion_ids"], both["env_mask"], rollouts.cut["completion_ids"], both["retry"]
    ):
        assert mask[: len(own)] == [1] * len(own) and mask[-1] == 1 and 0 in mask
        retry = [token for token, one in zip(ids[len(own) :], mask[len(own) :], strict=True) if one]
        assert tokenizer.decode(retry, skip_special_tokens=True).strip() == text
        marked += sum(mask)
    assert rollout.sampled == marked


def test_training_rows_stop_at_the_reflection_prompt(failures, problems):
    row = training_rows(TASK, failures)[2]
    assert [m["role"] for m in row["prompt"]] == ["user", "assistant", "user"]
    assert [m["content"] for m in row["prompt"]] == [TASK.ask(problems[2]), failures[2]["answer"], TASK.reflect_prompt]
    assert json.loads(row["problem"]) == problems[2]


def test_failures_that_a_rollout_could_not_tell_apart_are_one_row():
    """Two problems with one query and one wrong answer, told apart by their tools alone."""
    one = {"query": "Play it.", "tools": [{"name": "play_song", "description": "", "parameters": {}}], "answers": []}
    two = one | {"tools": [{"name": "play_film", "description": "", "parameters": {}}]}
    failures = [{"problem": json.dumps(p), "answer": a} for p in (one, two) for a in ("no", "never")]
    rows = training_rows(function_calling.TASK, failures)
    assert [json.loads(row["problem"]) for row in rows] == [one, one]
    assert [row["prompt"][1]["content"] for row in rows] == ["no", "never"]


def test_the_reward_is_the_verdict_on_the_retry(problems):
    """The same reflection earns 1 or 0 with its retry; a reflection that holds the answer earns nothing."""
    problem = {"numbers": [34, 2, 6], "target": 192}
    right, wrong = "<answer>(34 - 2) * 6</answer>", "<answer>34 + 2 + 6</answer>"
    completions = [[{"role": "assistant", "content": text}] for text in ("Sorry.", "Sorry.", right)]
    retries = [right, wrong, wrong]
    rewards = retry_reward(TASK)(completions=completions, problem=[json.dumps(problem)] * 3, retry=retries)
    assert rewards == [1.0, 0.0, 0.0]


def rollout_calls(rollouts, small, failures, monkeypatch, **changes) -> list[tuple]:
    """(span, length, temperature, samples, seed) of every message of one batch."""
    asked, real = [], trainer_module.Conversation.reply

    def reply(self, span, max_new_tokens, temperature):
        asked.append((span, max_new_tokens, temperature, tuple(self.samples), self.seed))
        return real(self, span, max_new_tokens, temperature)

    monkeypatch.setattr(trainer_module.Conversation, "reply", reply)
    rows = training_rows(TASK, failures)
    prompts = [rows[i]["prompt"] for i in (3, 0) for _ in range(small.num_generations)]
    ReflectRetry(TASK, changed(small, **changes), rows, 1)(prompts, rollouts.trainer)
    return asked


def test_a_rollout_samples_as_the_profile_says(rollouts, small, failures, monkeypatch):
    """Each message at the temperature and at its own length; every reflection of a group is a sample of its own."""
    asked = rollout_calls(rollouts, small, failures, monkeypatch, temperature=0.6, retry_tokens=5)
    samples = tuple(range(small.num_generations)) * 2
    assert asked == [
        ("reflection", small.train_reflection_tokens, 0.6, samples, (1, 0)),
        ("retry", 5, 0.6, samples, (1, 0)),
    ]


def test_rollouts_are_written_in_evaluation_mode(rollouts, small, failures, monkeypatch):
    """Dropout, where a model has it, is for the update; and the update is made in training mode."""
    modes, model, real = [], rollouts.trainer.model, trainer_module.Conversation.reply

    def reply(self, *asked):
        modes.append(self.model.training)
        return real(self, *asked)

    monkeypatch.setattr(trainer_module.Conversation, "reply", reply)
    rows = training_rows(TASK, failures)
    model.train()
    try:
        ReflectRetry(TASK, small, rows, 1)([rows[3]["prompt"]] * small.num_generations, rollouts.trainer)
        assert modes == [False, False] and model.training
    finally:
        model.eval()


def test_every_step_draws_anew(rollouts, small, failures):
    rows = training_rows(TASK, failures)
    prompts = [rows[3]["prompt"]] * small.num_generations
    later = SimpleNamespace(**vars(rollouts.trainer) | {"state": SimpleNamespace(global_step=1)})
    first, again, second = (
        ReflectRetry(TASK, small, rows, 1)(prompts, which)["completion_ids"]
        for which in (rollouts.trainer, rollouts.trainer, later)
    )
    assert first == again != second


def test_two_wrong_answers_to_one_problem_draw_apart(rollouts, small, problems):
    """Else two groups of a step would share their luck: here a model that ignores what it reads shows it."""
    failures = [
        {"problem": json.dumps(problems[0]), "answer": a, "answer_ids": ids} for a, ids in (("1", [5]), ("2", [6]))
    ]
    rows = training_rows(TASK, Dataset.from_list(failures))
    seen = []
    real = trainer_module.Conversation._draws

    def draws(self, span, columns):
        seen.append(real(self, span, columns))
        return seen[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer_module.Conversation, "_draws", draws)
        ReflectRetry(TASK, small, rows, 1)([row["prompt"] for row in rows], rollouts.trainer)
    assert len(seen) == 2 and all(found.shape[0] == 2 and not torch.equal(*found) for found in seen)


def test_trl_is_asked_for_the_papers_settings(small, tmp_path):
    """KL weight, temperature (that of the log-probabilities too), cosine with a warm-up of 3 %, one update a batch."""
    profile = changed(small, steps=100, beta=0.02, temperature=0.6, learning_rate=3e-4)
    args = trainer_module.trl_config(profile, tmp_path, seed=9)
    assert (args.beta, args.temperature, args.learning_rate, args.seed) == (0.02, 0.6, 3e-4, 9)
    assert (args.lr_scheduler_type, args.warmup_steps, args.max_steps, args.num_iterations) == ("cosine", 3, 100, 1)
    assert (args.num_generations, args.max_completion_length) == (4, small.train_reflection_tokens)
    assert args.max_grad_norm == 1 and args.save_total_limit == 2 and not args.logging_nan_inf_filter
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps
    assert batch == small.prompts_per_step * small.num_generations
    first = trainer_module.trl_config(changed(profile, arm=ARMS["first"]), tmp_path, 0)
    assert first.max_completion_length == small.attempt_tokens and args.scale_rewards == "group"


@pytest.mark.parametrize(("micro_batch", "part"), [(1, 1), (3, 2), (4, 4), (100, 8)])
def test_a_step_is_one_update_of_equal_parts(small, tmp_path, micro_batch, part):
    """Eight rows in parts that divide them, no larger than the profile says."""
    args = trainer_module.trl_config(changed(small, micro_batch=micro_batch), tmp_path, 0)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (part, 8 // part)
    assert args.generation_batch_size == 8


THINKING = "<think>\nFirst 1 + 2 is 3.\n</think>\n\n<answer>1 + 2</answer>"


def test_training_and_judging_give_a_conversation_the_same_tokens(tiny, small, problems):
    """Qwen3's template drops thoughts from the past, so only one way of building a conversation gives one sequence."""
    model, tokenizer = tiny[0], copy.deepcopy(tiny[1])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<think>", "</think>"]})
    tokenizer.chat_template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text(encoding="utf-8")
    ids = tokenizer(THINKING)["input_ids"]
    judging = Loop(Conversation(model, tokenizer), TASK, problems[:1], small)
    judging.attempt([ids])
    judging.reflect(["Sorry."])
    failure = {"problem": json.dumps(problems[0]), "answer": "<answer>1 + 2</answer>", "answer_ids": ids}
    rows = training_rows(TASK, Dataset.from_list([failure]))
    trainer = SimpleNamespace(
        model=model,
        processing_class=tokenizer,
        use_vllm=False,
        state=SimpleNamespace(global_step=0),
        accelerator=SimpleNamespace(unwrap_model=lambda m: m, process_index=0),
    )
    model.resize_token_embeddings(len(tokenizer))
    prompt = ReflectRetry(TASK, small, rows, 1)([rows[0]["prompt"]], trainer)["prompt_ids"][0]
    transcript = judging.conversation.transcripts[0]
    assert prompt == transcript.ids[: transcript.spans["reflection"][0]]
    assert transcript.tokens("attempt") == ids


# nothing to learn


@pytest.mark.parametrize(("reward", "word"), [(0.0, "failed"), (1.0, "succeeded")])
def test_steps_without_signal_are_told_in_words(tmp_path, reward, word):
    """One warning after `patience` silent steps in a row; a step with signal starts the count anew."""
    progress, steps = Progress(tmp_path / "log.jsonl", patience=3), count(1)

    def step(silent: float) -> list[str]:
        logs = {
            "reward": reward,
            "frac_reward_zero_std": silent,
            "completions/mean_length": 5.0,
            "completions/clipped_ratio": 0.0,
        }
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            state = SimpleNamespace(global_step=next(steps), is_world_process_zero=True)
            progress.on_log(None, state, None, logs)
        return [str(w.message) for w in caught]

    progress.on_train_begin(None, TrainerState(max_steps=9), None)
    assert [step(s) for s in (1.0, 1.0, 0.75, 1.0, 1.0)] == [[]] * 5
    [message] = step(1.0)
    assert message == nothing_to_learn(reward, 3) and word in message and "3 steps" in message
    assert step(1.0) == []
    assert len(read_jsonl(tmp_path / "log.jsonl")) == 7


def test_logs_without_reward_are_not_steps(tmp_path):
    Progress(tmp_path / "log.jsonl").on_log(None, SimpleNamespace(global_step=2), None, {"train_runtime": 1.0})
    assert not (tmp_path / "log.jsonl").exists()
