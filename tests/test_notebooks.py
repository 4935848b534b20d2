"""What every notebook has, whatever it shows; `make test` runs them through nbval besides."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest

from r3lib.files import ROOT
from r3lib.pages import course, plots

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MEASURED = re.compile(r"^\| (`nano`|any .*) \| \d+ s \| \d+\.\d GB \| 2 cores, \S+, no GPU \|$", re.M)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_opens_and_ends_as_all_do(path):
    cells = nbformat.read(path, 4).cells
    opening = cells[0].source
    ending = next(cell.source for cell in reversed(cells) if not cell.id.startswith(course.PREFIX))
    assert f"/blob/main/notebooks/{path.name})" in opening, "its own Colab badge"
    assert "**What you will learn**" in opening and MEASURED.search(opening), "what it teaches, what it takes"
    assert "## Exercises" in ending
    assert ending.count("<summary>Solution</summary>") == len(re.findall(r"^\*\*\d\. ", ending, re.M)) > 1
    assert any("parameters" in cell.metadata.get("tags", []) for cell in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_as_it_ran_from_top_to_bottom(path):
    code = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [out for cell in code for out in cell.outputs if out.output_type == "error"]


ROADMAP = [path for path in NOTEBOOKS if "plots.roadmap(" in path.read_text(encoding="utf-8")]


def test_the_roadmap_has_every_notebook():
    numbers = [path.stem.partition("_")[0] for path in NOTEBOOKS]
    assert [number for part in plots.COURSE.values() for number in part] == numbers


@pytest.mark.parametrize("path", ROADMAP, ids=lambda path: path.stem)
def test_a_lesson_can_be_read_at_the_back_of_the_room_and_aloud(path):
    """And it says how long its exercises take."""
    cells = nbformat.read(path, 4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert f'plots.roadmap("{path.stem.partition("_")[0]}")' in code[1].source
    assert [line for cell in code for line in cell.source.splitlines() if len(line) > 100] == []
    outputs = [out for cell in code for out in cell.outputs]
    assert not [out for out in outputs if out.get("name") == "stderr"], "nothing red"
    bundles = [out.data for out in outputs if "data" in out]
    kinds = {kind for data in bundles for kind in data}
    assert not kinds & {"image/png", "application/vnd.jupyter.widget-view+json"}, "figures by show.figure, no bars"
    images = re.findall(r"<img [^>]*", "".join(data.get("text/html", "") for data in bundles))
    assert all(re.search(r' alt="[^"]{20}', image) for image in images) and images
    prose = "".join(cell.source for cell in cells if cell.cell_type == "markdown").partition("## Exercises")
    minutes = sum(map(int, re.findall(r"\((?:easy|medium|hard), (\d+) minutes", prose[2])))
    assert f"plus {minutes} for the exercises" in prose[0]


# the first cell: a checkout near by, else an installed kit, else an installation, else a sentence

ADDRESS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
FOUND = "import r3lib; print(r3lib.__file__)"
PIP = """
import json, os, sys
print("pip", json.dumps(sys.argv[1:]), flush=True)
if "FAIL" in os.environ:
    sys.exit("ERROR")
for name in ("r3lib", "trl"):
    open(os.path.join(os.environ["SITE"], f"{name}.py"), "w").close()
"""


def first_cell(path) -> str:
    return next(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")


FIRST = first_cell(NOTEBOOKS[0])


@pytest.fixture
def bare(tmp_path):
    """A Python that knows nothing but a stub of pip, which installs into tmp_path/site, and one of Colab."""
    for name, text in (("pip/__main__.py", PIP), ("pip/__init__.py", ""), ("google/colab.py", "")):
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / name).write_text(text, encoding="utf-8")

    def run(cwd, code=FIRST, **changes) -> subprocess.CompletedProcess:
        environment = {"PATH": os.environ["PATH"], "SITE": str(tmp_path / "site"), "PYTHONPATH": str(tmp_path / "site")}
        words = [sys.executable, "-S", "-c", f"import google.colab\n{code}\n{FOUND}"]
        return subprocess.run(words, cwd=cwd, env=environment | changes, capture_output=True, encoding="utf-8")

    return run


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "parent" / "kit"
    (folder / "r3lib").mkdir(parents=True)
    (folder / "notebooks").mkdir()
    for name in ("__init__.py", "files.py"):
        (folder / "r3lib" / name).write_text("", encoding="utf-8")
    return folder


def test_the_first_cell_is_the_same_in_all():
    assert {first_cell(path) for path in NOTEBOOKS} == {FIRST}
    assert f'URL, here = "{ADDRESS}"' in FIRST


@pytest.mark.parametrize("place", ["notebooks", ".", ".."])
def test_a_checkout_above_or_below_is_used_before_an_installed_kit(place, bare, checkout, tmp_path):
    for name in ("r3lib", "trl"):
        (tmp_path / "site" / f"{name}.py").write_text("", encoding="utf-8")
    done = bare(checkout / place)
    assert done.returncode == 0 and done.stdout == f"{checkout / 'r3lib' / '__init__.py'}\n", done.stderr


def test_alone_in_an_empty_folder_an_installed_kit_is_used(bare, tmp_path):
    for name in ("r3lib", "trl"):
        (tmp_path / "site" / f"{name}.py").write_text("", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    assert bare(tmp_path / "empty").stdout == f"{tmp_path / 'site' / 'r3lib.py'}\n"


def test_on_colab_the_kit_is_installed_and_what_is_there_is_left_alone(bare, tmp_path):
    """Without a word that would upgrade what meets the ranges of pyproject.toml, or pin it to the lock."""
    (tmp_path / "content").mkdir()
    told = bare(tmp_path / "content").stdout.splitlines()
    assert told == [f'pip ["install", "-q", "git+{ADDRESS}"]', str(tmp_path / "site" / "r3lib.py")]


def test_a_checkout_whose_packages_are_missing_is_installed_itself(bare, checkout):
    told = bare(checkout).stdout.splitlines()
    assert told == [f'pip ["install", "-q", "{checkout}"]', str(checkout / "r3lib" / "__init__.py")]


def test_where_it_can_neither_be_found_nor_installed_a_sentence_says_what_to_do(bare, tmp_path):
    (tmp_path / "empty").mkdir()
    done = bare(tmp_path / "empty", FAIL="1")
    told = done.stderr.splitlines()
    assert done.returncode == 1 and told[0] == "ERROR" and len(told) == 2
    assert told[1].startswith(f"git+{ADDRESS} cannot be installed: open this notebook in a checkout of the kit")


def test_it_installs_from_a_repository_on_this_machine(tmp_path):
    """By pip and git themselves: a package of the kit's name in a repository below a file:// address."""
    source, site, empty = (tmp_path / name for name in ("source", "site", "empty"))
    for folder in (source, site, empty):
        folder.mkdir()
    (source / "r3lib.py").write_text("", encoding="utf-8")
    (source / "setup.py").write_text(
        "from setuptools import setup; setup(name='r3lib', py_modules=['r3lib'])", encoding="utf-8"
    )
    for words in ("init -q", "add .", "-c user.name=a -c user.email=a@b commit -qm one"):
        subprocess.run(["git", *words.split()], cwd=source, check=True)
    others = Path(pytest.__file__).parent.parent  # without the .pth files, which know this checkout
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{site}{os.pathsep}{others}", "PIP_TARGET": str(site)}
    environment |= {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "false", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    cell = FIRST.replace(ADDRESS, f"file://{source}")
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"{cell}\n{FOUND}"],
        cwd=empty,
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0 and done.stdout == f"{site / 'r3lib.py'}\n", done.stderr


