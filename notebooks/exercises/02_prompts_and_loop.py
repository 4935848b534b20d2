# %% [markdown] mask · easy · 5 minutes · The mask of a span
# From a transcript's ids and spans (section 5), make the mask that says which tokens belong to one span.


# %%
def mask(ids, spans, name):
    """A list of 0 and 1, as long as `ids`: 1 for each token of the span.

    ids: the conversation's tokens. spans: name -> (start, end), places in `ids`.

    >>> mask([7, 8, 5, 6], {"prompt": (0, 2), "reflection": (2, 3), "retry": (3, 4)}, "reflection")
    [0, 0, 1, 0]
    """
    ### BEGIN SOLUTION
    start, end = spans[name]
    return [int(start <= i < end) for i in range(len(ids))]
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("i < end", "i <= end", "a span's end is the first token that no longer belongs to it"),
    ("range(len(ids))", "range(start, end)", "as many entries as ids"),
    ("spans[name]", 'spans["reflection"]', "the name says which span"),
    (
        "for i in range(len(ids))",
        "for i in [ids.index(token) for token in ids]",
        "the same tokens may stand elsewhere too",
    ),
]

# %% [markdown] chat_ids · medium · 10 minutes · From messages to tokens
# Turn messages into the tokens that the model must go on from. Two things go wrong silently: the marker that starts
# the assistant's turn is forgotten, or the start token comes twice. (Some tokenizers put a start token, such as Gemma's
# `<bos>`, before every text, and the template has already written it.)


# %%
def chat_ids(tokenizer, messages):
    """The token ids of a conversation that waits for the assistant, a list of int.

    tokenizer: with a chat template. messages: [{"role": ..., "content": ...}, ...].
    Example, for one message in Qwen's format: the ids of
    "<|im_start|>user\\nHello<|im_end|>\\n<|im_start|>assistant\\n".
    """
    ### BEGIN SOLUTION
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer(text, add_special_tokens=False)["input_ids"]
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    (
        "tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)",
        '" ".join(message["content"] for message in messages)',
        "hand over messages, not a bare string",
    ),
    (", add_generation_prompt=True", "", "the prompt ends where the assistant must go on"),
    (", add_special_tokens=False", "", "the tokenizer must add none of its own"),
]
