"""The kit's pictures. Every function takes plain data and returns a matplotlib figure; none reads a file.

Figures for the notebooks have an alternative text as their label, which `r3lib.pages.show.figure` reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

VANILLA, TRAINED, INK = "#8a94a6", "#0b6e99", "#222222"  # told apart in grey as well
COLORS = {"vanilla": VANILLA, "trained": TRAINED}
FILLED = {
    "vanilla": {"color": VANILLA, "hatch": "//", "edgecolor": "white"},
    "trained": {"color": TRAINED, "edgecolor": "white"},
}
COURSE = {  # the notebooks, by the parts of the course
    "The method": {
        "00": "start here",
        "01": "verifiers",
        "02": "prompts and loop",
        "03": "masked loss",
        "04": "failure set",
    },
    "What it shows": {
        "05": "Countdown",
        "06": "function calling",
        "07": "does it matter?",
        "07b": "what tokens buy",
        "08": "better reflections?",
        "09": "errors",
        "10": "forgetting",
        "11": "small beats large?",
    },
    "Your turn": {"12": "your own task", "13": "a real model"},
    "Appendices": {
        "A1": "making r3-nano",
        "A2": "making r3-nano-calls",
        "A3": "is r3-nano ready?",
    },
}
close = plt.close


def roadmap(today: str) -> Figure:
    """The course, part by part, with today's notebook ("03") lit."""
    if not any(today in part for part in COURSE.values()):
        raise ValueError(f"There is no notebook {today!r} in plots.COURSE.")
    columns = max(map(len, COURSE.values()))
    figure, axes = plt.subplots(figsize=(9.2, 0.6 * len(COURSE) + 0.1), layout="constrained")
    for row, (part, lessons) in enumerate(COURSE.items()):
        axes.text(-0.62, row, part, ha="right", va="center", fontsize=10, color=INK)
        for column, (number, title) in enumerate(lessons.items()):
            lit = number == today
            style = {"facecolor": TRAINED, "edgecolor": INK, "lw": 2.5} if lit else {"facecolor": "white", "lw": 0.8}
            axes.add_patch(FancyBboxPatch((column - 0.44, row - 0.34), 0.88, 0.68, boxstyle="round,pad=0.02", **style))
            text = f"{'▶ ' if lit else ''}{number}\n{fill(title, 14)}"
            weight = {"color": "white", "weight": "bold"} if lit else {"color": INK}
            axes.text(column, row, text, ha="center", va="center", fontsize=8.5, linespacing=1.1, **weight)
    axes.set_xlim(-1.65, columns - 0.5)
    axes.set_ylim(len(COURSE) - 0.55, -0.45)
    axes.axis("off")
    parts = (f"{part}: {', '.join(map(' '.join, lessons.items()))}" for part, lessons in COURSE.items())
    name = next(lessons[today] for lessons in COURSE.values() if today in lessons)
    figure.set_label(f"The notebooks of the course. {'. '.join(parts)}. This is {today}, {name}.")
    return figure


