"""The words of the conversation, and nothing else.

The six messages (paper section 3): 1 task, 2 wrong answer, 3 reflection prompt, 4 reflection, 5 the task again,
6 second answer. Texts reach a model only through its tokenizer's chat template (`r3lib.conversation`), never as a plain
string. The paper's appendix was not recovered: the meaning of these prompts is the paper's, the wording is ours where
shared knowledge of it is uncertain (data/paper marks it).
"""

from __future__ import annotations

COUNTDOWN_TASK = (
    "Using the numbers {numbers}, create an equation that equals {target}. You can use basic arithmetic operations "
    "(+, -, *, /) and each number can only be used once. Return the equation in <answer> </answer> tags."
)
COUNTDOWN_REFLECT = (
    "You tried solving the problem and got the wrong answer. Reflect on what went wrong and write a short explanation "
    "that will help you do better next time."
)
FUNCTION_CALLING_REFLECT = (
    "You tried performing the task, but failed in generating the correct tool call. Reflect on what went wrong and "
    "write a short explanation that will help you do better next time."
)
# for models whose chat template shows no tools, such as Phi-3.5's; the others have their family's own words
TOOLS = (
    'You can call the tools below. Answer with a JSON list of calls, each {{"name": ..., "arguments": {{...}}}}, and '
    "nothing else.\n\n{tools}"
)
BLIND_RETRY = "Your answer was wrong. Try again.\n\n{task}"
GENERIC_REFLECTION = "I made a mistake in my answer. I will read the problem again and check my work carefully."