# the address

REPOSITORY = re.compile(
    rf"(?:{re.escape(ADDRESS)}|https://github\.com/[\w.-]+/r3-kit\b"  # wherever it stands
    r"|(?<=git clone )(?:-\S+ )*\S+|(?<=git\+)\w+://[\w./-]+"  # what is cloned or installed
    r"|(?<=colab\.research\.google\.com/github/)[^/]+/[^/]+)"
)


PLACES = ("README.md", "docs/installing.md", "CITATION.cff", "pyproject.toml")


def addresses(root: Path) -> dict[str, set[str]]:
    places = [root / name for name in ("README.md", "CITATION.cff", "pyproject.toml", "cluster/README.md")]
    places += [path for folder in ("notebooks", "data/*", "benchmarks", "docs") for path in root.glob(f"{folder}/*.*")]
    places = [path for path in places if path.suffix in (".md", ".ipynb", ".cff", ".toml")]
    found = {path.relative_to(root): REPOSITORY.findall(path.read_text(encoding="utf-8")) for path in places}
    return {str(name): {match.removeprefix("https://github.com/") for match in all_} for name, all_ in found.items()}


def test_there_is_one_address_and_the_readme_says_whether_a_kit_is_there():
    found = addresses(ROOT)
    assert set().union(*found.values()) == {ADDRESS.removeprefix("https://github.com/")}
    named = {*PLACES, *(f"notebooks/{path.name}" for path in NOTEBOOKS)}
    assert {name for name, matches in found.items() if matches} == named
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"git clone {ADDRESS} r3-kit && cd r3-kit\n" in readme
    assert ("**No copy of the kit is published yet**" in readme) == ("not_published_yet" in ADDRESS)


def test_make_url_puts_another_in_every_place(tmp_path):
    books = [f"notebooks/{path.name}" for path in NOTEBOOKS]
    for path in (".ci/url.py", *PLACES, *books):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)

    def url(new):
        return subprocess.run([sys.executable, ".ci/url.py", new], cwd=tmp_path, capture_output=True, encoding="utf-8")

    for new, badge in (("https://github.com/a-b/c", "a-b/c"), ("file:///tmp/kit", "a-b/c"), (ADDRESS, None)):
        assert url(new).returncode == 0
        short = new.removeprefix("https://github.com/")
        assert f'URL, here = "{new}"' in first_cell(tmp_path / "notebooks" / NOTEBOOKS[0].name)
        text = (tmp_path / "notebooks" / NOTEBOOKS[0].name).read_text(encoding="utf-8")
        assert f"google.com/github/{badge or short}/blob/main/notebooks/{NOTEBOOKS[0].name})" in text
        for page in ("README.md", "docs/installing.md"):
            assert f"git clone {new} r3-kit && cd r3-kit\n" in (tmp_path / page).read_text(encoding="utf-8")
        assert f'repository-code: "{new}"' in (tmp_path / "CITATION.cff").read_text(encoding="utf-8")
    for path in (path for path in tmp_path.rglob("*") if path.is_file()):
        assert path.read_bytes() == (ROOT / path.relative_to(tmp_path)).read_bytes(), path
    refused = url("no address")
    assert refused.returncode == 1 and "make url URL=https://github.com/OWNER/NAME" in refused.stderr
