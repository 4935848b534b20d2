# %% [markdown] tool_text · easy · 10 minutes · Description before name
# A model reads from left to right. Write the list of tools as r3-nano-calls reads it (section 2): for each tool its
# description, then its name, then one line per parameter.


# %%
def tool_text(tools):
    """The text of a list of tools; lines end with a line break, all but the last.

    tools: dicts with name, description and parameters, a dict {name: (type, description)}.

    >>> share = {"share": ("integer", "Percent")}
    >>> tool_text([{"name": "sell", "description": "Sell power.", "parameters": share}])
    'Sell power.\\nsell\\n- share (integer) Percent'
    """
    ### BEGIN SOLUTION
    lines = []
    for tool in tools:
        lines += [tool["description"], tool["name"]]
        for name, (kind, about) in tool["parameters"].items():
            lines.append(f"- {name} ({kind}) {about}")
    return "\n".join(lines)
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ('[tool["description"], tool["name"]]', '[tool["name"], tool["description"]]', "the description comes first"),
    ('return "\\n".join(lines)', 'return "\\n".join(lines) + "\\n"', "no line break after the last line"),
    ('f"- {name} ({kind}) {about}"', 'f"- {name}: {about} ({kind})"', "name, type in brackets, what it is"),
    ("    for tool in tools:\n", "    for tool in tools:\n        lines = []\n", "every tool is listed"),
]

# %% [markdown] disguise · medium · 15 minutes · Names that mean nothing
# A model that knows its tools by heart cannot use a new one. So some texts are *disguised* (section 1): every name is
# replaced by a word that means nothing there, the same one everywhere. Write the replacement.

# %%
import re


def disguise(text, names):
    """The text with each name replaced, where it stands as a whole word.

    names: {old name: new name}. A new name may be another tool's old one.
    A word is made of letters, digits and _.

    >>> disguise("book or book_doctor", {"book": "plant"})
    'plant or book_doctor'
    """
    ### BEGIN SOLUTION
    return re.sub(r"\w+", lambda word: names.get(word[0], word[0]), text)
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    (
        'return re.sub(r"\\w+", lambda word: names.get(word[0], word[0]), text)',
        "for old, new in names.items():\n        text = text.replace(old, new)\n    return text",
        "a name inside a longer word is another word",
    ),
    (
        'return re.sub(r"\\w+", lambda word: names.get(word[0], word[0]), text)',
        'for old, new in names.items():\n        text = re.sub(rf"\\b{old}\\b", new, text)\n    return text',
        "all names change at once",
    ),
    (", text)", ", text, count=1)", "everywhere in the text"),
]
