"""NF4 on the CPU: where bitsandbytes' kernels would compute something else, and a way to write fast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import bitsandbytes as bnb
import torch
from transformers import PreTrainedModel

from r3lib.files import R3Error


def prepare(model: PreTrainedModel) -> None:
    """Let every machine compute the same. Raises R3Error if NF4 would be read wrongly here."""
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
def unpacked(model: PreTrainedModel) -> Iterator[None]:
    """While a message is written on the CPU, read the NF4 layers (and their adapter) once, not once a token.

    The weights are the same to the rounding of float32; a GPU unpacks in its kernels and keeps its memory.
    """
    changed = []
    if model.device.type == "cpu":
        wrapped = {module.base_layer for module in model.modules() if hasattr(module, "base_layer")}
        for module in model.modules():
            base = getattr(module, "base_layer", module)
            if module in wrapped or not isinstance(base, bnb.nn.Linear4bit) or "forward" in vars(module):
                continue
            weight = bnb.functional.dequantize_4bit(base.weight.data, base.weight.quant_state)
            if module is not base and not module.disable_adapters:
                weight = weight + sum(module.get_delta_weight(name) for name in module.active_adapters)
            module.forward = partial(torch.nn.functional.linear, weight=weight, bias=base.bias)
            changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward
