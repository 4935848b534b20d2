"""Loading models: the NF4 base of QLoRA (Dettmers et al., 2023), the LoRA adapter on it, and its tokenizer."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import huggingface_hub
import torch
from accelerate import PartialState
from peft import LoraConfig, PeftModel
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    DynamicCache,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from r3lib import files, folded
from r3lib.config import Profile
from r3lib.files import R3Error

CONFIG = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")  # a model, beside weights


def processes() -> PartialState:
    """This process among those of `accelerate launch`; without it there is one, whatever the environment names."""
    stray = [name for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE") if name in os.environ]
    if stray and "MASTER_ADDR" not in os.environ:  # a launcher says where the first process is
        print(f"{', '.join(stray)}: set, but no launcher runs; this is one process.", file=sys.stderr)
        for name in stray:
            del os.environ[name]
    return PartialState(cpu=not torch.cuda.is_available())


def load(profile: Profile, adapter: Path | None = None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The profile's model (NF4 with double quantization where `four_bit`), with a trained adapter if one is given.

    Raises R3Error with what to do if the model or the adapter is missing, damaged, gated or out of reach, or NF4 would
    compute something else here.
    """
    folder = Path(profile.model)
    if folder.is_absolute() and not (folder / "config.json").exists():
        known = {
            files.CACHE: "`r3 fetch smollm2` brings it",
            files.DATA: f"{files.restore('data')} restores it, `r3 nano` trains it anew",
        }
        raise R3Error(f"There is no model in {folder}; {known.get(folder.parent, 'check the path')}.")
    if torch.cuda.is_available() and profile.dtype == "bfloat16" and not torch.cuda.is_bf16_supported(False):
        raise R3Error(
            f"{torch.cuda.get_device_name()} has no bfloat16, which the profile {profile.name} asks for; "
            "use the profile t4, or add `--set dtype=float16`."
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
            profile.model, dtype=dtype, quantization_config=quantization, trust_remote_code=False, **where
        )
    except R3Error:
        raise
    except Exception as error:  # the hub, safetensors and json each raise their own kinds
        if "trust_remote_code" in str(error):
            raise R3Error(f"{profile.model} brings code of its own, which is never run; choose another.") from error
        advice = (
            "Check the network, the name and the space on the disk; for gated models accept the licence on the model's "
            "page and `hf auth login` (`r3 doctor` says which); or use the profile nano, which needs no network."
        )
        if "configuration class" in str(error):
            advice = "It is no causal language model (it may read pictures); choose one of text alone."
        elif folder.is_absolute():
            advice = f"Restore it with {files.restore('data')}."
        raise R3Error(
            f"Cannot load {profile.model} ({type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}). "
            + advice
        ) from error
    folded.prepare(model)
    check_cache(model)
    if adapter is not None:
        model = with_adapter(model, adapter)
    model.config.use_cache = True
    return model.eval(), tokenizer


@torch.no_grad()
def check_cache(model: PreTrainedModel) -> None:
    """Raises R3Error for a model that sums the past up, or forgets it in chunks: the loop goes back in its cache."""
    cache, ids = DynamicCache(), torch.zeros(1, 3, dtype=torch.long, device=model.device)
    try:
        model(input_ids=ids, past_key_values=cache, use_cache=True)
        columns = {layer.keys.shape[2] for layer in cache.layers}
    except (AttributeError, IndexError, NotImplementedError, TypeError, ValueError):  # each family fails in its own way
        columns = set()
    if columns != {3} or getattr(model.config.get_text_config(decoder=True), "attention_chunk_size", None):
        raise R3Error(
            f"{type(model).__name__} does not keep a key and a value of every token it has read (it has linear or "
            "chunked attention, or a recurrent state), and the loop goes back to earlier tokens; choose a model with "
            "full or sliding-window attention."
        )


def fingerprint(profile: Profile) -> str:
    """What stands for the model's weights, tokenizer and template: a hash of its files, or its commit on the hub."""
    folder = Path(profile.model)
    if folder.is_dir():
        kinds = (".safetensors", ".bin", ".jinja")
        found = sorted(p for p in folder.iterdir() if p.suffix in kinds or p.name in CONFIG)
        return _hashed(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in found))
    cached = huggingface_hub.try_to_load_from_cache(profile.model, "config.json")
    return Path(cached).parent.name if isinstance(cached, str) else "unknown"


@lru_cache
def _hashed(stamps: tuple[tuple[Path, int, int], ...]) -> str:
    return files.fingerprint([[path.name, files.hash_file(path)] for path, *_ in stamps])


@contextmanager
def memory_explained(profile: Profile) -> Iterator[None]:
    """Turn a GPU's running out of memory into an R3Error that names the settings to lower."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise R3Error(
            f"The GPU ran out of memory with the profile {profile.name}. Lower, with --set: rollout_batch_size "
            f"({profile.rollout_batch_size}) if it was writing, which costs time and changes no draw, micro_batch "
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
    plain fast tokenizer, as r3-nano does, is loaded as what it says it is. Raises R3Error if it cannot hold a
    conversation. What pads is masked wherever it stands, so the end of a text may do it.
    """
    config = Path(name) / "tokenizer_config.json"
    told = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    plain = told.get("tokenizer_class") in ("TokenizersBackend", "PreTrainedTokenizerFast")
    kind = PreTrainedTokenizerFast if plain else AutoTokenizer
    tokenizer = kind.from_pretrained(name, padding_side="left", trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if not tokenizer.chat_template or tokenizer.pad_token_id is None:
        lacks = "token that pads or ends a text" if tokenizer.chat_template else "chat template"
        raise R3Error(f"The tokenizer of {name} has no {lacks}; choose an instruction-tuned model.")
    return tokenizer


def with_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """The base model with a trained adapter on it, or the whole trained model in a folder; R3Error if damaged."""
    try:
        if (folder / "config.json").exists():
            return type(model).from_pretrained(folder, dtype="auto").to(model.device).eval()
        return PeftModel.from_pretrained(model, folder).eval()
    except Exception as error:
        raise R3Error(
            f"Cannot load the adapter in {folder} ({type(error).__name__}); delete that folder and train again."
        ) from error
