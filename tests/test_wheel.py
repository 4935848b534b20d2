"""The kit installed: a wheel carries what is read, and what is written goes to the folder one works in."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from r3lib import files, models, record
from r3lib.files import ROOT
from r3lib.machine import commands
from r3lib.measure import readiness
from r3lib.nano import train
from r3lib.pages import report

LIMIT = 45e6  # bytes of the wheel
KEPT = ("pyproject.toml", "README.md", "LICENSE", "r3lib/**/*", "data/**/*", "results/**/*", "benchmarks/results/*")
LEFT_OUT = ("/__pycache__/", "/.")


def kept(root: Path, pattern: str) -> list[Path]:
    """The files of a pattern, as git would have them."""
    found = (path for path in root.glob(pattern) if path.is_file())
    return [path for path in found if not any(part in str(path.relative_to(root.parent)) for part in LEFT_OUT)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built in a copy, as building leaves files behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in {path for pattern in KEPT for path in kept(ROOT, pattern)}:
        place = source / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(path)
    code = f"from setuptools.build_meta import build_wheel; build_wheel({str(out)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def site(wheel, tmp_path_factory) -> Path:
    """The folder that pip would put it in."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def ask(site: Path, cwd: Path, *words: str, **changes: str) -> subprocess.CompletedProcess:
    """Python, with the wheel's kit and not this checkout's, in a folder."""
    mine = {name: value for name, value in os.environ.items() if name not in ("R3_HOME", "R3_PROFILE")}
    environment = mine | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"} | changes
    return subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, encoding="utf-8")


def test_the_wheel_carries_what_is_read(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"r3lib/{path.relative_to(ROOT)}" for path in kept(ROOT / "data", "**/*")} <= names
    for pattern in ("seed*/*.json", "adapter/adapter_config.json", "adapter/adapter_model.safetensors"):
        assert {f"r3lib/{path.relative_to(ROOT)}" for path in kept(ROOT / "results", f"**/{pattern}")} <= names
    assert {"r3lib/benchmarks/results/verifier.json", "r3lib/benchmarks/results/reproduce.json"} <= names
    drawn = {name for name in names if name.endswith((".png", ".html", ".pyc"))}
    assert not drawn and wheel.stat().st_size <= LIMIT, drawn


WORK = """
from pathlib import Path
from r3lib import files, record
from r3lib.machine import doctor
from r3lib.machine.profiles import profile
from r3lib.measure import forgetting
from r3lib.pages import compare, report
from r3lib.problems import function_calling_data as data, splits
package = Path(files.__file__).parent
assert files.ROOT == package and files.HOME == Path.cwd() and Path(profile("nano").model).parent == package / "data"
assert [len(splits.problems(splits.task(name), "test", 3)) for name in splits.PAPER] == [3, 3]
assert files.RESULTS == Path.cwd() / "results"
assert files.results("countdown", "nano") == package / "results/countdown/nano"
assert compare.load("countdown", "nano")["r3"] and compare.probes("countdown", "nano")
report.insert(files.DATA / "r3-nano" / "README.md", "readiness", "a row")
report.insert(files.DATA / "FAMILIES.md", "families", "another")
forgetting.held_out = lambda name, count: ["text"]
forgetting.write_held_out()
data.splits = lambda *_: {"train": []}
data.write()
print(record.commit())
print(doctor.text(doctor.machine()))
try:
    files.read_json("none.json")
except files.R3Error as error:
    print(error)
"""
WRITTEN = ("FAMILIES.md", "r3-nano/README.md", "harness/held_out-r3-nano-2.jsonl", "function_calling/train.jsonl")


def test_from_an_empty_folder_nothing_is_written_beside_the_package(site, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in site.rglob("*")}
    done = ask(site, tmp_path, "-c", WORK)
    assert done.returncode == 0 and done.stdout.startswith("unknown\n"), done.stderr
    assert f"{site / 'r3lib'}; writes to {tmp_path}\n" in done.stdout and "r3 reproduce" in done.stdout
    assert "pip install --force-reinstall --no-deps" in done.stdout and "git checkout" not in done.stdout
    assert all((tmp_path / "data" / name).exists() for name in WRITTEN)
    assert "a row" in (tmp_path / "data" / "r3-nano" / "README.md").read_text(encoding="utf-8")
    assert {path: path.stat().st_mtime_ns for path in site.rglob("*")} == before


