"""Every table, plot and page from the results files: what `r3 report` does. Nothing here runs a model."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader
from markdown_it import MarkdownIt
from matplotlib.figure import Figure

from r3lib.files import DATA, RESULTS, ROOT, read_json, whole, write_json, write_text
from r3lib.machine.profiles import PARTNERS, profile
from r3lib.pages import compare, lessons, plots, report, requirements
from r3lib.pages.report import Run
from r3lib.pages.show import clean

MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
NOT_YET = "*No runs of this are stored yet; `r3 experiment --all` makes them.*"
MARK = re.compile(r"^<!-- ([\w-]+):start -->$", re.M)
PAGES = ("README.md", "RESULTS.md", "docs/teaching.md")  # with marks to be filled
ARMS = "share of problems solved, before training (vanilla) and after it (trained), with each thing that was read"


class Page:
    """One self-contained HTML page, put together from headings, Markdown, figures and conversations.

    The template escapes every text, what a model wrote too.
    """

    def __init__(self, title: str):
        self.title, self.parts = title, []

    def heading(self, text: str, level: int = 2) -> None:
        """Headings of level 2 make the table of contents."""
        name = re.sub(r"\W+", "-", text.lower()) if level == 2 else None
        self.parts.append({"heading": text, "level": level, "name": name})

    def markdown(self, text: str) -> None:
        self.parts.append({"markdown": MARKDOWN.render(text)})

    def figure(self, figure: Figure, alt: str, path: Path | None = None) -> None:
        """Put a figure into the page, and into the file `path`, and close it."""
        if path:
            save(figure, path)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80, bbox_inches="tight", metadata={"Software": None})
        plots.close(figure)
        self.parts.append({"png": base64.b64encode(buffer.getvalue()).decode(), "alt": alt})

    def conversations(self, runs: list[Run], temperature: float, each: int = 5) -> None:
        """The first conversations of every run that go on after a failed first try."""
        for run in runs:
            if run.record["temperature"] == temperature:
                self.heading(f"{'trained' if run.record['trained'] else 'vanilla'}, seed {run.record['seed']}", 4)
                for example in run.outcomes.examples[:each]:
                    self.parts.append({"conversation": {name: clean(said) for name, said in example.items()}})

    def text(self) -> str:
        """The page. It has a table of contents if there are several sections."""
        templates = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
        return templates.get_template("page.html.jinja").render(title=self.title, parts=self.parts) + "\n"


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
        page.heading(beside(runs, stored), 3)
        page.markdown(report.table(stored, t))
    page.heading("Conversations after a failed first try", 3)
    page.conversations(runs, t)
    write_text(folder / "report.html", page.text())


def beside(runs: list[Run], stored: list[Run]) -> str:
    """What the stored runs are called beside this one; with the steps, if they were trained for more or for fewer."""
    own, other = (found[0].record["settings"].get("steps") for found in (runs, stored))
    differ = other and own != other  # runs made before records were kept do not tell
    return "The stored runs beside it" + (f" (trained for {other} steps, this one for {own})" if differ else "")


def _experiment(page: Page, runs: list[Run], folder: Path) -> float:
    """One task and profile: its tables and plots; returns the profile's temperature."""
    t = runs[0].record["settings"]["temperature"]
    for each in sorted({r.record["temperature"] for r in runs}, reverse=True):
        page.markdown(report.table(runs, each))
        figure = plots.arms(report.arm_intervals(runs, each))
        page.figure(figure, ARMS, folder / "arms.png" if each == t else None)
    logs = report.training_logs(folder)
    if logs:
        page.heading("Training", 3)
        page.figure(plots.training(logs), "training, step by step", folder / "training.png")
    return t


def rebuild(results: Path, benchmarks: Path) -> None:
    """Write every table and plot below `results`, its report.html, and what PAGES beside `results` show of them.

    benchmarks: what `benchmarks/reproduce.py` wrote. Only what a page has a mark for goes into it.
    """
    runs, home = report.collect(results), results.parent
    for path in filter(Path.exists, map(home.joinpath, PAGES)):
        for mark in MARK.findall(path.read_text(encoding="utf-8")):
            report.insert(path, mark, NOT_YET)  # where nothing follows, nothing old stays
    report.write_summary(runs, results / "summary.csv")
    page = Page("The R3 kit: all stored results")
    folders = sorted({Path(p).parent.parent for p in results.rglob("vanilla-T*.json")})
    for folder in folders:
        task, name = folder.parent.name, folder.name
        own = report.collect(folder)
        page.heading(f"{task}, {name}")
        t = _experiment(page, own, folder)
        arms = compare.load(task, name, results)
        _tables(home, folder, own, arms, t)
        if (results / "arms" / task / name).exists():
            _arms(page, home, results, task, name, arms)
        if first := compare.first_turns(task, name, results):
            alt = "how likely words before the first answer are, step by step of training"
            page.figure(plots.curves(first, *compare.STEP_AXES), alt, folder / "first_turn.png")
            _show(home, f"first-turn-{task}-{name}", "", folder / "first_turn.png", alt)
        made = DATA / own[0].record["model"]
        if (made / "repairs.json").exists() and all(run.controls for run in own if run.record["temperature"] == t):
            found = requirements.table(requirements.lines(made, arms, first, t))
            page.heading("What the model is to be like, and is", 3)
            page.markdown(found)
            if results == RESULTS:  # the card is of these runs, not of a copy of some
                report.insert(made / "README.md", "requirements", found)
            _show(home, f"requirements-{task}-{name}", found)
        asked = compare.probes(task, name, results)
        if asked:
            _probes(page, home, folder, asked)
        if forgot := compare.forgetting(task, name, results):
            before, after = ([one[when] for one in forgot] for when in ("before", "after"))
            who = f"*{report.model(forgot[0])}, {report.seeds(forgot)}, greedy.*"
            found = f"{who}\n\n{compare.forgetting_table(before, after)}"
            page.heading("What training cost elsewhere", 3)
            page.markdown(found)
            _show(home, f"forgetting-{task}-{name}", found)
        small = folder.parent / profile(PARTNERS[name]).name if name in PARTNERS else None
        if small in folders:
            _beside(page, home, small, folder, t)
        page.heading("Conversations after a failed first try", 3)
        page.conversations([r for r in own if r.record["seed"] == own[0].record["seed"]], t)
    _show(home, "cost", report.cost(read_json(benchmarks)))
    if (ROOT / "notebooks").exists():  # an installed kit has none
        _show(home, "notebooks", lessons.table(ROOT / "notebooks"))
    save(plots.loop(), results / "loop.png")
    write_text(results / "report.html", page.text())


