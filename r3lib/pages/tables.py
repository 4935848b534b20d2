"""Tables as Markdown, and the same for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tabulate import DataRow, TableFormat, tabulate

# GitHub's form without padding, so that one longer cell changes one line of a stored table and not all of them
MARKDOWN = TableFormat(
    lineabove=None,
    linebelowheader=lambda widths, _: "|---" * len(widths) + "|",
    linebetweenrows=None,
    linebelow=None,
    headerrow=DataRow("|", "|", "|"),
    datarow=DataRow("|", "|", "|"),
    padding=1,
    with_header_hide=None,
)


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. A cell may hold anything but the end of a line."""
    head, *rows = [[cell.replace("|", r"\|") for cell in row] for row in (head, *rows)]
    return tabulate(rows, head, tablefmt=MARKDOWN, disable_numparse=True, stralign=None)


def folded(title: str, text: str) -> str:
    """Markdown behind a line that opens it with a click: for a full table below the figure that sums it up."""
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"


def plain(text: str) -> str:
    """A Markdown text for the terminal: the columns of its tables aligned, emphasis left out."""
    blocks = []
    for block in text.replace("*", "").split("\n\n"):
        if block.startswith("|"):
            head, _, *rows = [_cells(line) for line in block.splitlines()]
            sides = ["left", *["right"] * (len(head) - 1)]
            block = tabulate(rows, head, tablefmt="plain", disable_numparse=True, colalign=sides)
        blocks.append(block)
    return "\n\n".join(blocks)


def _cells(line: str) -> list[str]:
    return [cell.replace(r"\|", "|") for cell in line.removeprefix("|").removesuffix("|").split(" | ")]
