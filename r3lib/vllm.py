"""Conversations that vLLM writes: the same messages, another engine."""

from __future__ import annotations

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from r3lib.conversation import Conversation


class Served(Conversation):
    """A conversation that vLLM writes, through TRL's `trainer.vllm_generation`.

    It is sent all tokens with every message, and its own prefix cache does what the cache above does. What it samples
    depends on its engine's random numbers, so a run is not repeated bit by bit. `logprobs`: span -> one list a row, the
    log-probability of each token as vLLM saw it, which the importance correction needs (trl 1.16).
    """

    def __init__(self, engine, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase):
        super().__init__(model, tokenizer)
        self.engine, self.logprobs = engine, {}

    def read(self) -> None:
        self._queue = [[] for _ in self._queue]

    def reply(self, span: str, max_new_tokens: int, temperature: float) -> list[str]:
        if not self.transcripts or not all(t.ids for t in self.transcripts):
            raise ValueError("Some conversations have nothing to answer: say something in every one before reply().")
        self.read()
        self.engine.max_completion_length, self.engine.temperature = max_new_tokens, temperature
        _, written, logprobs, _ = self.engine.generate([t.ids for t in self.transcripts], None, num_generations=1)
        self.logprobs[span] = [[likeliest[0] for likeliest in row] for row in logprobs]
        for transcript, ids in zip(self.transcripts, written):
            transcript.add(span, list(ids))
        return self.texts(span)