def _tables(home: Path, folder: Path, runs: list[Run], arms: dict[str, list[Run]], t: float) -> None:
    temperatures = sorted({r.record["temperature"] for r in runs}, reverse=True)
    write_text(folder / "table.md", "\n\n".join(report.table(runs, each) for each in temperatures) + "\n")
    write_json(folder / "differences.json", {str(x): report.differences(runs, x) for x in reversed(temperatures)})
    mark, picture = f"{folder.parent.name}-{folder.name}", folder / "arms.png"
    _show(home, mark, report.table(runs, t), picture, ARMS)
    spent = compare.sampled(folder.parent.name, folder.name, folder.parent.parent)
    told, best = f"{report.headline(runs, t)} {compare.rivals(arms, t, spent)}".strip(), compare.better(arms, t)
    _show(home, f"headline-{mark}", f"{told} {best}".strip())
    _show(home, f"gain-{mark}", f"{report.gain(runs, t)} {best}".strip(), picture, ARMS)


def _arms(page: Page, home: Path, results: Path, task: str, name: str, arms: dict[str, list[Run]]) -> None:
    """Other rewards: their table and the forest plot of all arms."""
    folder = results / "arms" / task / name
    t, alt = arms["r3"][0].record["settings"]["temperature"], "what the own reflection is worth over each control"
    table = compare.arms_table(arms, t, compare.sampled(task, name, results))
    write_text(folder / "table.md", table + "\n")
    page.heading("Other rewards", 3)
    page.markdown(table)
    axis = "second try with the own reflection − with this instead, points"
    page.figure(plots.forest(compare.forest(arms, t), axis), alt, folder / "forest.png")
    _show(home, f"arms-{task}-{name}", table, folder / "forest.png", alt)


def _probes(page: Page, home: Path, folder: Path, asked: dict[str, list[dict]]) -> None:
    """Rounds, temperatures, tokens and transfer of one task and profile."""
    table, verdict, alt = compare.rounds_table(asked), compare.verdict(asked), "right answers against sampled tokens"
    text = "\n\n".join([table, verdict] + ([compare.transfer_table(asked)] if "transfer" in asked else []))
    write_text(folder / "probes.md", text + "\n")
    page.heading("More rounds, other temperatures, the same tokens, another task's adapter", 3)
    page.markdown(text)
    page.figure(plots.curves(compare.by_tokens(asked), *compare.TOKEN_AXES, log=True), alt, folder / "tokens.png")
    figure = plots.curves(compare.by_temperatures(asked), *compare.TEMPERATURE_AXES)
    page.figure(figure, "second try against temperature", folder / "temperature.png")
    mark = f"probes-{folder.parent.name}-{folder.name}"
    _show(home, mark, f"{table}\n\n**{verdict}**", folder / "tokens.png", alt)


def _beside(page: Page, home: Path, small: Path, large: Path, t: float) -> None:
    """A small trained model beside the large one."""
    runs, alt = (report.collect(small), report.collect(large)), "a small trained model beside a large untrained one"
    table = compare.beside_table(*runs, t)
    write_text(small / "beside.md", table + "\n")
    page.heading(f"{small.name} beside {large.name}", 3)
    page.markdown(table)
    page.figure(plots.curves(compare.beside(*runs, t), *compare.COST_AXES, log=True), alt, small / "beside.png")
    _show(home, f"beside-{large.parent.name}-{large.name}", table, small / "beside.png", alt)


def _show(home: Path, mark: str, text: str, picture: Path | None = None, alt: str = "") -> None:
    """Put a text, with its picture, into each of PAGES that is there and has the mark. Links in it start at `home`."""
    if picture:
        text = f"{text}\n\n![{alt}]({picture.relative_to(home).as_posix()})".lstrip()
    for name in PAGES:
        path = home / name
        if path.exists() and f"<!-- {mark}:start -->" in path.read_text(encoding="utf-8"):
            report.insert(path, mark, text.replace("](", f"]({'../' * name.count('/')}"))
