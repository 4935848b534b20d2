"""What notebooks do while somebody looks on, and that they are silent where nobody does."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest

from r3lib.pages import play, show
from r3lib.problems.countdown import TASK


class Notebook:
    """A kernel: `metadata` is what the front end says of the cell."""

    def __init__(self, metadata: dict):
        self.metadata = metadata

    def get_parent(self) -> dict:
        return {"metadata": self.metadata}


@pytest.fixture
def seen(monkeypatch):
    """Somebody looks on; what is displayed and updated."""
    import IPython.display

    found = []

    class Handle:
        def update(self, view):
            found.append(view)

    def display(view, display_id=False):
        found.append(view)
        return Handle()

    monkeypatch.setattr(play, "watched", lambda: True)
    monkeypatch.setattr(IPython.display, "display", display)
    return found


@pytest.fixture
def board(nano, small):
    return play.Board(*nano, TASK, small, [98, 17, 34], 96)


@pytest.mark.parametrize("kernel, looks", [(Notebook({"cellId": "a"}), True), (Notebook({}), False), (None, False)])
def test_a_front_end_says_which_cell_it_asks_for(monkeypatch, kernel, looks):
    import IPython

    monkeypatch.setattr(IPython, "get_ipython", lambda: kernel)
    assert play.watched() is looks


def test_bars_are_drawn_only_where_somebody_looks_on(monkeypatch, capsys):
    from tqdm import std, tqdm

    begin = std.tqdm.__init__
    for looks in (True, False):
        monkeypatch.setattr(std.tqdm, "__init__", begin)
        monkeypatch.setattr(play, "watched", lambda looks=looks: looks)
        play.quiet()
        assert sum(tqdm([1, 2], disable=False)) == 3
        assert bool(capsys.readouterr().err) is looks


def test_each_stage_stands_on_those_before_it_word_for_word(board):
    assert board.ready() == {"attempt": True, "reflect": False, "retry": False} and "Press" in board.advice()
    while board.play("attempt").ok:
        pass
    attempt = board.transcript.tokens("attempt")
    assert board.ready() == {"attempt": True, "reflect": True, "retry": False}
    assert board.play("reflect") is None and board.ready()["retry"]
    reflection = board.transcript.tokens("reflection")
    again = {board.play("retry").kind for _ in range(3)}
    assert board.transcript.tokens("attempt") == attempt and board.transcript.tokens("reflection") == reflection
    assert f"is {int(board.verdicts['retry'].ok)}" in board.advice() and again
    board.play("reflect")
    assert list(board.verdicts) == ["attempt"] and "retry" not in board.transcript.spans
    board.set([1, 2, 3], 6)
    assert not board.verdicts and "[1, 2, 3]" in board.view().text
    assert "&lt;answer&gt; &lt;/answer&gt;" in board.view().html


def test_a_right_first_try_is_not_reflected_on(board, monkeypatch):
    right = TASK._replace(verify=lambda problem, text: TASK.verify({"numbers": [1], "target": 1}, "<answer>1</answer>"))
    board.task = right
    assert board.play("attempt").ok and not board.ready()["reflect"] and "nothing to reflect on" in board.advice()


def test_without_buttons_the_loop_is_played_once(board, monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    monkeypatch.setattr(play, "watched", lambda: False)
    board._ipython_display_()
    assert [type(view) for view in shown] == [show.View] and "⟦" in shown[0].text
    assert {"attempt", "retry"} <= board.verdicts.keys()
    shown.clear()
    monkeypatch.setattr(play, "watched", lambda: True)
    monkeypatch.setattr(play, "find_spec", lambda name: None)  # no ipywidgets
    board._ipython_display_()
    assert isinstance(shown[0], show.View)


def test_buttons_work_the_loop(board):
    widgets = pytest.importorskip("ipywidgets")
    *sliders, row, said, text = board.widget().children
    attempt, reflect, retry = row.children
    assert [slider.value for slider in sliders] == [98, 17, 34, 0, 96] and isinstance(said, widgets.HTML)
    assert reflect.disabled and retry.disabled
    while reflect.disabled:
        attempt.click()
    reflect.click()
    retry.click()
    assert "reward" in said.value and "⟦" in text.value
    sliders[3].value = 5
    assert board.problem == {"numbers": [98, 17, 34, 5], "target": 96} and reflect.disabled


LINE = {"step": 1, "reward": 0.25, "seconds": 30.0}


def test_a_training_is_drawn_step_by_step(seen, tmp_path):
    log, written, threads = tmp_path / "log.jsonl", 0, threading.active_count()
    with play.watch(log, 4, every=0.02):
        for written in (1, 2, 3):
            log.write_text("\n".join([json.dumps(LINE)] * written), encoding="utf-8")
            for _ in range(500):
                if any(f"step {written} of 4" in view.text for view in seen):
                    break
                threading.Event().wait(0.02)
    assert [view.text.partition(", about")[0][-11:] for view in seen[1:]] == [f"step {n} of 4" for n in (1, 2, 3)]
    assert "about 0.5 minutes left" in seen[-1].text and "<img alt=" in seen[-1].html
    assert threading.active_count() == threads


def test_a_training_is_not_drawn_where_nobody_looks_on(seen, monkeypatch, tmp_path):
    monkeypatch.setattr(play, "watched", lambda: False)
    with play.watch(tmp_path / "log.jsonl", 4):
        pass
    assert not seen


def test_bars_without_ipywidgets_warn_of_nothing():
    """A kernel without it got a red line at the first import."""
    code = "import r3lib, warnings; from tqdm import TqdmWarning; from tqdm.notebook import WARN_NOIPYW; "
    code += "warnings.warn(WARN_NOIPYW, TqdmWarning)"
    done = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 0 and done.stderr == ""
    without = subprocess.run([sys.executable, "-c", code.replace("r3lib, ", "")], capture_output=True, encoding="utf-8")
    assert "IProgress not found" in without.stderr
