"""The ways in, each taken as a new user takes it: make test-ways. The table of all of them is docs/ways-in.md.

One wheel is built, of what git knows of this working tree. Each way has an environment and folders of its own, below a
folder with spaces and accents in its name. They share this environment's packages through links, so that nothing is
downloaded; only bare Pythons fetch what they lack. Where root runs this, an ordinary user takes the ways.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ADDRESS = PROJECT["urls"]["Repository"]
NOBODY = 65534 if hasattr(os, "geteuid") and os.geteuid() == 0 else None
MINE = ("PYTHONPATH", "PYTHONHOME", "R3_HOME", "R3_PROFILE", "VIRTUAL_ENV", "HF_HOME")
QUICK = "--set steps=2 --set train_problems=48 --set failure_samples=2 --set prompts_per_step=2".split()
QUICK += "--set num_generations=4 --set micro_batch=8 --set rollout_batch_size=48 --test-problems=6".split()
SLOW = ["--start-timeout=600"]  # on a machine that has much to do


def run(words: list, cwd: Path, user: int | None = None, status: int = 0, **changes: str) -> str:
    """What a command prints. `user` has its folder as a home, so that nothing of this machine's own helps it."""
    clean = {name: value for name, value in os.environ.items() if name not in MINE}
    clean |= {"HF_HUB_OFFLINE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    if user is not None:
        clean |= {"HOME": str(cwd), "PATH": os.defpath}
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=clean | changes,
        user=user,
        group=user,
        extra_groups=None if user is None else [],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    assert done.returncode == status, done.stdout[-4000:]
    return done.stdout


@pytest.fixture(scope="session")
def top():
    folder = Path(tempfile.mkdtemp(prefix="r3 à côté "))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def kit(copy_tree, top):
    """A repository with what git knows of this working tree."""
    folder = top / "checkouts" / "the kit"
    copy_tree(folder)
    for words in ("init -q", "add -A", "-c user.name=a -c user.email=a@b commit -qm one"):
        run(["git", *words.split()], folder)
    return folder


@pytest.fixture(scope="session")
def packages(top):
    """This environment's packages without the kit itself."""
    folder = top / "site-packages"  # a name by which dill knows what it need not look into
    folder.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if "r3lib" not in path.name:
            (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="session")
def python(packages, top):
    """A Python of this version that the ordinary user can start, too: this one, or the system's."""
    code = f"import sys; sys.path.append({str(packages)!r}); import torch"
    for place in (sys.executable, f"/usr/bin/python3.{sys.version_info[1]}"):
        try:
            run([place, "-c", code], top, NOBODY, HOME="/")
        except (AssertionError, OSError):
            continue
        return place
    pytest.skip("no Python here can be started by an ordinary user together with this environment's packages")


@pytest.fixture
def own(top, request):
    """An empty folder of the ordinary user's."""
    folder = top / f"own, {request.node.name}"
    folder.mkdir()
    if NOBODY is not None:
        os.chown(folder, NOBODY, NOBODY)
    return folder


def environment(folder: Path, python: str, packages: Path) -> Path:
    """The Python of a new environment with those packages, pip among them."""
    run([python, "-m", "venv", "--without-pip", folder], folder.parent)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "packages.pth").write_text(str(packages), encoding="utf-8")
    return folder / "bin" / "python"


@pytest.fixture(scope="session")
def wheel(kit, top):
    """Built in a copy, as building leaves files behind."""
    run(["git", "clone", "-q", kit, top / "source"], top)
    run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", top, "./source"], top)
    (built,) = top.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel, python, packages, top):
    """An environment into which pip has put the wheel."""
    found = environment(top / "installed", python, packages)
    run([found, "-m", "pip", "install", "-q", "--no-index", wheel], top)
    return found


@pytest.fixture(scope="session")
def uninstalled(python, packages, top):
    """An environment without the kit."""
    return environment(top / "uninstalled", python, packages)


def first_cell(kit: Path) -> str:
    cells = json.loads((kit / "notebooks/00_start_here.ipynb").read_text(encoding="utf-8"))["cells"]
    return next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_the_wheel_reproduces_from_an_empty_folder(installed, own):
    told = run([installed.parent / "r3", "reproduce", *QUICK], own, NOBODY)
    print(told)
    assert "trained second try" in told and "The stored runs beside it" in told
    (page,) = own.glob("runs/*/report.html")
    assert str(page.relative_to(own)) in told