def test_a_report_of_what_came_with_the_kit_is_written_here(site, tmp_path):
    """Of one profile's results alone, as drawing takes long; a README that is not the kit's is left alone."""
    some = tmp_path / "site"
    for path in (path for path in site.rglob("*") if path.is_file()):
        mine = "benchmarks" in path.parts or ("countdown" in path.parts and "arms" not in path.parts)
        if mine or "results" not in path.parts:
            (some / path.relative_to(site)).parent.mkdir(parents=True, exist_ok=True)
            os.link(path, some / path.relative_to(site))
    home = tmp_path / "home"
    home.mkdir()
    (home / "README.md").write_text("mine", encoding="utf-8")
    before = set(some.rglob("*"))
    done = ask(some, tmp_path, "-m", "r3lib", "report", R3_HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert (home / "results" / "report.html").exists() and (home / "README.md").read_text(encoding="utf-8") == "mine"
    assert (home / "results/countdown/nano/seed0/adapter/adapter_model.safetensors").exists()
    assert set(some.rglob("*")) == before and {path.name for path in tmp_path.iterdir()} == {"site", "home"}


def test_own_results_come_before_those_of_the_kit(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "HOME", tmp_path)
    assert files.results("countdown", "nano") == ROOT / "results" / "countdown" / "nano"
    (tmp_path / "results" / "countdown" / "nano").mkdir(parents=True)
    assert files.results("countdown", "nano") == tmp_path / "results" / "countdown" / "nano"


def test_a_card_in_a_home_of_its_own_is_a_copy(tmp_path, monkeypatch):
    card, before = (
        ROOT / "data" / "r3-nano" / "README.md",
        (ROOT / "data" / "r3-nano" / "README.md").read_text(encoding="utf-8"),
    )
    monkeypatch.setattr(report, "HOME", tmp_path)
    for text in ("one", "two"):
        report.insert(card, "readiness", text)
    assert "two\n<!-- readiness:end -->" in (tmp_path / "data/r3-nano/README.md").read_text(encoding="utf-8")
    assert card.read_text(encoding="utf-8") == before


def test_readiness_and_a_new_model_are_the_readers_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(commands, "HOME", tmp_path)
    monkeypatch.setattr(commands, "INSTALLED", True)
    monkeypatch.setattr(commands.report, "insert", lambda *_: None)
    monkeypatch.setattr(models, "load", lambda profile: (None, None))
    for name in ("measure", "repairs"):
        monkeypatch.setattr(readiness, name, lambda *_: {"right": 1})
    for name in ("table", "repairs_table"):
        monkeypatch.setattr(readiness, name, lambda _: "")
    commands.readiness_(None)
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")}
    assert made >= {f"data/{name}/readiness.json" for name in ("r3-nano", "r3-nano-2", "r3-nano-calls")}
    monkeypatch.setattr(train, "train", lambda *_: None)
    commands.nano(argparse.Namespace(model="r3-pico", out=Path("runs")))
    assert capsys.readouterr().out.endswith("To use it: --profile nano:runs/r3-pico\n")


@pytest.mark.parametrize("origin", [None, {}, {"vcs_info": {"vcs": "git", "commit_id": "0123456789abcdef"}}])
def test_the_commit_of_an_installed_kit_is_what_pip_was_told(origin, monkeypatch):
    """Not that of another project, under whose git the environment lies."""

    class Installed:
        def read_text(self, name):
            return json.dumps(origin) if name == "direct_url.json" and origin is not None else None

    monkeypatch.setattr(record, "INSTALLED", True)
    monkeypatch.setattr(metadata, "distribution", lambda name: Installed())
    assert record.commit() == ("0123456" if origin else "unknown")
