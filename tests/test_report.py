"""Tables say what the results files say, and what is committed is what the results give."""

import csv
import itertools
import random
import re
import shutil

import numpy as np
import pytest

from r3lib.__main__ import main
from r3lib.files import RESULTS, ROOT, R3Error, read_json, write_json
from r3lib.measure.stats import wilson
from r3lib.outcomes import RETRIES, Outcomes, load_outcomes, outcomes_path
from r3lib.pages import page, plots, report, tables
from r3lib.problems.splits import TASKS

STORED = sorted(path.parent for path in RESULTS.rglob("table.md"))
stored = pytest.mark.skipif(not STORED, reason="no stored results in this checkout")


def fake(n: int, seed: int, first: float, second: float) -> Outcomes:
    """Outcomes with given accuracies; retries cumulative, as evaluate() makes them."""
    rng = random.Random(seed)
    out = Outcomes()
    for _ in range(n):
        hit = rng.random() < first
        out.right["first"].append(int(hit))
        out.right["lenient"].append(int(hit))
        for arm in RETRIES:
            out.right[arm].append(int(hit or rng.random() < (second if arm == "second" else 0.1)))
        out.kinds["first"].append("correct" if hit else "missed_target")
        out.kinds["second"].append("correct" if out.right["second"][-1] else "wrong_numbers")
        out.leak.append(None if hit else int(rng.random() < 0.5))
        out.reflection_tokens.append(None if hit else 20)
    return out


@pytest.fixture
def results(tmp_path):
    """Two seeds, vanilla and trained, one temperature."""
    for seed in (0, 1):
        for trained in (False, True):
            record = {
                "task": "countdown",
                "model": "fake",
                "profile": "nano",
                "arm": "r3" if trained else "vanilla",
                "trained": trained,
                "seed": seed,
                "temperature": 1.0,
                "n": 400,
                "commit": "abc",
                "settings": {"four_bit": True, "dtype": "float32", "temperature": 1.0},
            }
            outcomes = fake(400, seed * 2 + trained, 0.4, 0.6 if trained else 0.1)
            write_json(
                outcomes_path(tmp_path / f"seed{seed}", trained, 1.0), {**record, "outcomes": outcomes.to_json()}
            )
    return tmp_path


def test_summary_has_every_figure_with_its_interval(results):
    rows = report.summary_rows(report.collect(results))
    assert {r["metric"] for r in rows} == {
        "first_follows",
        "second_follows",
        "first_try",
        "second_try",
        "blind_retry",
        "again_retry",
        "generic_retry",
        "shuffled_retry",
        "redacted_retry",
        "leak_rate",
        "lenient_first",
    }
    assert {r["seed"] for r in rows} == {0, 1, "all"}
    assert all(r["low"] <= r["mean"] <= r["high"] for r in rows)
    leak = [r for r in rows if r["metric"] == "leak_rate"]
    assert all(r["n"] < 400 for r in leak if r["seed"] != "all"), "the leak rate is over failed first tries only"
    assert all(abs(r["mean"] - 0.5) < 0.1 for r in leak) and sum(r["seed"] == "all" for r in leak) == 2


def test_a_run_without_failures_has_no_leak_rate(results):
    path = outcomes_path(results / "seed0", True, 1.0)
    record, _ = load_outcomes(path)
    write_json(path, {**record, "outcomes": fake(400, 0, first=1.0, second=1.0).to_json()})
    runs = report.collect(results)
    leak = [(r["trained"], r["seed"]) for r in report.summary_rows(runs) if r["metric"] == "leak_rate"]
    assert leak == [(0, 0), (1, 1), (0, 1), (0, "all")]
    assert report.table(runs, 1.0).count("no failures") == 1