def arms(
    intervals: dict[str, dict[str, tuple[float, float, float]]], what: str = "right, % of problems (95 % interval)"
) -> Figure:
    """Accuracy of every arm with its 95 % interval: {"vanilla" | "trained": {label: (mean, low, high)}}, in %.

    A label that one of the two lacks has one point. what: the axis.
    """
    labels = list(dict.fromkeys(label for rows in intervals.values() for label in rows))
    figure, axes = plt.subplots(figsize=(8, 0.62 * len(labels) + 1.2), layout="constrained")
    for (name, rows), offset, above, marker in zip(intervals.items(), (-0.16, 0.16), (6, -13), "so"):
        color = COLORS[name]
        axes.plot([], [], marker, color=color, label=name)
        for i, label in enumerate(labels):
            if label not in rows:
                continue
            (mean, low, high), at = rows[label], i + offset
            axes.errorbar(mean, at, xerr=[[mean - low], [high - mean]], fmt=marker, color=color, capsize=3)
            beside = {"xytext": (0, above), "textcoords": "offset points", "ha": "center", "fontsize": 8}
            axes.annotate(f"{mean:.1f}", (mean, at), color=INK, **beside)
    axes.set_yticks(range(len(labels)), [fill(label, 44) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlabel(what)
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    _plain(axes, "x")
    told = (
        f"{label}: {', '.join(f'{name} {_span(*rows[label])}' for name, rows in intervals.items() if label in rows)}"
        for label in labels
    )
    figure.set_label(f"Points, {what}. {'; '.join(told)}.")
    return figure


def forest(panels: dict[str, list[tuple[str, float, float, float]]], what: str) -> Figure:
    """Differences with their 95 % intervals, one panel below another: {panel: [(label, mean, low, high)]}, in points.

    An interval that does not reach zero is drawn dark, one that does pale.
    """
    sizes = [len(panel) for panel in panels.values()]
    figure, axes = _below(sizes, 0.21 * sum(sizes) + 0.32 * len(panels) + 0.5)
    for axis, (name, panel) in zip(axes, panels.items()):
        for i, (_, mean, low, high) in enumerate(panel):
            sure = low > 0 or high < 0
            color = TRAINED if sure else VANILLA
            axis.plot([low, high], [i, i], color=color, lw=2.5 if sure else 1.5)
            axis.plot(mean, i, "o" if sure else "s", color=color)
            axis.annotate(f"{mean:+.1f}", (high, i), (5, 0), textcoords="offset points", va="center", fontsize=7)
        axis.set_yticks(range(len(panel)), [label for label, *_ in panel], fontsize=8)
        axis.set_ylim(len(panel) - 0.5, -0.5)
        axis.axvline(0, color=INK, lw=1)
        axis.set_title(name, fontsize=9, fontweight="bold", loc="left", pad=3)
        _plain(axis, "x")
    axes[-1].set_xlabel(what)
    told = (f"{name}: {'; '.join(f'{label} {_span(*row)}' for label, *row in panel)}" for name, panel in panels.items())
    figure.set_label(f"Differences with 95 % intervals: {what}. {'. '.join(told)}.")
    return figure


def curves(found: dict[str, list[tuple[float, float, float, float]]], x: str, y: str, log: bool = False) -> Figure:
    """Lines with their 95 % bands: {"model: what it does": [(x, mean, low, high)]}.

    A model has its marker, and is dark if its name begins with "trained"; each thing that models do has its dashes, or
    each model where all do the same.
    """
    figure, axes = plt.subplots(figsize=(8, 4.4), layout="constrained")
    models, kinds = (list(dict.fromkeys(label.partition(": ")[i] for label in found)) for i in (0, 2))
    for label, points in found.items():
        (at, mean, low, high), (model, _, kind) = zip(*points), label.partition(": ")
        color = TRAINED if model.startswith("trained") else VANILLA
        number = kinds.index(kind) if len(kinds) > 1 else models.index(model)
        style = {"marker": "osD^v"[models.index(model) % 5], "ls": ("-", "--", ":")[number % 3]}
        every = max(1, len(points) // 10) if len(points) > 40 else 1  # markers would hide a line of many points
        axes.plot(at, mean, color=color, ms=5, label=label, markevery=every, **style)
        axes.fill_between(at, low, high, color=color, alpha=0.12, lw=0)
    if log:
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 5, 7)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8)
    _plain(axes, "y")
    ends = (
        f"{name}: {', '.join(f'{p[1]:.3g} at {p[0]:.3g}' for p in (points[0], points[-1]))}"
        for name, points in found.items()
    )
    figure.set_label(f"Lines: {y} against {x}, first and last point. {'; '.join(ends)}.")
    return figure


def gains(paper: dict[str, list], ours: dict[str, tuple[str, float, float, float]]) -> Figure:
    """The paper's gains (`paper.gains`) with ours below them, in points; what is not verified is hollow and grey.

    ours: name of the gain -> (model, mean, low, high).
    """
    heights = [len(rows) + 1 for rows in paper.values()]
    beside = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": 8}
    figure, axes = _below(heights, 0.3 * sum(heights) + 0.6 * len(paper))
    for axis, (name, rows) in zip(axes, paper.items()):
        for i, row in enumerate(rows):
            face, edge = (VANILLA, VANILLA) if row.verified else ("white", "#bbbbbb")
            axis.barh(i, row.points, color=face, edgecolor=edge, hatch="" if row.verified else "////", height=0.6)
            axis.annotate(f"{row.points:+.1f}", (row.points, i), **beside)
        labels = [f"{row.model}{'' if row.verified else ' (unverified)'}" for row in rows]
        if name in ours:
            model, mean, low, high = ours[name]
            axis.errorbar(mean, len(rows), xerr=[[mean - low], [high - mean]], fmt="o", color=TRAINED, capsize=3)
            axis.annotate(f"{mean:+.1f}", (high, len(rows)), **beside)
            labels.append(model)
        axis.set_yticks(range(len(labels)), labels, fontsize=8)
        axis.set_ylim(len(labels) - 0.5, -0.5)
        axis.axvline(0, color=INK, lw=1)
        axis.set_title(name, fontsize=10, loc="left")
        _plain(axis, "x")
    axes[-1].set_xlabel("points (ours with its 95 % interval; the paper gives none)")
    told = [f"{model}, {name}: {_span(*row)}" for name, (model, *row) in ours.items()]
    told += [f"{row.model}, {name}: {row.points:+.1f}" for name, rows in paper.items() for row in rows if row.verified]
    figure.set_label(f"Bars: gains in points, ours and the paper's. {'; '.join(told)}. Hollow bars are not verified.")
    return figure


def flows(before: Counter, after: Counter) -> Figure:
    """From kind of first answer to kind of second, in percent of each row: vanilla and trained side by side."""
    met = {kind for found in (before, after) for pair in found for kind in pair}
    names = sorted(met, key=lambda kind: (kind != "correct", kind))
    starts = [name for name in names if name != "correct" and any(a == name for f in (before, after) for a, _ in f)]
    figure, axes = plt.subplots(1, 2, figsize=(13, 0.5 * len(starts) + 1.8), layout="constrained")
    for axis, (title, found) in zip(axes, (("vanilla", before), ("trained", after))):
        counts = np.array([[found[a, b] for b in names] for a in starts], float)
        shares = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axis.imshow(shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
        for (i, j), share in np.ndenumerate(shares):
            axis.text(j, i, f"{share:.0f}", ha="center", va="center", fontsize=9, color="white" if share > 55 else INK)
        axis.set_xticks(range(len(names)), [n.replace("_", "\n") for n in names], fontsize=8)
        many = [f"{name.replace('_', ' ')} ({int(count)})" for name, count in zip(starts, counts.sum(1))]
        axis.set_yticks(range(len(starts)), many)
        axis.set_title(f"{title}: kind of the second answer, % of each row", fontsize=10)
    axes[0].set_ylabel("kind of the first answer (how many)")
    met = [{a: sum(n for (start, _), n in f.items() if start == a) for a in starts} for f in (before, after)]
    right = [[100 * f[a, "correct"] / max(n[a], 1) for f, n in zip((before, after), met)] for a in starts]
    told = (f"{name.replace('_', ' ')} {old:.0f} and {new:.0f} %" for name, (old, new) in zip(starts, right))
    figure.set_label(f"Two tables, vanilla and trained. Answers put right, by kind of the first: {'; '.join(told)}.")
    return figure


def training(logs: dict[str, list[dict]]) -> Figure:
    """Reward, groups without signal, reflection length and KL: each step (pale), the mean of five; one line a seed."""
    panels = (
        ("reward", "retries that verify, share"),
        ("zero_advantage_fraction", "groups without signal, share"),
        ("reflection_tokens", "reflection length, tokens"),
        ("kl", "KL to the vanilla model"),
    )
    figure, axes = plt.subplots(1, 4, figsize=(13, 2.8), layout="constrained")
    for axis, (key, title) in zip(axes, panels):
        for i, (name, log) in enumerate(logs.items()):
            steps, values = [e["step"] for e in log], np.array([e[key] for e in log], float)
            axis.plot(steps, values, color=TRAINED, alpha=0.25, lw=1)
            window = min(5, len(values))
            smooth = np.convolve(values, np.ones(window) / window, "valid")
            axis.plot(steps[window - 1 :], smooth, color=TRAINED, lw=2, ls=("-", "--", ":")[i % 3], label=name)
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("step")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        _plain(axis, "y")
    axes[0].legend(frameon=False, fontsize=8)
    ends = [f"{title} {_ends([e[key] for e in log])}" for log in logs.values() for key, title in panels]
    figure.set_label(f"A training of {len(steps)} steps, mean of the first and of the last five: {'; '.join(ends)}.")
    return figure


def kinds(before: list[str], after: list[str], title: str = "") -> Figure:
    """Share of each verdict kind before and after, in percent of all problems."""
    names = sorted(set(before) | set(after), key=lambda k: (k != "correct", k))
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(names) + 1.2))
    for offset, (name, values) in zip((-0.2, 0.2), (("vanilla", before), ("trained", after))):
        counts = Counter(values)
        shares = [100 * counts[k] / len(values) for k in names]
        bars = axes.barh(np.arange(len(names)) + offset, shares, height=0.38, label=name, **FILLED[name])
        axes.bar_label(bars, fmt="%.1f", fontsize=8, padding=2)
    axes.set_yticks(range(len(names)), [n.replace("_", " ") for n in names])
    axes.invert_yaxis()
    axes.set_xlabel("% of problems")
    axes.set_title(title, fontsize=10)
    axes.legend(frameon=False)
    _plain(axes, "x")
    counts = [Counter(before), Counter(after)]
    told = (" and ".join(f"{100 * c[kind] / c.total():.1f}" for c in counts) for kind in names)
    shares = [f"{kind.replace('_', ' ')} {share} %" for kind, share in zip(names, told)]
    figure.set_label(f"Bars: kinds of verdicts{f', {title}' * bool(title)}, vanilla and trained: {', '.join(shares)}.")
    return figure


