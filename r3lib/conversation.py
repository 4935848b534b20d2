"""A batch of conversations with one model, growing in one key-value cache.

Every message is read or written once: a retry continues from the cache of its reflection, a control continues from the
cache of the failed attempt (`mark` and `rewind`), a group of reflections shares the cache of its prompt (`fork`).
Token ids and named spans are recorded as they are made, so nothing ever tokenizes a text again to find out where the
reflection was. User messages go through the tokenizer's chat template only.

Rows that have finished leave the batch, and their cache waits for the next message.

Randomness belongs to the problem: what is drawn for a token depends on the seed, the problem, the message's name, the
sample's number in its group and the token's position, so batch size, order and number of processes change no draw.
(Rounding does differ between batch shapes, by about 1e-6 of a probability: a token that near an edge may change.)

Not here: what is said, and when (r3lib.loop).
"""

from __future__ import annotations

import copy
import json
import re
import zlib
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from hashlib import blake2b

import numpy as np
import torch
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from r3lib import folded, prompts
from r3lib.static import Passes
from r3lib.tasks import Task

SPANS = ("prompt", "attempt", "reflection_prompt", "reflection", "retry_prompt", "retry")
DATE = date(2024, 7, 26)  # what Llama 3.1's template says if told nothing
_MARK = "\u2581answer\u2581"


@dataclass
class Transcript:
    """One conversation. `ids`: all tokens, unpadded. `spans`: name -> (start, end) in `ids`, in order, covering it.

    A written span (attempt, reflection, retry) ends with the end-of-turn token if the model wrote one; what the
    template puts between two messages belongs to the following prompt span.
    """

    ids: list[int] = field(default_factory=list)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, span: str, ids: list[int]) -> None:
        if span in self.spans:
            raise ValueError(f"The transcript already has a span named {span!r}; give each message its own name.")
        self.spans[span] = (len(self.ids), len(self.ids) + len(ids))
        self.ids += ids

    def tokens(self, span: str) -> list[int]:
        start, end = self.spans[span]
        return self.ids[start:end]

    def mask(self, span: str = "reflection") -> list[int]:
        """1 for each token of the span, 0 elsewhere; as long as `ids`. For the reflection: what GRPO may reward."""
        start, end = self.spans[span]
        return [int(start <= i < end) for i in range(len(self.ids))]


def rendered(tokenizer: PreTrainedTokenizerBase, messages: list[dict], tools: list[dict] | None = None) -> str:
    """The text of a conversation that waits for the assistant, by the tokenizer's own chat template.

    Templates that tell the date tell DATE, so that a prompt is the same on every day.
    """
    template = tokenizer.get_chat_template(tools=tools)
    template = re.sub(r"""strftime_now\((["'])(.*?)\1\)""", lambda m: repr(DATE.strftime(m[2])), template)
    given = {"tools": tools, "chat_template": template, "add_generation_prompt": True}
    return tokenizer.apply_chat_template(messages, tokenize=False, **given)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, messages: list[dict], tools: list[dict] | None = None) -> list[int]:
    """Tokens of a conversation that waits for the assistant, as the model's own chat template renders it.

    Where the template leaves tools out, they go before the user's words.
    """
    if tokenizer.chat_template is None:
        raise ValueError(
            "This tokenizer has no chat template; use an instruction-tuned model, or set tokenizer.chat_template."
        )
    text = rendered(tokenizer, messages, tools)
    if tools and text == rendered(tokenizer, messages):
        listed = prompts.TOOLS.format(tools="\n".join(map(json.dumps, tools)))
        first = {**messages[0], "content": f"{listed}\n\n{messages[0]['content']}"}
        text = rendered(tokenizer, [first, *messages[1:]])
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@lru_cache(maxsize=4096)
def user_turn(tokenizer: PreTrainedTokenizerBase, template: str, text: str) -> tuple[int, ...]:
    """Tokens between the last token of an assistant's text and the first of its next: end of turn, user, assistant.

    The template renders a three-message conversation whose assistant says a marker; what follows the marker is it.
    """
    messages = [
        {"role": "user", "content": "."},
        {"role": "assistant", "content": _MARK},
        {"role": "user", "content": text},
    ]
    rest = rendered(tokenizer, messages).split(_MARK, 1)[1]
    return tuple(tokenizer(rest, add_special_tokens=False)["input_ids"])


