"""What a notebook does only while somebody looks on: buttons, a figure that grows with the training, progress bars.

Somebody looks on where a front end (JupyterLab, VS Code, Colab) asks for a cell: it says which one. nbconvert and nbval
do not. There `quiet` silences the bars, `watch` draws nothing, and a `Board` plays the loop once by itself. It does so
without ipywidgets, too.
"""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from r3lib.pages import show

if TYPE_CHECKING:  # they bring torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from r3lib.config import Profile
    from r3lib.tasks import Task, Verdict

STAGES = {"attempt": "attempt", "reflect": "reflection", "retry": "retry"}  # the loop's methods and what they write


def watched() -> bool:
    """Whether this cell was run from a front end."""
    try:
        from IPython import get_ipython

        return bool(get_ipython().get_parent()["metadata"])
    except (ImportError, AttributeError, KeyError, TypeError):  # no notebook at all
        return False


def quiet() -> None:
    """No warning of names that the libraries below still use, and no progress bar unless somebody looks on."""
    warnings.simplefilter("ignore", FutureWarning)
    if not watched():
        from tqdm import std

        begin = std.tqdm.__init__
        std.tqdm.__init__ = lambda self, *args, **given: begin(self, *args, **given | {"disable": True})


@contextmanager
def watch(log: Path, steps: int, every: float = 2.0) -> Iterator[None]:
    """While the block trains: one figure of the steps in its log.jsonl, drawn anew after each, with the time left."""
    if not watched():
        yield
        return
    from IPython.display import display

    handle, done, seen = display(show.View("", ""), display_id=True), threading.Event(), 0

    def look() -> None:
        nonlocal seen
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        if len(lines) > seen:
            seen = len(lines)
            handle.update(show.figure(*progress([json.loads(line) for line in lines], steps)))

    def wait() -> None:
        while not done.wait(every):
            look()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        look()


def progress(log: list[dict], steps: int) -> tuple[Any, str]:
    """The figure of a training that is under way, and its alternative text. It is drawn outside of pyplot, whose
    figures belong to the main thread."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.4), layout="constrained")
    axes, last = figure.subplots(), log[-5:]
    rewards = [entry["reward"] for entry in log]
    minutes = (steps - len(log)) * sum(entry["seconds"] for entry in last) / len(last) / 60
    mean = sum(entry["reward"] for entry in last) / len(last)
    told = f"step {len(log)} of {steps}, about {minutes:.1f} minutes left; reward of the last steps {mean:.2f}"
    axes.plot(range(1, len(log) + 1), rewards, "o-", color="#0b6e99", ms=4)
    axes.set(xlim=(0.5, steps + 0.5), ylim=(0, max(0.5, *rewards) * 1.05), xlabel="step", ylabel="reward, mean")
    axes.locator_params("x", integer=True)
    axes.set_title(told, fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, f"Reward against training step: {told}."


class Board:
    """The loop by hand: sliders for a problem of Countdown, a button for each stage. As a cell's last line it is shown.

    numbers: three or four. Each press draws anew: another answer, another reflection on this failure, another retry
    after this reflection.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        task: Task,
        profile: Profile,
        numbers: list[int],
        target: int,
        seed: int = 0,
    ):
        self.model, self.tokenizer, self.task, self.profile, self.seed = model, tokenizer, task, profile, seed
        self.presses = 0
        self.set(numbers, target)

    def set(self, numbers: list[int], target: int) -> None:
        """Begin with this problem."""
        self.problem = {"numbers": numbers, "target": target}
        self.transcript, self.verdicts = None, {}

    def play(self, stage: str) -> Verdict | None:
        """Write one stage ("attempt", "reflect" or "retry") after those before it; the verdict, if it is an answer."""
        from r3lib.conversation import Conversation
        from r3lib.loop import Loop

        self.presses += 1
        conversation = Conversation(self.model, self.tokenizer, (self.seed, self.presses))
        loop, before = Loop(conversation, self.task, [self.problem], self.profile), self.transcript
        for name, span in STAGES.items():
            if name == stage:
                (text,) = getattr(loop, name)()
                break
            getattr(loop, name)([before.tokens(span)])  # word for word as it was written
        self.transcript = conversation.transcripts[0]
        self.verdicts = {name: verdict for name, verdict in self.verdicts.items() if name in self.transcript.spans}
        if stage == "reflect":
            return None
        self.verdicts[stage] = loop.verify([text])[0]
        return self.verdicts[stage]

    def view(self) -> show.View:
        if self.transcript is None:
            asked = self.task.ask(self.problem)
            return show.View(asked, f"<p>{escape(asked)}</p>")
        return show.transcript(self.transcript, self.tokenizer, verdicts=self.verdicts)

    def ready(self) -> dict[str, bool]:
        """Which stages can be played: only a failure is reflected on."""
        spans = self.transcript.spans if self.transcript else {}
        failed = "attempt" in self.verdicts and not self.verdicts["attempt"].ok
        return {"attempt": True, "reflect": failed, "retry": "reflection" in spans}

    def advice(self) -> str:
        """What to do next, in words."""
        if "retry" in self.verdicts:
            reward = int(self.verdicts["retry"].ok)
            return f"The reward of this reflection is {reward}. Press “retry” or “reflect” again, or begin anew."
        if self.ready()["retry"]:
            return "Will this reflection help? Press “retry”."
        if self.ready()["reflect"]:
            return "Wrong. Press “reflect”: the model is told that it failed, but not why."
        return "Right at once: nothing to reflect on. Press “attempt” again." if self.verdicts else "Press “attempt”."

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if watched() and find_spec("ipywidgets"):
            display(self.widget())
            return
        if any(not self.play("attempt").ok for _ in range(20)):  # up to the first failure
            self.play("reflect")
            self.play("retry")
        display(self.view())

    def widget(self) -> Any:
        """Sliders, buttons and the conversation, in ipywidgets."""
        import ipywidgets as w

        first = [*self.problem["numbers"], 0][:4]
        low = (1, 1, 1, 0)
        wide = {"layout": w.Layout(width="380px"), "style": {"description_width": "110px"}, "continuous_update": False}
        names = ("number", "number", "number", "number, or 0")
        numbers = [w.IntSlider(v, a, 99, description=n, **wide) for v, a, n in zip(first, low, names)]
        target = w.IntSlider(self.problem["target"], 10, 100, description="target", **wide)
        buttons = {stage: w.Button(description=f"{i} {stage}") for i, stage in enumerate(STAGES, 1)}
        said, text = w.HTML(), w.HTML()

        def refresh() -> None:
            for stage, ready in self.ready().items():
                buttons[stage].disabled = not ready
            said.value = f"<b>{self.advice()}</b>"
            text.value = self.view().html

        def pressed(stage: str) -> Callable:
            def press(_: Any) -> None:
                for button in buttons.values():
                    button.disabled = True
                said.value = "<b>The model writes …</b>"
                self.play(stage)
                refresh()

            return press

        def moved(_: Any) -> None:
            self.set([n.value for n in numbers if n.value], target.value)
            refresh()

        for stage, button in buttons.items():
            button.on_click(pressed(stage))
        for slider in (*numbers, target):
            slider.observe(moved, "value")
        refresh()
        return w.VBox([*numbers, target, w.HBox([*buttons.values()]), said, text])
