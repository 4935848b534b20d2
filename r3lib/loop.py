"""Reflect, retry, reward: one pass through the paper's loop. Read this file first.

    1 attempt   the model tries a problem
    2 verify    a program says yes or no; only failures go on
    3 reflect   told that it failed, the model writes what went wrong
    4 retry     it tries again, with the reflection before its eyes
    5 reward    the verifier's word on the retry; in training it is given to the reflection's tokens (r3lib.grpo)

Training, evaluation and every experiment run these stages. A control puts other words in a stage's place.
"""

from __future__ import annotations

from r3lib.config import Profile
from r3lib.conversation import Conversation
from r3lib.tasks import Task, Verdict


class Loop:
    """Problems on their way through the loop, one conversation each (`problems` and the conversation's rows agree).

    profile: how long each message may be. temperature: the profile's if None; 0 is greedy. round: 2 and more name the
    messages of a further reflection and retry in the same conversation.
    """

    def __init__(
        self,
        conversation: Conversation,
        task: Task,
        problems: list[dict],
        profile: Profile,
        temperature: float | None = None,
    ):
        self.conversation, self.task, self.problems, self.profile = conversation, task, problems, profile
        self.temperature = profile.temperature if temperature is None else temperature
        self.round = 1
        conversation.open(task, problems)

    def attempt(self, words: list | None = None, copies: int | list[int] = 1) -> list[str]:
        """Stage 1: first answers. words: stored ones (texts or token ids) in their place.

        copies: how many samples of each problem; they stand side by side in the batch. `reflect` has it too.
        """
        return self._message("attempt", self.profile.attempt_tokens, words, copies)

    def plan(self, opening: list[int]) -> list[str]:
        """A control, in place of stage 1: words before any answer, begun with these tokens; then `retry` asks again."""
        return self._message("plan", self.profile.reflection_tokens, opening=opening)

    def verify(self, texts: list[str]) -> list[Verdict]:
        """Stages 2 and 5: the verdict on each row's answer."""
        return [self.task.verify(problem, text) for problem, text in zip(self.problems, texts)]

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows alone: those that failed."""
        self.conversation.select(rows)
        self.problems = [self.problems[row] for row in rows]

    def reflect(
        self, words: list | None = None, copies: int | list[int] = 1, opening: list[int] | None = None
    ) -> list[str]:
        """Stage 3. words: a text for each row in the reflection's place. opening: tokens that each begins with."""
        self.conversation.say(self.task.reflect_prompt, self.span("reflection_prompt"))
        return self._message("reflection", self.profile.reflection_tokens, words, copies, opening)

    def retry(self, ask: str = "{task}") -> list[str]:
        """Stage 4: second answers. ask: how the task is put again."""
        self.conversation.say([ask.format(task=self.task.ask(p)) for p in self.problems], self.span("retry_prompt"))
        return self._message("retry", self.profile.retry_tokens)

    def written(self, name: str) -> int:
        """Tokens of this round's message in all conversations."""
        return self.conversation.written(self.span(name))

    def span(self, name: str) -> str:
        return name if self.round == 1 else f"{name} {self.round}"

    def _message(
        self,
        name: str,
        limit: int,
        words: list | None = None,
        copies: int | list[int] = 1,
        opening: list[int] | None = None,
    ) -> list[str]:
        counts = [copies] * len(self.problems) if isinstance(copies, int) else copies
        if max(counts) > 1:
            self.conversation.fork(counts)
            self.problems = [p for p, n in zip(self.problems, counts) for _ in range(n)]
        span, begun = self.span(name), self.span(f"{name}_opening")
        if words is not None:
            self.conversation.put(words, span)
            return self.conversation.texts(span)
        if not opening:
            return self.conversation.reply(span, limit, self.temperature)
        self.conversation.put([opening] * len(self.problems), begun)
        self.conversation.reply(span, limit - len(opening), self.temperature)
        return self.conversation.texts(begun, span)
