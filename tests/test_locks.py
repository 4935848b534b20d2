"""What is installed: ranges in pyproject.toml, exact versions in the locks, and what reads those."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from itertools import chain

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from r3lib.files import ROOT, read_json

sys.path.insert(0, str(ROOT / ".ci"))
import bounds

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKED = [*EXTRAS["notebooks"], *EXTRAS["test"], *EXTRAS["forgetting"]]  # vLLM wants a torch of its own
LIBRARY, ALL, CUDA, CPU = (f"requirements{of}.lock" for of in ("", "-all", "-cuda", "-cpu"))
SITE = "docs/site.lock"  # of an environment of its own
ENTRY = re.compile(r"^([a-z\d][^\n]*?)((?: \\\n    --hash=sha256:[\da-f]{64})*)\n", re.M)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pins(*names: str) -> dict[str, list[Requirement]]:
    """What the locks pin, by the packages' names; one may have several versions, each for some Pythons."""
    found: dict[str, list[Requirement]] = {}
    for pin, _ in chain.from_iterable(ENTRY.findall(text(name)) for name in names):
        found.setdefault(canonicalize_name(Requirement(pin).name), []).append(Requirement(pin))
    return found


def version(pin: Requirement) -> str:
    return str(pin.specifier).removeprefix("==")


@pytest.mark.parametrize("name", [LIBRARY, ALL, CUDA, CPU, SITE])
def test_a_lock_is_versions_and_hashes_and_tells_of_no_machine(name):
    lines = text(name).splitlines()
    first = {ALL: [f"-r {LIBRARY}"]}.get(name, [])
    assert [line for line in lines if line.startswith("-")] == first
    entries = ENTRY.findall(text(name))
    assert entries and all(hashes for _, hashes in entries)
    assert all(re.fullmatch(r"[a-z\d][a-z\d.-]*==[\w.+]+( ; .*)?", pin) for pin, _ in entries)
    written = sum(1 + hashes.count("\n") for _, hashes in entries)
    assert written + len(first) + sum(line.startswith("#") for line in lines) == len(lines)
    assert not re.search(r"://|(?<![\w])/\w", "\n".join(lines))


def test_no_package_stands_in_two_locks():
    """But for torch, whose build without CUDA is the same version, and for the site's, which has the same versions."""
    names = [name for lock in (LIBRARY, ALL, CUDA) for name in pins(lock)]
    assert len(names) == len(set(names))
    everything, site = pins(LIBRARY, ALL, CUDA), pins(SITE)
    shared = everything.keys() & site.keys()
    assert {"jinja2", "ipython"} <= shared
    assert [name for name in shared if set(map(version, site[name])) != set(map(version, everything[name]))] == []
    ((torch,),) = pins(CPU).values()
    assert version(torch) == f"{version(pins(CUDA)['torch'][0])}+cpu"


def test_what_cuda_needs_is_asked_for_on_linux_alone_and_stands_apart():
    theirs = pins(CUDA)
    assert {"triton", "cuda-toolkit", "nvidia-cublas", "nvidia-cudnn-cu13", "nvidia-nccl-cu13"} <= theirs.keys()
    for name in theirs.keys() - {"torch"}:
        assert all("sys_platform == 'linux'" in str(pin).replace('"', "'") for pin in theirs[name]), name
    assert not [name for name in pins(LIBRARY, ALL) if re.match("torch$|triton|nvidia-|cuda-", name)]


def test_the_locks_are_in_the_ranges():
    library, everything, site = pins(LIBRARY, CUDA), pins(LIBRARY, ALL, CUDA), pins(SITE)
    for wanted, found in ((PROJECT["dependencies"], library), (LOCKED, everything), (EXTRAS["site"], site)):
        for one in map(Requirement, wanted):
            assert all(one.specifier.contains(version(pin)) for pin in found[canonicalize_name(one.name)]), one


