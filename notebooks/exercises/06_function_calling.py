# %% [markdown] unseen · easy · 10 minutes · Tools it has never seen
# A test on unseen tools must leave out every problem that offers a tool of a training problem, called or not: a model
# that has read its description has seen it. Keep the others.


# %%
def unseen(train, test):
    """The test problems none of whose tools is offered in any training problem.

    train, test: lists of problems, {"query": str, "tools": [{"name": str, ...}, ...]}.
    Example: training offers f and g; of test problems with [k], [g] and [k, f], the first stays.
    """
    ### BEGIN SOLUTION
    seen = {tool["name"] for problem in train for tool in problem["tools"]}
    return [p for p in test if not any(tool["name"] in seen for tool in p["tools"])]
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("if not any", "if not all", "one tool that was seen is enough"),
    ('for tool in problem["tools"]}', 'for tool in problem["tools"][:1]}', "every tool of a training problem was seen"),
    (
        "seen =",
        'return [p for p in test if not any(t in q["tools"] for q in train for t in p["tools"])]\n    seen =',
        "a tool is known by its name",
    ),
]

# %% [markdown] error_kind · medium · 20 minutes · What kind of mistake?
# Name the first part at which calls fail, in the verifier's order: their number (`wrong_call_count`), the tools'
# names (`wrong_tool`), the names with their parameters' names (`wrong_parameter_name`), the values
# (`wrong_parameter_value`); else `correct`. Calls may come in any order, so compare sorted lists: of names, of (name,
# sorted parameter names), and so on.

# %%
import json


def error_kind(calls, gold):
    """One of the five words above.

    Both are lists of {"name": str, "arguments": dict}, with at least one call.

    >>> error_kind([{"name": "f", "arguments": {"a": 2}}], [{"name": "f", "arguments": {"a": 1}}])
    'wrong_parameter_value'
    """
    ### BEGIN SOLUTION
    if len(calls) != len(gold):
        return "wrong_call_count"
    views = {
        "wrong_tool": lambda call: call["name"],
        "wrong_parameter_name": lambda call: [call["name"], sorted(call["arguments"])],
        "wrong_parameter_value": lambda call: json.dumps(call, sort_keys=True),
    }
    for kind, view in views.items():
        if sorted(map(view, calls)) != sorted(map(view, gold)):
            return kind
    return "correct"
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("len(calls) != len(gold)", "False", "how many calls there are is looked at first"),
    ("views.items()", "reversed(views.items())", "the tools' names come next"),
    (
        "sorted(map(view, calls)) != sorted(map(view, gold))",
        "[*map(view, calls)] != [*map(view, gold)]",
        "in any order",
    ),
    ('[call["name"], sorted(call["arguments"])]', 'sorted(call["arguments"])', "parameter names belong to their tool"),
]
