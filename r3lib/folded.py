"""The weights a message is written with: NF4 unpacked and the adapter folded in, once a message, not once a token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import bitsandbytes as bnb
import torch
from transformers import PreTrainedModel

from r3lib.files import R3Error

SPARE = 0.5  # at most this share of a GPU's free memory goes to unpacked weights; the cache needs the rest


def prepare(model: PreTrainedModel) -> None:
    """Let every machine compute the same. Raises R3Error if bitsandbytes would read NF4 wrongly here."""
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            # else bitsandbytes repacks the weights and computes in bfloat16 on the CPUs that can, and on no others
            module.support_avx512bf16_for_cpu = False
            block, columns = module.weight.quant_state.blocksize, module.in_features
            if model.device.type == "cpu" and columns % block:
                raise R3Error(
                    f"bitsandbytes reads NF4 weights wrongly on the CPU where a row ({columns} columns) is no "
                    f"multiple of {block}; add `--set four_bit=false`."
                )


@contextmanager
def folded(model: PreTrainedModel) -> Iterator[None]:
    """Inside, every linear layer that is packed or has an adapter is one matrix.

    In float32 the outputs are the same to rounding. In 16 bits the adapter is rounded with the weights, as merging
    rounds it; the weights themselves are untouched. Where a GPU has too little room, everything stays as it is.
    """
    wrapped = {module.base_layer for module in model.modules() if hasattr(module, "base_layer")}
    pairs = [(m, getattr(m, "base_layer", m)) for m in model.modules() if m not in wrapped and "forward" not in vars(m)]
    pairs = [
        (module, base)
        for module, base in pairs
        if isinstance(base, bnb.nn.Linear4bit) or (module is not base and isinstance(base, torch.nn.Linear))
    ]
    for module, base in pairs if _room(model, pairs) else ():
        weight = base.weight
        if isinstance(base, bnb.nn.Linear4bit):
            weight = bnb.functional.dequantize_4bit(weight.data, weight.quant_state)
        if module is not base and not module.disable_adapters:
            delta = sum(module.get_delta_weight(name) for name in module.active_adapters)
            weight = (weight + delta).to(weight.dtype)
        module.forward = partial(torch.nn.functional.linear, weight=weight, bias=base.bias)
    try:
        yield
    finally:
        for module, _ in pairs:
            vars(module).pop("forward", None)


def _room(model: PreTrainedModel, pairs: list[tuple[torch.nn.Module, torch.nn.Linear]]) -> bool:
    if model.device.type != "cuda":
        return True
    free = torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return sum(2 * base.in_features * base.out_features for _, base in pairs) < SPARE * free