def test_summary_csv_round_trips(results, tmp_path):
    runs = report.collect(results)
    report.write_summary(runs, tmp_path / "summary.csv")
    with (tmp_path / "summary.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == report.COLUMNS
    assert len(rows) == len(report.summary_rows(runs))
    first = next(r for r in rows if r["metric"] == "first_try" and r["seed"] == "0" and r["trained"] == "1")
    assert float(first["mean"]) == pytest.approx(np.mean(report.matrix(runs, True, 1.0, "first")[0]), abs=1e-4)


def test_differences_find_the_planted_gain(results):
    rows = {d["name"]: d for d in report.differences(report.collect(results), 1.0)}
    gain = rows["trained second try − vanilla second try"]
    assert gain["mean"] > 0.2 and gain["seeds"] == 2 and gain["n"] == 400
    assert min(gain["by_seed"]) > 0.2, "its interval is wide: two seeds leave one degree of freedom"
    assert np.mean(gain["by_seed"]) == pytest.approx(gain["mean"], abs=1e-6) and len(gain["by_seed"]) == 2
    control = rows["vanilla: own reflection − blind retry"]
    assert control["low"] < 0 < control["high"], "no gain was planted there"


def test_format_is_told_apart_from_correctness(results):
    """An answer with the wrong numbers breaks the rules, one that misses the target follows them, a right one too."""
    path = outcomes_path(results / "seed0", True, 1.0)
    record, found = load_outcomes(path)
    found.kinds["first"] = ["correct" if ok else "wrong_numbers" for ok in found.right["first"]]
    write_json(path, {**record, "outcomes": found.to_json()})
    runs = report.collect(results)
    first, right = (report.matrix(runs, True, 1.0, arm) for arm in ("first_follows", "first"))
    assert np.array_equal(first[0], right[0]) and (first[1] == 1).all()
    second = report.matrix(runs, True, 1.0, "second_follows")
    assert np.array_equal(second, report.matrix(runs, True, 1.0, "second"))  # the others are wrong_numbers
    cells = [report.percent(*report.interval(x)) for x in (first, second)]
    for text, name in ((report.table(runs, 1.0), "first try follows the rules, right or not"),):
        line = next(line for line in text.splitlines() if name in line)
        assert line.endswith(f"| {cells[0]} |") and "| 100.0 [" in line
    last = report.kinds_table(runs, 1.0).splitlines()[-1].split(" | ")
    assert last[0] == "| **follows the rules**" and last[2] == cells[0] and last[4].rstrip(" |") == cells[1]
    kinds = [line.split(" |")[0] for line in report.kinds_table(runs, 1.0).splitlines()[2:-1]]
    assert kinds == ["| correct", "| missed target", "| wrong numbers"]


def test_the_kinds_that_break_the_rules_are_the_tasks_own(problems):
    calls = {"query": "Play it.", "tools": [{"name": "play", "description": "", "parameters": {}}]}
    calls["answers"] = [{"name": "play", "arguments": {}}]
    asked = {
        TASKS["countdown"]: (problems[0], ("", "<answer>1 +</answer>", "<answer>1</answer>")),
        TASKS["function_calling"]: (calls, ("", "no", "[{", "[]")),
    }
    broken = {task.verify(problem, text).kind for task, (problem, texts) in asked.items() for text in texts}
    assert broken == report.BREAK


def test_table_and_page_show_every_arm(results):
    runs = report.collect(results)
    text = report.table(runs, 1.0)
    assert all(label in text for label in (*dict(report.ROWS), report.LEAK))
    assert "seeds 0, 1" in text and "400 test problems" in text
    page.one_run("t & u", runs, results, stored=runs)
    text = (results / "report.html").read_text(encoding="utf-8")
    assert text.count("<img") == 1 and text.count("<h4") == 4 and "<title>t &amp; u</title>" in text
    assert text.count("trained: own reflection − blind retry") == 2, "its own table and the stored runs'"
    assert (results / "arms.png").read_bytes()[:4] == b"\x89PNG"


def test_a_table_of_old_files_says_so(results):
    note = "made before records were kept"
    assert note in report.describe(report.collect(results), 1.0)
    paths = sorted(results.rglob("*-T1.json"))
    for i, path in enumerate(paths):
        record = read_json(path)
        write_json(path, record | {"weights": "0123456789abcdef"})
        runs = report.collect(results)
        assert sum(run.recorded for run in runs) == i + 1
        assert (note in report.table(runs, 1.0)) == (path != paths[-1])


def test_what_a_model_wrote_stays_text_on_the_page(results):
    nasty = '<script>alert("&")</script> {{ 7 * 7 }} </dd> \x1b \u202e | *a*'
    runs = report.collect(results)
    runs[0].outcomes.examples = [{"task": nasty, "reflection": "two\nlines"}]
    made = page.Page(nasty)
    made.heading(nasty)
    made.markdown(f"{nasty}\n\n{tables.markdown(['', nasty], [['a', nasty]])}")
    made.conversations(runs, 1.0)
    made.figure(plots.loop(), nasty)
    text = made.text()
    assert "<script" not in text and "49" not in re.sub(r"base64,[^\"]*", "", text) and text.count("</dd>") == 2
    assert text.count("<td>") == 2 and "two\nlines" in text
    assert "\x1b" not in text.partition("<dl>")[2].partition("</dl>")[0], "control characters are spelled out"
    assert 'alt="&lt;script&gt;alert(&#34;&amp;&#34;)' in text


def test_a_table_in_markdown_and_in_a_terminal():
    text = "*caption*\n\n" + tables.markdown(["", "a | b", "1.20"], [["long name", "1", "+2.10"], ["x", "", "**3**"]])
    assert text.splitlines()[2:] == [
        "|  | a \\| b | 1.20 |",
        "|---|---|---|",
        "| long name | 1 | +2.10 |",
        "| x |  | **3** |",
    ]
    assert tables.plain(text).splitlines() == [
        "caption",
        "",
        "             a | b    1.20",
        "long name        1    +2.10",
        "x                         3",
    ]


def test_insert_replaces_only_the_marked_part(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- x:start -->\nold\n<!-- x:end -->\nb\n", encoding="utf-8")
    report.insert(page, "x", r"new \1 text")
    report.insert(page, "x", r"new \1 text")
    assert page.read_text(encoding="utf-8") == "a\n<!-- x:start -->\nnew \\1 text\n<!-- x:end -->\nb\n"
    with pytest.raises(R3Error, match="y:start"):
        report.insert(page, "y", "")


def test_damaged_or_absent_results_say_what_to_do(results, tmp_path):
    with pytest.raises(R3Error, match="`r3 reproduce`"):
        report.collect(tmp_path / "nothing")
    path = outcomes_path(results / "seed0", True, 1.0)
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    with pytest.raises(R3Error, match="delete it"):
        report.collect(results)


@stored
def test_everything_committed_is_what_the_results_say(tmp_path):
    """Pages, tables, differences, summary and HTML page are rebuilt in a copy; the pictures are not compared."""
    shutil.copytree(RESULTS, tmp_path / "results")
    for name in page.PAGES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    page.rebuild(tmp_path / "results", ROOT / "benchmarks" / "results" / "reproduce.json")
    made = [p for p in tmp_path.rglob("*") if p.suffix in (".md", ".csv", ".json", ".html", ".png")]
    for path in made:
        old = ROOT / path.relative_to(tmp_path)
        assert old.exists(), f"run `make report` and commit {old}"
        if path.suffix != ".png":
            texts = [re.sub(r"base64,[^\"]*", "", p.read_text(encoding="utf-8")) for p in (path, old)]
            assert texts[0] == texts[1], f"run `make report` and commit {old}"
    assert len(made) > 20


@stored
def test_a_table_whose_runs_are_gone_is_gone(tmp_path):
    """A page kept the tables of arms whose runs had left the tree."""
    shutil.copytree(RESULTS / "countdown" / "nano" / "seed0", tmp_path / "results" / "countdown" / "nano" / "seed0")
    old = "".join(
        f"<!-- {name}:start -->\nold\n<!-- {name}:end -->\n" for name in ("countdown-nano", "arms-countdown-nano")
    )
    (tmp_path / "RESULTS.md").write_text(old, encoding="utf-8")
    page.rebuild(tmp_path / "results", ROOT / "benchmarks" / "results" / "reproduce.json")
    new = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "old" not in new.split() and "| second try, own reflection |" in new
    assert f"<!-- arms-countdown-nano:start -->\n{page.NOT_YET}\n<!-- arms-countdown-nano:end -->" in new


@stored
def test_every_stored_table_is_shown():
    shown = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    for folder in STORED:
        task, name = folder.relative_to(RESULTS).parts[-2:]
        prefix = {"arms": "arms-"}.get(folder.relative_to(RESULTS).parts[0], "")
        assert f"<!-- {prefix}{task}-{name}:start -->" in shown or (folder / "beside.md").exists()


def test_the_headline_names_the_best_control_and_says_what_chance_could_explain(results):
    """The planted gain is in the trained second try alone; the controls are alike, and so are the first tries."""
    runs = report.collect(results)
    said = report.headline(runs, 1.0)
    number = r"\*\*([+-][\d.]+) points\*\* \[\S+, \S+\](, which chance could explain)?"
    gain, over, cut, first = re.findall(number, said)
    assert float(gain[0]) > 20 and first[1] and said.endswith(report.UNASKED)
    second = report.matrix(runs, True, 1.0, "second").mean()
    controls = {
        (trained, arm): report.matrix(runs, trained, 1.0, arm).mean()
        for trained in (True, False)
        for _, arm in report.ROWS[2:]
        if arm != "redacted"
    }
    redacted = report.matrix(runs, True, 1.0, "redacted").mean()
    assert float(cut[0]) == pytest.approx(100 * (redacted - second), abs=0.06)
    trained, arm = max(controls, key=controls.get)
    when = "" if arm == "resampled" else ", after training" if trained else ", before training"
    assert f"of {len({arm for _, arm in controls})} controls" in said
    assert f"is {report.TOLD[arm]}{when}: {100 * controls[trained, arm]:.1f} %" in said
    assert f"after it, {100 * second:.1f} %" in said
    assert float(over[0]) == pytest.approx(100 * (second - controls[trained, arm]), abs=0.06)


@pytest.mark.parametrize(
    "arguments, hint",
    [
        (["reproduce", "--profile", "nonsense"], "choose one of nano"),
        (["reproduce", "--task", "chess"], "choose one of countdown"),
    ],
)
def test_command_line_prints_one_sentence_and_fails(arguments, hint, capsys):
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("r3lib: ") and hint in error and error.count("\n") == 1


def test_the_notebooks_tables_say_what_the_outcomes_say(results):
    runs = report.collect(results)
    second = [report.matrix(runs, True, 1.0, "second").mean(1), report.matrix(runs, False, 1.0, "second").mean(1)]
    assert "| **mean** | " in report.seeds_table(runs, 1.0)
    for trained, vanilla in zip(*second):
        assert f"| {100 * vanilla:.1f} |" in report.seeds_table(runs, 1.0)
        assert f"| {100 * trained:.1f} |" in report.seeds_table(runs, 1.0)
    leak = report.matrix(runs, True, 1.0, "leak")
    assert f"{100 * np.nanmean(leak):.1f} % (n = {int((~np.isnan(leak)).sum())})" in report.leaks_table(runs, 1.0)
    failed = [o for run in runs if run.record["trained"] for o in run.outcomes.right["first"] if not o]
    assert f"(n = {len(failed)})" in report.rescued_table(runs, 1.0)
    name = "trained second try − vanilla second try"
    mean = next(row["mean"] for row in report.differences(runs, 1.0) if row["name"] == name)
    assert report.points(runs, 1.0)[name].startswith(f"{100 * mean:+.1f} points [")


def test_a_share_of_several_seeds_is_clustered_by_problem(results):
    """Three seeds that failed and rescued the same problems tell as much as one; a kind that one seed lacks counts."""
    for seed, trained in itertools.product((0, 1, 2), (False, True)):
        record, _ = load_outcomes(outcomes_path(results / "seed0", trained, 1.0))
        same = fake(400, 7, 0.4, 0.3)
        if seed == 2 and trained:
            same.kinds["first"] = ["correct" if kind == "correct" else "wrong_form" for kind in same.kinds["first"]]
        write_json(
            outcomes_path(results / f"seed{seed}", trained, 1.0), record | {"seed": seed, "outcomes": same.to_json()}
        )
    runs = report.collect(results)
    failed = np.array(runs[0].outcomes.right["first"]) == 0
    rescued = np.array(runs[0].outcomes.right["second"])[failed]
    once = 100 * np.subtract(*wilson(int(rescued.sum()), rescued.size)[::-1])

    def cell(row: str, column: int) -> tuple[float, float, float, int]:
        line = next(line for line in report.rescued_table(runs, 1.0).splitlines() if line.startswith(f"| {row} |"))
        return tuple(float(x) for x in re.findall(r"[\d.]+", line.split("|")[column]))

    for column, seeds in ((2, 3), (3, 2)):
        mean, low, high, n = cell("missed target", column)
        assert mean == pytest.approx(100 * rescued.mean(), abs=0.1) and n == seeds * failed.sum()
        assert high - low == pytest.approx(once, rel=0.03)
    assert cell("wrong form", 3)[3] == failed.sum() and "| wrong form | none |" in report.rescued_table(runs, 1.0)
    assert "wrong_form" not in report.rescued(runs, 1.0)["vanilla"]
    folded = tables.folded("All", report.rescued_table(runs, 1.0))
    assert folded.startswith("<details><summary>All</summary>\n\n| kind") and folded.endswith("|\n\n</details>")
    leak = report.interval(report.matrix(runs, True, 1.0, "leak"))
    assert leak == pytest.approx(report.interval(report.matrix(runs[:1], True, 1.0, "leak")), abs=0.003)


def test_training_tables_show_every_step_and_both_ends():
    log = [dict.fromkeys(report.STEP, i / 10) | {"step": i, "seconds": 60.0} for i in range(1, 9)]
    assert report.steps_table(log).splitlines()[-1].startswith("| 8 | 0.8 |")
    assert "| reward | 0.15 | 0.75 |" in report.ends_table({"seed0": log, "seed1": log}, size=2)
    assert "| 8.0 to 8.0 |" in report.ends_table({"seed0": log})
