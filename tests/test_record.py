"""What made an artifact is written beside it, and it is used for nothing else; checkpoints are whole or dropped."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
from filelock import FileLock
from transformers import TrainerState

from r3lib import evaluate, failures, grpo, models, record
from r3lib.config import ARMS
from r3lib.files import R3Error, read_json, read_jsonl, write_json
from r3lib.machine import experiment
from r3lib.machine.profiles import profile as named
from r3lib.outcomes import load_outcomes, outcomes_path
from r3lib.problems.countdown import TASK
from r3lib.progress import MANIFEST, Manifest, last_whole_checkpoint


@pytest.fixture(scope="module")
def splits(problems):
    """Training and test problems, apart."""
    return problems[:5], problems[5:]


@pytest.fixture(scope="module")
def brief(small):
    return dataclasses.replace(small, steps=1, prompts_per_step=1, num_generations=2, failure_samples=1)


@pytest.fixture(scope="module")
def done(brief, splits, tmp_path_factory):
    """One finished run: `out` and `work` in one folder."""
    folder = tmp_path_factory.mktemp("done")
    experiment.run(TASK, brief, 0, folder / "out", folder / "work", splits, (0.7,))
    return folder


@pytest.fixture
def again(done, brief, splits, tmp_path):
    """again(profile, ...): the same run asked for once more, in a copy of its folders."""
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)

    def run(profile=brief, seed=0, problems=splits, **options):
        experiment.run(TASK, profile, seed, tmp_path / "out", tmp_path / "work", problems, (0.7,), **options)

    run.out, run.work = tmp_path / "out", tmp_path / "work"
    return run


def contents(folder) -> dict:
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_every_artifact_has_its_record(done, brief):
    told = [
        read_json(done / "out" / "vanilla-T0.7.json"),
        read_json(done / "out" / "trained-T0.7.json"),
        read_json(done / "out" / "training.json"),
        read_json(done / "work" / "failures" / "record.json"),
        read_json(done / "work" / "train-r3" / "record.json"),
    ]
    for found in told:
        assert found["model"] == "r3-nano-2" and found["weights"] == models.fingerprint(brief) != "unknown"
        assert found["task"] == "countdown" and found["seed"] == 0 and found["commit"] and found["packages"]["torch"]
        assert found["settings"]["steps"] == 1 and "rollout_batch_size" not in found["settings"]
    assert [found.get("arm") for found in told] == ["vanilla", "r3", "r3", None, "r3"]
    assert len({found["problems"] for found in told[:2]}) == 1
    assert told[3]["problems"] == told[2]["trained_on"] == told[1]["trained_on"] != told[0]["problems"]


def test_what_was_made_by_just_this_is_used(again, monkeypatch):
    before = contents(again.out) | contents(again.work)
    monkeypatch.setattr(evaluate, "Loop", None)  # nothing may be run
    monkeypatch.setattr(grpo, "SharedPrefix", None)
    again()
    assert contents(again.out) | contents(again.work) == before


def test_the_batch_size_is_no_condition(again, brief):
    again(dataclasses.replace(brief, rollout_batch_size=3))


STALE = {
    "steps": dict(steps=2),
    "learning_rate": dict(learning_rate=8e-4),
    "beta": dict(beta=0.5),
    "num_generations": dict(num_generations=4),
    "train_reflection_tokens": dict(train_reflection_tokens=5),
    "lora_rank": dict(lora_rank=2),
}


@pytest.mark.parametrize("field", STALE)
def test_another_training_is_not_the_old_adapter(again, brief, field):
    """Ask for 2 steps after 1, or for another rate: never the old adapter under a new name."""
    with pytest.raises(R3Error) as caught:
        again(dataclasses.replace(brief, **STALE[field]))
    old, new = getattr(brief, field), STALE[field][field]
    message = str(caught.value)
    assert f"was made with {field} {old}, not {new}: delete " in message and "or add --fresh" in message
    for path in (again.out / "trained-T0.7.json", again.out / "training.json", again.work / "train-r3"):
        assert str(path) in message
    for path in (again.out / "vanilla-T0.7.json", again.work / "failures"):
        assert str(path) not in message


def test_fresh_makes_what_is_stale_again_and_keeps_the_rest(again, brief):
    kept = {p: p.read_bytes() for p in (again.out / "vanilla-T0.7.json", again.work / "failures" / "record.json")}
    again(dataclasses.replace(brief, steps=2), fresh=True)
    assert [line["step"] for line in read_jsonl(again.work / "train-r3" / "log.jsonl")] == [1, 2]
    assert load_outcomes(outcomes_path(again.out, True, 0.7))[0]["settings"]["steps"] == 2
    assert len(read_json(again.out / "training.json")["log"]) == 2
    assert all(path.read_bytes() == old for path, old in kept.items())


def test_training_itself_refuses_another_runs_folder(again, brief):
    """Also where it is called on its own, as in notebooks; and failures of another set are another training."""
    found = failures.load(again.work / "failures")
    model, tokenizer = models.load(brief)
    with pytest.raises(R3Error, match="train-r3 was made with learning_rate 0.005, not 0.1"):
        grpo.train(
            model, tokenizer, TASK, found, dataclasses.replace(brief, learning_rate=0.1), again.work / "train-r3"
        )
    with pytest.raises(R3Error, match="train-r3 was made with failures"):
        grpo.train(model, tokenizer, TASK, found.select(range(1, len(found))), brief, again.work / "train-r3")


def test_two_models_of_one_name_do_not_share_results(again, brief, tmp_path):
    """The whole name tells them apart, and so do the weights where even that is the same."""
    other = tmp_path / "elsewhere" / "r3-nano-2"
    shutil.copytree(brief.model, other)
    with pytest.raises(R3Error, match=f"was made with model r3-nano-2, not {other}"):
        again(dataclasses.replace(brief, model=str(other)))
    one = named(f"nano:{other}")
    assert one.slug.endswith("--elsewhere--r3-nano-2") and named("rtx24:a/m").slug != named("rtx24:b/m").slug


def test_other_weights_under_the_same_name_are_another_model(again, monkeypatch):
    monkeypatch.setattr(models, "fingerprint", lambda profile: "0123")
    with pytest.raises(R3Error, match="was made with weights [0-9a-f]{16}, not 0123"):
        again()


def test_the_fingerprint_sees_weights_tokenizer_and_template(brief, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(brief.model, folder)
    profile = dataclasses.replace(brief, model=str(folder))
    seen = {models.fingerprint(profile)}
    for name in ("model.safetensors", "tokenizer.json", "chat_template.jinja", "config.json"):
        (folder / name).write_bytes((folder / name).read_bytes() + b" ")
        seen.add(models.fingerprint(profile))
    (folder / "README.md").write_text("another card", encoding="utf-8")
    assert len(seen) == 5 and models.fingerprint(profile) in seen


def test_a_changed_test_set_of_the_same_length_is_judged_anew(again, splits):
    training, test = splits
    changed = [*test[:-1], {**test[-1], "target": test[-1]["target"] + 1}]
    with pytest.raises(R3Error, match="vanilla-T0.7.json was made with problems"):
        again(problems=(training, changed))


def test_a_changed_training_set_is_trained_anew(again, splits):
    training, test = splits
    with pytest.raises(R3Error, match=r"trained-T0.7.json was made with trained_on .*failures"):
        again(problems=(training[::-1], test))


def test_other_words_are_another_task(done, brief, splits, tmp_path):
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    other = TASK._replace(reflect_prompt="What went wrong?")
    with pytest.raises(R3Error, match="was made with problems"):
        experiment.run(other, brief, 0, tmp_path / "out", tmp_path / "work", splits, (0.7,))


def test_the_other_arms_are_checked_too(again, brief, splits):
    """Another arm trains on R3's failure set, beside it, and leaves the vanilla model out."""
    both, before = dataclasses.replace(brief, arm=ARMS["both"]), contents(again.work / "failures")
    out = again.out.with_name("both")
    experiment.run(TASK, both, 0, out, again.work, splits, (0.7,))
    assert {p.name for p in out.iterdir()} - {".lock"} == {"trained-T0.7.json", "training.json"}
    assert contents(again.work / "failures") == before and (again.work / "train-both" / "adapter").exists()
    with pytest.raises(R3Error, match="was made with learning_rate"):
        changed = dataclasses.replace(both, learning_rate=1e-5)
        experiment.run(TASK, changed, 0, out, again.work, splits, (0.7,))


