"""The real models that the kit knows: architecture, licence, gate, and the memory and hours that a run on them needs.

data/models.json has the shapes of their published configurations, so that everything but their weights can be tried
without the hub: a model of the same architecture can be made small (tests). Phi-3.5's factors for contexts beyond 4,096
tokens are left out. Any other causal LM with a chat template works too; nothing in the loop asks for a name.

Not here: loading (`r3lib.models`), chat templates (they come with the tokenizer).
"""

from __future__ import annotations

from functools import cache
from math import ceil
from typing import NamedTuple

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from r3lib.config import Profile
from r3lib.files import DATA, read_json
from r3lib.machine.profiles import CARDS
from r3lib.outcomes import RETRIES

# bytes a parameter
NF4 = 0.5 + 0.127 / 8  # four bits, and the constants of double quantization (Dettmers et al., 2023, section 3)
TRAINED = 16  # float32: weight, gradient, two moments of Adam

ESTIMATED = "estimated from a stated sum"
# assumptions of the sums below, beside those of `profiles.Card`
TASK = 200  # tokens of a task, of what asks for the reflection, and of the template around them
LONGEST = 0.8  # share of its limit that the longest message of a batch reaches


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


def estimate(profile: Profile) -> float:
    """GB that one training step of the profile needs at its peak, by the sum below: an estimate, not a measurement.

    Weights (NF4 where the profile says so, the rest in 16 bits), what is trained with its optimizer (the adapter, or a
    second copy of all weights), and the larger of two: the caches of a rollout, or the activations of a backward pass
    with checkpoints at every layer and logits at the reflection's tokens.
    """
    config, count, full = known()[profile.model].full(), size(profile.model), profile.lora_rank is None
    linear = sum(shape.numel() for shape in count.linear)
    weights = linear * (NF4 if profile.four_bit else 2) + (count.all - linear) * 2
    trained = count.all if full else profile.lora_rank * sum(rows + columns for rows, columns in count.linear)
    reflection = profile.train_reflection_tokens or profile.reflection_tokens
    columns = TASK + profile.attempt_tokens + reflection
    layers, hidden = config.num_hidden_layers, config.hidden_size
    head = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    conversations = max(profile.num_generations, profile.rollout_batch_size)
    cache_bytes = (8 if full else 4) * head * config.num_key_value_heads * layers  # keys and values of a token
    rollout = conversations * (columns + TASK + profile.retry_tokens) * cache_bytes
    at_once = profile.micro_batch
    checkpoints = at_once * columns * hidden * layers * 2
    one_layer = at_once * columns * (8 * hidden + 4 * config.intermediate_size) * 2
    logits = at_once * reflection * config.vocab_size * (2 + 4 + 4)  # 16 bits, float32, its gradient
    return (weights + TRAINED * trained + max(rollout, checkpoints + one_layer + logits)) / 2**30


def hours(profile: Profile, temperatures: int = 1) -> float:
    """Hours that one seed takes on the profile's card, by the sum below: an estimate, not a measurement.

    temperatures: at how many the model is judged, vanilla and trained. Writing: the decoding steps of all batches
    (those of a batch's longest message) times a step's time. Training: every failure and reflection read by the
    reference, then forward, again from its checkpoints, and backward (2 operations a weight and token each; 4 backward
    where weights have gradients), over the card's speed. NF4 and the adapter cost nothing while a model writes
    (r3lib.folded). Left out: reading of prompts, loading, the verifier.
    """
    card, full, batch = CARDS[profile.gpu], profile.lora_rank is None, profile.rollout_batch_size
    reflection = profile.train_reflection_tokens or profile.reflection_tokens
    sampled = ceil(profile.train_problems / max(1, batch // profile.failure_samples)) * profile.attempt_tokens
    rollouts = profile.steps * ceil(profile.prompts_per_step / max(1, batch // profile.num_generations))
    trained = rollouts * (reflection + profile.retry_tokens)
    retries = len(RETRIES) * profile.retry_tokens
    conversation = profile.attempt_tokens + profile.reflection_tokens + retries
    judged = 2 * temperatures * ceil(profile.test_problems / batch) * conversation
    step = known()[profile.model].full().num_hidden_layers * card.layer_ms / 1000
    rows = profile.steps * profile.prompts_per_step * profile.num_generations
    read = rows * (TASK + LONGEST * (profile.attempt_tokens + reflection))
    operations = read * (10 if full else 8) * sum(shape.numel() for shape in size(profile.model).linear)
    seconds = LONGEST * (sampled + trained + judged) * step + operations / card.operations
    return seconds / card.cards / 3600


def fits(profile: Profile) -> str:
    """The profile's memory and time in words: measured, else estimated, else not known."""
    memory = time = "not known"
    if profile.memory_gb:
        memory = f"{profile.memory_gb:.1f} GB (measured)"
    elif profile.model in known():
        memory = f"{estimate(profile):.1f} GB ({ESTIMATED})"
    if profile.minutes:
        time = f"{profile.minutes:.0f} min (measured)"
    elif profile.model in known() and profile.gpu in CARDS:
        time = f"{hours(profile):.1f} h on {profile.gpu} ({ESTIMATED})"
    return f"memory {memory}, time {time}"
