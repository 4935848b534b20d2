"""Do the tests bite? One-line mutants of the library (mutants.toml), each against the tests that are to catch it.

A mutant is a copy of the library with one patch, in a temporary folder, and a process of its own. Processes are forked
from one that has imported torch, transformers and trl: that takes longer than most of the tests. The unchanged library
must pass the same tests, else nothing is proven. A mutant that hangs is caught; one that survives must be equivalent,
and then mutants.toml says why.

Each file's result is written when its mutants have ended, with the commit that they were made of.

Usage: python benchmarks/mutants.py [--files conversation.py loop.py] [--only WORDS] [--jobs 2]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import connection, get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent  # this process imports no module of r3lib
LIST, RESULT = Path(__file__).with_suffix(".toml"), Path(__file__).parent / "results" / "mutants.json"
LIMIT = 600  # seconds for the tests of one mutant
PASSED, FAILED, INTERRUPTED = 0, 1, 2  # pytest's exit codes; a test that plays a kill may interrupt it
TOO_LONG = -signal.SIGALRM


class Unproven(Exception):
    """The list or the tests are not fit to prove anything; the message says why."""


@dataclass
class Mutant:
    """One patch. breaks: what it does to the library. equivalent: why no test can catch it, for one that survives."""

    file: str
    old: str
    new: str
    breaks: str
    tests: list[str]
    equivalent: str = ""

    def patched(self) -> str:
        """The file's text with the patch. Raises Unproven if the old text is not there exactly once."""
        text = (ROOT / "r3lib" / self.file).read_text(encoding="utf-8")
        if text.count(self.old) != 1:
            raise Unproven(f"{LIST.name}: {self.file} has {text.count(self.old)} times, not once: {self.old!r}")
        return text.replace(self.old, self.new)


def listed() -> list[Mutant]:
    content = tomllib.loads(LIST.read_text(encoding="utf-8"))
    tests = content.pop("tests")
    mutants = [Mutant(file, **{"tests": tests[file]} | one) for file, own in content.items() for one in own]
    for mutant in mutants:
        mutant.tests = [f"tests/test_{name}" for name in mutant.tests]
    return mutants


def controls(mutants: list[Mutant]) -> list[Mutant]:
    """The same tests on the library as it is, one process for each test file."""
    tests = dict.fromkeys(test for mutant in mutants for test in mutant.tests)
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    of = {file: [file] if file in tests else [t for t in tests if t.startswith(f"{file}::")] for file in files}
    return [Mutant("", "", "", f"control, {file}", own) for file, own in of.items()]


class FirstFailure:
    """A pytest plugin that keeps the name of the first test that failed."""

    name = ""

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid.removeprefix("tests/")


def lay_out(mutant: Mutant, folder: Path) -> None:
    """A checkout in `folder` with the mutated library; what is not code is a link."""
    for path in ROOT.iterdir():
        if path.name in ("r3lib", "tests"):
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.name not in (".git", ".venv", "runs"):
            (folder / path.name).symlink_to(path)
    if mutant.file:
        (folder / "r3lib" / mutant.file).write_text(mutant.patched(), encoding="utf-8")


