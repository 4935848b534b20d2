"""The failure set: what is kept, what a killed build keeps, what makes a build start anew. Replies are scripted."""

from __future__ import annotations

import dataclasses
import errno
import json

import pytest
from datasets import Dataset

from r3lib import failures
from r3lib.files import R3Error
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

    def call(replies, seed: int = 0, problems=PROBLEMS, **changes) -> Dataset:
        changed = dataclasses.replace(profile, **changes)
        scripted(failures, one_problem_at_a_time(replies, changed.failure_samples))
        return failures.build(*tiny, TASK, problems, changed, tmp_path / "set", seed)

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
    assert set(dataset.column_names) == {"problem", "answer", "kind", "reason", "difficulty"}


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
    from r3lib.problems.countdown import TASK as countdown

    first, same, other = (
        failures.build(*tiny, countdown, problems[:2], small, tmp_path / name, seed)["answer"]
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


def test_a_set_that_cannot_be_written_is_whole_or_absent(build, tmp_path, monkeypatch):
    """A full disk at the end: a sentence, no half set, and no sampling when it is built again."""

    def full(self, folder):
        folder.mkdir()
        (folder / "dataset_info.json").write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Dataset, "save_to_disk", full)
        with pytest.raises(R3Error, match="No space left on device.*parts are kept"):
            build(REPLIES)
    assert not (tmp_path / "set").exists()
    assert rows(build([])) == WHOLE


def test_parts_with_another_seed_are_not_mixed_in(build):
    with pytest.raises(KeyboardInterrupt):
        build(killed(REPLIES[:1]))
    other = [["red", "red", "red", "rat"] + ["blue"] * 4, ["green"] * 4]
    assert rows(build(other, seed=1)) == [("red", "rat", 0.25)]


@pytest.mark.parametrize("change", [{"rows": 1}, {"problems": [{"word": w} for w in ("one", "two", "six")]}])
def test_parts_of_other_problems_are_not_mixed_in(build, change):
    with pytest.raises(KeyboardInterrupt):
        build(killed(REPLIES[:1]))
    size = change.get("rows", 2)
    words = [p["word"] for p in change.get("problems", PROBLEMS)]
    replies = [[w for word in words[i : i + size] for w in (word, word, word, "bad")] for i in range(0, 3, size)]
    assert rows(build(replies, **change)) == [(word, "bad", 0.25) for word in words]


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
