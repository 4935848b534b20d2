"""Arms beside each other: planted differences are found, pairs are by seed, and no plot or table needs every arm."""

from __future__ import annotations

import copy
import random

import pytest

from r3lib.files import R3Error, read_json, write_json
from r3lib.outcomes import RETRIES, Outcomes, outcomes_path
from r3lib.pages import compare, paper, plots
from r3lib.pages.report import matrix

RATES = {"vanilla": 0.05, "r3": 0.4, "first": 0.1}  # of retries with the own reflection
N, T = 300, 0.7


def outcomes(seed: int, rate: float) -> Outcomes:
    rng, out = random.Random(seed), Outcomes()
    luck = random.Random(7)  # of the problems: the same for every arm
    for _ in range(N):
        first = luck.random() < 0.3
        out.right["first"].append(int(first))
        out.right["lenient"].append(int(first))
        for arm in RETRIES:
            out.right[arm].append(int(first or rng.random() < (rate if arm == "second" else 0.05)))
        out.kinds["first"].append("correct" if first else "missed_target")
        out.kinds["second"].append("correct" if out.right["second"][-1] else "wrong_numbers")
        out.leak.append(None if first else 0)
        out.reflection_tokens.append(None if first else 30)
    out.tokens = dict.fromkeys(("first", *RETRIES), 10 * N) | {"second": 40 * N}
    return out


@pytest.fixture
def results(tmp_path):
    """Two seeds of the vanilla model, R3 and plain GRPO, as `make experiments` lays them out."""
    for number, (arm, rate) in enumerate(RATES.items()):
        base = tmp_path / ("countdown/nano" if arm != "first" else "arms/countdown/nano/first")
        for seed in (0, 1):
            record = {
                "task": "countdown",
                "model": "fake",
                "profile": "nano",
                "arm": arm,
                "trained": arm != "vanilla",
                "seed": seed,
                "temperature": T,
                "n": N,
                "commit": "abc",
                "settings": {"four_bit": True, "dtype": "float32", "temperature": T},
            }
            path = outcomes_path(base / f"seed{seed}", arm != "vanilla", T)
            if arm != "vanilla":
                log = [{"sampled_tokens": 1000 * n + 1000 * number} for n in (1, 2, 1 + 2 * seed)]
                write_json(path.parent / "training.json", {"log": log})
            write_json(path, {**record, "outcomes": outcomes(10 * number + seed, rate).to_json()})
    return tmp_path


def test_arms_are_loaded_with_vanilla_first(results):
    arms = compare.load("countdown", "nano", results)
    assert list(arms) == ["vanilla", "r3", "first"]
    assert all([r.record["seed"] for r in runs] == [0, 1] for runs in arms.values())


def test_first_turns_are_the_mean_of_the_seeds_at_each_step(results):
    assert compare.first_turns("countdown", "nano", results) == {}
    for seed, share in ((0, 0.25), (1, 0.5)):
        path = results / "arms" / "countdown" / "nano" / "first" / f"seed{seed}" / "training.json"
        log = [{"step": step, "sampled_tokens": 1, "thinks_first": share / step} for step in (1, 2)]
        write_json(path, {"log": log})
    found = compare.first_turns("countdown", "nano", results)
    assert found == {"trained with first: words before the first answer": [(1, 37.5, 25, 50), (2, 18.75, 12.5, 25)]}


def test_a_planted_difference_is_found_and_its_absence_too(results):
    arms = compare.load("countdown", "nano", results)
    mean, low, high = compare.difference(arms["r3"], arms["vanilla"], T, "second", "second")
    assert mean == pytest.approx(100 * 0.7 * 0.35, abs=5) and low > 10 and high - low < 15
    found = compare.controls(arms["vanilla"], T)
    assert all(low <= mean <= high and abs(mean) < 10 for _, mean, low, high in found)
    assert sum(low <= 0 <= high for _, _, low, high in found) >= len(found) - 1  # one in twenty misses by chance
    assert all(low > 10 for _, _, low, _ in compare.controls(arms["r3"], T))


def test_the_table_has_every_arm_with_its_cost(results):
    arms = compare.load("countdown", "nano", results)
    table = compare.arms_table(arms, T, compare.sampled("countdown", "nano", results))
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" |")[0] for row in rows] == [
        "| nothing (vanilla)",
        "| r3: reward on the reflection",
        "| first: plain GRPO on first answers",
    ]
    assert all("| 50 / 20 |" in row for row in rows)
    head = table.splitlines()[2].split(" | ")
    first, second = (head.index(f"{number} try follows the rules") for number in ("first", "second"))
    assert all(row.split(" | ")[first].startswith("100.0 [") for row in rows)  # they miss the target, in the rules
    follow = [100 * matrix(runs, runs[0].record["trained"], T, "second_follows").mean() for runs in arms.values()]
    assert [float(row.split(" | ")[second].split()[0]) for row in rows] == pytest.approx(follow, abs=0.06)
    assert [row.split(" | ")[1] for row in rows] == ["0", "8", "11"]


