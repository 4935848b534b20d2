"""The GRPO step end to end on r3-nano in NF4: reward, adapter, log, resuming, and the rollout that TRL is given."""

from __future__ import annotations

import dataclasses
import json
import warnings
from itertools import count
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import TrainerState
from trl import GRPOTrainer

from r3lib import grpo as trainer_module
from r3lib.conversation import prompt_ids
from r3lib.files import R3Error, read_jsonl
from r3lib.grpo import Progress, ReflectRetry, SharedPrompt, nothing_to_learn, retry_reward, train, training_rows
from r3lib.problems import function_calling
from r3lib.problems.countdown import TASK
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

    fail_at: the number of the call that is killed. calls: how many verdicts were given.
    """

    def __init__(self, fail_at: int | None = None):
        self.calls, self.fail_at = 0, fail_at
        self.task = TASK._replace(verify=self.verify)

    def verify(self, problem: dict, text: str) -> Verdict:
        self.calls += 1
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


def test_training_changes_the_adapter_and_not_the_base(run):
    after = base_weights(run.model)
    assert after.keys() == run.before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in run.before.items())
    ups = [weight for name, weight in adapter(run.out).items() if "lora_B" in name]  # zero until the first update
    assert ups and all(weight.abs().max() > 0 for weight in ups)


def test_only_the_adapter_and_the_log_stay(run):
    assert {path.name for path in run.out.iterdir()} - {"README.md"} == {"adapter", "log.jsonl"}  # the card is TRL's


def test_an_adapter_names_its_base_and_no_folder_of_this_machine(run):
    config = (run.out / "adapter" / "adapter_config.json").read_text()
    assert json.loads(config)["base_model_name_or_path"] == "r3-nano"
    assert str(run.out.parent) not in config and not (run.out / "adapter" / "README.md").exists()


def test_trl_is_asked_for_the_loss_of_this_kit(run):
    """test_loss.py shows TRL's loss under these settings to be r3lib.loss's; versions of TRL change its defaults."""
    args = torch.load(run.out / "adapter" / "training_args.bin", weights_only=False)
    asked = {name: getattr(args, name) for name in LOSS_SETTINGS}
    assert asked == LOSS_SETTINGS


def test_a_loss_that_is_no_number_ends_the_run_before_it_is_saved(small, failures, load_nano, tmp_path, monkeypatch):
    real = SharedPrompt.compute_loss
    monkeypatch.setattr(SharedPrompt, "compute_loss", lambda *a, **k: real(*a, **k) * float("nan"))
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
    with (out / "log.jsonl").open("a") as log:
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
    (tmp_path / "checkpoint-1").mkdir()
    train(*load_nano(), Alternating().task, failures, dataclasses.replace(small, steps=1), tmp_path)
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

    class Both(SharedPrompt):
        rows_at_once = 3

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

    monkeypatch.setattr(trainer_module, "SharedPrompt", Both)
    train(*load_nano(), Alternating().task, failures, small, tmp_path, seed=5)
    assert len(torch.cat(read).unique()) > 1  # rows of several lengths were read
    assert len(compared) >= 2 * small.steps  # with the adapter and without it
    assert len(gradients) >= small.steps and min(gradients) > 0


# the other arms of training


def changed(small, **changes):
    return dataclasses.replace(small, **changes)


def test_minus_one_for_a_failed_retry_is_the_same_training(run, small, failures, load_nano, tmp_path):
    """A group's advantages are centred and scaled: what a wrong retry earns cancels (but for TRL's 1e-4)."""
    train(*load_nano(), Alternating().task, failures, changed(small, arm="negative"), tmp_path, seed=5)
    log = read_jsonl(tmp_path / "log.jsonl")
    assert [line["reward"] for line in log] == [0, 0] and [line["retry_pass_rate"] for line in log] == [0.5, 0.5]
    for name, weight in adapter(tmp_path).items():
        torch.testing.assert_close(weight, adapter(run.out)[name], atol=0.02 * small.learning_rate, rtol=0, msg=name)


def test_advantages_that_are_not_scaled(run, small, failures, load_nano, tmp_path):
    """Rewards of half ones: the deviation is 0.53, so without it the gradient is about half."""
    train(*load_nano(), Alternating().task, failures, changed(small, arm="unscaled", steps=1), tmp_path, seed=5)
    deviation = torch.tensor([0.0, 1.0] * (small.num_generations // 2)).std()
    ours, theirs = (read_jsonl(path / "log.jsonl")[0]["grad_norm"] for path in (tmp_path, run.out))
    assert ours / theirs == pytest.approx(float(deviation), rel=0.05)


def test_plain_grpo_answers_the_task_alone(small, failures, problems, load_nano, tmp_path):
    """Its prompts end with the task, its completions are answers; each problem is one row, however often it failed."""
    twice = Dataset.from_list([*failures, *[{**row, "answer": "<answer>1</answer>"} for row in failures]])
    rows = training_rows(TASK, twice, "first")
    assert [row["prompt"] for row in rows] == [TASK.messages(p) for p in problems]
    stub, profile = Alternating(), changed(small, arm="first")
    train(*load_nano(), stub.task, failures, profile, tmp_path, seed=5)
    log = read_jsonl(tmp_path / "log.jsonl")
    assert stub.calls == small.steps * small.prompts_per_step * small.num_generations
    assert all(0 < line["reflection_tokens"] <= small.attempt_tokens and line["grad_norm"] > 0 for line in log)
    batch = small.prompts_per_step * small.num_generations
    assert [line["sampled_tokens"] for line in log] == [round(line["reflection_tokens"] * batch) for line in log]


def test_an_arm_that_does_not_exist_is_told(small, failures, load_nano, tmp_path):
    with pytest.raises(R3Error, match="choose one of r3, both"):
        train(*load_nano(), TASK, failures, changed(small, arm="r4"), tmp_path)


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
    expected = [prompt_ids(tokenizer, prompt) for prompt in prompts]
    cut, whole = (ReflectRetry(TASK, small, rows, 1, keep)(prompts, trainer) for keep in (False, True))
    return SimpleNamespace(expected=expected, cut=cut, whole=whole, trainer=trainer)


def test_a_batch_written_in_parts_is_the_same(rollouts, nano, small, failures):
    """`rows` bounds memory and decides nothing: one group at a time gives the rollouts of both together."""
    rows = training_rows(TASK, failures)
    prompts = [rows[i]["prompt"] for i in (3, 0) for _ in range(small.num_generations)]
    one_by_one = dataclasses.replace(small, rollout_batch_size=small.num_generations + 1)
    rollout = ReflectRetry(TASK, one_by_one, rows, 1)
    assert [[copies for _, copies in part] for part in rollout.parts(prompts)] == [
        [small.num_generations],
        [small.num_generations],
    ]
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
    rollout = ReflectRetry(TASK, changed(small, arm="both"), rows, 1)
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
