"""Controls: forced openings, a plan first, resampled tries; chosen on validation, paired with the evaluation."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np
import pytest
from datasets import Dataset

from r3lib import failures
from r3lib.evaluate import evaluate
from r3lib.files import R3Error, read_json
from r3lib.measure import controls, reflections
from r3lib.measure.stats import for_tokens, pass_and_cost
from r3lib.outcomes import Outcomes
from r3lib.pages import report
from r3lib.problems.countdown import TASK

PROBLEMS = [{"numbers": [i, 10, 20], "target": 30 + i} for i in range(1, 4)]
RIGHT = [f"<answer>{i} + 10 + 20</answer>" for i in range(1, 4)]
BAD = "<answer>10 + 20</answer>"


def wrong(*answers: str) -> Dataset:
    rows = [{"problem": json.dumps(p), "answer": a, "answer_ids": None} for p, a in zip(PROBLEMS, answers)]
    return Dataset.from_list(rows)


def count(tokenizer, *texts: str) -> int:
    return sum(len(tokenizer(text)["input_ids"]) for text in texts)


def test_openings_are_those_of_rewarded_reflections(tiny, small, scripted):
    """Two of three retries are right: their beginning counts, not the one that stands first or is longest."""
    words = ["One two three four five six seven eight nine", "I 7 8 9 1 2 3 4 5", "I 7 8 9 1 2 3 4 5"]
    scripted(reflections, [words, [BAD, RIGHT[1], RIGHT[2]]])
    found = controls.openings(*tiny, TASK, wrong(BAD, BAD, BAD), small)
    ids = tiny[1](words[1])["input_ids"]
    assert found == [ids[:k] for k in (1, 2, 4, 8)]


def test_several_first_tokens_are_openings_the_most_frequent_first(tiny, small, scripted):
    words = ["7 8", "7 9", "7 1", "5 1", "5 2", "3 1"]
    scripted(reflections, [words, [RIGHT[i % 3] for i in range(6)]])
    six = Dataset.from_list(
        [{"problem": json.dumps(PROBLEMS[i % 3]), "answer": BAD, "answer_ids": None} for i in range(6)]
    )
    found = controls.openings(*tiny, TASK, six, small)
    assert found[:3] == [tiny[1](text)["input_ids"] for text in "753"] and len(found) <= 3 + 3


def test_where_nothing_is_rewarded_all_reflections_count_and_short_ones_have_no_long_opening(tiny, small, scripted):
    scripted(reflections, [["7 8 9"] * 3, [BAD] * 3])
    found = controls.openings(*tiny, TASK, wrong(BAD, BAD, BAD), small)
    ids = tiny[1]("7 8 9")["input_ids"]
    assert found == [ids[:k] for k in (1, 2, 4, 8) if k < len(ids)] and len(found) < 4
    scripted(reflections, [["7"] * 3, [BAD] * 3])
    with pytest.raises(R3Error, match="none has an opening"):
        controls.openings(*tiny, TASK, wrong(BAD, BAD, BAD), small)


def test_a_forced_reflection_begins_with_the_opening_and_the_model_goes_on(tiny, small, scripted):
    seen = scripted(controls, [[RIGHT[0], BAD, BAD], ["a", "b"], [RIGHT[1], BAD], ["c", "d"], [BAD, RIGHT[2]]])
    begun = [tiny[1](text)["input_ids"] for text in ("One,", "Two,")]
    one, two = controls.forced(*tiny, TASK, PROBLEMS, small, begun)
    assert [[o.right for o in own] for own in (one, two)] == [[1, 1, 0], [1, 0, 1]]
    assert [o.tokens for o in one] == [0, count(tiny[1], "a", RIGHT[1]), count(tiny[1], "b", BAD)]
    for (span, transcripts), opening in zip((seen[1], seen[3]), begun):
        assert span == "reflection"
        assert all(t.tokens("reflection_opening") == opening for t in transcripts)
        names = list(transcripts[0].spans)
        assert names[-3:] == ["reflection_prompt", "reflection_opening", "reflection"]


def test_a_real_forced_reflection_keeps_to_its_length(nano, small, problems):
    (found,) = controls.forced(*nano, TASK, problems, small, [nano[1]("Let me try. ")["input_ids"]])
    first = evaluate(*nano, TASK, problems, small, small.temperature)
    assert all(ours.right >= theirs for ours, theirs in zip(found, first.right["first"]))
    longest = small.reflection_tokens - 1 + small.retry_tokens
    assert all(one.tokens <= longest for one in found) and any(one.tokens for one in found)
    assert [one.tokens == 0 for one in found] == [bool(x) for x in first.right["first"]]  # the same first tries


def test_a_plan_comes_before_any_answer_and_is_followed_by_one(tiny, small, scripted):
    seen = scripted(controls, [["a", RIGHT[1], "c"], [RIGHT[0], BAD, RIGHT[2]]])
    opening = tiny[1]("One,")["input_ids"]
    found = controls.planned(*tiny, TASK, PROBLEMS, small, opening)
    assert [one.right for one in found] == [1, 0, 1]  # the answer counts, not the plan
    assert found[0].tokens == count(tiny[1], "a", RIGHT[0])
    whole = tiny[1].decode(seen[-1][1][0].ids)
    assert whole.count(TASK.ask(PROBLEMS[0])) == 2 and TASK.reflect_prompt not in whole
    assert list(seen[-1][1][0].spans) == ["prompt", "plan_opening", "plan", "retry_prompt", "retry"]


def test_first_tries_are_counted_for_each_problem(tiny, small, scripted):
    scripted(failures, [[RIGHT[0], BAD, BAD, RIGHT[1]], [BAD, BAD]])
    found = controls.first_tries(*tiny, TASK, PROBLEMS, dataclasses.replace(small, rollout_batch_size=5), 2)
    assert [one.right for one in found] == [1, 1, 0]
    assert found[0].tokens == count(tiny[1], RIGHT[0], BAD) and found[2].tokens == count(tiny[1], BAD, BAD)


@pytest.fixture
def asked(small, problems, tmp_path, monkeypatch):
    """A function that runs all controls on a few problems; the trained model is the vanilla one."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"one")
    load, loaded = controls.models.load, []
    monkeypatch.setattr(
        controls.models, "load", lambda profile, adapter=None: (loaded.append(adapter), load(profile))[1]
    )
    monkeypatch.setattr(controls, "SAMPLES", 3)
    profile = dataclasses.replace(small, failure_samples=1)

    def run(fresh: bool = False) -> list:
        loaded.clear()
        parts = problems[:3], problems[3:6], problems[6:]
        controls.run(TASK, profile, 0, tmp_path, tmp_path / "work", parts, adapter, fresh)
        return list(loaded)

    return run