def test_runs_are_paired_over_the_seeds_that_both_have(results):
    arms = compare.load("countdown", "nano", results)
    own = [[run for run in arms[arm] if run.record["seed"] == 0] for arm in ("r3", "vanilla")]
    asked = T, "second", "second"
    assert compare.difference(arms["r3"], own[1], *asked) == compare.difference(*own, *asked)
    assert compare.difference(arms["r3"], own[1], *asked) != compare.difference(arms["r3"], arms["vanilla"], *asked)
    for run in own[1]:
        run.record = run.record | {"seed": 7}
    with pytest.raises(R3Error, match=r"\[0, 1\] cannot be paired with seeds \[7\]"):
        compare.difference(arms["r3"], own[1], *asked)


def test_arms_of_other_seeds_say_which(results):
    arms = compare.load("countdown", "nano", results)
    trained_on = dict.fromkeys(arms, 1000.0)
    assert "(seed" not in compare.arms_table(arms, T, trained_on)
    arms["first"] = [run for run in arms["first"] if run.record["seed"] == 0]
    table = compare.arms_table(arms, T, trained_on)
    assert "(seed 0)" in table and "(seeds 0, 1)" in table


def test_our_gains_have_the_papers_names(results):
    runs = [run for arm in ("vanilla", "r3") for run in compare.load("countdown", "nano", results)[arm]]
    found = compare.gains(runs, T)
    assert list(found) == list(paper.GAINS) and {model for model, *_ in found.values()} == {"fake (ours, 2 seeds)"}
    name, mean, low, high = found["training, second try: trained − vanilla"]
    assert mean == pytest.approx(100 * 0.7 * 0.35, abs=5) and low < mean < high
    assert found["training, first try: trained − vanilla"][1:] == (0, 0, 0)


def test_flows_count_every_problem_once(results):
    runs = compare.load("countdown", "nano", results)["r3"]
    found = compare.flows(runs, T)
    assert found.total() == 2 * N
    assert set(found) == {("correct", "correct"), ("missed_target", "correct"), ("missed_target", "wrong_numbers")}


def test_the_plots_show_all_rows(results):
    arms = compare.load("countdown", "nano", results)
    panels = compare.forest(arms, T)
    figure = plots.forest(panels, "points")
    assert [axis.get_title(loc="left") for axis in figure.axes] == list(panels)
    assert all(len(axis.get_yticks()) == len(compare.CONTROLS) for axis in figure.axes)
    plots.close(figure)
    figure = plots.flows(*(compare.flows(arms[name], T) for name in ("vanilla", "r3")))
    shown = [text.get_text() for text in figure.axes[1].texts]
    assert len(shown) == 3 and sum(map(int, shown)) == pytest.approx(100, abs=2)
    plots.close(figure)


def record(name: str, seed: int, rates: tuple[float, ...], tokens: tuple[int, ...], each: float) -> dict:
    """Answers to the probes with planted accuracies: rates of rounds 0, 1, … and of each independent try."""
    rng = random.Random(f"{name} {seed}")
    luck = [rng.random() for _ in range(N)]
    bits = ["".join(str(int(x < rate)) for x in luck) for rate in rates]
    lost = ["".join(str(int(x < rates[0])) for x in luck)] * len(rates)  # blind rounds: nothing gained
    answers = {f"reflect-T{T}": {"right": bits, "tokens": [n * N for n in tokens]}}
    answers |= {f"blind-T{T}": {"right": lost, "tokens": [10 * N] * len(rates)}}
    answers |= {f"{how}-T0": {"right": lost[:2], "tokens": [10 * N] * 2} for how in ("reflect", "blind")}
    answers["tries"] = {"right": [sum(rng.random() < each for _ in range(8)) for _ in range(N)], "of": 8}
    answers["tries"]["tokens_a_try"] = 10.0
    what = {"task": "countdown", "model": "fake", "profile": "nano", "asked": name}
    return {**what, "seed": seed, "n": N, "temperature": T, "answers": answers}


@pytest.fixture
def asked(tmp_path):
    """Probes of two seeds: training lifts the first round by 30 points, the second by 10 more."""
    for seed in (0, 1):
        folder = tmp_path / "countdown" / "nano" / f"seed{seed}"
        write_json(folder / "probes-vanilla.json", record("vanilla", seed, (0.3, 0.35), (10, 20), 0.3))
        write_json(folder / "probes-trained.json", record("trained", seed, (0.3, 0.6, 0.7), (10, 40, 40), 0.3))
    write_json(tmp_path / "countdown/nano/seed0/probes-transfer.json", record("transfer", 0, (0.3, 0.3), (10, 20), 0))
    return compare.probes("countdown", "nano", tmp_path)


