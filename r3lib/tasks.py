"""What a task is: problems that a program can verify with a yes or no. Standard library only.

Countdown and function calling are tasks; notebook 12 makes a third. Everything after this module (prompts, rollout,
failure set, trainer, evaluation) sees a task only through the fields below.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Verdict(NamedTuple):
    """A verifier's judgement. `kind` is the class for the error analysis, `reason` one sentence for a reader."""

    ok: bool
    kind: str
    reason: str


class Task(NamedTuple):
    """A verifiable task (paper section 3.1).

    ask(problem): the user's message. verify(problem, text): the verdict on an assistant's answer; never raises.
    contains_answer(problem, text): whether a text gives a right answer away (the leak check on reflections).
    redact(problem, text): the text without the right answers in it (the leak ablation); the text itself if it has none.
    tools(problem): tool descriptions for the chat template, or None.
    """

    name: str
    ask: Callable[[dict], str]
    verify: Callable[[dict, str], Verdict]
    contains_answer: Callable[[dict, str], bool]
    reflect_prompt: str
    tools: Callable[[dict], list[dict] | None] = lambda problem: None
    redact: Callable[[dict, str], str] = lambda problem, text: text

    def messages(self, problem: dict) -> list[dict[str, str]]:
        """The conversation before the first attempt."""
        return [{"role": "user", "content": self.ask(problem)}]