def test_all_controls_are_written_once_and_resume(asked, tmp_path):
    assert len(asked()) == 3
    vanilla, trained = (read_json(controls.path(tmp_path, which)) for which in (False, True))
    assert vanilla["answers"] == trained["answers"]  # the same model, here
    assert vanilla["opening"] == trained["opening"] and vanilla["n"] == 3
    assert vanilla["opening"]["text"] in [text for _, text, _ in vanilla["tried"]]
    rates = {text: rate for _, text, rate in vanilla["tried"]}
    assert rates[vanilla["opening"]["text"]] == max(rates.values())
    assert set(vanilla["answers"]) == {"forced", "plan", "tries"} and vanilla["answers"]["tries"]["of"] == 3
    assert 0 < vanilla["answers"]["tries"]["tokens_a_try"] <= 8  # an answer's length
    assert asked() == []
    before = controls.path(tmp_path, True).read_bytes()
    controls.path(tmp_path, True).unlink()  # killed between the two
    assert asked() == [None, tmp_path / "adapter"]
    again = read_json(controls.path(tmp_path, True))
    assert {k: v for k, v in again.items() if k != "seconds"} == {
        k: v for k, v in json.loads(before).items() if k != "seconds"
    }


def test_controls_of_another_adapter_are_not_used(asked, tmp_path):
    asked()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"two")
    with pytest.raises(R3Error, match="controls-vanilla.json was made with adapter"):
        asked()
    asked(fresh=True)
    assert read_json(controls.path(tmp_path, True))["adapter"] == controls.hash_file(
        tmp_path / "adapter" / "adapter_model.safetensors"
    )
    shutil.rmtree(tmp_path / "adapter")
    with pytest.raises(R3Error, match="run the experiment of this seed first"):
        asked()


# in tables


@pytest.fixture
def run() -> report.Run:
    """Four problems: one right at first, one at second; 10 tokens a first try, 30 more a reflect-retry."""
    record = {"n": 4, "trained": True, "temperature": 0.7, "seed": 0}
    out = Outcomes()
    out.right |= {"first": [1, 0, 0, 0], "second": [1, 1, 0, 0]}
    out.tokens |= {"first": 40, "second": 40}
    tries = {"right": [4, 2, 0, 0], "of": 4, "tokens_a_try": 10.0}
    answers = {"forced": {"right": "1011", "tokens": 8}, "plan": {"right": "0001", "tokens": 8}, "tries": tries}
    return report.Run(record, out, {"answers": answers})


def test_tries_cost_what_is_sampled_until_one_is_right(run):
    """pass@k by hand: 1, then 1/2, 5/6, 1, 1 for two of four, and none."""
    found = pass_and_cost(**run.controls["answers"]["tries"])
    assert [list(right) for right, _ in found] == [
        pytest.approx(each) for each in ([1, 1 / 2, 0, 0], [1, 5 / 6, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0])
    ]
    unsolved = [1 - 1.5 / 4, 1 - (1 + 5 / 6) / 4, 1 - 2 / 4]
    assert [cost for _, cost in found] == pytest.approx([10 * (1 + sum(unsolved[:k])) for k in range(4)])


def test_one_try_is_made_at_least_and_no_more_than_were_sampled(run):
    found = pass_and_cost(**run.controls["answers"]["tries"])
    assert list(for_tokens(found, 5.0)) == list(found[0][0])
    assert list(for_tokens(found, 16.25)) == pytest.approx(found[1][0])
    assert list(for_tokens(found, 1000.0)) == list(found[3][0])


def test_resampling_spends_the_tokens_of_reflecting_and_retrying(run):
    """20 tokens a problem; two tries cost 16.25, three 21 2/3: 9 of 13 problems get a third."""
    right = report.resampled(run)
    assert list(right) == pytest.approx([1, 5 / 6 + 9 / 13 / 6, 0, 0])
    assert report.matrix([run], True, 0.7, "forced").tolist() == [[1, 0, 1, 1]]
    assert report.matrix([run], True, 0.7, "plan").tolist() == [[0, 0, 0, 1]]
    assert np.allclose(report.matrix([run], True, 0.7, "resampled"), [right])
    run.controls = None
    assert report.matrix([run], True, 0.7, "forced").size == 0