def test_nothing_is_missing_from_the_locks():
    """What each package needs here, if it is installed in the locked version: it says so itself."""
    library, everything = pins(LIBRARY, CUDA), pins(LIBRARY, ALL, CUDA)
    looked = 0
    for where, found in ((library, library), (everything, everything)):
        for name, versions in where.items():
            try:
                here = metadata.distribution(name)
            except metadata.PackageNotFoundError:
                continue
            if here.version not in [version(pin) for pin in versions]:
                continue
            looked += 1
            for need in map(Requirement, here.requires or []):
                if need.marker is None or need.marker.evaluate(default_environment() | {"extra": ""}):
                    assert canonicalize_name(need.name) in found, f"{name} needs {need}"
    assert looked


def test_conda_and_binder_install_the_locks():
    environment = yaml.safe_load(text("environment.yml"))
    *others, pip = environment["dependencies"]
    binder = text("binder/requirements.txt").splitlines()
    assert [f"-r ../{line.removeprefix('-r ')}" for line in pip["pip"]] == binder == [f"-r ../{ALL}", f"-r ../{CUDA}"]
    asked = re.fullmatch(r"python-(3\.(\d+))\n", text("binder/runtime.txt"))
    assert int(asked[2]) >= int(re.search(r"\d+$", PROJECT["requires-python"])[0])
    assert others == [f"python={asked[1]}", "pip", "make"]
    itself = "pip install --no-deps --no-build-isolation -e .\n"
    assert text("binder/postBuild").endswith(f"\n{itself}") and text("environment.yml").split("\n")[0] + "\n" == (
        f"# conda env create -f environment.yml && conda activate {environment['name']} && {itself}"
    )
    assert "setuptools" in pins(LIBRARY), "which builds the kit"


def test_the_ranges_begin_where_the_tests_passed():
    """The table that says so is what the script makes of the runs; the upper end is that of the locks."""
    if not bounds.RESULT.exists():
        assert "<!-- bounds:start -->\n`make test-lowest` has not been run to its end yet.\n<!--" in text(
            "docs/installing.md"
        )
        pytest.skip("`make test-lowest` has not been run to its end yet")
    found = read_json(bounds.RESULT)
    assert f"<!-- bounds:start -->\n{bounds.table(found)}<!-- bounds:end -->" in text("docs/installing.md")
    assert found["lowest"]["tests"] > 50
    everything = pins(LIBRARY, ALL, CUDA)
    for name, wanted in bounds.ranges().items():
        begin = next(one.version for one in SpecifierSet(wanted) if one.operator == ">=")
        assert Version(begin) == Version(found["lowest"]["versions"][name]), name
        locked = found.get("locked", {}).get("versions", {}).get(name, version(everything[name][0]))
        assert locked.partition("+")[0] in [version(pin) for pin in everything[name]], name


def test_every_way_in_has_a_test():
    named = re.findall(r"`((?:tests|\.ci)/test_\w+\.py)::(test_\w+)`", text("docs/ways-in.md"))
    rows = [line for line in text("docs/ways-in.md").splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15 and all(re.search(r"`\S+::test_\w+` \|$", row) for row in rows)
    assert [f"{file}::{name}" for file, name in named if f"\ndef {name}(" not in text(file)] == []
    both = text(".ci/test_ways.py") + text(".ci/test_browser.py")
    ways = set(re.findall(r"^def (test_\w+)", both, re.M))
    assert ways <= {name for _, name in named}


def imported(folder: str) -> set[str]:
    """The modules that a folder's code names in any import and that are neither Python's nor the kit's."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.split(".")[0])
    mine = {path.stem for where in ("tests", "benchmarks", ".ci") for path in (ROOT / where).glob("*.py")}
    return found - sys.stdlib_module_names - mine - {"r3lib"}


BROUGHT = {"IPython": "ipywidgets"}  # wherever a notebook runs, it is there


@pytest.mark.parametrize("folder, extras", [("r3lib", ("notebooks", "forgetting")), ("tests", ("notebooks", "test"))])
def test_every_import_is_asked_for_by_name(folder, extras):
    """So that the range says which versions work, and no other package's change takes it away."""
    wanted = [*PROJECT["dependencies"], *chain.from_iterable(EXTRAS[extra] for extra in extras)]
    named = {canonicalize_name(Requirement(one).name) for one in wanted}
    homes = metadata.packages_distributions()
    for module in sorted(imported(folder)):
        at_home = {canonicalize_name(home) for home in [*homes.get(module, [module]), BROUGHT.get(module, module)]}
        assert named & at_home, module