def test_an_arms_outcomes_are_not_anothers(again, brief):
    with pytest.raises(R3Error, match="trained-T0.7.json was made with arm r3, not both"):
        again(dataclasses.replace(brief, arm=ARMS["both"]))


def test_a_file_of_the_first_edition_is_never_used_again(again):
    path = again.out / "vanilla-T0.7.json"
    old = {k: v for k, v in read_json(path).items() if k not in ("weights", "problems", "edition")}
    write_json(path, old)
    assert load_outcomes(path)[0]["task"] == "countdown"  # but it is read
    with pytest.raises(R3Error, match="vanilla-T0.7.json was made before records were kept: delete"):
        again()


def test_a_shortened_results_file_is_not_read_as_fewer_problems(again):
    path = again.out / "vanilla-T0.7.json"
    found = read_json(path)
    cut = {arm: bits[:2] for arm, bits in found["outcomes"]["right"].items()}
    for damage in (
        found | {"outcomes": found["outcomes"] | {"right": cut}},
        found | {"n": found["n"] + 1},
    ):
        write_json(path, damage)
        with pytest.raises(R3Error, match="not a whole results file|was made with n 4, not 3"):
            again()
    with pytest.raises(R3Error, match="outcomes of .* problems instead of"):
        load_outcomes(path)


