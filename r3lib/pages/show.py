"""Looking at transcripts, groups and verdicts: HTML for a notebook, and the same as plain text for anywhere else.

Nothing is told by colour alone: spans are named in the margin, the trained one stands in ⟦brackets⟧ and is underlined,
verdicts carry ✔ or ✘, advantages their sign. Colours are Okabe and Ito's, laid thinly over whatever the theme's
background is. What a model wrote is escaped: it can neither add markup nor send control characters to a terminal.
Figures carry an alternative text, for who cannot see them (`figure`).

Not here: the drawing of plots (r3lib.pages.plots, and the notebooks; `COLORS` is for them too), single tokens,
structured tool messages.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO
from itertools import groupby, zip_longest
from operator import itemgetter
from textwrap import wrap
from typing import TYPE_CHECKING

from r3lib.tasks import Verdict

if TYPE_CHECKING:  # they bring torch
    from matplotlib.figure import Figure
    from transformers import PreTrainedTokenizerBase

    from r3lib.conversation import Transcript
    from r3lib.nano.corpus import Message

COLORS = {
    "prompt": "#888888",
    "attempt": "#e69f00",
    "reflection_prompt": "#888888",
    "reflection": "#0072b2",
    "retry_prompt": "#888888",
    "retry": "#009e73",
}
PLUS, MINUS = "#0072b2", "#d55e00"
WIDTH = 88  # characters of a plain-text line beside the margin
LIMIT = 400  # characters of a cell in a table; a transcript is never shortened

SHORT = "text-align:left;vertical-align:top;white-space:nowrap"
LONG = "text-align:left;vertical-align:top;white-space:pre-wrap;overflow-wrap:break-word;min-width:9em"
TOP = "text-align:left;vertical-align:bottom;white-space:normal"
HEAD = "text-align:right;vertical-align:top;white-space:nowrap;font-weight:normal"


@dataclass(frozen=True)
class View:
    """Something to look at: a notebook shows `html`, everything else prints `text`."""

    text: str
    html: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def figure(figure: Figure, alt: str | None = None) -> View:
    """A matplotlib figure with its alternative text, which stands in for it where there is text alone.

    alt: what somebody learns who sees the figure; its label if None (those of `r3lib.pages.plots` have one). The figure
    is closed. It is HTML because notebooks have no other way to give an image an alternative text.
    """
    from matplotlib import pyplot

    alt, file = alt or str(figure.get_label()), BytesIO()
    if not alt:
        raise ValueError("The figure has no label; say in `alt` what it shows.")
    figure.savefig(file, format="png", dpi=150, bbox_inches="tight", metadata={"Software": None})
    pyplot.close(figure)
    png = file.getvalue()
    width = int.from_bytes(png[16:20], "big") * 2 // 3  # of the file's header: 100 pixels an inch, as without this
    image = f'<img alt="{escape(alt)}" width="{width}" style="max-width:100%;background:white"'
    return View(f"[Figure: {alt}]", f'{image} src="data:image/png;base64,{b64encode(png).decode()}">')


def clean(text: str) -> str:
    """Text whose unprintable characters (all but line breaks) are spelled out: `\\x1b`, `\\u202e`, `\\ud800`."""
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def transcript(
    transcript: Transcript,
    tokenizer: PreTrainedTokenizerBase,
    trained: str | None = "reflection",
    verdicts: dict[str, Verdict] | None = None,
) -> View:
    """A conversation, span by span, special tokens included.

    trained: the span that carries gradient, None if there is none. verdicts: span -> the verdict on it.
    """
    labels = {span: f"▶ {span} (trained)" if span == trained else span for span in transcript.spans}
    margin = max(map(len, labels.values()), default=0)
    lines, html = [], []
    for span, (start, end) in transcript.spans.items():
        text = clean(tokenizer.decode(transcript.ids[start:end])).strip("\n") if end > start else "(empty)"
        length = f"{end - start} token{'' if end - start == 1 else 's'}"
        verdict = verdicts.get(span) if verdicts else None
        note = f"{_mark(verdict)}: {clean(verdict.reason)}" if verdict else ""
        color, edge, bar, label, tint = COLORS.get(span, "#cc79a7"), "4px solid", "│", escape(labels[span]), ""
        if span == trained:
            text, edge, bar, label = f"⟦{text}⟧", "7px double", "┃", f"<b>{label}</b>"
            tint = f"background:{color}33;text-decoration:underline;text-underline-offset:3px"
        margins = labels[span], length
        for left, line in zip_longest(margins, [*_wrap(text, WIDTH), *_wrap(note, WIDTH)], fillvalue=""):
            lines.append(f"{left:>{margin}} {bar} {line}".rstrip())
        html.append(
            f'<tr><th scope="row" style="{HEAD};border-right:{edge} {color}">{label}<br><small>{length}</small></th>'
            f'<td style="{LONG}"><span style="font-family:monospace;{tint}">{escape(text)}</span>'
            f"{'<br><i>' + escape(note) + '</i>' if note else ''}</td></tr>"
        )
    return View("\n".join(lines), _table(html))


def training_text(messages: Iterable[Message]) -> View:
    """A text that r3-nano was trained on, message by message; what carries loss stands in ⟦brackets⟧, underlined."""
    lines, html = [], []
    for message in messages:
        carries = [any(start <= i < end for start, end in message.loss) for i in range(len(message.text))]
        text, body = "", ""
        for loss, run in groupby(zip(message.text, carries), key=itemgetter(1)):
            piece = clean("".join(char for char, _ in run))
            text += f"⟦{piece}⟧" if loss else piece
            body += f"<u>⟦{escape(piece)}⟧</u>" if loss else escape(piece)
        lines.append(f"{message.role:>9} │ {text}")
        head = f'<th scope="row" style="{HEAD}">{message.role}</th>'
        html.append(f'<tr>{head}<td style="{LONG};font-family:monospace">{body}</td></tr>')
    return View("\n".join(lines), _table(html))


def group(
    reflections: Sequence[str],
    verdicts: Sequence[Verdict],
    advantages: Sequence[float],
    retries: Sequence[str] | None = None,
) -> View:
    """One GRPO group: each reflection with the verdict on the retry that followed it and the advantage that it earns.

    Raises ValueError if the lists differ in length.
    """
    values = [float(a) for a in advantages]
    largest = max(map(abs, values), default=0.0) or 1.0
    sizes = [abs(v) / largest for v in values]
    blocks = ["█" * round(6 * size) for size in sizes]
    short = {
        "advantage": [f"{v:+9.2f}" for v in values],
        "": [f"{b:>6}│      " if v < 0 else f"      │{b:<6}" for v, b in zip(values, blocks)],
        "retry's verdict": [_mark(v) for v in verdicts],
    }
    long = {"reflection": reflections} | ({} if retries is None else {"retry": retries})
    view = _grid(short, long, raw={"": [_bar(v, size) for v, size in zip(values, sizes)]})
    if any(values) or not values:
        return view
    note = "All verdicts are the same, so every advantage is 0: this group gives no gradient."
    return View(f"{view.text}\n{note}", f"{view.html}<p>{note}</p>")


def verdicts(
    responses: Sequence[str],
    verdicts: Sequence[Verdict],
    names: tuple[str, str] = ("response", "verdict"),
    **others: Sequence[str | bool],
) -> View:
    """A table of responses with their verdicts. others: what other judges say about the same responses, by name.

    names: what stands above the responses and the verdicts. Raises ValueError if the lists differ in length.
    """
    words = {True: "✔ yes", False: "✘ no"}
    short = {name.replace("_", " "): [words.get(s) or clean(s) for s in said] for name, said in others.items()}
    short[names[1]] = [_mark(v) for v in verdicts]
    return _grid(short, {names[0]: responses, "reason": [v.reason for v in verdicts]})


def before_after(pairs: Sequence[tuple[dict[str, str], dict[str, str]]]) -> View:
    """Stored conversations (`r3lib.outcomes.Outcomes.examples`) on the same tasks, vanilla beside trained."""

    def said(example: dict[str, str]) -> list[tuple[str, str]]:
        mark = "✔" if example["verdict"] == "correct" else "✘"
        parts = [("first try", "attempt"), ("verifier", "why"), ("reflection", "reflection"), ("second try", "retry")]
        return [(name, clean(example[key])) for name, key in parts] + [("verifier", f"{mark} {example['verdict']}")]

    lines, html = [], []
    for pair in pairs:
        lines.append(clean(pair[0]["task"]))
        for name, example in zip(("vanilla", "trained"), pair):
            lines += [f"  {name}, {part}: {text}" for part, text in said(example)]
        cells = "".join(
            f'<td style="{LONG};width:50%">'
            + "".join(f"<p><b>{p}</b><br>{escape(t)}</p>" for p, t in said(e))
            + "</td>"
            for e in pair
        )
        html += [
            f'<tr><th colspan="2" style="text-align:left">{escape(clean(pair[0]["task"]))}</th></tr>',
            f"<tr><th>vanilla</th><th>trained</th></tr><tr>{cells}</tr>",
        ]
    return View("\n".join(lines), _table(html))


def moved(pieces: Sequence[str], values: Sequence[float], most: float = 3.0) -> View:
    """A text, token by token, with what training did to each: log-probability after minus before, in nats.

    Likelier tokens are blue and underlined, less likely ones orange and overlined, the stronger the more, up to `most`;
    each shows its figure under the mouse. As plain text only those moved by a nat or more carry it.
    """
    if len(pieces) != len(values):
        raise ValueError(f"One value for each token is needed, got {len(values)} for {len(pieces)}.")
    text, html = "", ""
    for piece, value in zip(map(clean, pieces), values):
        text += piece + (f"[{value:+.1f}]" if abs(value) >= 1 else "")
        color, line = (PLUS, "underline") if value > 0 else (MINUS, "overline")
        strength = round(255 * min(abs(value) / most, 1) * 0.6)
        style = f"background:{color}{strength:02x}" + (f";text-decoration:{line}" if abs(value) >= 1 else "")
        html += f'<span title="{value:+.2f}" style="{style}">{escape(piece)}</span>'
    return View(text, f'<div class="tex2jax_ignore mathjax_ignore" style="white-space:pre-wrap">{html}</div>')


def _grid(
    short: dict[str, Sequence[str]], long: dict[str, Sequence[str]], raw: dict[str, list[str]] | None = None
) -> View:
    """A numbered table: `short` columns stay on one line, `long` ones wrap.

    As plain text the long ones stand one below the other, after arrows. raw: HTML for a short column whose text is a
    drawing.
    """
    columns = [*short.values(), *long.values()]
    if len(set(map(len, columns))) > 1:
        raise ValueError(f"One entry for each row is needed, got lists of {', '.join(str(len(c)) for c in columns)}.")
    widths = [max(map(len, [name, *column])) for name, column in short.items()]
    lines = ["  ".join(["  #", *(f"{name:<{w}}" for name, w in zip(short, widths)), " → ".join(long)])]
    html = ["".join(f'<th scope="col" style="{TOP}">{escape(name)}</th>' for name in ("", *short, *long))]
    for i in range(len(columns[0])):
        lead = "  ".join([f"{i:>3}", *(f"{column[i]:<{w}}" for column, w in zip(short.values(), widths)), ""])
        texts = [_short(column[i]) for column in long.values()]
        told = [texts[0], *(f"→ {text}" for text in texts[1:])]
        body = [line for text in told for line in _wrap(text, max(WIDTH // 2, 120 - len(lead)))]
        lines += [f"{left}{line}".rstrip() for left, line in zip_longest([lead], body, fillvalue=" " * len(lead))]
        cells = [raw[name][i] if raw and name in raw else escape(column[i].strip()) for name, column in short.items()]
        html.append(
            f'<th scope="row" style="{HEAD}">{i}</th>'
            + "".join(f'<td style="{SHORT}">{cell}</td>' for cell in cells)
            + "".join(f'<td style="{LONG}">{escape(text)}</td>' for text in texts)
        )
    return View("\n".join(lines), _table(f"<tr>{row}</tr>" for row in html))


def _mark(verdict: Verdict) -> str:
    return f"{'✔' if verdict.ok else '✘'} {clean(verdict.kind)}"


def _short(text: str) -> str:
    text = clean(text) or "(empty)"
    return text if len(text) <= LIMIT else f"{text[:LIMIT]}… ({len(text):,} characters)"


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters; no text gives no line."""
    lines = text.split("\n") if text else []
    return [piece for line in lines for piece in wrap(line, width, break_on_hyphens=False) or [""]]


def _bar(value: float, size: float) -> str:
    """A bar of up to 40 pixels to the right of the middle (plus) or to the left of it (minus). The sign is in words."""
    width = round(40 * size)
    start, color = (40 - width, MINUS) if value < 0 else (40, PLUS)
    place = "position:absolute;height:12px"
    return (
        '<div aria-hidden="true" style="position:relative;width:80px;height:12px;margin-top:3px">'
        f'<div style="{place};left:40px;border-left:1px solid"></div>'
        f'<div style="{place};left:{start}px;width:{width}px;background:{color}"></div></div>'
    )


def _table(rows: Iterable[str]) -> str:
    """The class keeps MathJax from reading a model's dollar signs."""
    return f'<table class="tex2jax_ignore mathjax_ignore" style="border-collapse:collapse">{"".join(rows)}</table>'