def key_of(ids: list[int]) -> int:
    """Eight bytes that stand for these token ids: a problem's key when numbers are drawn."""
    return int.from_bytes(blake2b(np.array(ids, dtype=np.int64).tobytes(), digest_size=8).digest(), "big")


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids that end an assistant's turn: the tokenizer's, the generation config's, what the template closes it with."""
    listed = getattr(model.generation_config, "eos_token_id", None)
    listed = [listed] if isinstance(listed, int) else list(listed or [])
    closing = user_turn(tokenizer, str(tokenizer.chat_template), ".")[:1] if tokenizer.chat_template else ()
    listed += [token for token in closing if token in tokenizer.added_tokens_decoder]
    return sorted({tokenizer.eos_token_id, *listed} - {None})


class Conversation:
    """A batch of conversations with one model. `say` and `put` only queue tokens; `reply` reads them and writes.

    Tensors: `_mask` (rows, columns) 1 where the cache column holds a token of that row; a row that finished early or
    has a shorter message leaves holes, and positions count only its own tokens. seed: one number or several, each 0 or
    more. keys: what tells the rows' problems apart when numbers are drawn; samples: which sample of its group each is.
    """

    static = torch.cuda.is_available()  # whether a message's passes are one CUDA graph (r3lib.static)
    leave_below = 0.5  # the share of rows still writing at which the others leave: each time costs a copy of the cache

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, seed: int | tuple[int, ...] = 0):
        self.model, self.tokenizer = model, tokenizer
        self.seed = (int(seed),) if np.isscalar(seed) else tuple(seed)
        self.transcripts: list[Transcript] = []
        self.keys: list[int] = []
        self.samples: list[int] = []
        self._queue: list[list[int]] = []  # tokens of each transcript that are not yet in the cache
        self._ends = torch.tensor(end_tokens(model, tokenizer), device=model.device)
        config = model.config.get_text_config(decoder=True)
        self._layers = set(getattr(config, "layer_types", None) or ["sliding_attention"])
        self._window = getattr(config, "sliding_window", None) if "sliding_attention" in self._layers else None
        self._logits: torch.Tensor | None = None  # (rows, vocabulary) after the last token read

    def open(self, task: Task, problems: list[dict]) -> None:
        """Begin one conversation for each problem, with the task's messages: the one way, to train and to judge."""
        self.start([prompt_ids(self.tokenizer, task.messages(p), task.tools(p)) for p in problems])

    def start(self, prompts: list[list[int]], span: str = "prompt") -> None:
        """Begin with the tokens of `prompt_ids`."""
        rows, device = len(prompts), self.model.device
        self.transcripts, self._queue = [Transcript() for _ in range(rows)], [[] for _ in range(rows)]
        self._cache = DynamicCache()  # told nothing of sliding windows, it keeps all: they are in the mask
        self._mask = torch.zeros(rows, 0, dtype=torch.long, device=device)
        self.keys, self.samples = [key_of(ids) for ids in prompts], [0] * rows
        for row, ids in enumerate(prompts):
            self._append(row, span, ids)

    def say(self, texts: str | list[str], span: str) -> None:
        """The user's next message, one for all or one for each; closes the assistant's turn where it was cut off."""
        texts = [texts] * len(self.transcripts) if isinstance(texts, str) else texts
        ends = set(self._ends.tolist())
        for row, text in enumerate(texts):
            ids = list(user_turn(self.tokenizer, str(self.tokenizer.chat_template), text))
            last = self.transcripts[row].ids[-1]
            if last in ends and ids and ids[0] in ends:
                ids = ids[1:]
            self._append(row, span, ids)

    def put(self, words: list[str] | list[list[int]], span: str) -> None:
        """Words put into the assistant's mouth, as text or as the token ids that were once written."""
        for row, own in enumerate(words):
            ids = self.tokenizer(own, add_special_tokens=False)["input_ids"] if isinstance(own, str) else list(own)
            self._append(row, span, ids)

    @torch.no_grad()
    def reply(self, span: str, max_new_tokens: int, temperature: float) -> list[str]:
        """Let the model write one message in every conversation, at most `max_new_tokens` each; returns the texts.

        temperature 0 takes the most likely token; above 0 samples from the whole distribution.
        """
        draws = self._draws(span, max_new_tokens) if temperature else None
        with folded.folded(self.model):
            written = self._generate(max_new_tokens, temperature, draws)
        columns = torch.stack(written, 1).tolist()
        texts = []
        for row, column in enumerate(columns):
            ids = [token for token in column if token >= 0]
            self.transcripts[row].add(span, ids)
            self._queue[row] = ids[-1:] if column[-1] >= 0 else []  # the last column was never fed to the model
            texts.append(self.tokenizer.decode(ids, skip_special_tokens=True).strip())
        self._logits = None
        return texts

    def _generate(self, max_new_tokens: int, temperature: float, draws: torch.Tensor | None) -> list[torch.Tensor]:
        """One tensor (rows,) for each new column: the token written, -1 where the row had finished before."""
        self.read()
        rows = torch.arange(len(self.transcripts), device=self.model.device)  # those still in the batch
        alive = torch.ones_like(rows, dtype=torch.bool)
        written, outer = [], []
        static = self.static and self._window is None and max_new_tokens > 1
        passes = Passes(self.model, self._cache, self._mask, max_new_tokens - 1) if static else None
        for step in range(max_new_tokens):
            if temperature == 0:
                token = self._logits.argmax(-1)
            else:
                edges = torch.softmax(self._logits.double() / temperature, -1).cumsum(-1)  # (rows, vocabulary)
                draw = draws[rows, step, None] * edges[:, -1:]
                token = torch.searchsorted(edges, draw, right=True).squeeze(1)
            column = torch.full((len(self.transcripts),), -1, device=self.model.device)
            column[rows] = torch.where(alive, token, -1)
            written.append(column)
            still = alive & ~torch.isin(token, self._ends)
            if step + 1 == max_new_tokens or not still.any():
                break
            if passes:
                self._logits = passes(token)
                self._mask = torch.cat([self._mask, alive[:, None].long()], 1)
                alive = still
                continue
            self._forward(token[:, None], alive[:, None].long())
            alive = still
            keep = alive.nonzero().squeeze(1)
            if len(keep) <= self.leave_below * len(rows):
                outer.append(self._narrow(keep))
                rows, alive, self._logits = rows[keep], alive[keep], self._logits[keep]
        if passes:
            self._cache = passes.grown()
        while outer:
            self._widen(*outer.pop())
        return written

    def _draws(self, span: str, columns: int) -> torch.Tensor:
        """(rows, columns) uniform numbers in [0, 1) for a message."""
        message, rows = zlib.crc32(span.encode()), zip(self.keys, self.samples)
        draws = [np.random.default_rng((*self.seed, key, message, sample)).random(columns) for key, sample in rows]
        return torch.tensor(np.array(draws), device=self.model.device)

    def _narrow(self, keep: torch.Tensor) -> tuple:
        """Go on with these rows of the cache alone; returns what `_widen` needs to bring the others back."""
        whole = self._cache, self._mask, keep
        self._cache, self._mask = DynamicCache(), self._mask[keep]
        for i, layer in enumerate(whole[0].layers):
            self._cache.update(layer.keys[keep], layer.values[keep], i)
        return whole

    def _widen(self, cache: DynamicCache, mask: torch.Tensor, keep: torch.Tensor) -> None:
        """Put the rows that went on back among the others, for whom the new columns are holes."""
        new = self._mask.shape[1] - mask.shape[1]
        mask = torch.nn.functional.pad(mask, (0, new))
        mask[keep] = self._mask
        narrow, self._cache, self._mask = self._cache, DynamicCache(), mask
        for i, (layer, part) in enumerate(zip(cache.layers, narrow.layers)):
            keys, values = (torch.nn.functional.pad(x, (0, 0, 0, new)) for x in (layer.keys, layer.values))
            keys[keep], values[keep] = part.keys, part.values
            self._cache.update(keys, values, i)

    def read(self) -> None:
        """Bring every queued token into the cache (prefill)."""
        longest = max(map(len, self._queue), default=0)
        if not longest and self._logits is not None:
            return
        if not self._queue or not all(self._queue):
            raise ValueError("Some conversations have nothing to answer: say something in every one before reply().")
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (longest - len(q)) + q for q in self._queue], device=self.model.device)
        mask = torch.tensor([[0] * (longest - len(q)) + [1] * len(q) for q in self._queue], device=self.model.device)
        self._forward(ids, mask)
        self._queue = [[] for _ in self._queue]

    @torch.no_grad()
    def _forward(self, ids: torch.Tensor, mask: torch.Tensor) -> None:
        before = self._mask.sum(1, keepdim=True)
        self._mask = torch.cat([self._mask, mask], 1)
        positions = (before + mask.cumsum(1) - 1).clamp(min=0)  # (rows, new columns)
        self._logits = self.model(
            input_ids=ids,
            attention_mask=self._seen(positions),
            position_ids=positions,
            logits_to_keep=1,
            past_key_values=self._cache,
            use_cache=True,
        ).logits[:, -1]

    def _seen(self, positions: torch.Tensor) -> torch.Tensor | dict[str, torch.Tensor]:
        """The attention mask. Past a sliding window: what each new token sees, (rows, 1, new columns, columns), 0 or
        the least number, for the counting of transformers' own takes holes for tokens."""
        if self._window is None or self._mask.shape[1] <= self._window:
            return self._mask
        behind = positions[:, None, :, None] - (self._mask.cumsum(1) - 1)[:, None, None]
        seen = self._mask[:, None, None].bool() & (behind >= 0)
        masks = {"full_attention": seen, "sliding_attention": seen & (behind < self._window)}
        least = torch.finfo(self.model.dtype).min
        masks = {k: torch.zeros_like(m, dtype=self.model.dtype).masked_fill(~m, least) for k, m in masks.items()}
        return masks if len(self._layers) > 1 else masks["sliding_attention"]

    def _append(self, row: int, span: str, ids: list[int]) -> None:
        self.transcripts[row].add(span, ids)
        self._queue[row] += ids

    def texts(self, *spans: str) -> list[str]:
        """What each conversation has in these spans, one after another."""
        ids = [[token for span in spans for token in t.tokens(span)] for t in self.transcripts]
        return [self.tokenizer.decode(own, skip_special_tokens=True).strip() for own in ids]

    def select(self, rows: list[int]) -> None:
        """Go on with these conversations, in this order: those that failed, say, or each one G times (`fork`)."""
        index = torch.tensor(rows, device=self.model.device, dtype=torch.long)
        self._cache.batch_select_indices(index)
        self._mask = self._mask[index]
        self._logits = None if self._logits is None else self._logits[index]
        self.transcripts = [copy.deepcopy(self.transcripts[row]) for row in rows]
        self._queue = [list(self._queue[row]) for row in rows]
        self.keys, self.samples = [self.keys[row] for row in rows], [self.samples[row] for row in rows]

    def fork(self, copies: list[int]) -> None:
        """Turn conversation i into `copies[i]` neighbours (a group) that share what is read once, here."""
        self.read()
        samples = [self.samples[row] * n + number for row, n in enumerate(copies) for number in range(n)]
        self.select([row for row, n in enumerate(copies) for _ in range(n)])
        self.samples = samples

    def tell_apart(self) -> None:
        """Draw from here on by all that a row holds: two wrong answers to one problem are two failures."""
        self.keys = [key_of(transcript.ids) for transcript in self.transcripts]

    def written(self, span: str) -> int:
        """Tokens of this message in all conversations."""
        return sum(len(transcript.tokens(span)) for transcript in self.transcripts)

    def mark(self) -> tuple:
        """A point to come back to with `rewind`; nothing is copied but the bookkeeping."""
        return self._mask.shape[1], copy.deepcopy(self.transcripts), copy.deepcopy(self._queue), self._logits

    def rewind(self, mark: tuple) -> None:
        """Forget all that came after `mark` was taken (the batch must have the same rows)."""
        columns, transcripts, queue, self._logits = mark
        if columns < self._mask.shape[1]:
            self._cache.crop(columns - self._mask.shape[1])  # a negative count: how many to remove, from the end
        self._mask = self._mask[:, :columns]
        self.transcripts, self._queue = copy.deepcopy(transcripts), copy.deepcopy(queue)
