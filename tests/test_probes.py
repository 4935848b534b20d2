"""More rounds of reflecting and retrying, with scripted replies and with the real model."""

from __future__ import annotations

import dataclasses
from itertools import combinations

import numpy as np
import pytest

from r3lib.conversation import Conversation
from r3lib.evaluate import evaluate
from r3lib.files import R3Error, read_json
from r3lib.measure import probes
from r3lib.measure.probes import rounds
from r3lib.measure.stats import pass_at
from r3lib.problems.countdown import TASK

PROBLEMS = [{"numbers": [i, 10, 20], "target": 30 + i} for i in range(1, 4)]
RIGHT = [f"<answer>{i} + 10 + 20</answer>" for i in range(1, 4)]
BAD = "<answer>10 + 20</answer>"


def test_each_round_goes_on_with_those_that_failed(tiny, small, scripted):
    """One right at once, one after a round, one never; a round that nobody is left for samples nothing."""
    seen = scripted(probes, [[RIGHT[0], BAD, BAD], ["a", "b"], [RIGHT[1], BAD], ["c"], [BAD]])
    right, tokens = rounds(*tiny, TASK, PROBLEMS, small, 1.0, 2)
    assert right == [[1, 0, 0], [1, 1, 0], [1, 1, 0]]

    def count(*texts: str) -> int:
        return sum(len(tiny[1](text)["input_ids"]) for text in texts)

    assert tokens == [count(RIGHT[0], BAD, BAD), count("a", "b", RIGHT[1], BAD), count("c", BAD)]
    last = tiny[1].decode(seen[-1][1][0].ids)
    assert [last.count(text) for text in (TASK.reflect_prompt, TASK.ask(PROBLEMS[2]), BAD)] == [2, 3, 3]


def test_a_blind_round_is_told_that_it_was_wrong_and_nothing_else(tiny, small, scripted):
    seen = scripted(probes, [[BAD, BAD, RIGHT[2]], [BAD, RIGHT[1]], [BAD], [RIGHT[0]]])
    right, _ = rounds(*tiny, TASK, PROBLEMS, small, 1.0, 3, reflect=False)
    assert right == [[0, 0, 1], [0, 1, 1], [0, 1, 1], [1, 1, 1]]
    last = tiny[1].decode(seen[-1][1][0].ids)
    assert TASK.reflect_prompt not in last and last.count("Your answer was wrong. Try again.") == 3


def test_the_first_round_is_the_evaluations_second_try(nano, small, problems):
    """Greedy: the same conversations, so the same verdicts."""
    outcomes = evaluate(*nano, TASK, problems, small, 0.0)
    for reflect, arm in ((True, "second"), (False, "blind")):
        right, _ = rounds(*nano, TASK, problems, small, 0.0, 1, reflect)
        assert right == [outcomes.right["first"], outcomes.right[arm]]


def test_each_question_has_its_own_temperature_and_seed(tiny, small, monkeypatch):
    asked = set()

    class Noting(Conversation):
        def reply(self, span, max_new_tokens, temperature):
            asked.add((self.seed, temperature))
            return super().reply(span, max_new_tokens, temperature)

    monkeypatch.setattr(probes, "Conversation", Noting)
    assert small.temperature != 0.3
    rounds(*tiny, TASK, PROBLEMS, small, 0.3, 1, seed=9)
    assert asked == {((9,), 0.3)}


def test_pass_at_k_is_the_share_of_draws_with_a_right_one():
    """Against every draw of k of the tries, one by one."""
    right, count = [0, 1, 3, 5], 5
    for k in range(1, count + 1):
        expected = [np.mean([min(draw) < c for draw in combinations(range(count), k)]) for c in right]
        assert pass_at(k, right, count) == pytest.approx(expected)
    with pytest.raises(ValueError, match="there are 5"):
        pass_at(6, right, count)


def test_all_questions_are_written_once(small, problems, tmp_path, monkeypatch):
    profile, test = dataclasses.replace(small, temperature=0.7), problems[:4]
    with pytest.raises(R3Error, match="run the experiment of this seed first"):
        probes.run(TASK, profile, 0, tmp_path, test, tmp_path / "adapter")
    for name in ("adapter", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_model.safetensors").write_bytes(name.encode())
    load, loaded = probes.models.load, []
    monkeypatch.setattr(probes.models, "load", lambda profile, adapter=None: (loaded.append(adapter), load(profile))[1])
    probes.run(TASK, profile, 0, tmp_path, test, tmp_path / "adapter", other=tmp_path / "other")
    assert loaded == [None, tmp_path / "adapter", tmp_path / "other"]
    found = {path.stem: read_json(path) for path in tmp_path.glob("probes-*.json")}
    assert set(found) == {"probes-vanilla", "probes-trained", "probes-transfer"}
    assert found["probes-vanilla"]["answers"] == found["probes-trained"]["answers"]  # the same model, here
    answers = found["probes-vanilla"]["answers"]
    assert len(answers) == 2 * len({*probes.TEMPERATURES, 0.7})
    assert [len(bits) for bits in answers["reflect-T0.7"]["right"]] == [4] * (1 + probes.ROUNDS)
    assert set(found["probes-transfer"]["answers"]) == {"reflect-T0.7", "blind-T0.7"}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("probes-*.json")}
    probes.run(TASK, profile, 0, tmp_path, test, tmp_path / "adapter", other=tmp_path / "other")
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.glob("probes-*.json")}


def test_a_task_with_long_answers_is_asked_less(small, problems, tmp_path, monkeypatch):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"")
    load = probes.models.load
    monkeypatch.setattr(probes.models, "load", lambda profile, adapter=None: load(profile))
    monkeypatch.setattr(probes, "TEMPERATURES", ())
    monkeypatch.setitem(probes.FEWER, "countdown", 2)
    probes.run(TASK, small, 0, tmp_path, problems[:4], tmp_path / "adapter")
    found = read_json(tmp_path / "probes-vanilla.json")
    assert found["n"] == 2 and {len(bits) for one in found["answers"].values() for bits in one["right"]} == {2}


def test_answers_of_another_adapter_are_not_used(small, problems, tmp_path, monkeypatch):
    (tmp_path / "adapter").mkdir()
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(b"one")
    load = probes.models.load
    monkeypatch.setattr(probes.models, "load", lambda profile, adapter=None: load(profile))
    monkeypatch.setattr(probes, "TEMPERATURES", ())
    monkeypatch.setitem(probes.FEWER, "countdown", 2)
    probes.run(TASK, small, 0, tmp_path, problems, tmp_path / "adapter")
    weights.write_bytes(b"two")
    with pytest.raises(R3Error, match="probes-trained.json was made with adapter .*: delete .*probes-trained.json, or"):
        probes.run(TASK, small, 0, tmp_path, problems, tmp_path / "adapter")
    probes.run(TASK, small, 0, tmp_path, problems, tmp_path / "adapter", fresh=True)
    found = [read_json(tmp_path / f"probes-{name}.json")["adapter"] for name in ("vanilla", "trained")]
    assert found[0] is None and found[1] == probes.hash_file(weights)