def lengths(before: list[int], after: list[int]) -> Figure:
    """Histogram of reflection lengths before and after training, in tokens."""
    figure, axes = plt.subplots(figsize=(7, 2.8))
    bins = np.linspace(0, max(before + after) + 1, 30)
    for name, values in (("vanilla", before), ("trained", after)):
        label = f"{name} (median {np.median(values):.0f})"
        axes.hist(values, bins=bins, alpha=0.6, label=label, **FILLED[name])
    axes.set_xlabel("reflection length, tokens")
    axes.set_ylabel("reflections")
    axes.legend(frameon=False)
    _plain(axes, "y")
    medians = f"{np.median(before):.0f} tokens vanilla, {np.median(after):.0f} trained"
    figure.set_label(f"Histograms of the lengths of reflections, before and after training; medians {medians}.")
    return figure


def difficulty(shares: list[float]) -> Figure:
    """Histogram of how often the untrained model fails each problem of the failure set (1 = every sample)."""
    figure, axes = plt.subplots(figsize=(6, 2.6))
    axes.hist(shares, bins=np.linspace(0, 1, 11), color=TRAINED, edgecolor="white")
    axes.set_xlabel("difficulty: share of samples that failed")
    axes.set_ylabel("failures")
    _plain(axes, "y")
    told = f"{np.mean(shares):.2f} on average, 1 for {np.mean(np.array(shares) == 1):.0%} of them"
    figure.set_label(f"Histogram of {len(shares)} failures by the difficulty of their problems: {told}.")
    return figure


