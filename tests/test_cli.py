"""The command line: what is refused before anything is loaded, what can be set, and that nothing is lost at an end."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time

import pytest

from r3lib.config import Profile, check_seed
from r3lib.files import RESULTS, ROOT, R3Error, read_json, read_jsonl
from r3lib.machine import cli
from r3lib.machine.cli import main
from r3lib.machine.profiles import PROFILES, override, profile
from r3lib.pages import card, page, report, tables

BRIEF = "steps=3 prompts_per_step=2 num_generations=2 train_problems=12 failure_samples=1 reflection_tokens=24"
SET = [word for setting in BRIEF.split() for word in ("--set", setting)]


def command(*words) -> subprocess.CompletedProcess:
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "r3lib", *words], capture_output=True, encoding="utf-8", cwd=ROOT, env=environment
    )


QUICK = {
    "--help": (0, "reproduce"),
    "reproduce --task chess": (1, "There is no task 'chess'; choose one of countdown, function_calling, instructions."),
    "experiment --task countdown chess": (1, "There is no task 'chess'"),
    "reproduce --profile rtx99": (1, "There is no profile 'rtx99'; choose one of nano"),
    "reproduce --profile nano:": (1, "'' is no model"),
    "reproduce --profile nano:../nowhere/x": (1, "'../nowhere/x' is no model"),
    "reproduce --profile rtx12:someone/Model-GGUF": (1, "someone/Model-GGUF holds GGUF, packed to be run"),
    "reproduce --seed -1": (1, "The seed is -1; choose a whole number from 0 to 4294967295."),
    "experiment --seeds 0 4294967296": (1, "The seed is 4294967296"),
    "reproduce --test-problems 0": (1, "test_problems is 0; it must be at least 1."),
    "reproduce --vllm server": (1, "NF4 weights cannot take without loss; add `--set four_bit=false`"),
    "reproduce --set stepz=4": (1, "There is no setting 'stepz'; choose one of dtype"),
    "reproduce --set steps=4.5": (1, "'4.5' cannot be steps, which takes int."),
    "reproduce --set steps=0": (1, "steps is 0; it must be at least 1."),
    "reproduce --set dtype=int8": (1, "dtype is 'int8'; choose one of float32"),
    "reproduce --set lora_rank=none": (1, "NF4 cannot be trained; add `--set four_bit=false`"),
}


@pytest.mark.parametrize("words", QUICK)
def test_what_can_be_known_is_answered_at_once(words):
    """In one sentence, without a traceback, in under two seconds of CPU."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = command(*words.split())
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    code, told = QUICK[words]
    assert done.returncode == code and told in (done.stdout if code == 0 else done.stderr), done.stderr
    assert "Traceback" not in done.stderr and (code == 0 or done.stderr.count("\n") == 1)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


@pytest.mark.parametrize("name", cli.EXAMPLES)
def test_the_help_of_a_command_ends_with_an_example(name, capsys):
    """By the name that is on the path; one that can be typed."""
    with pytest.raises(SystemExit):
        main([name, "--help"])
    *_, last = capsys.readouterr().out.strip().splitlines()
    start, *words = last.split()
    assert (start, *words[:2]) == ("example:", "r3", name) and cli.parser().parse_args(words[1:]).command == name


