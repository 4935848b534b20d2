"""The real models that the kit knows: architecture, licence, gate, and how much memory a training step on them needs.

data/models.json has the shapes of their published configurations, so that everything but their weights can be tried
without the hub: a model of the same architecture can be made small (tests). Phi-3.5's factors for contexts beyond 4,096
tokens are left out. Any other causal LM with a chat template works too; nothing in the loop asks for a name.

Not here: loading (`r3lib.models`), chat templates (they come with the tokenizer).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from r3lib.config import Profile
from r3lib.files import DATA, read_json

# bytes a parameter
NF4 = 0.5 + 0.127 / 8  # four bits, and the constants of double quantization (Dettmers et al., 2023, section 3)
ADAPTER = 16  # float32: weight, gradient, two moments of Adam


class Known(NamedTuple):
    """A model of data/models.json. `template`: its file among TRL's chat templates, None if TRL ships none."""

    name: str
    architecture: str
    parameters: int
    config: dict
    template: str | None
    licence: str
    gated: bool

    def full(self) -> PretrainedConfig:
        """The configuration at full size."""
        return AutoConfig.for_model(self.architecture, **self.config)

    def small(self, vocab_size: int, hidden_size: int = 64, layers: int = 2) -> PretrainedConfig:
        """The same architecture with small matrices; what is peculiar to it (ties, ropes, grouped heads) stays."""
        heads = 4
        grouped = self.config["num_key_value_heads"] < self.config["num_attention_heads"]
        sizes = dict(
            hidden_size=hidden_size,
            intermediate_size=2 * hidden_size,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=heads // 2 if grouped else heads,
            vocab_size=vocab_size,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
        if "head_dim" in self.config:
            sizes["head_dim"] = hidden_size // heads
        return AutoConfig.for_model(self.architecture, **{**self.config, **sizes})


@cache
def known() -> dict[str, Known]:
    """Hub name -> model, of those in data/models.json."""
    return {name: Known(name, **row) for name, row in read_json(DATA / "models.json").items()}


class Size(NamedTuple):
    """Parameters: all of them, and the (rows, columns) of the linear layers that NF4 and LoRA act on."""

    all: int
    linear: tuple[torch.Size, ...]


@cache
def size(name: str) -> Size:
    """Counted on a model without storage. name: the hub's, with or without the owner, or that of a folder in data/.

    Raises KeyError for a model that is neither in data/models.json nor in data/.
    """
    found = next((one.full() for hub, one in known().items() if name in (hub, hub.rpartition("/")[2])), None)
    if found is None and not (DATA / name / "config.json").exists():
        raise KeyError(name)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(found or AutoConfig.from_pretrained(DATA / name))
    head = model.get_output_embeddings()
    layers = (m for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head)
    return Size(model.num_parameters(), tuple(layer.weight.shape for layer in layers))


def estimate(profile: Profile, prompt_tokens: int = 700) -> float:
    """GB that one training step of the profile needs at its peak, by the sum below: an estimate, not a measurement.

    Weights (NF4 where the profile says so, the rest in 16 bits), the adapter with its optimizer, and the larger of two:
    the caches of a rollout, or the activations of a backward pass with checkpoints at every layer and logits at the
    reflection's tokens. prompt_tokens: task, failed attempt and reflection prompt.
    """
    config, count = known()[profile.model].full(), size(profile.model)
    linear = sum(shape.numel() for shape in count.linear)
    weights = linear * (NF4 if profile.four_bit else 2) + (count.all - linear) * 2
    adapter = ADAPTER * profile.lora_rank * sum(rows + columns for rows, columns in count.linear)
    reflection = profile.train_reflection_tokens or profile.reflection_tokens
    columns = prompt_tokens + reflection
    layers, hidden = config.num_hidden_layers, config.hidden_size
    head = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    conversations = max(profile.num_generations, profile.rollout_batch_size)
    cache_bytes = 4 * head * config.num_key_value_heads * layers  # keys and values of a token, 16 bits each
    rollout = conversations * (columns + prompt_tokens // 2 + profile.retry_tokens) * cache_bytes
    at_once = profile.micro_batch
    checkpoints = at_once * columns * hidden * layers * 2
    one_layer = at_once * columns * (8 * hidden + 4 * config.intermediate_size) * 2
    logits = at_once * reflection * config.vocab_size * (2 + 4 + 4)  # 16 bits, float32, its gradient
    return (weights + adapter + max(rollout, checkpoints + one_layer + logits)) / 2**30