def grid(shares: dict[str, dict[str, float]], title: str, framed: Collection[tuple[str, str]] = ()) -> Figure:
    """A table of shares in percent, darker where they are larger: {row: {column: %}}. framed: (row, column) to mark."""
    return grids({title: shares}, framed)


def grids(panels: dict[str, dict[str, dict[str, float]]], framed: Collection[tuple[str, str]] = ()) -> Figure:
    """Tables as `grid` has them, side by side, with the same rows: {title: shares}."""
    tables = {title: np.array([list(row.values()) for row in shares.values()]) for title, shares in panels.items()}
    rows, most = list(next(iter(panels.values()))), 1.5 * max(values.max() for values in tables.values())
    size = (8 if len(panels) == 1 else 6 * len(panels), 0.4 * len(rows) + 1.1)
    figure, axes = plt.subplots(1, len(panels), figsize=size, layout="constrained", sharey=True, squeeze=False)
    for axis, (title, values) in zip(axes[0], tables.items()):
        columns = list(panels[title][rows[0]])
        axis.imshow(values, cmap="Blues", vmin=0, vmax=most, aspect="auto")
        for (i, j), share in np.ndenumerate(values):
            marked = (rows[i], columns[j]) in framed
            axis.text(j, i, f"{share:.0f}", ha="center", va="center", color=INK, weight="bold" if marked else "normal")
            if marked:
                axis.add_patch(Rectangle((j - 0.48, i - 0.45), 0.96, 0.9, fill=False, edgecolor=INK, lw=2))
        axis.set_xticks(range(len(columns)), [fill(column, 14) for column in columns])
        axis.set_yticks(range(len(rows)), rows)
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_title(title, fontsize=10, loc="left")
    told = (
        f"A table, {title}. "
        + "; ".join(f"{row}: {', '.join(f'{c} {x:.0f}' for c, x in own.items())}" for row, own in shares.items())
        for title, shares in panels.items()
    )
    figure.set_label(f"{'. '.join(told)}.")
    return figure


