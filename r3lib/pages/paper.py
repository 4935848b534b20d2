"""The paper's numbers, each with its mark for how sure we are (data/paper/), and its gains beside ours.

Only gains and their directions are laid beside r3-nano's: the models, the data and so the levels are others. A cell
that is recalled and not verified (mark M) is grey in tables and hollow in plots, and decides nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from r3lib.files import DATA, read_json
from r3lib.pages import tables

GAINS = {  # what is gained: (from, to), as the columns of the paper's tables
    "reflection, before training: vanilla 2nd − 1st try": ("vanilla_first", "vanilla_second"),
    "reflection, after training: trained 2nd − 1st try": ("trained_first", "trained_second"),
    "training, first try: trained − vanilla": ("vanilla_first", "trained_first"),
    "training, second try: trained − vanilla": ("vanilla_second", "trained_second"),
}


class Gain(NamedTuple):
    """One difference of two of the paper's cells, in points. `verified`: neither cell is a recollection."""

    model: str
    points: float
    verified: bool


def load(task: str) -> dict:
    """The paper's table for a task, every cell with its marks. Raises R3Error if it is missing or damaged."""
    return read_json(DATA / "paper" / f"{task}.json")


def gains(found: dict) -> dict[str, list[Gain]]:
    """Each of GAINS for the models whose two cells are known as numbers."""
    out: dict[str, list[Gain]] = {}
    for name, columns in GAINS.items():
        rows = []
        for row in found["rows"]:
            first, second = (row[column] for column in columns)
            if first["value"] is not None and second["value"] is not None:
                verified = "M" not in [*first["marks"], *second["marks"]]
                rows.append(Gain(row["model"], round(second["value"] - first["value"], 1), verified))
        out[name] = rows
    return out


def table(found: dict) -> str:
    """Markdown: one of the paper's tables, each cell with its mark; unverified ones in grey."""

    def cell(value: dict, trained_at_all: bool = True) -> str:
        if value["marks"] == ["–"]:
            return "not recovered" if trained_at_all else "not trained"
        told = value.get("text") or f"{value['value']:.1f}"
        if "M" in value["marks"]:
            return f'<span style="color:#888">{told} (M, unverified)</span>'
        return f"{told} ({', '.join(value['marks'])})"

    head = f"{found['table']}, {found['test_items']:,} test items, {found['unit']}"
    rows = []
    for row in found["rows"]:
        known = {c: row["trained_in_the_paper"] or c.startswith("vanilla") for c in found["columns"]}
        rows.append([row["model"], *(cell(row[c], at_all) for c, at_all in known.items())])
    reported = [[a["what"], cell(a)] for a in found["aggregates"]]
    reported += [[fact["what"], f"({', '.join(fact['marks'])})"] for fact in found.get("order", ())]
    parts = [
        tables.markdown([head, "vanilla 1st", "vanilla 2nd", "trained 1st", "trained 2nd"], rows),
        tables.markdown(["reported of its results", ""], reported),
        "\n".join(f"{mark}: {meaning}.  " for mark, meaning in found["marks"].items() if mark in "TAS"),
    ]
    return "\n\n".join(parts)


def summary(*tasks: str) -> str:
    """Markdown: the models that the paper trains, of several tables in one; recollections are named and not shown."""

    def cell(value: dict) -> str:
        if value["marks"] in (["M"], ["–"]):
            return "*unverified, not shown*" if value["marks"] == ["M"] else "not recovered"
        return f"{value.get('text') or value['value']} ({', '.join(value['marks'])})"

    rows = [
        [found["table"], row["model"], *(cell(row[column]) for column in found["columns"])]
        for found in map(load, tasks)
        for row in found["rows"]
        if row["trained_in_the_paper"] and any({*row[column]["marks"]} & {*"TAS"} for column in found["columns"])
    ]
    return tables.markdown(["task", "model", "vanilla 1st", "vanilla 2nd", "trained 1st", "trained 2nd"], rows)
