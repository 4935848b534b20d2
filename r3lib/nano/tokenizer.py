"""The two tokenizers of r3-nano: byte-level BPE with numbers and operators kept apart.

Countdown's merges may cross spaces: the conversation's fixed sentences cost a token or two, and no equation is ever cut
in two different ways. Digits go in groups of up to three, as in Llama 3's tokenizer: every number of a problem is one
token. With single digits a model of this size had not learned two-digit sums after 9 million tokens (8 % were right).

Function calling's keeps words apart (`whole_words`): a word is cut in the same way wherever it stands (in a query, in a
tool's name, in a call), so that copying it is copying tokens. There the fixed sentences are tokens of their own.

The chat template puts a tool's description before its name: a model reads from left to right, and where the name is
read, what it stands for has been read too. With the name first r3-nano had not learned in 15 million tokens to find a
tool by its description (drills at chance); with the description first it began to after half a million.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from r3lib import prompts

SPLIT = (
    r"(?:user|assistant|system)\n",
    r"\d{1,3}",
    r", (?=\d)",
    r" [-+*/=] ",
    r"\((?=[\d(])",
    r"(?<=[\d)])\)",
    r"<answer>(?=[\d(-])",
    r"(?<=[\d)])</answer>",
)
WORDS = (
    r"[A-Z]?[a-z]+",
    r"[A-Z]+",
    r"[\[\]{}:, ]*\"[\[\]{}:, ]*\"?",  # what stands between the words of a call
    r" ",
)
PHRASES = (
    *prompts.COUNTDOWN_TASK.format(numbers="[#]", target="#").split("#"),
    prompts.COUNTDOWN_REFLECT,
    prompts.FUNCTION_CALLING_REFLECT,
    prompts.BLIND_RETRY.partition("{task}")[0],
    "Let me try. ",
    "Let me check. ",
    ", no. ",
    ", yes. Use ",
)
CHAT_TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\nTools:' }}{% for tool in tools %}{% set f = tool.function %}"
    "{{ '\n' + f.description + '\n' + f.name }}"
    "{% for name, p in f.parameters.properties.items() %}{{ '\n- ' + name + ' (' + p['type'] }}"
    "{% if 'enum' in p %}{{ ': ' + p['enum'] | join(' | ') }}{% endif %}"
    "{% if 'items' in p %}{{ ' of ' + p['items']['type'] }}{% endif %}"
    "{% if 'properties' in p %}{{ ': ' + p['properties'] | join(', ') }}{% endif %}"
    "{% if 'default' in p %}{{ ', default ' + p['default'] | tojson }}{% endif %}"
    "{{ ') ' + p['description'] }}{% endfor %}{% endfor %}{{ '<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocab_size: int, whole_words: bool = False) -> PreTrainedTokenizerFast:
    """Learn the merges from `texts`; the result saves and loads like any hub tokenizer."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex("|".join(SPLIT + WORDS if whole_words else SPLIT)), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
            min_frequency=2,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
            max_token_length=16 if whole_words else 200,
        ),
    )
    if whole_words:
        core.add_tokens([AddedToken(phrase, normalized=False) for phrase in PHRASES])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
