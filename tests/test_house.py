"""How the house stands: what draws needs no torch, the method needs no folder, nothing imports in a circle, and it is
small."""

from __future__ import annotations

import ast
import re
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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", cwd=ROOT)
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


def test_advice_names_the_command_that_was_installed():
    """Not make, which is missing elsewhere, nor Python's own way to start a module."""
    others = re.compile(r"python -m r3lib(?!\.)|`make (?!mutants)")
    for name in PATHS.keys() - {"r3lib.__main__"}:
        assert not others.search(PATHS[name].read_text(encoding="utf-8")), name


def calls(folder: str) -> list[tuple[str, ast.Call]]:
    """Every call in a folder's code, with the place where it stands."""
    found = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [(f"{path.name}:{node.lineno}", node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return found


def reads_text_unsaid(call: ast.Call) -> bool:
    """Whether a call reads or writes text in whatever encoding the machine has, which on Windows is not UTF-8.

    ruff's own rule (PLW1514, a preview) knows few of them: it does not guess that a name is a Path.
    """
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    method = isinstance(call.func, ast.Attribute)
    words = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if name == "open":  # a conversation is opened, too, but not with words
        told = "b" not in "".join(words) and (not method or len(words) == len(call.args))
    elif name.endswith("TemporaryFile"):
        told = bool(words) and "b" not in words[0]
    else:
        named = name == "read_text" and words  # a member of something by its name, or the encoding itself
        told = method and name in ("read_text", "write_text") and not named
        told = told or getattr(given.get("text"), "value", None) is True
    return told and "encoding" not in given


@pytest.mark.parametrize("folder", ["r3lib", "tests", "benchmarks"])
def test_text_is_read_and_written_as_utf_8(folder):
    assert [place for place, call in calls(folder) if reads_text_unsaid(call)] == []


@pytest.mark.parametrize(
    "code, unsaid",
    [
        ("p.open()", True),
        ('p.open("a")', True),
        ('p.open("rb")', False),
        ('open(p, "w")', True),
        ('open(p, "wb")', False),
        ('p.open("a", encoding="utf-8")', False),
        ("conversation.open(task, problems)", False),
        ("p.read_text()", True),
        ("write_text(p, text)", False),
        ("run(words, text=True)", True),
        ('TemporaryFile("w+")', True),
        ("TemporaryFile()", False),
    ],
)
def test_what_reads_text_in_the_machines_own_encoding_is_found(code, unsaid):
    assert reads_text_unsaid(ast.parse(code).body[0].value) is unsaid


UNIX_MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "termios"}
UNIX_NAMES = {"SIGALRM", "SIGHUP", "SIGKILL", "fork", "getuid", "killpg", "sysconf", "wait4"}


def test_the_library_asks_for_nothing_that_windows_lacks():
    """A conversation has a `fork` of its own."""
    for name, path in PATHS.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
            assert not named & UNIX_MODULES, name
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in ("os", "signal"):
                assert node.attr not in UNIX_NAMES, f"{name}:{node.lineno}"
