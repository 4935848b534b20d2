"""Resolve pyproject.toml's ranges once and write the locks: make lock.

One resolution by uv, for every Python and system that the kit runs on, with hashes. Each package stands in one file
only, so no two files can disagree:

    requirements.lock       the library
    requirements-all.lock   names the first, and adds the notebooks and the tests
    requirements-cuda.lock  torch as the package index has it: on Linux with CUDA's packages
    requirements-cpu.lock   torch's build without CUDA, which is not on the package index

docs/site.lock, of `make site` and its environment alone, has the same versions of what it shares with these.

A version that is pinned already stays where the ranges allow it. To get newer ones, delete the locks first.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "2.13.0"
BESIDES = [f"torch=={TORCH}", "setuptools>=77"]  # the second builds the kit itself
EXTRAS = ("notebooks", "test", "forgetting")
CUDA = re.compile(r"torch|triton|nvidia-|cuda-")
ONE = "with one of requirements-cpu.lock and requirements-cuda.lock"
FILES = {
    "requirements.lock": f"The library and `make reproduce`; {ONE}.",
    "requirements-all.lock": f"Everything, notebooks and tests too; {ONE}.\n-r requirements.lock",
    "requirements-cuda.lock": "torch as the package index has it: on Linux with CUDA and its packages, else without.",
    "requirements-cpu.lock": "torch without CUDA, for Python 3.11 on Linux x86_64, if pip knows a place that has it.",
    "docs/site.lock": "What `make site` needs, in an environment of its own.",
}


def resolve(needed: list[str], *words: str | Path) -> str:
    """uv's resolution, with `words` for its command line."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--no-config", "--quiet", "--universal", "--no-header"]
    command += ["--no-annotate", "--python-version=3.11", *words, "-"]
    lines = "\n".join(needed)
    return subprocess.run(command, cwd=ROOT, input=lines, capture_output=True, encoding="utf-8", check=True).stdout


def blocks(text: str) -> dict[str, str]:
    """The entries of a lock, each with its hashes, by what they pin: name, version and marker."""
    found = re.findall(r"^([a-z\d][^\n]*?)( \\\n(?:    --hash=.*\n)+|\n)", text, re.M)
    return {pin: pin + hashes.rstrip("\n") + "\n" for pin, hashes in found}


def name(pin: str) -> str:
    return pin.partition("=")[0]


def cpu() -> str:
    """The entry of torch's build without CUDA: what pip finds here."""
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip"]
        subprocess.run([*pip, "download", "-q", "--no-deps", "-d", folder, f"torch=={TORCH}+cpu"], check=True)
        told = subprocess.run(
            [*pip, "hash", *Path(folder).iterdir()], capture_output=True, encoding="utf-8", check=True
        ).stdout
    return f"torch=={TORCH}+cpu \\\n    {told.split()[-1]}\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder) / "lock.txt"  # what stands in uv's output file it prefers
        kept = [ROOT / file for file in FILES if (ROOT / file).exists() and "-cpu" not in file and "site" not in file]
        lock.write_text("".join(pin for file in kept for pin in blocks(file.read_text("utf-8")).values()), "utf-8")
        extras = [f"--extra={extra}" for extra in EXTRAS]
        resolve(BESIDES, "pyproject.toml", "--generate-hashes", f"--output-file={lock}", *extras)
        pins = blocks(lock.read_text("utf-8"))
        library = {name(pin) for pin in blocks(resolve(BESIDES, "pyproject.toml", f"--constraints={lock}"))}
        site = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]["site"]
        entries = {"docs/site.lock": resolve(site, "--generate-hashes", f"--constraints={lock}")}
    entries = {file: "" for file in FILES} | entries | {"requirements-cpu.lock": cpu()}
    for pin, entry in pins.items():
        of = "-cuda" if CUDA.match(pin) else "" if name(pin) in library else "-all"
        entries[f"requirements{of}.lock"] += entry
    for file, first in FILES.items():
        (ROOT / file).write_text(
            f"# {first}\n# Made by `make lock` from pyproject.toml's ranges.\n{entries[file]}", "utf-8"
        )


if __name__ == "__main__":
    main()
