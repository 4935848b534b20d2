"""What the pages promise: links lead somewhere, the README is short, and what a page repeats is what the files say."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from markdown_it import MarkdownIt

from r3lib.config import ARMS
from r3lib.files import ROOT
from r3lib.pages import lessons, report

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FOLDERS = (".", "docs", "data", "data/*", "benchmarks", "cluster", "results")
PAGES = sorted(path for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.md")) + NOTEBOOKS
MARKDOWN = MarkdownIt("commonmark").enable("table")


def text(path: Path) -> str:
    """A page's Markdown; of a notebook, that of its text cells."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    return "\n\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "markdown")


def links(source: str) -> Iterator[str]:
    """Where the links and pictures of a Markdown text lead, those in code left out."""
    for block in MARKDOWN.parse(source):
        for token in block.children or ():
            for name in ("href", "src"):
                if name in token.attrs:
                    yield unquote(token.attrs[name])


def anchors(source: str) -> set[str]:
    """The names that a page's headings have in links."""
    blocks = MARKDOWN.parse(source)
    titles = [inline.content for head, inline in zip(blocks, blocks[1:]) if head.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken(path: Path, source: str) -> list[str]:
    """The links of a page that lead to no file of the kit, or to no heading in it; other sites are not asked."""
    found = []
    for link in links(source):
        if re.match(r"\w+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        inside = target.exists() and target.is_relative_to(ROOT)
        if not inside or (anchor and anchor not in anchors(text(target) if name else source)):
            found.append(link)
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_a_file_and_a_heading(path):
    assert broken(path, text(path)) == []


def test_a_link_that_leads_nowhere_is_found():
    source = "# A b: c\n\n[1](RESULTS.md) [2](none.md) [3](#a-b-c) [4](#a-b) `[5](none.md)` [6](https://x.org/none)\n\n"
    source += "![7](docs/none.png) [8](../outside.md) [9](benchmarks/README.md#does-it-fit) [10](RESULTS.md#none)"
    assert broken(ROOT / "README.md", source) == [
        "none.md",
        "#a-b",
        "docs/none.png",
        "../outside.md",
        "RESULTS.md#none",
    ]


def test_the_site_has_every_page():
    code = ast.parse((ROOT / "docs" / "conf.py").read_text(encoding="utf-8")).body
    (contents,) = (
        node.value for node in code if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "CONTENTS"
    )
    names = [name for part in ast.literal_eval(contents).values() for name in part]
    found = {path for name in names for end in (".md", ".ipynb") for path in ROOT.glob(name + end)}
    assert found == {*PAGES} - {ROOT / "README.md"}


# the README


README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_short():
    """And has one picture of the method and one of results, and one table of notebooks."""
    assert len(README.splitlines()) < 90
    assert sum(link.endswith(".png") for link in links(README)) == 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_readme_links_each_notebook_and_says_what_its_header_says(path):
    header = nbformat.read(path, 4).cells[0].source
    (row,) = (line for line in README.splitlines() if f"(notebooks/{path.name})" in line)
    number, link, teaching, time, memory = (cell.strip() for cell in row.strip("|").split("|"))
    assert path.stem.startswith(number) and f"# {number} · {link[1:].partition(']')[0]}\n" in header
    assert re.search(rf"^\| (`nano`|any.*) \| {time} \| {memory} \|", header, re.M)
    said = re.search(r"\*\*Teaching time\*\*: (.*)", header)
    assert (
        teaching.split(" + ") == re.findall(r"\d+(?= minutes|\ for the exercises)", said[1]) if said else not teaching
    )


def test_the_guide_has_the_table_of_the_readme():
    def table(name: str) -> str:
        page = (ROOT / name).read_text(encoding="utf-8")
        return page.partition("<!-- notebooks:start -->\n")[2].partition("<!-- notebooks:end -->")[0]

    assert table("README.md").strip() == lessons.table(ROOT / "notebooks")
    assert table("docs/teaching.md") == table("README.md").replace("](notebooks/", "](../notebooks/")


# what pages say of sections, rows, arms and files


def numbers(said: str) -> set[int]:
    """ "1 to 3, 5 and 7" as numbers."""
    spans = re.findall(r"(\d+)(?: to (\d+))?", said)
    return {number for first, last in spans for number in range(int(first), int(last or first) + 1)}


def sections(path: Path) -> set[int]:
    return {int(number) for number in re.findall(r"^## (\d+) · ", text(path), re.M)}


SOME = r"((?:\d(?!\d)(?:, | and | to )?)+)"
SECTIONS = re.compile(rf"(?:\[(\w\d[a-z]?)\]\([^)]*\)|\b(\d\d[a-z]?|A\d)),?\s+sections?\s+{SOME}")


@pytest.mark.parametrize("name", ["docs/teaching.md", "docs/glossary.md", "RESULTS.md"])
def test_sections_that_a_page_names_are_there(name):
    found = SECTIONS.findall((ROOT / name).read_text(encoding="utf-8"))
    there = {path.name.partition("_")[0]: sections(path) for path in NOTEBOOKS}
    wrong = {(linked or plain, said) for linked, plain, said in found if numbers(said) - there[linked or plain]}
    assert not wrong and (len(found) > 10 or name == "RESULTS.md")


def test_exercises_and_headings_that_the_plans_name_are_there():
    plans = re.findall(r"\[(\w\d[a-z]?)\]\(\.\./notebooks/([^)]+)\)([^|\n]*)\|", text(ROOT / "docs" / "teaching.md"))
    assert len(plans) > 20
    for number, name, rest in plans:
        source = text(ROOT / "notebooks" / name)
        exercises = {int(found) for found in re.findall(r"^\*\*(\d)\. ", source, re.M)}
        for said in re.findall(rf"exercises? {SOME}", rest):
            assert numbers(said) <= exercises, (number, rest)
        headings = re.findall(r"^#+ (.*)", source, re.M)
        for quoted in re.findall(r'"([^"]+)"', rest):
            assert any(quoted in heading for heading in headings), (number, quoted)


def test_the_plans_last_as_long_as_they_say():
    """The rows of a plan, breaks included, add up: 90 minutes, four hours, two days of six to eight hours."""
    page = text(ROOT / "docs" / "teaching.md")
    parts = re.split(r"^(?:## Plan|\*\*Day)", page.partition("## What goes wrong")[0], flags=re.M)[1:]
    lasts = [sum(int(minutes) for minutes in re.findall(r"^\| (\d+) \|", part, re.M)) for part in parts]
    assert [total for total in lasts if total][:2] == [90, 240] and all(360 <= day <= 480 for day in lasts[3:])


def test_every_row_and_arm_is_explained():
    page = text(ROOT / "RESULTS.md").partition("\n## Countdown")
    assert [label for label, _ in report.TABLE if f"| `{label}` |" not in page[0]] == []
    assert [name for name in ARMS if f"`{name}`" not in page[2]] == []
    entry = text(ROOT / "docs" / "glossary.md").partition("**Arm.**")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", entry)) == {*ARMS}


def test_the_library_page_names_every_file_and_folder():
    page = text(ROOT / "docs" / "library.md")
    inside = ROOT / "r3lib"
    files = {path.name for path in inside.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert set(re.findall(r"`(\w+\.py)`", page.partition("\nBeside it")[0])) == files
    assert set(re.findall(r"^\| `(\w+)/` \|", page, re.M)) == {path.parent.name for path in inside.glob("*/*.py")}
