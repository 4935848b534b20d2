"""Families of models by architecture and chat template, each asked through a small random instance of it: how the loop
keeps its past, who shows it its tools, what becomes of its thinking. `python -m r3lib.machine.architectures` writes the
table in data/FAMILIES.md.

Not here: models by name, with their sizes (r3lib.machine.families).
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import NamedTuple

import torch
import trl
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from r3lib import models
from r3lib.conversation import rendered
from r3lib.files import DATA, R3Error, read_json
from r3lib.pages import report, tables

# what a template of TRL's may write that is one token for its models
MARKERS = re.compile(r"<[|｜][^<>'\"{}\s]*[|｜]>|<\|?(?:start|end)_of_(?:turn|utterance)>|<\|turn>|<turn\|>")


class Family(NamedTuple):
    """A row of data/architectures.json. template: its file among TRL's, None if TRL ships none. config: how the
    architecture is made small, None where transformers has no causal language model of it."""

    name: str
    architecture: str
    template: str | None
    config: dict | None

    def model(self, vocab_size: int) -> PreTrainedModel:
        """A small model of the architecture with random weights, wide enough that each token sways the logits."""
        sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "vocab_size": vocab_size}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024}
        special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(self.architecture, **sizes | heads | special | self.config)
        )
        with torch.no_grad():
            for weights in model.parameters():
                if weights.ndim > 1:
                    weights.mul_(6)
        return model.eval()

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """r3-nano's tokenizer with this family's template and the special tokens that the template writes."""
        tokenizer = copy.deepcopy(models.load_tokenizer(str(DATA / "r3-nano")))
        if self.template:
            tokenizer.chat_template = (
                Path(trl.__file__).parent / "chat_templates" / f"{self.template}.jinja"
            ).read_text(encoding="utf-8")
            new = sorted(set(MARKERS.findall(tokenizer.chat_template)) - tokenizer.get_vocab().keys())
            tokenizer.add_special_tokens({"additional_special_tokens": new})
            tokenizer.bos_token = tokenizer.eos_token
        return tokenizer

    def cache(self) -> str:
        """How the loop keeps its past, or why it cannot."""
        if self.config is None:
            return "refused: no causal language model"
        try:
            models.check_cache(model := self.model(64))
        except R3Error:
            return "refused: keeps no key and value of each token"
        config = model.config
        window = getattr(config, "sliding_window", None)
        sliding = window and "sliding_attention" in (getattr(config, "layer_types", None) or ["sliding_attention"])
        return "sliding windows, all kept" if sliding else "full"

    def tools(self) -> str:
        """Who shows the model its tools."""
        function = {"name": "weather", "description": "Of a town", "parameters": {"type": "object", "properties": {}}}
        ask, given = [{"role": "user", "content": "?"}], [{"type": "function", "function": function}]
        tokenizer = self.tokenizer()
        own = rendered(tokenizer, ask, given) != rendered(tokenizer, ask)
        return "its template" if own else "before the user's words"

    def thinking(self) -> str:
        """What the template does with thinking."""
        said = [("user", "?"), ("assistant", "<think>idea</think>so"), ("user", "?")]
        text = rendered(self.tokenizer(), [{"role": role, "content": words} for role, words in said])
        opened = "opened in the prompt, " if text.rstrip().endswith("<think>") else ""
        return opened + ("kept in the past" if "idea" in text else "dropped from the past")


def architectures() -> list[Family]:
    """Every family of data/architectures.json."""
    return [Family(name, **row) for name, row in read_json(DATA / "architectures.json").items()]


def table() -> str:
    """A row a family, in Markdown."""
    rows = []
    for one in architectures():
        cache = one.cache()
        asked = [one.tools(), one.thinking()] if one.template and not cache.startswith("refused") else ["", ""]
        rows.append([one.name, one.architecture, one.template or "none of TRL's", *asked, cache])
    return tables.markdown(["family", "architecture", "template", "tools", "thinking", "cache"], rows)


if __name__ == "__main__":
    report.insert(DATA / "FAMILIES.md", "families", table())
