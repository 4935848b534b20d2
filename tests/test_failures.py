"""The failure set: what is kept, what a killed build keeps, what makes a build start anew. Replies are scripted."""

from __future__ import annotations

import dataclasses
import errno
import json

import pytest
from datasets import Dataset

from r3lib import failures
from r3lib.files import R3Error
from r3lib.problems.countdown import TASK as COUNTDOWN
from r3lib.tasks import Task, Verdict

TASK = Task(
    "echo",
    ask=lambda p: f"Say {p['word']}.",
    reflect_prompt="Reflect.",
    verify=lambda p, text: Verdict(text == p["word"], "echo", f"It is {p['word']}."),
    contains_answer=lambda p, text: p["word"] in text,
)
PROBLEMS = [{"word": word} for word in ("red", "blue", "green")]
REPLIES = [["red", "rod", "rod", "rid", "blue", "blue", "blue", "blue"], ["grey", "grey", "grey", "grey"]]  # two parts


@pytest.fixture
def profile(small):
    return dataclasses.replace(small, rollout_batch_size=2, failure_samples=4)


def one_problem_at_a_time(parts, samples: int):
    """The replies to each problem of every part; four samples are more than the two rows that are written at once."""
    return (part[i : i + samples] for part in parts for i in range(0, len(part), samples))


@pytest.fixture
def build(tiny, profile, tmp_path, scripted):
    """build(replies, seed): the failure set in tmp_path/set, made from scripted parts."""

    def call(replies, seed: int = 0, problems=PROBLEMS, fresh: bool = False, **changes) -> Dataset:
        changed = dataclasses.replace(profile, **changes)
        scripted(failures, one_problem_at_a_time(replies, changed.failure_samples))
        return failures.build(*tiny, TASK, problems, changed, tmp_path / "set", seed, fresh)

    return call


def killed(replies: list):
    """The replies, then a kill."""
    yield from replies
    raise KeyboardInterrupt


def rows(dataset: Dataset) -> list[tuple]:
    return [(json.loads(r["problem"])["word"], r["answer"], r["difficulty"]) for r in dataset]


WHOLE = [("red", "rod", 0.75), ("red", "rid", 0.75), ("green", "grey", 1.0)]


def test_distinct_wrong_answers_are_kept_with_their_difficulty(build):
    """Difficulty is the share of a problem's samples that were wrong; a problem always solved leaves no row."""
    dataset = build(REPLIES)
    assert rows(dataset) == WHOLE
    assert dataset[0]["kind"] == "echo" and dataset[0]["reason"] == "It is red."
    assert set(dataset.column_names) == {"problem", "answer", "answer_ids", "kind", "reason", "difficulty"}


def test_the_model_is_asked_through_the_chat_template(tiny, profile, tmp_path, scripted):
    seen = scripted(failures, one_problem_at_a_time(REPLIES, profile.failure_samples))
    failures.build(*tiny, TASK, PROBLEMS, profile, tmp_path / "set")
    prompts = [tiny[1].decode(t.tokens("prompt")) for _, transcripts in seen for t in transcripts]
    assert prompts == [
        f"<|im_start|>user\nSay {word}.<|im_end|>\n<|im_start|>assistant\n"
        for word in ("red", "blue", "green")
        for _ in range(4)
    ]