def bars(shares: dict[str, tuple[float, float, float]], what: str) -> Figure:
    """Bars with 95 % intervals: {label: (mean, low, high)}, in percent."""
    figure, axes = plt.subplots(figsize=(8, 0.36 * len(shares) + 0.9), layout="constrained")
    for i, (mean, low, high) in enumerate(shares.values()):
        axes.barh(i, mean, height=0.7, color=VANILLA)
        axes.errorbar(mean, i, xerr=[[mean - low], [high - mean]], color=INK, capsize=3)
        axes.annotate(f"{mean:.0f}", (high, i), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(shares)), list(shares))
    axes.invert_yaxis()
    axes.set_xlabel(what)
    _plain(axes, "x")
    figure.set_label(f"Bars, {what}. {'; '.join(f'{label} {_span(*row)}' for label, row in shares.items())}.")
    return figure


def loop() -> Figure:
    """The method in one picture: attempt, verdict, reflection, retry, verdict, reward on the reflection alone."""
    boxes = {
        "task": "user",
        "first answer": "model",
        "verifier:\nwrong": "program",
        "REFLECTION": "model, trained",
        "task again,\nsecond answer": "model",
        "verifier:\nright?": "program",
    }
    figure, axes = plt.subplots(figsize=(11, 2.7))
    for x, (text, who) in enumerate(boxes.items()):
        trained = who.endswith("trained")
        edge = {"edgecolor": TRAINED, "lw": 3} if trained else {"edgecolor": INK, "lw": 1.2}
        face, place = "#dff0f7" if trained else "white", (x - 0.38, 0.72)
        axes.add_patch(FancyBboxPatch(place, 0.76, 0.56, boxstyle="round,pad=0.02", facecolor=face, **edge))
        axes.text(x, 1, text, ha="center", va="center", fontsize=10, color=INK, weight="bold" if trained else "normal")
        axes.text(x, 1.38, who, ha="center", fontsize=8, color=TRAINED if trained else "#666666")
    for x in range(5):
        axes.add_patch(FancyArrowPatch((x + 0.41, 1), (x + 0.59, 1), arrowstyle="-|>", mutation_scale=12, color=INK))
    bow = {"connectionstyle": "arc3,rad=-0.35", "arrowstyle": "-|>", "mutation_scale": 14}
    axes.add_patch(FancyArrowPatch((5, 0.68), (3, 0.68), color=TRAINED, lw=2, **bow))
    axes.text(4, 0.06, "reward 1 or 0, to the reflection's tokens only (GRPO)", ha="center", fontsize=10, color=TRAINED)
    axes.set_xlim(-0.5, 5.5)
    axes.set_ylim(-0.05, 1.6)
    axes.axis("off")
    stages = " → ".join(f"{text} ({who})".replace("\n", " ") for text, who in boxes.items())
    figure.set_label(f"Boxes with arrows: {stages}. An arrow goes back: reward to the reflection's tokens only.")
    return figure


def _span(mean: float, low: float, high: float) -> str:
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def _ends(values: list[float]) -> str:
    return f"from {np.mean(values[:5]):.2g} to {np.mean(values[-5:]):.2g}"


def _below(heights: list[int], inches: float) -> tuple[Figure, np.ndarray]:
    """Panels one below another on one horizontal axis, as high as their shares of `inches`."""
    settings = {"sharex": True, "squeeze": False, "layout": "constrained", "height_ratios": heights}
    figure, axes = plt.subplots(len(heights), 1, figsize=(8, inches), **settings)
    return figure, axes[:, 0]


def _plain(axes, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, alpha=0.25)
    axes.set_axisbelow(True)
