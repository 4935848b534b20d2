# %% [markdown] loss_labels · easy · 5 minutes · What it says, and what it can use
# Training texts are read whole, but only some tokens carry loss (section 2). In transformers a label of -100 means
# *no loss*. Make the labels of a batch: the token's own id where it carries loss, else -100; shorter rows are filled
# up with -100.


# %%
def loss_labels(rows, loss):
    """Labels (B, T), a list of lists, T the length of the longest row.

    rows: token ids, a list for each text. loss: for each row as many 0 and 1.

    >>> loss_labels([[5, 6, 7], [8, 9]], [[0, 1, 1], [0, 1]])
    [[-100, 6, 7], [-100, 9, -100]]
    """
    ### BEGIN SOLUTION
    width = max(map(len, rows))
    labels = [[i if carries else -100 for i, carries in zip(*pair)] for pair in zip(rows, loss)]
    return [row + [-100] * (width - len(row)) for row in labels]
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("return [row", "return [row[1:] + [-100]", "the model shifts them by one, not you"),
    ("if carries else -100", "if carries else 0", "a token without loss has the label -100"),
    ("i if carries else -100", "i", "a token without loss has the label -100"),
    ("row + [-100] *", "row + [0] *", "padding carries no loss"),
    (" + [-100] * (width - len(row))", "", "shorter rows are filled up with -100"),
]

# %% [markdown] merge_once · medium · 15 minutes · One step of making a tokenizer
# A byte-pair tokenizer (section 4) begins with single symbols: bytes in section 4, letters here. In each step it finds
# the most frequent pair of neighbours and makes one symbol of it, everywhere, from left to right. In section 4 a pair
# may cross a space; here both its symbols lie in the same word. Write one step.

# %%
from collections import Counter


def merge_once(words):
    """The words after one merge.

    words: a list of words, each a list of symbols, at least one word with two; one pair is more
    frequent than all others.

    >>> merge_once([["l", "o", "w"], ["l", "o"], ["w"]])
    [['lo', 'w'], ['lo'], ['w']]
    """
    ### BEGIN SOLUTION
    pairs = Counter(pair for word in words for pair in zip(word, word[1:]))
    best = pairs.most_common(1)[0][0]
    out = []
    for word in words:
        merged = []
        for symbol in word:
            if merged and (merged[-1], symbol) == best:
                merged[-1] += symbol
            else:
                merged.append(symbol)
        out.append(merged)
    return out
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    (
        "for word in words for pair",
        "for word in set(map(tuple, words)) for pair",
        "a word that comes three times counts",
    ),
    ("zip(word, word[1:])", "zip(word, word[2:] or word[1:])", "merged wherever it stands"),
    (
        "pairs =",
        "flat = [s for word in words for s in word]\n"
        "    best = Counter(flat).most_common(2)\n"
        "    best = best[0][0], best[-1][0]\n"
        '    return [" ".join(word).replace(" ".join(best), "".join(best)).split() for word in words]\n'
        "    pairs =",
        "a pair are two symbols side by side",
    ),
]