def test_a_real_model_builds_it_and_its_seed_repeats_it(tiny, small, problems, tmp_path):
    first, same, other = (
        failures.build(*tiny, COUNTDOWN, problems[:2], small, tmp_path / name, seed)["answer"]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert first == same
    assert first != other


def test_a_finished_set_is_loaded(build):
    build(REPLIES)
    assert rows(build([])) == WHOLE


def test_a_killed_build_keeps_its_parts(build, tmp_path):
    """Killed in the second part: no set yet; the next build asks for the second part only."""
    with pytest.raises(KeyboardInterrupt):
        build(killed(REPLIES[:1]))
    assert not (tmp_path / "set").exists()
    assert rows(build(REPLIES[1:])) == WHOLE
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_rows_stand_in_the_order_of_the_problems(build, tmp_path):
    """Also where a part that was lost is built together with a later one."""
    red, blue, green = REPLIES[0][:4], ["blue", "bad", "blue", "blue"], REPLIES[1]
    with pytest.raises(KeyboardInterrupt):
        build(killed([red, blue]), rollout_batch_size=1)
    (tmp_path / "set.parts" / "0000000.json").unlink()
    assert rows(build([red, green])) == [*WHOLE[:2], ("blue", "bad", 0.25), WHOLE[2]]


def test_a_set_that_cannot_be_written_is_whole_or_absent(build, tmp_path, monkeypatch):
    """A full disk at the end: a sentence, no half set, and no sampling when it is built again."""

    def full(self, folder):
        folder.mkdir()
        (folder / "dataset_info.json").write_text("{", encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "save_to_disk", full)
        with pytest.raises(R3Error, match="No space left on device.*parts are kept"):
            build(REPLIES)
    assert not (tmp_path / "set").exists()
    assert rows(build([])) == WHOLE


CHANGES = {
    "seed": {"seed": 1},
    "problems": {"problems": [{"word": w} for w in ("one", "two", "six")]},
    "temperature": {"temperature": 0.25},
    "attempt_tokens": {"attempt_tokens": 7},
    "failure_samples": {"failure_samples": 2},
}


@pytest.mark.parametrize("field", CHANGES)
@pytest.mark.parametrize("whole", [True, False])
def test_a_set_or_its_parts_that_were_made_by_something_else_are_not_used(build, tmp_path, field, whole):
    """Told in one sentence, with both values and what to delete; `fresh` deletes it and begins anew."""
    if whole:
        build(REPLIES)
    else:
        with pytest.raises(KeyboardInterrupt):
            build(killed(REPLIES[:1]))
    folder = tmp_path / ("set" if whole else "set.parts")
    with pytest.raises(R3Error, match=rf"{folder} was made with {field} \S+, not \S+: delete {folder}, or add --fresh"):
        build([], **CHANGES[field])
    change = {"problems": PROBLEMS, "failure_samples": 4} | CHANGES[field]
    words = [problem["word"] for problem in change["problems"]]
    samples = change["failure_samples"]
    replies = [[w for word in words[i : i + 2] for w in [word] * (samples - 1) + ["bad"]] for i in (0, 2)]
    assert rows(build(replies, fresh=True, **CHANGES[field])) == [(word, "bad", 1 / samples) for word in words]


def test_a_killed_build_resumes_with_another_batch_size(build):
    """The out-of-memory advice is to lower it: what is finished is kept, and nothing is drawn otherwise."""
    with pytest.raises(KeyboardInterrupt):
        build(killed(REPLIES[:1]))
    assert rows(build(REPLIES[1:], rollout_batch_size=1)) == WHOLE


def test_the_batch_size_changes_no_failure(tiny, small, problems, tmp_path):
    one, all_at_once = (
        failures.build(
            *tiny, COUNTDOWN, problems, dataclasses.replace(small, rollout_batch_size=n), tmp_path / str(n), 3
        ).to_list()
        for n in (1, 250)
    )
    assert one == all_at_once


def test_the_tokens_of_an_answer_are_those_that_were_written(nano, small, problems, tmp_path):
    """The end of turn included, where the model wrote one: training puts them where evaluation has them."""
    model, tokenizer = nano
    whole = dataclasses.replace(small, attempt_tokens=32)
    found = failures.build(*nano, COUNTDOWN, problems, whole, tmp_path / "set", 1)
    assert all(tokenizer.decode(r["answer_ids"], skip_special_tokens=True).strip() == r["answer"] for r in found)
    assert any(r["answer_ids"][-1] == tokenizer.eos_token_id for r in found)


def test_answers_are_sampled_as_the_profile_says(nano, small, problems, tmp_path, monkeypatch):
    """At its temperature and length, and each sample apart."""
    asked, real = [], failures.Conversation.reply

    def reply(self, span, max_new_tokens, temperature):
        asked.append((span, max_new_tokens, temperature, tuple(self.samples), self.seed))
        return real(self, span, max_new_tokens, temperature)

    monkeypatch.setattr(failures.Conversation, "reply", reply)
    profile = dataclasses.replace(small, temperature=0.6, attempt_tokens=9, retry_tokens=5, failure_samples=3)
    failures.build(*nano, COUNTDOWN, problems[:2], profile, tmp_path / "set", 7)
    assert asked == [("attempt", 9, 0.6, (0, 1, 2) * 2, (7,))]


def test_nothing_wrong_is_an_error_that_says_what_to_do(build, tmp_path):
    with pytest.raises(R3Error, match="harder problems"):
        build([["red"] * 4 + ["blue"] * 4, ["green"] * 4])
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("damage", ["state.json", "data-00000-of-00001.arrow"])
def test_a_damaged_set_is_an_error_that_says_what_to_do(build, tmp_path, damage):
    build(REPLIES)
    (tmp_path / "set" / damage).write_bytes(b"\x00garbage")
    with pytest.raises(R3Error, match="delete that folder"):
        failures.load(tmp_path / "set")


def test_a_missing_set_is_an_error(tmp_path):
    with pytest.raises(R3Error, match="cannot be read"):
        failures.load(tmp_path / "none")
