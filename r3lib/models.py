"""Loading models: the NF4 base of QLoRA (Dettmers et al., 2023), the LoRA adapter on it, and its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import bitsandbytes as bnb
import torch
from accelerate import PartialState
from peft import LoraConfig, PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from r3lib.config import Profile
from r3lib.files import R3Error


def processes() -> PartialState:
    """This process among those of `accelerate launch`; without it there is one."""
    return PartialState(cpu=not torch.cuda.is_available())


def load(profile: Profile, adapter: Path | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The profile's model (NF4 with double quantization where `four_bit`), with a trained adapter if one is given.

    Raises R3Error with what to do if the model or the adapter is missing, damaged, gated or out of reach, or NF4 would
    compute something else here.
    """
    folder = Path(profile.model)
    if folder.is_absolute() and not (folder / "config.json").exists():
        raise R3Error(f"There is no model in {folder}; run `make nano` to train r3-nano, or `git checkout -- data`.")
    if torch.cuda.is_available() and profile.dtype == "bfloat16" and not torch.cuda.is_bf16_supported(False):
        raise R3Error(
            f"{torch.cuda.get_device_name()} has no bfloat16, which the profile {profile.name} asks for; "
            "use the profile t4, or `quick(profile, dtype='float16')`."
        )
    dtype = getattr(torch, profile.dtype)
    quantization = (
        BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
        )
        if profile.four_bit
        else None
    )
    where = {"device_map": {"": processes().local_process_index}} if torch.cuda.is_available() else {}
    try:
        tokenizer = load_tokenizer(profile.model)
        model = AutoModelForCausalLM.from_pretrained(
            profile.model, dtype=dtype, quantization_config=quantization, **where
        )
    except Exception as error:  # the hub, safetensors and json each raise their own kinds
        raise R3Error(
            f"Cannot load {profile.model} ({type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}). "
            + (
                "Restore it with `git checkout -- data`."
                if folder.is_absolute()
                else "Check the network, the name and the space on the disk; for gated models accept the licence on "
                "the model's page and `hf auth login` (`python -m r3lib doctor` says which); "
                "or use the profile nano, which needs no network."
            )
        ) from error
    for module in model.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            # else bitsandbytes repacks the weights and computes in bfloat16 on the CPUs that can, and on no others
            module.support_avx512bf16_for_cpu = False
            block, columns = module.weight.quant_state.blocksize, module.in_features
            if model.device.type == "cpu" and columns % block:
                raise R3Error(
                    f"bitsandbytes reads NF4 weights wrongly on the CPU where a row ({columns} columns) is no "
                    f"multiple of {block}; use `quick(profile, four_bit=False)`."
                )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.use_cache = True
    if adapter is not None:
        model = with_adapter(model, adapter)
    return model.eval(), tokenizer


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


@contextmanager
def memory_explained(profile: Profile) -> Iterator[None]:
    """Turn a GPU's running out of memory into an R3Error that names the settings to lower."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise R3Error(
            f"The GPU ran out of memory with the profile {profile.name}. Lower, with `quick(profile, ...)`: rows "
            f"({profile.rows}) if it was writing, which costs time and changes nothing else, micro_batch "
            f"({profile.micro_batch}) or train_reflection_tokens if it was training; or take a smaller model. What "
            "was finished is kept."
        ) from error


def lora(profile: Profile) -> LoraConfig:
    """LoRA on every linear layer but the head (QLoRA's choice)."""
    return LoraConfig(
        r=profile.lora_rank,
        lora_alpha=2 * profile.lora_rank,
        target_modules="all-linear",
        lora_dropout=0.0,
        task_type="CAUSAL_LM",
    )


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a hub name or folder, padding on the left as generation needs.

    AutoTokenizer gives every Qwen2 model Qwen2's own way of splitting text (transformers 5); a folder that declares a
    plain fast tokenizer, as r3-nano does, is loaded as what it says it is.
    """
    config = Path(name) / "tokenizer_config.json"
    plain = config.exists() and json.loads(config.read_text()).get("tokenizer_class") in (
        "TokenizersBackend",
        "PreTrainedTokenizerFast",
    )
    return (PreTrainedTokenizerFast if plain else AutoTokenizer).from_pretrained(name, padding_side="left")


def with_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Put a trained adapter on the base model; raises R3Error if the adapter is missing or damaged."""
    try:
        return PeftModel.from_pretrained(model, folder).eval()
    except Exception as error:
        raise R3Error(
            f"Cannot load the adapter in {folder} ({type(error).__name__}); delete that folder and train again."
        ) from error