def test_notebook_00_alone_in_an_empty_folder(installed, kit, own):
    shutil.copy(kit / "notebooks/00_start_here.ipynb", own)
    run([installed, "-m", "papermill", *SLOW, "00_start_here.ipynb", "out.ipynb"], own, NOBODY)
    assert '"output_type": "error"' not in (own / "out.ipynb").read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_written_is_told(installed, top):
    folder = top / "read-only"
    folder.mkdir(mode=0o555)
    code = "from r3lib.problems import countdown; print(countdown.TASK.name)"
    assert run([installed, "-c", code], folder, NOBODY) == "countdown\n"
    told = run([installed.parent / "r3", "reproduce", *QUICK], folder, NOBODY, status=1)
    *_, last = told.splitlines()
    assert last.startswith("r3lib: Cannot write") and "Traceback" not in told
    assert f"{folder}" in run([installed.parent / "r3", "doctor"], folder, NOBODY)


def test_papermill_from_a_parent_folder_finds_the_checkout(uninstalled, kit, own):
    book = json.loads((kit / "notebooks/00_start_here.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    cells[1]["source"] = "import r3lib\nprint(r3lib.__file__)"
    (own / "begin.ipynb").write_text(json.dumps(book | {"cells": cells[:2]}), encoding="utf-8")
    run(
        [uninstalled, "-m", "papermill", *SLOW, own / "begin.ipynb", own / "out.ipynb"],
        kit.parent,
        NOBODY,
        HOME=str(own),
    )
    _, shown = json.loads((own / "out.ipynb").read_text(encoding="utf-8"))["cells"]
    assert shown["outputs"][0]["text"] == [f"{kit / 'r3lib' / '__init__.py'}\n"]


def test_binder_adds_the_kit_to_the_locked_packages(python, packages, kit, top):
    """With the packages there already: that the locks can be installed, `make test` itself shows."""
    run(["git", "clone", "-q", kit, top / "binder"], top)
    found = environment(top / "binder environment", python, packages)
    pip = found.parent / "pip"
    pip.write_text(f'#!/bin/sh\nexec "{found}" -m pip "$@"\n', encoding="utf-8")
    pip.chmod(0o755)
    run(["binder/postBuild"], top / "binder", PATH=f"{found.parent}{os.pathsep}{os.environ['PATH']}")
    assert f"{top / 'binder'}" in run([found.parent / "r3", "doctor"], top)


# a bare Python, as Colab is: with a few packages of its own

PRESENT = {"numpy": "2.1.0", "transformers": "5.4.0"}


def bare(version: str, folder: Path) -> Path:
    """A new environment of that Python, with pip alone; skips where there is no such Python."""
    others = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser() / "versions"
    known = [shutil.which(f"python{version}"), *sorted(others.glob(f"{version}.*/bin/python"))]
    for place in filter(None, known):
        try:
            run([place, "-m", "venv", folder], folder.parent)
        except (AssertionError, OSError):
            shutil.rmtree(folder, ignore_errors=True)
            continue
        return folder / "bin" / "python"
    pytest.skip(f"no Python {version} with venv and pip on this machine")


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_the_set_up_cell_installs_the_kit_and_leaves_what_is_there(version, kit, top):
    """numpy and transformers are older than the newest, so that an upgrade would show; torch is a stand-in that has
    nothing but a version, as its own download takes gigabytes."""
    empty = top / f"content {version}"
    empty.mkdir()
    python = bare(version, top / f"bare {version}")
    run([python, "-m", "pip", "install", "-q", *(f"{name}=={there}" for name, there in PRESENT.items())], empty)
    (site,) = python.parent.parent.glob("lib/python*/site-packages")
    for name, text in (
        ("torch/__init__.py", ""),
        ("torch-2.9.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: torch\nVersion: 2.9.0\n"),
        ("torch-2.9.0.dist-info/INSTALLER", "pip\n"),
        ("torch-2.9.0.dist-info/RECORD", "torch/__init__.py,,\n"),
    ):
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(text, encoding="utf-8")
    cell = first_cell(kit).replace(ADDRESS, kit.as_uri())
    assert cell != first_cell(kit)
    code = f"{cell}\nfrom r3lib.problems import countdown\nprint('from', countdown.__file__)"
    assert f"from {site / 'r3lib'}" in run([python, "-c", code], empty)
    there = json.loads(run([python, "-m", "pip", "list", "--format=json"], empty).splitlines()[-1])
    found = {package["name"]: package["version"] for package in there}
    assert found | PRESENT | {"torch": "2.9.0"} == found and "trl" in found
    assert "No broken requirements found" in run([python, "-m", "pip", "check"], empty)