def test_rounds_add_up_right_answers_and_tokens(asked):
    assert list(asked) == ["vanilla", "trained", "transfer"] and len(asked["trained"]) == 2
    costs, means, lows, highs = zip(*compare.rounds(asked["trained"], "reflect"))
    assert costs == (10, 50, 90) and means == pytest.approx((30, 60, 70), abs=4)
    assert all(low < mean < high for low, mean, high in zip(lows, means, highs))
    assert {mean for _, mean, *_ in compare.rounds(asked["trained"], "blind")} == {means[0]}
    table = compare.rounds_table({"vanilla": asked["trained"], "trained": asked["trained"]})
    assert [line.split(" |")[0] for line in table.splitlines()[-3:]] == [
        "| first try",
        "| after round 1",
        "| after round 2",
    ]
    assert f"| {means[1]:.1f} [{lows[1]:.1f}, {highs[1]:.1f}] (50) |" in table


def test_temperatures_stand_in_order(asked):
    found = compare.by_temperatures(asked)["trained: own reflection"]
    assert [t for t, *_ in found] == [0, T] and found[1][1] > found[0][1]


def test_independent_tries_cost_what_is_sampled_until_one_is_right(asked):
    """With 30 % a try: after k tries 1 - 0.7^k are solved, at 10 tokens for every problem that was still open."""
    found = compare.independent(asked["vanilla"])
    assert len(found) == 8
    for k, (cost, mean, *_) in enumerate(found, 1):
        assert mean == pytest.approx(100 * (1 - 0.7**k), abs=4)
        assert cost == pytest.approx(10 * (1 - 0.7**k) / 0.3, abs=1)


def test_the_same_tokens_are_spent_to_the_last(asked):
    """20 tokens lie between two tries (17 tokens, 51 % solved) and three (22 tokens, 66 %), 1000 beyond the last."""
    cheap = copy.deepcopy(asked["vanilla"])
    for one in cheap:
        one["answers"][f"reflect-T{T}"]["tokens"] = [10 * N, 10 * N]
    mean, low, high = compare.equal_tokens(cheap, asked["vanilla"])
    assert mean == pytest.approx(100 * (0.51 + 3 / 4.9 * 0.147 - 0.35), abs=5) and low < mean < high
    told = compare.verdict({"trained": cheap, "vanilla": asked["vanilla"]})
    assert "costs 20 tokens" in told and f"{mean:+.1f}" in told and "were stored" not in told
    for one in cheap:
        one["answers"][f"reflect-T{T}"]["tokens"] = [1000 * N, 1000 * N]
    assert mean < compare.equal_tokens(cheap, asked["vanilla"])[0]
    assert "(all 8 that were stored" in compare.verdict({"trained": cheap, "vanilla": asked["vanilla"]})


def test_the_fewest_tries_that_solve_as_much(asked):
    """60 % take two to three tries of 30 %: with 0.7 and 0.49 of the problems still open, 1 + 0.7 + 0.49 calls."""
    k, calls, ours = compare.fewest(asked["trained"], asked["vanilla"])
    assert k == 3 and calls == pytest.approx(2.19, abs=0.06) and ours == pytest.approx(1.7, abs=0.06)
    assert f"3 tries solve as much, with {calls:.1f} calls" in compare.verdict(asked)
    for record in asked["vanilla"]:
        record["answers"]["tries"]["right"] = [0] * N
    assert compare.fewest(asked["trained"], asked["vanilla"])[:2] == (0, 8)
    assert "Not even 8 tries solve as much, at 8.0 calls" in compare.verdict(asked)


def test_tries_come_from_the_controls_where_the_probes_have_none(asked, tmp_path):
    path = tmp_path / "countdown/nano/seed0/probes-vanilla.json"
    old = read_json(path)
    tries = old["answers"].pop("tries")
    write_json(path, old)
    more = tries | {"right": [*tries["right"], 5]}  # of one problem more
    write_json(path.with_name("controls-vanilla.json"), {"answers": {"tries": more}})
    assert compare.probes("countdown", "nano", tmp_path)["vanilla"][0]["answers"]["tries"] == tries


def test_transfer_is_paired_with_the_seeds_that_were_transferred(asked):
    table = compare.transfer_table(asked)
    assert "seed 0, " in table and table.count("\n|") == 5
    own = 100 * compare.tries(asked["trained"][:1], "reflect", T, 1).mean()
    assert f"| {own:.1f} [" in table