def test_a_page_says_what_to_type_without_make():
    """For every target but `clean`; and every command of the kit that a page has can be typed."""
    make, page = ((ROOT / name).read_text(encoding="utf-8") for name in ("Makefile", "docs/installing.md"))
    targets = set(re.search(r"^\.PHONY: (.*)", make, re.M)[1].split()) - {"clean"}
    section = page.partition("## Without make")[2].partition("\n## ")[0]
    assert len(targets) > 5 and targets <= set(re.findall(r"`([\w-]+)`", section))
    assert [name for name in re.findall(r"-m r3lib (\w+)", make) if f"`r3 {name}" not in section] == []
    scripts = re.findall(r"\.ci/\w+\.py", section)
    assert len(scripts) == 5 and all((ROOT / script).exists() and script in make for script in scripts)
    pages = [(ROOT / "README.md"), (ROOT / "RESULTS.md"), *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    for words in re.findall(r"`r3 ([^`]+)`", text):
        assert cli.parser().parse_args(words.split()).command == words.split()[0]
    assert "-m r3lib " not in (ROOT / "README.md").read_text(encoding="utf-8")


TABLE = """
import sys
from r3lib.files import RESULTS, R3Error
from r3lib.machine import cli, commands
from r3lib.pages import report, tables

runs = report.collect(RESULTS / "countdown" / "nano" / "seed0")


def show(_):
    print(tables.plain(report.table(runs, 1.0)) + "\\n\\xe9")
    raise R3Error("3 \\u2212 1")


commands.COMMANDS["report"] = show
sys.exit(cli.main(["report"]))
"""


@pytest.mark.parametrize(
    "told, minus, accent",
    [
        ({"PYTHONIOENCODING": "utf-8"}, "−", "é"),
        ({"PYTHONIOENCODING": "cp1252"}, "-", "é"),
        ({"PYTHONIOENCODING": "cp437"}, "-", "é"),
        ({"PYTHONIOENCODING": "ascii"}, "-", r"\xe9"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, "-", r"\xe9"),
    ],
)
def test_a_terminal_that_cannot_show_a_sign_gets_a_plain_one(told, minus, accent):
    """In the tables of a run's end, and in what is said of an error."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHONIO", "LC_", "LANG"))}
    done = subprocess.run([sys.executable, "-c", TABLE], capture_output=True, cwd=ROOT, env=plain | told)
    shown, error = (said.decode(told.get("PYTHONIOENCODING", "ascii")).strip() for said in (done.stdout, done.stderr))
    assert error == f"r3lib: 3 {minus} 1"
    assert f"trained second try {minus} vanilla second try" in shown and shown.endswith(accent)


@pytest.fixture
def ended(monkeypatch, tmp_path):
    """A run of `reproduce --push-to-hub a/b` of which everything is done but the end; the list of what was pushed."""
    from r3lib.machine import commands, experiment
    from r3lib.measure import controls

    runs, pushed = report.collect(RESULTS / "countdown" / "nano" / "seed0"), []
    for module, name in ((experiment, "run"), (controls, "run"), (card, "write_card"), (page, "one_run")):
        monkeypatch.setattr(module, name, lambda *_, **__: None)
    monkeypatch.setattr(report, "collect", lambda _: runs)
    monkeypatch.setattr(report, "write_summary", lambda *_: None)
    monkeypatch.setattr(card, "push", lambda adapter, name: pushed.append(name))
    options = cli.parser().parse_args(["reproduce", "--out", str(tmp_path), "--push-to-hub", "a/b"])
    return lambda: commands.reproduce(options), pushed


def test_what_was_asked_of_the_hub_is_done_before_anything_is_printed(ended, monkeypatch):
    def broken(*_):
        raise BrokenPipeError

    run, pushed = ended
    monkeypatch.setattr(tables, "plain", broken)
    with pytest.raises(BrokenPipeError):
        run()
    assert pushed == ["a/b"]


def test_a_table_is_printed_though_the_hub_cannot_be_reached(ended, monkeypatch, capsys):
    def away(*_):
        raise R3Error("Cannot push")

    run, _ = ended
    monkeypatch.setattr(card, "push", away)
    with pytest.raises(R3Error, match="Cannot push"):
        run()
    assert "second try, own reflection" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "steps"),
    [([], 40), (["--set", "steps=70"], 70), (["--task", "function_calling"], 12), (["--profile", "smol"], 12)],
)
def test_a_newcomer_trains_for_fewer_steps_unless_more_are_asked_for(ended, monkeypatch, capsys, words, steps):
    """And is told so where the stored runs stand beside the new one."""
    from r3lib.machine import commands, experiment

    asked = []
    monkeypatch.setattr(experiment, "run", lambda _, chosen, *__, **___: asked.append(chosen.steps))
    commands.reproduce(cli.parser().parse_args(["reproduce", *words]))
    assert asked == [steps]


def test_other_steps_than_those_of_the_stored_runs_are_told():
    stored = report.collect(RESULTS / "countdown" / "nano" / "seed0")
    record = stored[0].record | {"settings": stored[0].record["settings"] | {"steps": 3}}
    brief = [dataclasses.replace(stored[0], record=record)]
    assert page.beside(brief, stored) == "The stored runs beside it (trained for 70 steps, this one for 3)"
    assert page.beside(stored, stored) == "The stored runs beside it"


@pytest.mark.skipif(cli.gpu(), reason="there is a GPU")
def test_a_profile_that_needs_a_gpu_is_refused_at_once_without_one(monkeypatch):
    """Naming the GPU, what runs here, and the way for those who want the CPU to try; nano is not asked for one."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    monkeypatch.setenv("R3_PROFILE", "rtx12")
    done = command("reproduce")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    for word in ("rtx12 needs a GPU (RTX 3060 with 12 GB, or better)", "profile nano runs here", "--set gpu=none"):
        assert word in done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
    parse = cli.parser().parse_args
    cli.check(parse(["reproduce", "--set", "gpu=none"]))
    cli.check(parse(["experiment", "--profile", "nano"]))
    for name in ("t4", "rtx24-long", "paper", "rtx12:Qwen/Qwen3-4B"):
        with pytest.raises(R3Error, match="needs a GPU"):
            cli.check(parse(["experiment", "--profile", name]))


def test_every_setting_can_be_set_by_name_and_type():
    old = PROFILES["nano"]
    new = override(
        old, ["steps=40", "learning_rate=1e-4", "four_bit=False", "train_reflection_tokens=none", "vllm=server"]
    )
    assert (new.steps, new.learning_rate, new.four_bit, new.train_reflection_tokens, new.vllm) == (
        *(40, 1e-4, False, None),
        "server",
    )
    told = {**vars(old), **vars(new)}
    assert {k for k, v in told.items() if v != getattr(old, k)} == {
        *("steps", "learning_rate", "four_bit", "train_reflection_tokens", "vllm")
    }
    for wrong in ("four_bit=1", "steps=none", "steps", "name=x", "model=y", "arm=both", "learning_rate=fast"):
        with pytest.raises(R3Error):
            override(old, [wrong])


def test_a_profile_that_no_run_could_have_is_refused():
    for change in (dict(num_generations=1), dict(temperature=-0.1), dict(learning_rate=float("nan")), dict(beta=-1.0)):
        with pytest.raises(R3Error, match=f"{[*change][0]} is .*; it must be at least"):
            Profile("x", "y", **change)


def test_seeds_are_what_the_generators_take():
    assert check_seed(0) == 0 and check_seed(2**32 - 1) == 2**32 - 1
    for seed in (-1, 2**32):
        with pytest.raises(R3Error, match="choose a whole number"):
            check_seed(seed)


def test_a_model_in_a_folder_of_ones_own_has_its_whole_path_as_its_name(tmp_path):
    folder = tmp_path / "a" / "model"
    folder.mkdir(parents=True)
    found = profile(f"nano:{folder}")
    assert found.base == found.model == str(folder)
    assert "/" not in found.name and ".." not in found.name and found.name.endswith("a--model")


def test_an_output_folder_that_cannot_be_written_is_told_before_the_model_is_loaded(tmp_path, monkeypatch, capsys):
    from r3lib import models

    def load(*_):
        raise AssertionError("loaded")

    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setattr(models, "load", load)
    assert main(["reproduce", "--out", str(tmp_path / "file")]) == 1
    assert "Cannot write" in capsys.readouterr().err


# ends


def test_a_run_told_to_terminate_ends_in_words_and_resumes(tmp_path):
    """SIGTERM while it trains: exit 143, one sentence; the same command finishes with the log of a whole run."""
    words = [sys.executable, "-m", "r3lib", "reproduce", "--test-problems", "3", *SET, "--set", "steps=14"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    options = dict(cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    running = subprocess.Popen([*words, "--out", str(tmp_path)], **options)
    log = tmp_path / "countdown-r3-nano-2-seed0" / "work" / "train-r3" / "log.jsonl"
    end = time.monotonic() + 120
    while running.poll() is None and time.monotonic() < end:
        if log.exists() and log.read_bytes().count(b"\n") >= 11:
            break
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 143 and "Interrupted: what was finished is kept" in told and "Traceback" not in told
    assert main([*words[3:], "--out", str(tmp_path)]) == 0
    assert [line["step"] for line in read_jsonl(log)] == list(range(1, 15))


def test_a_full_disk_loses_nothing(tmp_path, small_disk, capsys):
    """At whichever artifact it comes: a sentence; the run on a larger disk then finishes."""
    words = ["reproduce", "--test-problems", "3", *SET, "--out", str(tmp_path)]
    whole = tmp_path / "countdown-r3-nano-2-seed0"
    reached = []
    for size in (500, 4_000, 40_000):
        with small_disk(size):
            assert main(words) == 1
        told = capsys.readouterr().err
        assert "r3lib: Cannot write" in told, told
        reached.append(sum(path.is_file() for path in whole.rglob("*")))
        for path in whole.rglob("*.json"):
            json.loads(path.read_text(encoding="utf-8"))  # whole or absent
    assert reached[0] < reached[-1] and reached == sorted(reached)
    assert main(words) == 0
    assert len(read_json(whole / "training.json")["log"]) == 3 and (whole / "report.html").exists()


def test_changed_settings_are_refused_and_fresh_takes_them(tmp_path, capsys):
    """The audit's own words: train one step at a rate, ask for two at another."""
    words = ["reproduce", "--test-problems", "3", *SET, "--out", str(tmp_path)]
    assert main([*words, "--set", "steps=1"]) == 0
    capsys.readouterr()
    asked = [*words, "--set", "steps=2", "--set", "learning_rate=8e-4"]
    assert main(asked) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert "was made with steps 1, not 2: delete" in told and told.endswith("or add --fresh, which does it.")
    assert main([*asked, "--fresh"]) == 0
    record = read_json(tmp_path / "countdown-r3-nano-2-seed0" / "training.json")
    assert (len(record["log"]), record["settings"]["learning_rate"]) == (2, 8e-4)


def test_the_signal_handler_is_given_back():
    before = signal.getsignal(signal.SIGTERM)
    assert main(["reproduce", "--task", "chess"]) == 1
    assert signal.getsignal(signal.SIGTERM) == before and issubclass(cli.Terminated, KeyboardInterrupt)
