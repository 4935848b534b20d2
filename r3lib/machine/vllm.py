"""Conversations that vLLM writes: the same messages, another engine.

In training it is TRL's own; failure sets and evaluations ask its server (`serving`). None of it has met vLLM itself
yet: the tests have a stand-in.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from accelerate import Accelerator
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl.generation.vllm_client import VLLMClient
from trl.generation.vllm_generation import VLLMGeneration

from r3lib.config import Profile
from r3lib.conversation import Conversation, end_tokens
from r3lib.files import R3Error
from r3lib.models import processes


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


class Server:
    """What `trl vllm-serve` serves, asked as `Served` asks TRL's engine. Each process asks for itself."""

    temperature, max_completion_length = 1.0, 1

    def __init__(self, ends: list[int]):
        self.client, self.ends = VLLMClient(), {"stop_token_ids": ends}

    def generate(self, prompts: list[list[int]], images: None, num_generations: int) -> tuple:
        asked = {"max_tokens": self.max_completion_length, "generation_kwargs": self.ends}
        found = self.client.generate(prompts, temperature=self.temperature, **asked)
        return prompts, found["completion_ids"], found["logprobs"], None


@contextmanager
def serving(profile: Profile, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Iterator[None]:
    """Inside, with `--vllm server`, the server writes for this model, whose weights it is sent first (trl 1.16).

    Raises R3Error if vLLM is not installed or no server answers.
    """
    if profile.vllm != "server":
        yield
        return
    try:
        if processes().is_main_process:
            engine = VLLMGeneration(model, Accelerator(), tokenizer, mode="server")
            engine.sync_weights()
            engine.vllm_client.close_communicator()  # the trainer will want its own
        processes().wait_for_everyone()
        server = Server(end_tokens(model, tokenizer))
        model.converses = lambda model, tokenizer, seed: Served(server, model, tokenizer)
    except (ImportError, ConnectionError) as error:
        raise R3Error(f"{error} Start `trl vllm-serve --model {profile.model}`, or leave --vllm out.") from error
    try:
        yield
    finally:
        del model.converses