def test_more_kinds_than_hex_digits(tmp_path):
    from r3lib.outcomes import Outcomes
    from r3lib.tasks import Verdict

    found = Outcomes()
    for i in range(40):
        right = Verdict(True, f"kind {i}", "")
        found.add(right, {})
    assert Outcomes.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_folder_without_a_record_is_nothing_to_use(brief, tmp_path):
    """An empty one (a run that was killed at once) is no artifact; one that holds something is an old one."""
    made, folder = record.make(TASK, brief, 0), tmp_path / "failures"
    folder.mkdir()
    (folder / ".lock").touch()
    assert record.why_not(folder, made, record.FAILURES) is None
    assert record.reusable(folder, made, record.FAILURES) is False
    (folder / "state.json").write_text("{}", encoding="utf-8")
    assert record.why_not(folder, made, record.FAILURES) == "was made before records were kept"


def test_every_process_has_looked_before_the_first_writes(brief, monkeypatch, tmp_path):
    """A second process that looks late must not take the first one's half-written record for an old artifact."""
    made, folder, looked = record.make(TASK, brief, 0), tmp_path / "train", []

    def barrier():
        if looked:  # the first process goes on, and writes
            folder.mkdir()
            (folder / ".record.json.half").touch()

    why_not = record.why_not
    monkeypatch.setattr(record, "why_not", lambda *how: looked.append(how) or why_not(*how))
    late = SimpleNamespace(is_main_process=False, wait_for_everyone=barrier)
    monkeypatch.setattr(record.models, "processes", lambda: late)
    assert record.reusable(folder, made, record.TRAINING) is False
    assert looked and folder.exists(), "it did not wait for the others after it had looked"


# what an artifact depends on

FAILURES = {"dtype", "four_bit", "vllm", "temperature", "attempt_tokens", "failure_samples"}
JUDGING = {"dtype", "four_bit", "vllm", "attempt_tokens", "reflection_tokens", "retry_tokens"}
SCALE = {"train_problems", "test_problems", "hub_data"}  # the problems themselves are compared


@pytest.mark.parametrize(
    ("uses", "matter"), [(record.FAILURES, FAILURES), (record.JUDGING, JUDGING), (record.TRAINING, None)]
)
def test_every_setting_is_compared_where_it_matters(brief, tmp_path, uses, matter):
    """Training depends on all of them but how many problems there are."""
    other = {"dtype": "float16", "four_bit": False, "hub_data": True, "vllm": "server"}
    plain = dataclasses.replace(brief, four_bit=False)
    write_json(tmp_path / "a.json", record.make(TASK, plain, 0))
    for name in {*plain.settings(), "vllm"} - {"name"}:
        value = other.get(name) if name in other else getattr(plain, name) + 1
        changed = dataclasses.replace(plain, **{name: True if name == "four_bit" else value})
        why = record.why_not(tmp_path / "a.json", record.make(TASK, changed, 0), uses)
        expected = name in matter if matter else name not in SCALE
        assert (why is not None and f"made with {name} " in why) == expected, name


def test_what_is_told_and_what_is_compared(brief, tmp_path, monkeypatch):
    """Another task, seed or edition of the algorithm is another artifact; another commit or machine is not."""
    made = record.make(TASK, brief, 0)
    write_json(tmp_path / "a.json", made)

    def why(wanted: dict) -> str | None:
        return record.why_not(tmp_path / "a.json", wanted, record.TRAINING)

    assert "task countdown" in why(record.make(TASK._replace(name="mine"), brief, 0))
    assert "seed 0, not 1" in why(record.make(TASK, brief, 1))
    assert why(made | {"commit": "0", "python": "4", "packages": {}, "machine": "another", "profile": "mine"}) is None
    monkeypatch.setattr(record, "EDITION", record.EDITION + 1)
    assert "made with edition" in why(record.make(TASK, brief, 0))


def test_problems_are_their_words_and_tools_in_order(problems):
    tools = TASK._replace(tools=lambda problem: [{"name": "calculator"}])
    others = [
        record.of_problems(task, rows)
        for task, rows in (
            (TASK, problems),
            (TASK, problems[::-1]),
            (TASK._replace(reflect_prompt="What went wrong?"), problems),
            (TASK._replace(ask=lambda problem: "Solve it."), problems),
            (tools, problems),
        )
    ]
    assert len(set(others)) == 5 and record.of_problems(TASK, problems) == others[0]


def test_a_folder_with_nothing_but_its_lock_is_no_artifact(brief, tmp_path):
    (tmp_path / ".lock").touch()
    assert record.why_not(tmp_path, record.make(TASK, brief, 0), record.TRAINING) is None


