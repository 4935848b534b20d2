"""A message's passes at fixed addresses, so that a GPU replays one CUDA graph a token.

A token of a small model is little work and a thousand kernels to launch; a graph launches them at once. A CPU launches
nothing, and there the same passes are slower than a growing cache's (benchmarks/README.md): they serve tests alone.
"""

from __future__ import annotations

import warnings

import torch
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import Cache, StaticLayer


class Passes:
    """The model's pass for one new token in each row, as often as there is room.

    cache, mask (rows, columns): what was read; the cache's layers are taken over, one by one. room: columns to come.
    """

    def __init__(self, model: PreTrainedModel, cache: DynamicCache, mask: torch.Tensor, room: int):
        rows, read = mask.shape
        self.model, self.column, self.graph = model, read, None
        self.record = model.device.type == "cuda"
        width, least = read + room, torch.finfo(model.dtype).min
        self.cache = Cache(layers=[StaticLayer(max_cache_len=width) for _ in cache.layers])
        for own, given in zip(self.cache.layers, cache.layers):
            own.update(given.keys, given.values)
            given.keys = given.values = None
        self.seen = torch.full((rows, 1, 1, width), least, dtype=model.dtype, device=mask.device)
        self.seen[:, 0, 0, :read].masked_fill_(mask.bool(), 0)
        self.position = mask.sum(1, keepdim=True) - 1
        self.token = torch.zeros_like(self.position)

    @torch.no_grad()
    def __call__(self, token: torch.Tensor) -> torch.Tensor:
        """Logits (rows, vocabulary) after one more token (rows,). Of a row that has finished they mean nothing."""
        self.token.copy_(token[:, None])
        self.position += 1
        self.seen[..., self.column] = 0
        self.column += 1
        if self.record and self.graph is None:
            try:
                self._capture()
            except RuntimeError as error:  # experts, say, whose shapes depend on the tokens
                self.record = False
                self._back()
                warnings.warn(
                    f"No CUDA graph of {type(self.model).__name__}, so it writes slower: {error}", stacklevel=2
                )
        if not self.record:
            return self._pass()
        self.graph.replay()
        return self.logits.clone()

    def _pass(self) -> torch.Tensor:
        given = {"attention_mask": self.seen, "position_ids": self.position, "past_key_values": self.cache}
        return self.model(input_ids=self.token, logits_to_keep=1, use_cache=True, **given).logits[:, -1]

    def _capture(self) -> None:
        """Record the pass, after one on another stream, as torch asks; both leave the cache where it was."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._pass()
        torch.cuda.current_stream().wait_stream(stream)
        self._back()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.logits = self._pass()
        self._back()

    def _back(self) -> None:
        for layer in self.cache.layers:
            layer.cumulative_length.fill_(self.column - 1)

    def grown(self) -> DynamicCache:
        """All that is in the cache now, as one that can grow, shrink and lose rows."""
        out = DynamicCache()
        for number, layer in enumerate(self.cache.layers):
            out.update(layer.keys[:, :, : self.column], layer.values[:, :, : self.column], number)
        return out
