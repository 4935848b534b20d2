"""Every table, plot and page from the results files: what `make report` does. Nothing here runs a model."""

from __future__ import annotations

import base64
import html
import io
import re
from pathlib import Path

from matplotlib.figure import Figure

from r3lib.files import read_json, whole, write_json, write_text
from r3lib.machine.profiles import PARTNERS, profile
from r3lib.pages import compare, plots, report
from r3lib.pages.report import Run

STYLE = (
    "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{padding:.15rem .7rem;border-bottom:1px solid #ccc;text-align:left}"
    "img{max-width:100%}dl{border-left:3px solid #999;padding-left:1rem}dt{font-weight:600}dd{margin:0 0 .3rem}"
)


class Page:
    """One self-contained HTML page, put together from headings, Markdown tables, figures and conversations."""

    def __init__(self, title: str):
        self.title, self.parts, self.contents = title, [f"<h1>{html.escape(title)}</h1>", ""], []

    def heading(self, text: str, level: int = 2) -> None:
        name = re.sub(r"\W+", "-", text.lower())
        self.parts.append(f'<h{level} id="{name}">{html.escape(text)}</h{level}>')
        if level == 2:
            self.contents.append(f'<li><a href="#{name}">{html.escape(text)}</a></li>')

    def markdown(self, text: str) -> None:
        """Paragraphs and tables; of Markdown's other signs only the emphasis around a paragraph is known."""
        for block in re.split(r"\n\s*\n", text.strip()):
            lines = block.splitlines()
            if lines[0].startswith("|"):
                rows = [[html.escape(c.strip().strip("*")) for c in line.strip("|").split("|")] for line in lines]
                head, body = rows[0], rows[2:]
                cells = "".join(f"<tr>{''.join(f'<td>{c}</td>' for c in row)}</tr>" for row in body)
                self.parts.append(f"<table><tr>{''.join(f'<th>{c}</th>' for c in head)}</tr>{cells}</table>")
            else:
                self.parts.append(f"<p>{html.escape(block.strip('*'))}</p>")

    def figure(self, figure: Figure, alt: str, path: Path | None = None) -> None:
        """Put a figure into the page, and into the file `path`, and close it."""
        if path:
            save(figure, path)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80, bbox_inches="tight", metadata={"Software": None})
        plots.close(figure)
        data = base64.b64encode(buffer.getvalue()).decode()
        self.parts.append(f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">')

    def conversations(self, runs: list[Run], temperature: float, each: int = 5) -> None:
        """The first conversations of every run that go on after a failed first try."""
        for run in runs:
            if run.record["temperature"] == temperature:
                self.heading(f"{'trained' if run.record['trained'] else 'vanilla'}, seed {run.record['seed']}", 4)
                for example in run.outcomes.examples[:each]:
                    rows = "".join(f"<dt>{k}</dt><dd>{html.escape(v)}</dd>" for k, v in example.items())
                    self.parts.append(f"<dl>{rows}</dl>")

    def text(self) -> str:
        """The page. It has a table of contents if there are several sections."""
        self.parts[1] = f"<ul>{''.join(self.contents)}</ul>" if len(self.contents) > 2 else ""
        return (
            f"<!doctype html><meta charset=utf-8><title>{html.escape(self.title)}</title><style>{STYLE}</style>"
            + "\n".join(self.parts)
            + "\n"
        )


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all; the same figure gives the same bytes."""
    with whole(path) as partial:
        metadata = {"Software": None} if path.suffix == ".png" else None
        figure.savefig(partial, format=path.suffix[1:], dpi=130, bbox_inches="tight", metadata=metadata)


def one_run(title: str, runs: list[Run], folder: Path, stored: list[Run] | None = None) -> None:
    """Tables, plots and conversations of one run, the stored ones beside it: `folder`/report.html and its plots."""
    page = Page(title)
    t = _experiment(page, runs, folder)
    if stored:
        page.heading("The stored runs beside it", 3)
        page.markdown(report.table(stored, t))
    page.heading("Conversations after a failed first try", 3)
    page.conversations(runs, t)
    write_text(folder / "report.html", page.text())


def _experiment(page: Page, runs: list[Run], folder: Path) -> float:
    """One task and profile: its tables and plots; returns the profile's temperature."""
    t = runs[0].record["settings"]["temperature"]
    for each in sorted({r.record["temperature"] for r in runs}, reverse=True):
        page.markdown(report.table(runs, each))
        figure = plots.arms(report.arm_intervals(runs, each))
        page.figure(figure, "accuracy of every arm, vanilla and trained", folder / "arms.png" if each == t else None)
    logs = report.training_logs(folder)
    if logs:
        page.heading("Training", 3)
        page.figure(plots.training(logs), "training, step by step", folder / "training.png")
    return t


def rebuild(results: Path, readme: Path, benchmarks: Path) -> None:
    """Write every table and plot below `results`, its report.html, and what the README shows of them.

    benchmarks: what `benchmarks/reproduce.py` wrote. Only what the README has a mark for goes into it.
    """
    runs = report.collect(results)
    report.write_summary(runs, results / "summary.csv")
    page = Page("The R3 kit: all stored results")
    folders = sorted({Path(p).parent.parent for p in results.rglob("vanilla-T*.json")})
    for folder in folders:
        task, name = folder.parent.name, folder.name
        own = report.collect(folder)
        page.heading(f"{task}, {name}")
        t = _experiment(page, own, folder)
        _tables(readme, folder, own, t)
        if (results / "arms" / task / name).exists():
            _arms(page, readme, results, task, name)
        asked = compare.probes(task, name, results)
        if asked:
            _probes(page, readme, folder, asked)
        small = folder.parent / profile(PARTNERS[name]).name if name in PARTNERS else None
        if small in folders:
            _beside(page, readme, small, folder, t)
        page.heading("Conversations after a failed first try", 3)
        page.conversations([r for r in own if r.record["seed"] == own[0].record["seed"]], t)
    _insert(readme, "cost", report.cost(read_json(benchmarks)))
    save(plots.loop(), results / "loop.png")
    write_text(results / "report.html", page.text())


def _tables(readme: Path, folder: Path, runs: list[Run], t: float) -> None:
    task, name = folder.parent.name, folder.name
    temperatures = sorted({r.record["temperature"] for r in runs}, reverse=True)
    write_text(folder / "table.md", "\n\n".join(report.table(runs, each) for each in temperatures) + "\n")
    write_json(folder / "differences.json", {str(x): report.differences(runs, x) for x in reversed(temperatures)})
    picture = f"![accuracy of every arm, vanilla and trained](results/{task}/{name}/arms.png)"
    _insert(readme, f"{task}-{name}", f"{report.table(runs, t)}\n\n{picture}")


def _arms(page: Page, readme: Path, results: Path, task: str, name: str) -> None:
    """Other rewards: their table and the forest plot of all arms."""
    folder = results / "arms" / task / name
    arms = compare.load(task, name, results)
    t = arms["r3"][0].record["settings"]["temperature"]
    table, what = (
        compare.arms_table(arms, t, compare.sampled(task, name, results)),
        "what the own reflection is worth over each control",
    )
    write_text(folder / "table.md", table + "\n")
    page.heading("Other rewards", 3)
    page.markdown(table)
    axis = "second try with the own reflection − with this instead, points"
    page.figure(plots.forest(compare.forest(arms, t), axis), what, folder / "forest.png")
    _insert(readme, f"arms-{task}-{name}", f"{table}\n\n![{what}](results/arms/{task}/{name}/forest.png)")


def _probes(page: Page, readme: Path, folder: Path, asked: dict[str, list[dict]]) -> None:
    """Rounds, temperatures, tokens and transfer of one task and profile."""
    task, name, what = folder.parent.name, folder.name, "right answers against sampled tokens"
    table, verdict = compare.rounds_table(asked), compare.verdict(asked)
    parts = [table, verdict] + ([compare.transfer_table(asked)] if "transfer" in asked else [])
    write_text(folder / "probes.md", "\n\n".join(parts) + "\n")
    page.heading("More rounds, other temperatures, the same tokens, another task's adapter", 3)
    page.markdown("\n\n".join(parts))
    tokens, temperatures = compare.by_tokens(asked), compare.by_temperatures(asked)
    page.figure(plots.curves(tokens, *compare.TOKEN_AXES, log=True), what, folder / "tokens.png")
    figure = plots.curves(temperatures, *compare.TEMPERATURE_AXES)
    page.figure(figure, "second try against temperature", folder / "temperature.png")
    _insert(readme, f"probes-{task}-{name}", f"{table}\n\n**{verdict}**\n\n![{what}](results/{task}/{name}/tokens.png)")


def _beside(page: Page, readme: Path, small: Path, large: Path, t: float) -> None:
    """A small trained model beside the large one."""
    task, what = small.parent.name, "a small trained model beside a large untrained one"
    runs = report.collect(small), report.collect(large)
    table = compare.beside_table(*runs, t)
    write_text(small / "beside.md", table + "\n")
    page.heading(f"{small.name} beside {large.name}", 3)
    page.markdown(table)
    page.figure(plots.curves(compare.beside(*runs, t), *compare.COST_AXES, log=True), what, small / "beside.png")
    _insert(readme, f"beside-{task}-{small.name}", f"{table}\n\n![{what}](results/{task}/{small.name}/beside.png)")


def _insert(readme: Path, name: str, text: str) -> None:
    if f"<!-- {name}:start -->" in readme.read_text(encoding="utf-8"):
        report.insert(readme, name, text)
