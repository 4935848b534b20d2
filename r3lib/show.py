"""Looking at transcripts, groups and verdicts: HTML for a notebook, and the same as plain text for anywhere else.

Nothing is told by colour alone: spans are named in the margin, the trained one stands in ⟦brackets⟧ and is underlined,
verdicts carry ✔ or ✘, advantages their sign. Colours are Okabe and Ito's, laid thinly over whatever the theme's
background is. What a model wrote is escaped: it can neither add markup nor send control characters to a terminal.

Not here: plots (the notebooks draw their own; `COLORS` is for them too), single tokens, structured tool messages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from textwrap import wrap

from transformers import PreTrainedTokenizerBase

from r3lib.rollout import Transcript
from r3lib.tasks import Verdict

COLORS = {
    "prompt": "#888888",
    "attempt": "#e69f00",
    "reflection_prompt": "#888888",
    "reflection": "#0072b2",
    "retry_prompt": "#888888",
    "retry": "#009e73",
}
PLUS, MINUS = "#0072b2", "#d55e00"
WIDTH = 88  # characters of a plain-text line beside the margin; a table's text column takes what is left of 120
LIMIT = 400  # characters of a cell in a table; a transcript is never shortened

CELL = "text-align:left;vertical-align:top;white-space:pre-wrap;overflow-wrap:anywhere"
MONO = CELL + ";font-family:monospace"
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
    rows = []
    for span, (start, end) in transcript.spans.items():
        marked = span == trained
        text = clean(tokenizer.decode(transcript.ids[start:end])).strip("\n") if end > start else "(empty)"
        text = f"⟦{text}⟧" if marked else text
        verdict = _verdict(verdicts[span]) if verdicts and span in verdicts else ""
        length = f"{end - start} token{'' if end - start == 1 else 's'}"
        rows.append((span, marked, f"▶ {span} (trained)" if marked else span, length, text, verdict))
    margin = max((len(label) for _, _, label, *_ in rows), default=0)
    lines, html = [], []
    for span, marked, label, length, text, verdict in rows:
        bar = "┃" if marked else "│"
        body = _wrap(text, WIDTH) + _wrap(verdict, WIDTH)
        lines += [
            f"{left:>{margin}} {bar} {line}".rstrip() for left, line in zip_longest((label, length), body, fillvalue="")
        ]
        color = COLORS.get(span, "#cc79a7")
        tint = f";background:{color}33;text-decoration:underline;text-underline-offset:3px" if marked else ""
        note = f'<br><span style="text-decoration:none;font-style:italic">{escape(verdict)}</span>' if verdict else ""
        html.append(
            f'<tr><th scope="row" style="{HEAD};border-right:4px {"double" if marked else "solid"} {color}">'
            f"{'<b>' + escape(label) + '</b>' if marked else escape(label)}<br><small>{length}</small></th>"
            f'<td style="{CELL}"><span style="font-family:monospace{tint}">{escape(text)}</span>{note}</td></tr>'
        )
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
    _same_length(reflections, verdicts, values, *([] if retries is None else [retries]))
    largest = max(map(abs, values), default=0.0) or 1.0
    lines, html = (
        [],
        [_header(["", "advantage", "", "retry's verdict", "reflection", *(["retry"] if retries is not None else [])])],
    )
    for i, (said, verdict, value) in enumerate(zip(reflections, verdicts, values)):
        size = abs(value) / largest
        bar = "█" * round(6 * size)
        left, right = (bar, "") if value < 0 else ("", bar)
        answer = "" if retries is None else _short(retries[i])
        lead = f"{i:>3}  {value:+6.2f} {left:>6}│{right:<6}  {_mark(verdict):<18}  "
        width = max(WIDTH // 2, 120 - len(lead))
        body = _wrap(_short(said), width) + _wrap(f"→ {answer}" if answer else "", width)
        lines += [f"{head}{line}".rstrip() for head, line in zip_longest([lead], body, fillvalue=" " * len(lead))]
        html.append(
            f'<tr><th scope="row" style="{HEAD}">{i}</th><td style="{MONO};text-align:right">{value:+.2f}</td>'
            f'<td aria-hidden="true">{_bar(value, size)}</td><td style="{CELL}">{escape(_mark(verdict))}</td>'
            f'<td style="{CELL}">{escape(_short(said))}</td>'
            + (f'<td style="{MONO}">{escape(answer)}</td></tr>' if retries is not None else "</tr>")
        )
    note = (
        ""
        if any(values) or not values
        else "All verdicts are the same, so every advantage is 0: this group gives no gradient."
    )
    names = "retry's verdict", "reflection" if retries is None else "reflection → retry"
    head = f"{'#':>3}  {'advantage':<20}  {names[0]:<18}  {names[1]}"
    return View("\n".join([head, *lines, *([note] if note else [])]), _table(html) + (f"<p>{note}</p>" if note else ""))


def verdicts(responses: Sequence[str], verdicts: Sequence[Verdict], **others: Sequence[str | bool]) -> View:
    """A table of responses with their verdicts. others: what other judges say about the same responses, by name.

    Raises ValueError if the lists differ in length.
    """
    _same_length(responses, verdicts, *others.values())
    columns = {
        name: [("✔ yes" if v else "✘ no") if isinstance(v, bool) else clean(v) for v in said]
        for name, said in others.items()
    }
    names = [name.replace("_", " ") for name in columns]
    widths = [max([len(name), *map(len, column)]) for name, column in zip(names, columns.values())]
    lines = [
        "  ".join(
            [f"{'#':>3}", *(f"{n:<{w}}" for n, w in zip(names, widths)), f"{'verdict':<18}", "response and reason"]
        )
    ]
    html = [_header(["", "response", *names, "verdict", "reason"])]
    for i, (response, verdict) in enumerate(zip(responses, verdicts)):
        said = [column[i] for column in columns.values()]
        lead = "  ".join([f"{i:>3}", *(f"{s:<{w}}" for s, w in zip(said, widths)), f"{_mark(verdict):<18}", ""])
        width = max(WIDTH // 2, 120 - len(lead))
        body = _wrap(_short(response), width) + _wrap(f"({clean(verdict.reason)})", width)
        lines += [f"{head}{line}".rstrip() for head, line in zip_longest([lead], body, fillvalue=" " * len(lead))]
        html.append(
            f'<tr><th scope="row" style="{HEAD}">{i}</th><td style="{MONO}">{escape(_short(response))}</td>'
            + "".join(f'<td style="{CELL}">{escape(s)}</td>' for s in said)
            + f'<td style="{CELL}">{escape(_mark(verdict))}</td><td style="{CELL}">{escape(clean(verdict.reason))}</td></tr>'
        )
    return View("\n".join(lines), _table(html))


def _mark(verdict: Verdict) -> str:
    return f"{'✔' if verdict.ok else '✘'} {clean(verdict.kind)}"


def _verdict(verdict: Verdict) -> str:
    return f"{_mark(verdict)}: {clean(verdict.reason)}"


def _short(text: str) -> str:
    text = clean(text) or "(empty)"
    return text if len(text) <= LIMIT else f"{text[:LIMIT]}… ({len(text):,} characters)"


def _wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters; no text gives no line."""
    return (
        [piece for line in text.split("\n") for piece in wrap(line, width, break_on_hyphens=False) or [""]]
        if text
        else []
    )


def _bar(value: float, size: float) -> str:
    """A bar of up to 40 pixels to the right of the middle (plus) or to the left of it (minus)."""
    width = round(40 * size)
    start, color = (40 - width, MINUS) if value < 0 else (40, PLUS)
    return (
        '<div style="position:relative;width:80px;height:12px"><div style="position:absolute;left:40px;height:12px;'
        f'border-left:1px solid"></div><div style="position:absolute;left:{start}px;width:{width}px;height:12px;'
        f'background:{color}"></div></div>'
    )


def _header(names: Sequence[str]) -> str:
    return "<tr>" + "".join(f'<th scope="col" style="text-align:left">{escape(name)}</th>' for name in names) + "</tr>"


def _table(rows: Sequence[str]) -> str:
    """The class keeps MathJax from reading a model's dollar signs."""
    return f'<table class="tex2jax_ignore mathjax_ignore" style="border-collapse:collapse">{"".join(rows)}</table>'


def _same_length(*lists: Sequence) -> None:
    if len({len(each) for each in lists}) > 1:
        raise ValueError(
            f"One entry for each row is needed, got lists of {', '.join(str(len(each)) for each in lists)}."
        )