# training and test problems


def test_training_never_sees_a_test_problem(brief, splits, tmp_path, monkeypatch):
    """What the failure set is built of, and what is trained on, are the training problems alone."""
    seen = {"built": [], "judged": []}
    build, judge = failures.build, evaluate.evaluate

    def built(model, tokenizer, task, problems, *rest):
        seen["built"] += problems
        return build(model, tokenizer, task, problems, *rest)

    def judged(model, tokenizer, task, problems, *rest, **more):
        seen["judged"] += problems
        return judge(model, tokenizer, task, problems, *rest, **more)

    monkeypatch.setattr(failures, "build", built)
    monkeypatch.setattr(evaluate, "evaluate", judged)
    experiment.run(TASK, brief, 0, tmp_path / "out", tmp_path / "work", splits, (0.7,))
    assert seen == {"built": splits[0], "judged": splits[1] * 2}
    wrong = failures.load(tmp_path / "work" / "failures")
    assert all(json.loads(row["problem"]) in splits[0] for row in wrong)


# checkpoints


@pytest.fixture
def killed(small, problems, tmp_path):
    """killed(): a run of three steps that was killed in the third, with checkpoints of the first two."""
    from datasets import Dataset
    from test_grpo import Alternating

    rows = Dataset.from_list(
        [{"problem": json.dumps(p), "answer": f"<answer>{p['numbers'][0]} + 1</answer>"} for p in problems]
    )
    profile = dataclasses.replace(small, steps=3)
    batch = profile.prompts_per_step * profile.num_generations

    def run(out, fail_at=None):
        task = Alternating(fail_at).task
        return grpo.train(*models.load(profile), task, rows, profile, out, seed=5, save_steps=1)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "train", 2 * batch + 1)
    return run, tmp_path / "train", tmp_path / "whole"


@pytest.mark.parametrize("damage", ["missing", "empty", "other bits", "no manifest"])
def test_a_checkpoint_that_is_not_whole_is_dropped_and_the_one_before_used(killed, damage):
    """A missing optimizer resumed to other bits in silence; an empty one blocked every rerun."""
    run, out, whole = killed
    last = out / "checkpoint-2"
    assert sorted(p.name for p in out.glob("checkpoint-*")) == ["checkpoint-1", "checkpoint-2"]
    assert (last / MANIFEST).exists() and last_whole_checkpoint(out) == last
    optimizer = last / "optimizer.pt"
    if damage == "missing":
        optimizer.unlink()
    elif damage == "empty":
        optimizer.write_bytes(b"")
    elif damage == "other bits":
        bits = bytearray(optimizer.read_bytes())
        bits[len(bits) // 2] ^= 1
        optimizer.write_bytes(bits)
    else:
        (last / MANIFEST).unlink()
    run(out)
    run(whole)
    weights = [folder / "adapter" / "adapter_model.safetensors" for folder in (out, whole)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert [line["step"] for line in read_jsonl(out / "log.jsonl")] == [1, 2, 3]


def test_the_last_checkpoint_is_that_of_the_last_step(tmp_path):
    """Step 10 is after step 9, and what is not whole is removed: nothing would ever finish it."""
    for step in (9, 10, 11):
        folder = tmp_path / f"checkpoint-{step}"
        write_json(folder / "weights.json", {"step": step})
        Manifest().on_save(SimpleNamespace(output_dir=tmp_path), TrainerState(global_step=step), None)
    (tmp_path / "checkpoint-11" / "weights.json").unlink()
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-9"]


# a second run


def test_a_second_run_in_the_same_folder_is_kept_out(again):
    with FileLock(again.work / ".lock"):
        code = f"""
import sys
from pathlib import Path
from r3lib.files import R3Error, lock
try:
    with lock(Path({str(again.work)!r})):
        sys.exit("was let in")
except R3Error as error:
    print(error)
"""
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert (
        told.returncode == 0 and "Another run is at work in" in told.stdout and "choose another folder" in told.stdout
    )
    again()


def test_the_commit_has_a_mark_where_the_tree_differs(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "ROOT", tmp_path)
    assert record.commit() == "unknown"

    def git(*words):
        subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *words], cwd=tmp_path, check=True)

    git("init", "-q")
    (tmp_path / "r3lib").mkdir()
    (tmp_path / "r3lib" / "a.py").write_text("1", encoding="utf-8")
    git("add", ".")
    git("commit", "-qm", "one")
    clean = record.commit()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "x").write_text("1", encoding="utf-8")
    assert record.commit() == clean and "dirty" not in clean
    (tmp_path / "r3lib" / "a.py").write_text("2", encoding="utf-8")
    assert record.commit() == clean + "-dirty"
