"""Views of transcripts, groups and verdicts: readable without colour, safe with whatever a model writes."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from r3lib.conversation import SPANS, Transcript
from r3lib.loss import group_advantages
from r3lib.pages import plots, show
from r3lib.problems.countdown import verify
from r3lib.tasks import Verdict

RIGHT = verify("<answer>1 + 2</answer>", [1, 2], 3)
WRONG = verify("<answer>1 - 2</answer>", [1, 2], 3)
PANELS = ("reward", "zero_advantage_fraction", "reflection_tokens", "kl")
NASTY = '<script>alert("&")</script> $x$ \x1b[31mred \u202e \ud800 \x00'


class Codepoints:
    """A tokenizer whose tokens are characters: all that `show.transcript` needs of one."""

    def decode(self, ids: list[int]) -> str:
        return "".join(map(chr, ids))


def make(**texts: str) -> Transcript:
    transcript = Transcript()
    for span, text in texts.items():
        transcript.add(span, [ord(c) for c in text])
    return transcript


class Tags(HTMLParser):
    """Collects text and tags, and whether every tag is closed."""

    def __init__(self, html: str):
        super().__init__()
        self.open, self.seen, self.text = [], set(), ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def views(text: str) -> list[show.View]:
    verdict = Verdict(False, text, text)
    return [
        show.transcript(make(prompt=text, reflection=text), Codepoints(), verdicts={"prompt": verdict}),
        show.group([text], [verdict], [0.5], retries=[text]),
        show.verdicts([text], [verdict], other=[text]),
    ]


@pytest.fixture
def conversation() -> show.View:
    texts = {span: f"the {span}" for span in SPANS}
    return show.transcript(make(**texts), Codepoints(), verdicts={"attempt": WRONG, "retry": RIGHT})


def test_every_span_is_named_and_the_trained_one_marked_in_words(conversation):
    for shown in (repr(conversation), Tags(conversation.html).text):
        for span in SPANS:
            assert f"the {span}" in shown
            assert span in shown.replace(f"the {span}", "")
        assert "▶ reflection (trained)" in shown and "⟦the reflection⟧" in shown
        assert shown.count("(trained)") == shown.count("⟦") == 1
        assert "✘ missed_target: The equation gives -1, not the target 3." in shown and "✔ correct" in shown


def test_plain_text_has_the_labels_in_the_margin(conversation):
    lines = repr(conversation).splitlines()
    assert {len(re.split("[│┃]", line)[0]) for line in lines} == {len("▶ reflection (trained) ")}
    assert [line for line in lines if "┃" in line][0].endswith("⟦the reflection⟧")
    assert str(conversation) == repr(conversation) and conversation._repr_html_() == conversation.html


def test_another_span_or_none_can_be_the_trained_one():
    transcript = make(prompt="a", retry="b")
    assert "▶ retry (trained)" in repr(show.transcript(transcript, Codepoints(), trained="retry"))
    assert "trained" not in show.transcript(transcript, Codepoints(), trained=None).html
    assert "trained" not in show.transcript(transcript, Codepoints()).html  # it has no reflection yet


def test_empty_spans_and_an_empty_transcript():
    view = show.transcript(make(prompt="", reflection=""), Codepoints())
    assert "prompt │ (empty)" in repr(view) and "⟦(empty)⟧" in repr(view) and "0 tokens" in view.html
    assert repr(show.transcript(Transcript(), Codepoints())) == ""


def test_long_lines_are_wrapped_and_nothing_is_lost():
    text = " ".join(f"word{i}" for i in range(200))
    view = show.transcript(make(prompt=text), Codepoints())
    assert max(map(len, repr(view).splitlines())) < 110
    assert re.findall(r"word\d+", repr(view)) == text.split()


def test_markup_of_a_model_stays_text():
    for view in views(NASTY):
        tags = Tags(view.html)
        assert "script" not in tags.seen and not tags.open and "<script>" in tags.text
        assert "mathjax_ignore" in view.html


@settings(deadline=None, max_examples=60, database=None)
@given(st.text(st.characters(exclude_categories=()), max_size=60))
def test_no_text_breaks_a_view(text):
    for view in views(text):
        (view.html + repr(view)).encode("utf-8")  # no lone surrogate gets through
        assert all(c.isprintable() or c == "\n" for c in repr(view))
        assert Tags(view.html).open == []


def test_a_group_shows_each_advantage_with_its_sign_beside_the_verdict():
    verdicts = [RIGHT, WRONG, WRONG, RIGHT, WRONG]
    advantages = [1.0, -0.5, -0.5, 1.0, 0.0]
    view = show.group([f"thought {i}" for i in range(5)], verdicts, advantages)
    rows = repr(view).splitlines()[1:]
    assert ["+1.00" in rows[0], "-0.50" in rows[1], "+0.00" in rows[4]] == [True] * 3
    assert "│██████  ✔ correct" in rows[0] and "███│        ✘ missed_target" in rows[1] and "█" not in rows[4]
    assert [f"thought {i}" in row for i, row in enumerate(rows)] == [True] * 5
    assert "no gradient" not in repr(view)


def test_a_group_without_signal_says_so():
    for verdict in (RIGHT, WRONG):
        view = show.group(["a", "b"], [verdict] * 2, group_advantages(torch.tensor([1.0, 1.0]), 2))
        assert "no gradient" in repr(view) and "no gradient" in view.html
    assert "no gradient" not in repr(show.group([], [], []))


def test_retries_and_other_judges_have_columns():
    assert "→ <answer>1 + 2</answer>" in repr(show.group(["x"], [RIGHT], [0.0], retries=["<answer>1 + 2</answer>"]))
    view = show.verdicts(["1 + 2", "1 - 2"], [RIGHT, WRONG], naive_judge=[True, False], third=["yes", "crash"])
    for shown in (repr(view), Tags(view.html).text):
        assert all(word in shown for word in ("naive judge", "✔ yes", "✘ no", "crash", "✘ missed_target", RIGHT.reason))


def test_a_table_shortens_what_no_one_reads_to_the_end():
    view = show.verdicts(["(" * 100_000], [WRONG])
    assert len(view.html) < 3000 and "… (100,000 characters)" in repr(view)


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="lists of 2, 1, 2"):
        show.verdicts(["a"], [RIGHT, WRONG])
    with pytest.raises(ValueError, match="lists of 2, 2, 1, 1"):
        show.group(["a"], [RIGHT], [0.1, 0.2])


def test_conversations_before_and_after_stand_side_by_side():
    def example(verdict):
        words = {name: f"{name} {NASTY}" for name in ("task", "attempt", "why", "reflection", "retry")}
        return words | {"verdict": verdict}

    view = show.before_after([(example("missed_target"), example("correct"))])
    assert "vanilla, verifier: ✘ missed_target" in view.text and "trained, verifier: ✔ correct" in view.text
    assert "<script>" not in view.html and view.html.count("attempt &lt;script&gt;") == 2
    assert "\x1b" not in view.text + view.html


def test_a_figure_has_an_alternative_text_and_is_closed():
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(4, 2))
    with pytest.raises(ValueError, match="what it shows"):
        show.figure(figure)
    view = show.figure(figure, 'A "line" & <more>')
    assert view.text == '[Figure: A "line" & <more>]' and not pyplot.fignum_exists(figure.number)
    assert 'alt="A &quot;line&quot; &amp; &lt;more&gt;"' in view.html
    width = int(re.search(r'width="(\d+)"', view.html)[1])
    assert 300 < width < 450  # inches, at 100 pixels each, cut to what is drawn


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.roadmap("03"),
        plots.loop,
        lambda: plots.difficulty([0.5, 1.0]),
        lambda: plots.kinds(["correct", "too_far"], ["correct", "correct"]),
        lambda: plots.lengths([1, 2], [3, 4]),
        lambda: plots.arms({"vanilla": {"first": (1.0, 0.0, 2.0)}, "trained": {"first": (3.0, 2.0, 4.0)}}),
        lambda: plots.forest({"a": [("gain", 1.0, 0.5, 1.5)]}, "points"),
        lambda: plots.curves({"trained: blind": [(1, 2.0, 1.0, 3.0), (2, 3.0, 2.0, 4.0)]}, "x", "y"),
        lambda: plots.flows(Counter({("a", "correct"): 1}), Counter({("a", "a"): 2})),
        lambda: plots.training({"seed 0": [dict.fromkeys(("step", *PANELS), 1)]}),
    ],
)
def test_every_plot_tells_what_it_shows(draw):
    label = draw().get_label()
    assert len(label) > 40 and label.endswith(".")
    plots.close("all")


def test_the_roadmap_lights_one_lesson():
    lit = [text.get_text() for text in plots.roadmap("03").axes[0].texts if text.get_weight() == "bold"]
    assert lit == ["▶ 03\nmasked loss"]
    with pytest.raises(ValueError, match="no notebook '3'"):
        plots.roadmap("3")
    plots.close("all")


def test_a_training_text_marks_what_carries_loss():
    asked = SimpleNamespace(role="user", text="a <b> & c", loss=[])
    said = SimpleNamespace(role="assistant", text="one two\x1b", loss=[(0, 2), (2, 4), (7, 8)])
    view = show.training_text([asked, said])
    assert view.text.splitlines() == ["     user │ a <b> & c", "assistant │ ⟦one ⟧two⟦\\x1b⟧"]
    assert "a &lt;b&gt; &amp; c" in view.html and "<u>⟦one ⟧</u>two<u>⟦" in view.html
