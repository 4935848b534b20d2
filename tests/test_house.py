"""How the house stands: what draws needs no torch, the method needs no folder, nothing imports in a circle, and it is
small."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from importlib.util import resolve_name

import pytest

from r3lib.files import ROOT

HOUSE = ROOT / "r3lib"
PATHS = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in HOUSE.rglob("*.py")}
METHOD = [name for name, path in PATHS.items() if path.parent == HOUSE]
FOLDERS = {path.parent.name for path in PATHS.values()} - {"r3lib"}
ENTRY = {"r3lib.__main__", "r3lib.cli"}
HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "accelerate")
DRAWS = [name for name in PATHS if name.startswith("r3lib.pages")]
LIGHT = [
    *DRAWS,
    *(f"r3lib.{name}" for name in ("outcomes", "measure.stats", "config", "files", "tasks", "machine.commands")),
]


def imports(name: str) -> set[str]:
    """The modules of r3lib that a module names in any import, wherever it stands in the file."""
    path, found = PATHS[name], set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            source = resolve_name("." * node.level + (node.module or ""), package)
            parts = {f"{source}.{alias.name}" for alias in node.names}
            found |= {part if part in PATHS else source for part in parts}
    return found & PATHS.keys() - {name}


def test_the_folders_are_found():
    assert {"pages", "machine", "measure", "problems", "nano"} <= FOLDERS
    assert "r3lib.pages.tables" in imports("r3lib.pages.report") and "r3lib.files" in imports("r3lib.pages.report")


def test_what_draws_and_reports_imports_no_torch():
    code = f"import sys, {', '.join(LIGHT)}; print(*(name for name in {HEAVY} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", [name for name in METHOD if name not in ENTRY])
def test_the_method_imports_no_folder(name):
    assert [found for found in imports(name) if found.split(".")[1:2] and found.split(".")[1] in FOLDERS] == []


def test_nothing_imports_in_a_circle():
    """Imports inside functions and those for type checkers count too. Raises CycleError, which names the circle."""
    TopologicalSorter({name: imports(name) for name in PATHS}).prepare()


def test_the_method_is_small():
    lines = {name: len(PATHS[name].read_text(encoding="utf-8").splitlines()) for name in METHOD}
    assert sum(lines.values()) <= 2300, lines