def test_curves_draw_every_line(asked):
    for found in (compare.by_tokens(asked), compare.by_temperatures(asked)):
        figure = plots.curves(found, "x", "y", log=False)
        assert [line.get_label() for line in figure.axes[0].lines] == list(found)
        plots.close(figure)


def test_curves_of_models_that_do_the_same_are_told_apart_without_colour():
    line = [(step, 1.0, 0.5, 1.5) for step in range(60)]
    figure = plots.curves({f"trained with {arm}: thinks": line for arm in ("r3", "both", "first")}, "step", "%")
    lines = figure.axes[0].lines
    assert len({own.get_linestyle() for own in lines}) == len({own.get_marker() for own in lines}) == 3
    assert all(own.get_markevery() == 6 for own in lines)  # sixty markers would hide the dashes
    plots.close(figure)


def test_a_difference_is_told_as_its_interval_allows():
    words = "rose", "fell", "did not move beyond its interval"
    assert compare.told((2.0, 1.0, 3.0), *words) == "rose by 2.0 points [1.0, 3.0]"
    assert compare.told((-2.0, -3.0, -1.5), *words) == "fell by 2.0 points [1.5, 3.0]"
    for low, high in ((-1.0, 3.0), (0.0, 3.0)):
        still = f"did not move beyond its interval (+2.0 points [{low:+.1f}, {high:+.1f}])"
        assert compare.told((2.0, low, high), *words) == still
    assert compare.told((0.0, 0.0, 0.0), *words).startswith(words[2])


def test_points_grids_and_bars_show_all_they_are_given():
    points = {"vanilla": {"a": (1.0, 0.0, 2.0)}, "trained": {"a": (2.0, 1.0, 3.0), "b": (4.0, 3.0, 5.0)}}
    figure = plots.arms(points, "the axis")
    assert [text.get_text() for text in figure.axes[0].texts] == ["1.0", "2.0", "4.0"]
    assert [text.get_text() for text in figure.legends[0].texts] == ["vanilla", "trained"]
    assert figure.axes[0].get_xlabel() == "the axis" and "b: trained 4.0 [3.0, 5.0]." in figure.get_label()
    plots.close(figure)
    figure = plots.grid({"row": {"one": 10.0, "two": 20.4}}, "shares", [("row", "two")])
    assert [(text.get_text(), text.get_weight()) for text in figure.axes[0].texts] == [("10", "normal"), ("20", "bold")]
    assert len(figure.axes[0].patches) == 1 and figure.get_label() == "A table, shares. row: one 10, two 20."
    plots.close(figure)
    figure = plots.bars({"a": (10.0, 8.0, 12.0), "b": (0.0, 0.0, 1.0)}, "right, %")
    assert [text.get_text() for text in figure.axes[0].texts] == ["10", "0"]
    assert figure.get_label() == "Bars, right, %. a 10.0 [8.0, 12.0]; b 0.0 [0.0, 1.0]."
    plots.close(figure)


def test_rivals_are_told_of_where_they_were_run_and_which_are_better(results):
    arms = compare.load("countdown", "nano", results)
    arms["both"] = arms["first"]
    said = compare.rivals(arms, T, {"r3": 200.0, "first": 500.0, "both": 100.0})
    first = compare.difference(arms["first"], arms["vanilla"], T, "first", "first")
    for arm, cost in (("first", "2.5"), ("both", "0.5")):
        (sentence,) = [one for one in said.split(". ") if one.startswith(f"Rewarding {compare.RIVALS[arm]}")]
        assert (
            f"{cost} times the tokens of R3's training (seeds 0, 1)" in sentence and f"{abs(first[0]):.1f}" in sentence
        )
    assert compare.rivals({"vanilla": arms["vanilla"], "r3": arms["r3"]}, T, {}) == ""


def test_only_what_is_surely_better_is_called_better(results):
    loaded = compare.load("countdown", "nano", results)
    arms = {arm: [run for run in runs if run.record["seed"] == 0] for arm, runs in loaded.items()}
    low = compare.difference(arms["first"], arms["r3"], T, "second", "second")[1]
    assert (compare.better(arms, T) != "") == (low > 0)
    swapped = {"vanilla": arms["vanilla"], "r3": arms["first"], "first": arms["r3"]}
    low = compare.difference(swapped["first"], swapped["r3"], T, "second", "second")[1]
    assert (compare.RIVALS["first"] in compare.better(swapped, T)) == (low > 0)
    assert {compare.better(arms, T), compare.better(swapped, T)} >= {""}
    assert compare.better(arms, T) != compare.better(swapped, T), "neither is surely better: the test asks nothing"
