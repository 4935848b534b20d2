"""Each requirement on the small model is computed from its files, and can fail."""

from __future__ import annotations

import copy

import pytest

from r3lib.files import write_json, write_text
from r3lib.outcomes import Outcomes
from r3lib.pages import requirements
from r3lib.pages.report import Run

T = 1.0
KINDS = ("missed", "number", "count", "bracket")
N = 400


def row(**rates: float) -> dict[str, list[int]]:
    return {kind: [round(100 * rates.get(kind, 0.05)), 100] for kind in KINDS}


REPAIRS = {
    "own": row(missed=0.1),
    "generic sentence": row(),
    "begun with “search”": row(missed=0.3),
    "begun with “number”": row(number=0.3),
    "begun with “count”": row(count=0.3),
    "begun with “bracket”": row(bracket=0.3),
    "says useless": row(missed=0.5, number=0.5, count=0.5, bracket=0.5),
}


@pytest.fixture
def folder(tmp_path):
    write_json(tmp_path / "repairs.json", REPAIRS)
    write_json(tmp_path / "readiness.json", {"NF4": {"worked reflections that are right": [10, 40]}})
    log = [{"seconds": 600.0}, {"seconds": 1200.0}, {"seconds": 900.0}]  # resumed after 20 minutes, 15 more
    write_text(tmp_path / "log.jsonl", "".join(f'{{"seconds": {entry["seconds"]}}}\n' for entry in log))
    write_json(tmp_path / "recipe.json", {"start": None})
    return tmp_path


def run(trained: bool, first: float, second: float, forced: float | None = None) -> Run:
    out = Outcomes()
    out.right |= {"first": [int(i < first * N) for i in range(N)], "second": [int(i < second * N) for i in range(N)]}
    record = {"trained": trained, "temperature": T, "seed": 0, "n": N}
    bits = "".join(str(int(i < forced * N)) for i in range(N)) if forced is not None else ""
    return Run(record, out, {"answers": {"forced": {"right": bits, "tokens": 1}}} if bits else None)


@pytest.fixture
def arms():
    return {
        "vanilla": [run(False, 0.2, 0.3, 0.35)],
        "r3": [run(True, 0.2, 0.5)],
        "first": [run(True, 0.4, 0.45)],
    }


STEPS = {"trained with r3": [(1.0, 7.0, 6.0, 8.0), (2.0, 20.0, 20.0, 20.0)]}


def met(folder, arms, steps=STEPS) -> dict[str, bool | None]:
    return {line.what: line.met for line in requirements.lines(folder, arms, steps, T)}


def test_a_model_that_meets_all(folder, arms):
    found = requirements.lines(folder, arms, STEPS, T)
    assert all(line.met is not False for line in found) and len(found) == 10
    said = {line.what: line.measured for line in found}
    assert said["does first lift the first try?"].startswith("+20.0 [")
    assert said["does r3 lift the first try?"].startswith("+0.0 [")
    assert said["first turns may think: 5 to 10 % do, before RL"] == "7.0 %"
    opening = next(text for what, text in said.items() if what.startswith("the best forced opening"))
    assert opening.startswith("+5.0 [") and opening.endswith("points, 25 %")
    assert next(text for what, text in said.items() if "minutes on two cores" in what).endswith("35 minutes")
    assert "**no**" not in requirements.table(found) and "a question" in requirements.table(found)


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        ({"own": {"missed": [0, 400], "number": [0, 50], "count": [0, 50], "bracket": [0, 50]}}, "of several kinds"),
        ({"begun with “count”": row(count=0.3, number=0.2)}, "repairs its own kind"),
        ({"says useless": row(missed=0.2)}, "useless reflections are common"),
    ],
)
def test_what_was_measured_before_rl_can_fail(folder, arms, change, fails):
    write_json(folder / "repairs.json", copy.deepcopy(REPAIRS) | change)
    assert [what for what, ok in met(folder, arms).items() if ok is False and fails in what]


def test_searches_that_are_good_leave_no_room(folder, arms):
    write_json(folder / "readiness.json", {"NF4": {"worked reflections that are right": [30, 40]}})
    assert [what for what, ok in met(folder, arms).items() if ok is False] == [
        "searches are poor: at most half of them come to a right equation"
    ]


def test_an_opening_that_does_as_much_as_training_fails_twice(folder, arms):
    arms["vanilla"] = [run(False, 0.2, 0.3, 0.48)]
    failed = [what for what, ok in met(folder, arms).items() if ok is False]
    assert len(failed) == 2 and "at most half" in failed[0] and "at least 5 points" in failed[1]


def test_first_turns_that_never_think_and_a_long_training_fail(folder, arms):
    never = {"trained with r3": [(1.0, 0.1, 0.1, 0.1)]}
    assert met(folder, arms, never)["first turns may think: 5 to 10 % do, before RL"] is False
    write_text(folder / "log.jsonl", '{"seconds": 6000}\n')
    assert [what for what, ok in met(folder, arms).items() if ok is False and "minutes" in what]


def test_the_time_of_the_model_that_it_began_from_counts(folder, arms):
    base = folder / "base"
    base.mkdir()
    write_text(base / "log.jsonl", '{"seconds": 3600}\n')
    write_json(base / "recipe.json", {"start": None})
    own = folder / "own"
    own.mkdir()
    for name in ("repairs.json", "readiness.json", "log.jsonl"):
        write_text(own / name, (folder / name).read_text(encoding="utf-8"))
    write_json(own / "recipe.json", {"start": "base"})
    said = [line for line in requirements.lines(own, arms, STEPS, T) if "minutes on two cores" in line.what]
    assert said[0].measured.endswith("95 minutes") and said[0].met is False


def test_without_runs_of_this_model_only_what_needs_none_is_told(folder, arms, monkeypatch):
    few = requirements.lines(folder, {}, {}, T)
    assert len(few) == 5 and not any("trained" in line.what and "forced" in line.what for line in few)
    found = dict(arms)
    monkeypatch.setattr(requirements.compare, "load", lambda *_: found)
    monkeypatch.setattr(requirements.compare, "first_turns", lambda *_: STEPS)
    for runs in arms.values():
        for each in runs:
            each.record |= {"model": "another", "settings": {"temperature": T}}
            each.controls = each.controls or {"answers": {}}
    assert requirements.stored(folder, "countdown", "nano") == few
    for runs in arms.values():
        for each in runs:
            each.record["model"] = folder.name
    assert requirements.stored(folder, "countdown", "nano") == requirements.lines(folder, arms, STEPS, T)
    arms["r3"][0].controls = None
    assert requirements.stored(folder, "countdown", "nano") == few
    found |= {"vanilla": [], "r3": []}
    assert requirements.stored(folder, "countdown", "nano") == few