def run_tests(tests: list[str], folder: Path) -> None:
    """In the child: leaves pytest's exit code and the first failure in `verdict.json`, what was printed in `log`."""
    signal.alarm(LIMIT)
    log = os.open(folder / "log", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(folder)
    os.environ["PYTHONPATH"] = str(folder)  # of the processes that a test starts
    sys.path.insert(0, str(folder))
    import pytest

    import r3lib

    assert Path(r3lib.__file__).is_relative_to(folder), r3lib.__file__
    first = FirstFailure()
    options = ["-x", "-q", "-p", "no:cacheprovider", "--durations=0", f"--basetemp={folder / 'tmp'}"]
    code = pytest.main([*options, *tests], plugins=[first])
    (folder / "verdict.json").write_text(json.dumps([int(code), first.name]), encoding="utf-8")
    os._exit(0)


def judge(mutants: list[Mutant], jobs: int, scratch: Path) -> Iterator[tuple[Mutant, int, str, float]]:
    """Every mutant as it ends: exit code (negative: the signal that ended it), first failure, seconds."""
    fork, waiting, running = get_context("fork"), list(enumerate(mutants)), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            number, mutant = waiting.pop(0)
            folder = scratch / str(number)
            folder.mkdir()
            lay_out(mutant, folder)
            process = fork.Process(target=run_tests, args=(mutant.tests, folder))
            process.start()
            running[process.sentinel] = process, mutant, folder, time.monotonic()
        for ended in connection.wait([*running]):
            process, mutant, folder, began = running.pop(ended)
            process.join()
            verdict = folder / "verdict.json"
            code, name = json.loads(verdict.read_text(encoding="utf-8")) if verdict.exists() else (process.exitcode, "")
            expected = (FAILED, INTERRUPTED, TOO_LONG, PASSED) if mutant.file else (PASSED,)
            if code not in expected:
                told = (folder / "log").read_text(encoding="utf-8")[-3000:]
                raise Unproven(f"{mutant.breaks}: ended with {code}\n{told}")
            shutil.rmtree(folder)
            yield mutant, code, name or ("took too long" if code == TOO_LONG else ""), time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", nargs="+", help="mutants of these files alone")
    parser.add_argument("--only", default="", help="words of what a mutant breaks; nothing is written")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, of one thread each")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.environ |= {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}  # as in tests/conftest.py
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # nbval alone takes a second to import
    mutants = [one for one in listed() if options.only in one.breaks and one.file in (options.files or one.file)]
    for mutant in mutants:
        mutant.patched()
    import_heavy()
    left = Counter(one.file for one in mutants)
    found: dict[str, dict[str, list]] = {file: {"caught": [], "survived": []} for file in left}
    with tempfile.TemporaryDirectory(prefix="r3-mutants-") as scratch:
        for mutant, code, name, seconds in judge(controls(mutants) + mutants, options.jobs, Path(scratch)):
            word = "caught" if code != PASSED else "SURVIVED" if mutant.file else "passed"
            print(f"{word:8} {seconds:4.0f} s  {mutant.file}: {mutant.breaks}  {name}", flush=True)
            if not mutant.file:
                continue
            if code == PASSED:
                found[mutant.file]["survived"].append({"breaks": mutant.breaks, "equivalent": mutant.equivalent})
            else:
                found[mutant.file]["caught"].append({"breaks": mutant.breaks, "by": name})
            left[mutant.file] -= 1
            if not left[mutant.file] and not options.only:
                child = get_context("fork").Process(target=write, args=(mutant.file, found[mutant.file]))
                child.start()
                child.join()
    survived = [one for own in found.values() for one in own["survived"]]
    print(f"{sum(len(own['caught']) for own in found.values())} caught, {len(survived)} survived")
    sys.exit(any(not one["equivalent"] for one in survived))


def import_heavy() -> None:
    """What the tests need and is not the kit's, once for all children."""
    import bitsandbytes  # noqa: F401
    import datasets  # noqa: F401
    import peft  # noqa: F401
    import scipy.stats  # noqa: F401
    from transformers import AutoModelForCausalLM, Qwen2ForCausalLM  # noqa: F401
    from trl import GRPOConfig, GRPOTrainer  # noqa: F401


def write(file: str, found: dict[str, list]) -> None:
    """Put one file's result beside those of the others. In a child: this process must never import r3lib."""
    from verifier import machine

    from r3lib.files import read_json, write_json
    from r3lib.record import commit

    files = read_json(RESULT)["files"] if RESULT.exists() else {}
    known = dict.fromkeys(one.file for one in listed())
    files = {name: one for name, one in (files | {file: {"commit": commit()} | found}).items() if name in known}
    write_json(RESULT, {"machine": machine(), "files": {name: files[name] for name in known if name in files}})


if __name__ == "__main__":
    main()
