"""Checks for the notebooks' exercises: `check.NAME(NAME)` prints "passed: 12 cases", or what is wrong with the first
case that is not right.

A check is a generator of cases. They stand in order, the plain ones first, and each group tells typical mistakes apart:
its hint is what somebody who fails there has most likely missed. What a function returns is compared as a reader would
take it: tensors, arrays and tuples are lists, and fractions are equal if they nearly are. Nothing here raises on what a
function does, so "run all" goes on. Right answers come from r3lib; what needs torch is imported by the checks that need
it. The file lies in the library because a notebook on Colab has no neighbours to import.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import wraps
from itertools import product
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from r3lib import prompts
from r3lib.config import Profile
from r3lib.measure import stats
from r3lib.outcomes import RETRIES, Outcomes
from r3lib.pages import compare, report
from r3lib.problems import countdown, function_calling
from r3lib.problems.tools import parameter_names
from r3lib.tasks import Task, Verdict


class Such(NamedTuple):
    """Not one right value but all that pass a test; `words` says which."""

    words: str
    holds: Callable[[Any], bool]


class Case(NamedTuple):
    """said: the input in words. given: the arguments, or what to do with the function in their place."""

    said: str
    given: tuple | Callable[[Callable], Any]
    wanted: Any
    hint: str


def plain(value: Any) -> Any:
    """Tensors, arrays and tuples as lists, as deep as they go."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return {key: plain(one) for key, one in value.items()} if isinstance(value, dict) else value


def same(got: Any, wanted: Any) -> bool:
    """Whether a plain value is the wanted one. 1 is not True, nor is a match object."""
    if isinstance(wanted, Such):
        try:
            return bool(wanted.holds(got))
        except Exception:  # of another type than the test looks for
            return False
    if isinstance(wanted, bool) or isinstance(wanted, str) or wanted is None:
        return type(got) is type(wanted) and got == wanted
    if isinstance(wanted, int | float):
        return isinstance(got, int | float) and math.isclose(got, wanted, rel_tol=1e-4, abs_tol=1e-6)
    if isinstance(wanted, dict):
        return isinstance(got, dict) and got.keys() == wanted.keys() and all(same(got[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return isinstance(got, list) and len(got) == len(wanted) and all(map(same, got, wanted))
    return got == wanted


def spell(value: Any) -> str:
    """A value in a sentence: short, on one line."""
    if isinstance(value, Such):
        return value.words
    if isinstance(value, float):
        return f"{value if abs(value) > 1e-12 or value != value else 0:.4g}"
    if isinstance(value, list):
        text = f"[{', '.join(map(spell, value))}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{key!r}: {spell(one)}' for key, one in value.items())}}}"
    else:
        text = " ".join(repr(value).split())
    return text if len(text) <= 120 else text[:120] + "…"


def sentence(function: Callable, cases: Iterator[Case]) -> str:
    """What a check prints."""
    if not callable(function):
        return f"not yet: hand over the function itself, without brackets, not {spell(plain(function))}."
    name, passed = getattr(function, "__name__", "the function"), 0
    for case in cases:
        wanted = plain(case.wanted) if not isinstance(case.wanted, Such) else case.wanted
        try:
            got = plain(case.given(function) if callable(case.given) else function(*deepcopy(case.given)))
            if same(got, wanted):
                passed += 1
                continue
            did = f"returns {spell(got)} instead of"
        except NotImplementedError:
            return f"not yet: {name} has no body; write one, run its cell, then this one."
        except Exception as error:  # whatever a beginner's code can raise
            told = " ".join(str(error).split())[:80]
            did = f"stops with {type(error).__name__}{f' ({told})' if told else ''} instead of returning"
        return f"not yet: for {case.said}, {name} {did} {spell(wanted)}: {case.hint}."
    return f"passed: {passed} cases"


def checks(cases: Callable[[], Iterator[Case]]) -> Callable[[Callable], None]:
    """A generator of cases as the check that a notebook calls."""

    @wraps(cases)
    def check(function: Callable) -> None:
        print(sentence(function, cases()))

    return check


# 00, start here


class _Scripted:
    """A conversation in which everything that is said stands written down beforehand."""

    def open(self, task: Task, problems: list[dict]) -> None:
        self.rows, self.asked = problems, []

    def say(self, texts: Any, span: str) -> None:
        self.asked.append(span)

    def select(self, rows: list[int]) -> None:
        self.rows = [self.rows[row] for row in rows]

    def reply(self, span: str, limit: int, temperature: float) -> list[str]:
        return [row[span] for row in self.rows]


@checks
def reflect_and_retry() -> Iterator[Case]:
    from r3lib.loop import Loop

    def verify(problem: dict, text: str) -> Verdict:
        return Verdict(text == "right", "", "")

    task = Task("scripted", lambda p: "?", verify, lambda p, text: False, "Reflect.")

    def through(*script: str) -> Callable:
        rows = [dict(zip(("attempt", "reflection", "retry"), row.split())) for row in script]
        return lambda function: function(Loop(_Scripted(), task, rows, Profile("", "")))

    hint = "the reward is the verifier's word on the retry"
    yield Case("one problem whose retry is right", through("wrong sum right"), [["sum", 1.0]], hint)
    yield Case("one problem whose retry is wrong too", through("wrong sum wrong"), [["sum", 0.0]], hint)
    hint = "go on with the failures alone, by `loop.keep`"
    rows = ("wrong sum right", "right none right", "wrong minus wrong")
    yield Case("three problems of which the second is right at once", through(*rows), [["sum", 1], ["minus", 0]], hint)
    hint = "where nothing failed there is nothing to reflect on"
    yield Case("a problem that is right at once", through("right none right"), [], hint)


@checks
def second_try_rate() -> Iterator[Case]:
    def case(first: list, second: list, hint: str) -> Case:
        out = Outcomes()
        for one, other in zip(first, second):
            out.add(Verdict(one, "", ""), dict.fromkeys(RETRIES, Verdict(bool(other), "", "")))
        return Case(f"first tries {first} and second tries {second}", (first, second), out.rate("second"), hint)

    yield case([False, False], [True, False], "one right try of the two is enough")
    yield case([True, False], [None, True], "a problem that was right at once counts as solved too")
    yield case([True, False, False], [None, False, True], "the share is of all problems, not of the failures")
    rng = random.Random(0)
    for _ in range(20):
        first = [rng.random() < 0.4 for _ in range(rng.randint(1, 9))]
        second = [None if one else rng.random() < 0.4 for one in first]
        yield case(first, second, "right at the first try or the second")


# 01, verifiers


@checks
def verify_countdown() -> Iterator[Case]:
    def case(text: Any, numbers: list[int], target: int, hint: str) -> Case:
        said = f"the response {text!r}, the numbers {numbers} and the target {target}"
        return Case(said, (text, numbers, target), countdown.verify(text, numbers, target).ok, hint)

    yield case("So: <answer>(3 + 5) * 2</answer>", [2, 3, 5], 16, "it uses each number once and reaches the target")
    yield case("(3 + 5) * 2", [2, 3, 5], 16, "without answer tags there is no answer")
    yield case("<answer>3 + 5 + 2</answer>", [2, 3, 5], 16, "its value must be the target")
    for first, last in (("3 + 5", "(3 + 5) * 2"), ("(3 + 5) * 2", "3 + 5")):
        text = f"<answer>{first}</answer> or <answer>{last}</answer>"
        yield case(text, [2, 3, 5], 16, "of several answers the last one counts")
    yield case("<answer>3 + 5</answer>", [2, 3, 5], 8, "every given number must be used")
    yield case("<answer>2 * 8 * 2 / 2</answer>", [2, 8], 16, "each number exactly once; a set forgets how often")
    yield case("<answer>5 * 5</answer>", [5, 5], 25, "a number that is given twice is used twice")
    hint = "with floats it is not quite 24, with fractions it is"
    yield case("<answer>8 / (3 - 8 / 3)</answer>", [3, 3, 8, 8], 24, hint)
    for text in ("\n(3 + 5) * 2\n", "(3 + 5)\n* 2"):
        hint = "line breaks around an equation and in it are allowed"
        yield case(f"<answer>{text}</answer>", [2, 3, 5], 16, hint)
    for text in ("(3 + 5) * 2 = 16", "(3 + 5) 2", "2 ** 3 + 5", "(3 + 5 * 2", ""):
        hint = "an answer is an equation's left side with + - * / and nothing else; the rest is a no"
        yield case(f"<answer>{text}</answer>", [2, 3, 5], 13 if "**" in text else 16, hint)
    yield case("<answer>3 / (5 - 5)</answer>", [3, 5, 5], 3, "a division by zero is a no, not an exception")
    yield case(None, [2, 3, 5], 16, "a verifier never raises, whatever it is given")
    rng = random.Random(0)
    for _ in range(100):
        numbers = [rng.randint(1, 9) for _ in range(3)]
        used = rng.sample(numbers, 3) if rng.random() < 0.8 else [rng.randint(1, 9) for _ in range(3)]
        a, b, c = used
        text = f"({a} {rng.choice('+-*/')} {b}) {rng.choice('+-*/')} {c}"
        yield case(f"<answer>{text}</answer>", numbers, rng.randint(1, 20), "a random equation, judged as the kit does")


@checks
def same_value() -> Iterator[Case]:
    pairs = [
        (5, 5, "equal values are the same"),
        (5, 5.0, "5 and 5.0 are one number"),
        ("5", 5, "text is not a number"),
        (True, 1, "in Python True == 1, in JSON they are two values"),
        (0, False, "in Python False == 0, in JSON they are two values"),
        (None, False, "null is a value of its own"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "keys may come in any order"),
        ({"a": 1}, {"a": 1, "b": None}, "a key too many is a difference"),
        ({"a": 1, "b": None}, {"a": 1}, "a key too many is a difference"),
        ([1, 2], [2, 1], "the order of a list counts"),
        ([1, 2], [1, 2, 2], "lists of different length differ"),
        ([1, 2, 2], [1, 2], "lists of different length differ"),
        ([1, True], [1, 1], "what holds outside holds inside lists too"),
        ({"a": {"b": 0}}, {"a": {"b": False}}, "what holds outside holds inside objects too"),
        ({"a": [{"b": 1}]}, {"a": [{"b": 1.0}]}, "what holds outside holds inside too"),
    ]
    rng = random.Random(0)
    values = [0, 1, 1.0, True, False, None, "1", [1], [True], {"a": 1}, {"a": True}, [[]], {}]
    pairs += [(rng.choice(values), rng.choice(values), "a random pair, judged as the kit does") for _ in range(60)]
    for a, b, hint in pairs:
        yield Case(f"{a!r} and {b!r}", (a, b), function_calling.same(a, b), hint)


def _call(text: str) -> dict:
    """f(a=1) in the form of a call."""
    name, _, arguments = text.rstrip(")").partition("(")
    pairs = (part.split("=") for part in arguments.split(",") if part)
    return {"name": name, "arguments": {key: {"true": True}.get(value) or int(value) for key, value in pairs}}


def _calls(*pairs: tuple[str, str, str], judge: Callable) -> Iterator[Case]:
    for calls, gold, hint in pairs:
        made = [[_call(text) for text in side.split()] for side in (calls, gold)]
        yield Case(f"the calls [{calls}] with the gold calls [{gold}]", tuple(made), judge(*made), hint)


@checks
def same_calls() -> Iterator[Case]:
    yield from _calls(
        ("f(a=1)", "f(a=1)", "these are the right calls"),
        ("f(a=1)", "f(a=2)", "every argument counts"),
        ("f(a=1)", "g(a=1)", "the tool's name counts"),
        ("g(b=2) f(a=1)", "f(a=1) g(b=2)", "parallel calls may come in any order"),
        ("f(a=1)", "f(a=1) g(b=2)", "a gold call that was not made is missing"),
        ("f(a=1) g(b=2)", "f(a=1)", "a call that is not gold is one too many"),
        ("f(a=1) f(a=1) g(b=2)", "f(a=1) g(b=2) g(b=2)", "each gold call can be matched only once"),
        ("f(a=true)", "f(a=1)", "true is not 1"),
        judge=lambda *both: function_calling.judge(*both).ok,
    )
    rng = random.Random(0)
    texts = ("f(a=1)", "f(a=2)", "g(a=1)")
    both = [[" ".join(rng.choices(texts, k=rng.randint(1, 3))) for _ in range(2)] for _ in range(40)]
    hint = "a random pair of lists, judged as the kit does"
    yield from _calls(*((a, b, hint) for a, b in both), judge=lambda *both: function_calling.judge(*both).ok)


# 02, prompts and the loop


@checks
def mask() -> Iterator[Case]:
    from r3lib.conversation import Transcript

    def case(spans: dict[str, list[int]], name: str, hint: str) -> Case:
        t = Transcript()
        for span, ids in spans.items():
            t.add(span, ids)
        return Case(f"the ids {t.ids}, the spans {t.spans} and {name!r}", (t.ids, t.spans, name), t.mask(name), hint)

    yield case({"prompt": [7, 8], "reflection": [5, 6]}, "reflection", "as many entries as ids, 1 inside the span")
    spans = {"prompt": [7, 8], "reflection": [5, 6], "retry": [9, 9]}
    yield case(spans, "reflection", "a span's end is the first token that no longer belongs to it")
    yield case(spans, "retry", "the name says which span")
    spans = {"attempt": [5, 6], "reflection_prompt": [3], "reflection": [5, 6], "retry": [5]}
    yield case(spans, "reflection", "the same tokens may stand elsewhere too; the span knows where, a search does not")
    yield case({"prompt": [7], "reflection": [], "retry": [9]}, "reflection", "an empty reflection has no 1 at all")


def _tokenizer(bos: bool) -> Any:
    """A small tokenizer of whole words; with `bos` it begins every text with a mark of its own, as Llama's does."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = "<unk> <bos> <user> <assistant> <end> make 12 from 3 and 4 3*4 3+4 wrong reflect ok".split()
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    if bos:
        core.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 1)])
    out = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>", eos_token="<end>", pad_token="<unk>")
    template = "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }} <end> {% endfor %}"
    template = ("<bos> " if bos else "") + template + "{% if add_generation_prompt %}<assistant> {% endif %}"
    out.chat_template = template
    return out


@checks
def chat_ids() -> Iterator[Case]:
    from r3lib.conversation import prompt_ids as ids

    words = ("make 12 from 3 and 4", "3+4", "wrong reflect")
    messages = [{"role": role, "content": text} for role, text in zip(("user", "assistant", "user"), words)]
    for bos, family in ((False, "a tokenizer that adds nothing"), (True, "a tokenizer that adds <bos> to every text")):
        tokenizer = _tokenizer(bos)
        for said, some in (("one message", messages[:1]), ("three messages", messages)):
            wanted = ids(tokenizer, some)

            def text(got: list[int], tokenizer: Any = tokenizer) -> str:
                return " ".join(tokenizer.convert_ids_to_tokens(got))

            ends = Such("ids that end with <assistant>", lambda got, text=text: text(got).endswith("<assistant>"))
            marked = Such("ids with <user> before the task", lambda got, text=text: "<user> make" in text(got))
            hint = "the words of who speaks come from the chat template, so hand over messages, not a bare string"
            yield Case(f"{said} and {family}", (tokenizer, some), marked, hint)
            hint = "the prompt ends where the assistant must go on: ask the template for that"
            yield Case(f"{said} and {family}", (tokenizer, some), ends, hint)
            hint = "the template has written all marks, so the tokenizer must add none of its own"
            yield Case(f"{said} and {family}", (tokenizer, some), wanted, hint)


# 03, the masked loss


@checks
def group_advantages() -> Iterator[Case]:
    import torch

    from r3lib.loss import group_advantages as advantages

    def case(rewards: list[float], size: int, hint: str) -> Case:
        given = torch.tensor(rewards)
        return Case(f"the rewards {rewards} in groups of {size}", (given, size), advantages(given, size), hint)

    better = Such("a first value above 0", lambda got: got[0] > 0)
    hint = "better than the group means a positive advantage: reward minus mean, not mean minus reward"
    yield Case("the rewards [1, 0, 0, 0] in groups of 4", (torch.tensor([1.0, 0, 0, 0]), 4), better, hint)
    hint = "a group whose rewards are all equal gives zeros; add 1e-4 before you divide"
    yield case([1.0, 1.0, 1.0, 1.0], 4, hint)
    yield case([0.0, 0.0], 2, hint)
    yield case([1.0, 0.0, 0.0, 0.0], 4, "divide by the standard deviation with n - 1, torch's own, plus 1e-4")
    hint = "each group has a mean and a deviation of its own, and neighbours are a group"
    yield case([1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0], 4, hint)
    yield case([0.0, 1.0, 1.0, 1.0, 0.0, 0.0], 2, hint)
    rng = random.Random(0)
    for _ in range(20):
        size = rng.randint(2, 6)
        rewards = [float(rng.random() < 0.5) for _ in range(size * rng.randint(1, 3))]
        yield case(rewards, size, "a random case, worked out as the kit does")


@checks
def reflection_mask() -> Iterator[Case]:
    import torch

    from r3lib.conversation import Transcript

    def case(said: str, rows: list[tuple[int, int, int]], hint: str) -> Case:
        transcripts = []
        for lengths in rows:
            t = Transcript()
            for span, n in zip(("prompt", "reflection", "retry"), lengths):
                t.add(span, [5] * n)
            transcripts.append(t)
        width = max(len(t.ids) for t in transcripts)
        wanted = torch.tensor([t.mask() + [0] * (width - len(t.ids)) for t in transcripts])
        return Case(said, (transcripts,), wanted, hint)

    yield case("a transcript of 2 prompt tokens and 3 of a reflection", [(2, 3, 0)], "1 on the reflection, 0 before it")
    hint = "the retry is not rewarded: the mask is 0 from the reflection's end on"
    yield case("a transcript with 2 tokens each of prompt, reflection and retry", [(2, 2, 2)], hint)
    hint = "shorter rows are filled up with 0 at their right end, to the longest transcript"
    yield case("transcripts of 6 and of 3 tokens", [(2, 2, 2), (2, 1, 0)], hint)
    yield case("transcripts of 4 and of 7 tokens, the longer one's retry long", [(1, 3, 0), (1, 2, 4)], hint)
    rng = random.Random(0)
    for number in range(10):
        rows = [tuple(rng.randint(1, 5) for _ in range(3)) for _ in range(rng.randint(1, 4))]
        yield case(f"random transcripts, number {number}", rows, "a random batch, masked as the kit does")


@checks
def masked_grpo_loss() -> Iterator[Case]:
    import torch

    from r3lib.loss import masked_grpo_loss as loss

    def gradient(function: Callable, logps: Any, *rest: Any) -> Any:
        leaf = logps.clone().requires_grad_()
        function(leaf, *rest).backward()
        return leaf.grad

    def kit(logps: Any, old: Any, mask: Any, advantages: Any, epsilon: float = 0.2) -> Any:
        return loss(logps, mask, advantages, old, epsilon=epsilon)[0]

    def case(said: str, ratio: list, mask: list, advantages: list, hint: str, epsilon: float = 0.2) -> Case:
        old = -torch.ones(len(ratio), len(ratio[0]))
        given = (old + torch.tensor(ratio).log(), old, torch.tensor(mask).float(), torch.tensor(advantages), epsilon)
        return Case(said, given, kit(*given), hint)

    hint = "training makes the loss small, so an advantage above 0 must make it smaller: mind the minus"
    yield case("one token with ratio 1 and advantage +1", [[1.0]], [[1]], [1.0], hint)
    hint = "a token outside the mask counts nowhere, be it padding or the retry"
    yield case("a masked token of ratio 1.1 before one outside", [[1.1, 0.5]], [[1, 0]], [1.0], hint)
    hint = "each reflection is averaged over its own tokens, and then the reflections; padding must not thin it out"
    ratio, rows = [[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]], [[0, 1, 1, 1], [0, 1, 0, 0]]
    yield case("reflections of 3 tokens and of 1, advantages +1 and -3", ratio, rows, [1.0, -3.0], hint)
    hint = "what is already much likelier than before earns no more than 1 + epsilon times the advantage"
    yield case("a ratio of 2 with advantage +1", [[2.0]], [[1]], [1.0], hint)
    hint = "take the smaller of the two products: clipping must not hide that a bad token became likelier"
    yield case("a ratio of 2 with advantage -1", [[2.0]], [[1]], [-1.0], hint)
    yield case("a ratio of 0.5 with advantage -1", [[0.5]], [[1]], [-1.0], hint)
    yield case("a ratio of 1.3 with epsilon 0.1", [[1.3]], [[1]], [1.0], "epsilon is an argument", epsilon=0.1)
    rng = torch.Generator().manual_seed(0)
    for number in range(10):
        logps, old = -torch.rand(2, 3, 5, generator=rng)
        tokens = (torch.rand(3, 5, generator=rng) < 0.6).float()
        tokens[:, 0] = 1
        given = (logps, old, tokens, torch.randn(3, generator=rng))
        hint = "a random batch, worked out as the kit does"
        yield Case(f"random batch {number}", given, kit(*given), hint)
        hint = "the gradient comes from `logps`, which must not be detached"
        wanted = gradient(kit, *given)
        yield Case(f"the gradient of random batch {number}", lambda f, g=given: gradient(f, *g), wanted, hint)


# 04, the failure set


@checks
def failure_rows() -> Iterator[Case]:
    from r3lib.failures import Answer, _failures

    def verify(text: str) -> Verdict:
        return Verdict(text.startswith("right"), "", "")

    def case(answers: list[str], hint: str) -> Case:
        rows = _failures({}, [Answer(text, [], verify(text)) for text in answers])
        wanted = [[row["answer"], row["difficulty"]] for row in rows]
        return Case(f"the answers {answers}", (answers, verify), wanted, hint)

    yield case(["wrong", "right"], "wrong answers are kept, with the share of all samples that were wrong")
    yield case(["wrong", "right", "wrong 2"], "a row for each wrong answer, in the order they came")
    hint = "the same wrong answer is one failure, however often it came; difficulty still counts all samples"
    yield case(["wrong", "wrong", "wrong", "right"], hint)
    yield case(["right", "right 2"], "a problem that was solved every time has no failures")
    rng = random.Random(0)
    texts = ("wrong", "wrong 2", "wrong 3", "right", "right 2")
    for _ in range(20):
        yield case(rng.choices(texts, k=rng.randint(1, 8)), "a random case, worked out as the kit does")


@checks
def mixed_share() -> Iterator[Case]:
    def case(right: int, count: int, size: int, hint: str) -> Case:
        wanted = float(stats.pass_at(size, [right], count)[0] + stats.pass_at(size, [count - right], count)[0] - 1)
        return Case(f"{right} right of {count} retries, in groups of {size}", (right, count, size), wanted, hint)

    yield case(0, 4, 2, "where every retry failed, no group has both verdicts")
    yield case(4, 4, 2, "groups that are all right teach as little as groups that are all wrong")
    yield case(1, 2, 2, "groups are drawn from the retries without putting one back")
    for right, size in product(range(7), (2, 3, 5)):
        yield case(right, 6, size, "count the groups with both verdicts among all groups of this size")


# 05, Countdown


def _close(words: str, wanted: tuple, within: float) -> Such:
    return Such(words, lambda got: len(got) == 3 and all(abs(a - b) <= within for a, b in zip(got, wanted)))


@checks
def paired_interval() -> Iterator[Case]:
    a = np.array([0.9, 0.5, 0.1, 0.7])
    hint = "take the differences first: what problems have in common then falls away"
    said = "a second arm that is 0.1 lower on each of 4 problems"
    yield Case(said, (a, a - 0.1), _close("[0.1, 0.1, 0.1]", (0.1, 0.1, 0.1), 1e-6), hint)
    rng = np.random.default_rng(0)
    a, b = (rng.random((2, 400)) < [[0.6], [0.5]]).astype(float)
    wanted = stats.paired_difference(a, b)
    hint = "a mean varies less than its parts: divide the standard deviation by the square root of their number"
    yield Case("400 problems", (a, b), _close(spell(list(wanted)), wanted, 0.01), hint)
    hint = "with n problems the quantile is t's with n - 1 degrees of freedom, and the deviation divides by n - 1"
    for n in (5, 8, 12, 20):
        a, b = rng.random((2, n)) / 2
        yield Case(f"{n} random problems", (a, b), stats.paired_difference(a, b), hint)


@checks
def wilson_interval() -> Iterator[Case]:
    around = Such("an interval around 0.5", lambda got: 0 < got[0] < 0.5 and abs(sum(got) - 1) < 1e-6)
    hint = "the middle is (p + z²/2n) / (1 + z²/n), which is one half if p is"
    yield Case("5 right of 10", (5, 10), around, hint)
    some = Such("an interval from 0 to more than 0.1", lambda got: abs(got[0]) < 1e-6 and got[1] > 0.1)
    hint = "none right of ten is no proof of never: p ± z·sqrt(p(1 - p)/n) has no width there, Wilson's has"
    yield Case("0 right of 10", (0, 10), some, hint)
    hint = "95 % lie between -1.96 and 1.96"
    for right, n in ((50, 100), (1, 3), (10, 10), (397, 1000), (0, 7)):
        yield Case(f"{right} right of {n}", (right, n), stats.wilson(right, n), hint)


# 06, function calling


@checks
def unseen() -> Iterator[Case]:
    def problem(query: str, *names: str) -> dict:
        tools = [{"name": name, "description": f"{query}'s"} for name in names]
        return {"query": query, "tools": tools}

    def case(train: list[dict], test: list[dict], hint: str) -> Case:
        seen = {name for one in train for name in parameter_names(one["tools"])}
        wanted = [one["query"] for one in test if not seen & parameter_names(one["tools"]).keys()]
        names = [[[*parameter_names(one["tools"])] for one in part] for part in (train, test)]
        said = f"training problems with the tools {names[0]} and test problems with {names[1]}"
        right = Such(f"the test problems {wanted}", lambda got: [one["query"] for one in got] == wanted)
        return Case(said, (train, test), right, hint)

    train = [problem("a", "f", "g"), problem("b", "h")]
    yield case(train, [problem("c", "k"), problem("d", "m")], "none of these tools was seen, so all problems stay")
    yield case(train, [problem("c", "k"), problem("d", "h")], "a tool is known by its name, whatever its description")
    yield case(train, [problem("c", "g"), problem("d", "k")], "every tool of a training problem was seen")
    yield case(train, [problem("c", "k", "f"), problem("d", "m")], "one tool that was seen is enough to leave it out")
    rng = random.Random(0)
    for _ in range(20):
        test = [problem(str(i), *rng.sample("fghklmno", rng.randint(1, 3))) for i in range(5)]
        yield case(train, test, "a random case, chosen as the kit would")


@checks
def error_kind() -> Iterator[Case]:
    def kind(calls: list[dict], gold: list[dict]) -> str:
        return function_calling.judge(calls, gold).kind

    yield from _calls(
        ("f(a=1)", "f(a=1)", "these are the right calls"),
        ("f(a=1) f(a=1)", "f(a=1)", "how many calls there are is looked at first"),
        ("g(a=1)", "f(a=1)", "the tools' names come next"),
        ("f(b=1)", "f(a=1)", "then the names of the parameters"),
        ("f(a=2)", "f(a=1)", "last come the values"),
        ("g(b=3)", "f(a=1)", "the first part that fails gives the kind, and names of tools come before all else"),
        ("f(b=3)", "f(a=1)", "the first part that fails gives the kind, and names come before values"),
        ("g(b=2) f(a=1)", "f(a=1) g(b=2)", "parallel calls may come in any order"),
        ("f(b=1) g(a=2)", "f(a=1) g(b=2)", "parameter names belong to their tool: compare them together"),
        judge=kind,
    )
    rng = random.Random(0)
    texts = ("f(a=1)", "f(a=2)", "f(b=1)", "g(a=1)", "f(a=1,b=2)")
    both = [[" ".join(rng.choices(texts, k=rng.randint(1, 3))) for _ in range(2)] for _ in range(60)]
    yield from _calls(*((a, b, "a random pair of lists, judged as the kit does") for a, b in both), judge=kind)


# 07, does the reflection matter?


@checks
def others() -> Iterator[Case]:
    for count, seed in product((2, 3, 4, 6), range(8)):
        texts = [f"reflection {i}" for i in range(count)]
        said, given = f"{count} reflections and seed {seed}", (texts, seed)
        apart = Such("another one's for each", lambda got, t=texts: len(got) == len(t) and all(map(str.__ne__, got, t)))
        yield Case(said, given, apart, "nobody may get the own reflection back, and shuffling does not see to that")
        once = Such("each of them once", lambda got, t=texts: sorted(got) == sorted(t))
        yield Case(said, given, once, "hand out each reflection once, so that the control has the same words in all")
    texts = list("abcdefghij")
    hint = "a control must come out the same when it is run again: draw from random.Random(seed)"
    again = Such("the same list both times", lambda got: got[0] == got[1])
    yield Case("10 reflections, asked two times", lambda f: [f(list(texts), 1), f(list(texts), 1)], again, hint)
    hint = "there is no other to take, so GENERIC_REFLECTION stands in"
    yield Case("a single reflection", (["alone"], 0), [prompts.GENERIC_REFLECTION], hint)


@checks
def hide_numbers() -> Iterator[Case]:
    from r3lib.measure.reflections import NUMBER

    def case(task: str, text: str, hint: str) -> Case:
        given = set(NUMBER.findall(task))
        wanted = NUMBER.sub(lambda number: number[0] if number[0] in given else "…", text)
        return Case(f"the task {task!r} and the reflection {text!r}", (task, text), wanted, hint)

    task = "Make 24 from 3, 34 and 8."
    yield case(task, "I got 11, too low.", "a number that was worked out becomes … and the words stay")
    yield case(task, "I used 3 and 34.", "numbers of the task give nothing away and stay")
    yield case(task, "My 4 was wrong, use 34.", "a number is all its digits: the 4 in 34 is no 4")
    yield case(task, "34 - 8 = 26, then 26 - 3 = 23.", "every number that was worked out, each time it comes")
    yield case(task, "I will be more careful.", "a reflection without numbers stays as it is")


# 07b, what else the tokens buy


@checks
def pass_at_k() -> Iterator[Case]:
    def case(right: int, count: int, k: int, hint: str) -> Case:
        said = f"{right} right of {count} stored tries, and {k} that may be made"
        return Case(said, (right, count, k), float(stats.pass_at(k, [right], count)[0]), hint)

    yield case(1, 4, 1, "at least one right, and not all wrong: one try of four is right")
    yield case(1, 4, 2, "no try is taken twice, and one right try is enough: 3 of the 6 pairs hold it")
    yield case(2, 4, 2, "two right tries are more than one: only 1 of the 6 pairs has neither")
    yield case(0, 8, 3, "where no stored try is right, none can be found")
    yield case(7, 8, 2, "where fewer than k are wrong, one of the k is surely right")
    rng = random.Random(0)
    for _ in range(10):
        count = rng.randint(5, 32)
        yield case(rng.randint(1, count), count, rng.randint(1, count), "a random case, as the kit works it out")


@checks
def expected_tokens() -> Iterator[Case]:
    def case(right: list[int], of: int, tries: int, tokens: float, hint: str) -> Case:
        solved = [float(stats.pass_at(k, right, of).mean()) for k in range(1, tries + 1)]
        record = {"answers": {"tries": {"right": right, "of": of, "tokens_a_try": tokens}}}
        said = f"shares solved of {spell(solved)} within 1, 2, … tries, of {tokens} tokens each"
        return Case(said, (solved, tokens), compare.independent([record])[tries - 1][0], hint)

    yield case([1, 2], 4, 1, 10.0, "the first try is always paid")
    yield case([0, 0], 4, 3, 10.0, "where nothing is ever solved, every try is paid")
    yield case([4, 4], 4, 3, 10.0, "who is right at once pays for no further try")
    yield case([1, 2, 3], 4, 2, 10.0, "the second try is paid by those whom the first one left unsolved")
    rng = random.Random(0)
    for _ in range(20):
        right = [rng.randint(0, 8) for _ in range(5)]
        yield case(right, 8, rng.randint(1, 8), 7.0, "a random case, worked out as the kit does")


# 08, better reflections?


@checks
def names_error() -> Iterator[Case]:
    from r3lib.measure import reflections

    def case(reason: str, problem: dict, text: str, hint: str) -> Case:
        found = SimpleNamespace(why=Verdict(False, "", reason), problem=problem, reflection=text)
        said = f"the reason {reason!r}, the problem {problem} and the reflection {text!r}"
        return Case(said, (reason, problem, text), reflections.names_error(found), hint)

    problem, reason = {"numbers": [3, 8], "target": 24}, "The equation gives 11, not the target 24."
    yield case(reason, problem, "My equation gives 11.", "11 stands in the reason and not in the problem")
    yield case(reason, problem, "I will be careful.", "it names nothing at all")
    yield case(reason, problem, "I must make 24.", "24 is the problem's own number: to repeat it names no error")
    yield case(reason, problem, "Take 1 and 1.", "a number is all its digits: 1 is not 11")
    yield case(reason, problem, "I got 12 or 15.", "other numbers than the reason's name another error")
    calls = {"query": "Weather in Rome for 3 days"}
    reason = 'In the call of "weather", "days" is "5", not "3".'
    yield case(reason, calls, "The days were wrong.", "a word that the reason has in quotes counts as well")
    yield case(reason, calls, "I should have read it again.", "it names neither a word in quotes nor a number")


@checks
def top_template() -> Iterator[Case]:
    from r3lib.measure.reflections import template

    def case(texts: list[str], hint: str) -> Case:
        wanted = Counter(map(template, texts)).most_common(1)[0][1] / len(texts)
        return Case(f"the reflections {texts}", (texts,), wanted, hint)

    yield case(["a", "b", "b", "c"], "the most frequent one's share, not the share of different ones")
    yield case(["I got 3.", "I got 8.", "Sorry.", "Hm."], "texts that differ in a number only are one template")
    yield case(["I got 3.", "I got 38.", "Sorry."], "a number is one particular, however many digits it has")
    yield case(['Use "days".', 'Use "city".', "Sorry."], "what stands in double quotes is a particular too")
    rng = random.Random(0)
    for _ in range(20):
        texts = [f"I got {rng.randint(1, 40)}." if rng.random() < 0.5 else rng.choice("abc") for _ in range(6)]
        yield case(texts, "a random case, worked out as the kit does")


# 09, errors


@checks
def flow_shares() -> Iterator[Case]:
    def case(first: list[str], second: list[str], hint: str) -> Case:
        outcomes = SimpleNamespace(kinds={"first": first, "second": second})
        counts = compare.flows([SimpleNamespace(record={"temperature": 1.0}, outcomes=outcomes)], 1.0)
        failed = {pair: n for pair, n in counts.items() if pair[0] != "correct"}
        total = Counter(kind for kind in first if kind != "correct")
        wanted = {pair: n / total[pair[0]] for pair, n in failed.items()}
        return Case(f"first kinds {first} and second kinds {second}", (first, second), wanted, hint)

    yield case(["a", "a"], ["correct", "b"], "keys are (first kind, second kind), values shares")
    yield case(["a", "correct"], ["a", "correct"], "a right first try is not tried again and flows nowhere")
    yield case(["a", "b", "b"], ["correct", "b", "a"], "the shares of one first kind add up to 1, kind by kind")
    rng = random.Random(0)
    for _ in range(20):
        pairs = [rng.choices(("correct", "a", "b", "c"), k=2) for _ in range(12)]
        first, second = zip(*[(a, a if a == "correct" else b) for a, b in pairs])
        yield case(list(first), list(second), "a random case, counted as the kit does")


@checks
def follows_rules() -> Iterator[Case]:
    def case(kinds: list[str], hint: str) -> Case:
        return Case(f"the kinds {kinds}", (kinds,), sum(kind not in report.BREAK for kind in kinds) / len(kinds), hint)

    yield case(["correct", "no_answer"], "a right answer follows the rules, no answer does not")
    yield case(["missed_target", "no_answer"], "a wrong result breaks no rule of form")
    yield case(["wrong_numbers", "correct"], "to use other numbers breaks the rules")
    yield case(["invalid_equation", "correct", "correct"], "what is no equation breaks the rules")
    rng = random.Random(0)
    kinds = ("correct", "missed_target", "wrong_numbers", "invalid_equation", "no_answer")
    for _ in range(20):
        yield case(rng.choices(kinds, k=7), "a random case, counted as the kit does")


# 10, forgetting


@checks
def paired_change() -> Iterator[Case]:
    from scipy.special import stdtrit

    def case(said: str, before: dict, after: dict, hint: str) -> Case:
        both = [key for key in before if key in after]
        old, new = (np.array([side[key] for key in both]) for side in (before, after))
        mean, low, high = stats.paired_difference(new, old)
        error = (high - low) / 2 / stdtrit(len(both) - 1, 0.975)
        return Case(said, (before, after), [mean, error], hint)

    scores = dict(enumerate([0.1, 0.9, 0.4, 0.6]))
    higher = {key: value + 0.05 for key, value in scores.items()}
    hint = "take the difference of each document first, after minus before"
    yield case("scores that rise by 0.05 on each document", scores, higher, hint)
    backwards = dict(reversed(higher.items()))
    yield case("the same, in another order", scores, backwards, "pair by the document's id, not by its place")
    less = {key: value for key, value in higher.items() if key != 2}
    yield case("a document that was judged only before", scores, less, "only documents that both have make a pair")
    rng = np.random.default_rng(0)
    for n in (3, 10, 30):
        before, after = (dict(enumerate(column / 3)) for column in rng.random((2, n)))
        hint = "the error is the deviation of the differences, with n - 1, over the square root of n"
        yield case(f"{n} random documents", before, after, hint)


@checks
def bits_per_byte() -> Iterator[Case]:
    def case(nats: list[float], texts: list[str], hint: str) -> Case:
        wanted = -sum(nats) / math.log(2) / sum(len(text.encode()) for text in texts)
        return Case(f"the log-probabilities {spell(nats)} of the texts {texts}", (nats, texts), wanted, hint)

    hint = "a probability of one half costs one bit, and bits are above 0: divide nats by -ln 2"
    yield case([-2 * math.log(2)], ["ab"], hint)
    yield case([-3.0], ["é€"], "a letter such as é takes more than one byte")
    yield case([-1.0, -9.0], ["a", "abcdefgh"], "add up over all texts, then divide once: long texts weigh more")
    rng = random.Random(0)
    for _ in range(10):
        texts = ["".join(rng.choices("abcé€", k=rng.randint(1, 6))) for _ in range(3)]
        yield case([-rng.random() * 9 for _ in texts], texts, "a random case")


# 11, small beats large?


@checks
def worth_the_price() -> Iterator[Case]:
    def case(systems: dict[str, tuple[float, float]], hint: str) -> Case:
        frontier: list[str] = []
        for name in sorted(systems, key=lambda name: (systems[name][0], -systems[name][1])):
            if not frontier or systems[name][1] > systems[frontier[-1]][1]:
                frontier.append(name)
        return Case(f"the systems {spell(plain(systems))}", (systems,), frontier, hint)

    yield case({"alone": (5, 0.5)}, "no system dominates itself")
    cheap = {"small": (5, 0.3), "large": (40, 0.5)}
    yield case(cheap, "the small one solves less and is cheaper: both are kept; dearer systems dominate nobody")
    yield case(dict(reversed(cheap.items())), "the cheapest comes first")
    yield case(cheap | {"large, blind": (40, 0.4)}, "at the same price, the one that solves less is dominated")
    yield case(cheap | {"large, twice": (80, 0.5)}, "of two that solve the same, the dearer one is dominated")
    rng = random.Random(0)
    for _ in range(10):
        pairs = zip(rng.sample(range(1, 50), 6), rng.sample(range(100), 6))
        yield case({letter: (price, right / 100) for letter, (price, right) in zip("abcdef", pairs)}, "other systems")


@checks
def sign_test() -> Iterator[Case]:
    from scipy.stats import binomtest

    def case(only_small: int, only_large: int, both: int, hint: str) -> Case:
        small = [True] * only_small + [False] * only_large + [True] * both + [False] * 2
        large = [False] * only_small + [True] * only_large + [True] * both + [False] * 2
        n = only_small + only_large
        wanted = float(binomtest(only_small, n).pvalue) if n else 1.0
        said = f"{only_small} problems that only the small model solves, {only_large} that only the large one does"
        return Case(f"{said}, and {both} that both do", (small, large), wanted, hint)

    hint = "either model could have been ahead: count both tails"
    yield case(4, 0, 0, hint)
    yield case(4, 0, 20, "problems on which both agree say nothing about which is better")
    yield case(3, 3, 5, "a probability is at most 1")
    yield case(0, 0, 5, "where the two never differ, nothing speaks against chance: 1")
    for small, large in ((1, 0), (2, 7), (9, 3), (12, 30)):
        yield case(small, large, 4, "as the binomial distribution with one half has it")


# 12, your own task

TWENTY = [2, 5, 10], 20  # the numbers and the target of `attack_texts`


def _answers(text: str) -> list[str]:
    return [part.rpartition("<answer>")[2].strip() for part in text.split("</answer>")[:-1]]


def _finds_target(text: str) -> bool:
    return any("20" in answer for answer in _answers(text))


def _same_set(text: str) -> bool:
    used = [int(number) for number in countdown.INTEGER.findall(_answers(text)[-1])]
    return set(used) == {2, 5, 10} and countdown.judge(_answers(text)[-1], used, 20).ok


def _any_answer(text: str) -> bool:
    return any(countdown.judge(answer, *TWENTY).ok for answer in _answers(text))


LEAKY = {"finds_target": _finds_target, "same_set": _same_set, "any_answer": _any_answer}


@checks
def attack_texts() -> Iterator[Case]:
    hints = {
        "finds_target": "it only looks whether an answer has the digits 20 in it",
        "same_set": "it compares sets of numbers, and a set forgets how often each was used",
        "any_answer": "it takes any answer of several, where the last one should count",
    }
    for name, hint in hints.items():
        fooled = Such("a text to which it says yes", lambda got, name=name: LEAKY[name](got))
        yield Case(f"the verifier {name!r}", lambda f, name=name: f()[name], fooled, hint)
        wrong = Such("a text that the kit refuses", lambda got: not countdown.verify(got, *TWENTY).ok)
        hint = "a right answer deserves its yes; an attack does not"
        yield Case(f"the verifier {name!r}", lambda f, name=name: f()[name], wrong, hint)


@checks
def make_task() -> Iterator[Case]:
    problem = {"numbers": [9, 4, 7]}
    yield Case("its result's type", lambda f: type(f()).__name__, "Task", "build a `Task` and return it")
    shown = Such("a text with 9, 4, 7 and <answer>", lambda got: all(x in got for x in ("9", "4", "7", "<answer>")))
    hint = "the model knows only what the question tells it: the numbers, and the tags"
    yield Case("the question", lambda f: f().ask(problem), shown, hint)
    for text, ok, hint in (
        ("<answer>4, 7, 9</answer>", True, "the numbers in ascending order, with commas, between the tags"),
        ("Sorted: <answer> 4,7 , 9 </answer>", True, "spaces around a number are free"),
        ("<answer>9, 4, 7</answer>", False, "the order is the task"),
        ("<answer>4, 7</answer>", False, "every number must be there"),
        ("<answer>4, 7, 9</answer> or <answer>9, 7, 4</answer>", False, "of several answers the last one counts"),
        ("4, 7, 9", False, "without answer tags there is no answer"),
        ("<answer>four</answer>", False, "a verifier never raises, whatever it is given"),
        ("<answer>4, , 9</answer>", False, "a verifier never raises, whatever it is given"),
        (None, False, "a verifier never raises, whatever it is given"),
    ):
        yield Case(f"the verdict on {text!r}", lambda f, text=text: f().verify(problem, text).ok, ok, hint)
    for text, ok, hint in (
        ("It is 4, 7, 9. Mind it.", True, "a reflection gives the answer away without tags, too"),
        ("I wrote 9, 4, 7.", False, "a list in a wrong order gives nothing away"),
    ):
        given = lambda f, text=text: f().contains_answer(problem, text)  # noqa: E731
        yield Case(f"contains_answer of {text!r}", given, ok, hint)
        hint = "the right answer becomes … and all else stays"
        left = text.replace("4, 7, 9", "…")
        yield Case(f"redact of {text!r}", lambda f, text=text: f().redact(problem, text), left, hint)


# 13, a real model


@checks
def signal_share() -> Iterator[Case]:
    import torch

    from r3lib.loss import zero_advantage_fraction

    def case(groups: list[list[float]], hint: str) -> Case:
        wanted = 1 - zero_advantage_fraction(torch.tensor(groups).flatten(), len(groups[0]))
        return Case(f"the groups {groups}", (groups,), wanted, hint)

    yield case([[1.0, 0.0], [0.0, 0.0]], "a group has signal if its retries differ")
    yield case([[1.0, 1.0], [0.0, 1.0]], "a group that is all right teaches nothing either")
    yield case([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]], "a share of groups, not of retries")
    rng = random.Random(0)
    for _ in range(20):
        size = rng.randint(2, 4)
        groups = [[float(rng.random() < 0.3) for _ in range(size)] for _ in range(rng.randint(1, 6))]
        yield case(groups, "a random case, counted as the trainer's log does")


@checks
def problems_needed() -> Iterator[Case]:
    def wanted(p: float, gain: float) -> int:
        return math.ceil(1.96**2 * (p * (1 - p) + (p + gain) * (1 - p - gain)) / gain**2)

    def case(p: float, gain: float, most: float, hint: str) -> Case:
        n = wanted(p, gain)
        near = Such(f"about {n}", lambda got: n / most <= got <= n * most)
        return Case(f"a share of {p:g} and a gain of {gain:g}", (p, gain), near if most > 1 else n, hint)

    hint = "the standard error falls with the square root of n, so the gain comes in squared"
    yield case(0.4, 0.05, 3, hint)
    yield case(0.4, 0.05, 1.1, "both shares are measured, so the variances of both count")
    hint = "the smallest whole number that is enough: round up"
    for p, gain in ((0.4, 0.1), (0.1, 0.05), (0.5, 0.02), (0.2, 0.3)):
        yield case(p, gain, 1, hint)


# A1, how r3-nano was made


@checks
def loss_labels() -> Iterator[Case]:
    def case(rows: list[list[int]], loss: list[list[int]], hint: str) -> Case:
        width = max(map(len, rows))
        wanted = [[i if m else -100 for i, m in zip(r, k)] + [-100] * (width - len(r)) for r, k in zip(rows, loss)]
        return Case(f"the token ids {rows} with loss {loss}", (rows, loss), wanted, hint)

    yield case([[5, 6, 7]], [[1, 1, 1]], "a label is the token itself; the model shifts them by one, not you")
    yield case([[5, 6, 7]], [[0, 1, 1]], "a token without loss has the label -100, which the model skips")
    yield case([[5, 6, 7], [8]], [[0, 1, 1], [1]], "shorter rows are filled up with -100: padding carries no loss")
    rng = random.Random(0)
    for _ in range(10):
        rows = [[rng.randint(1, 9) for _ in range(rng.randint(1, 5))] for _ in range(3)]
        yield case(rows, [[rng.randint(0, 1) for _ in row] for row in rows], "a random batch")


@checks
def merge_once() -> Iterator[Case]:
    def case(words: str, wanted: str, hint: str) -> Case:
        given, right = ([word.split("·") for word in text.split()] for text in (words, wanted))
        return Case(f"the words {given}", (given,), right, hint)

    yield case("a·b", "ab", "the most frequent pair of neighbours becomes one symbol")
    yield case("a·b·c·a·b", "ab·c·ab", "the pair is merged wherever it stands")
    yield case("b·c b·c b·c a·b a·b·x", "bc bc bc a·b a·b·x", "a word that comes three times counts three times")
    yield case("a·x·b a·y·b a·z·b c·d c·d", "a·x·b a·y·b a·z·b cd cd", "a pair are two symbols side by side")
    yield case("a·a·a", "aa·a", "read from left to right: a merged symbol is not merged again")
    yield case("ab·c ab·c d", "abc abc d", "symbols may be longer than a letter, and one alone stays")


@checks
def tool_text() -> Iterator[Case]:
    def case(tools: list[dict], wanted: str, hint: str) -> Case:
        return Case(f"the tools {tools}", (tools,), wanted, hint)

    sell = {"name": "sell", "description": "Sell power.", "parameters": {}}
    yield case(
        [sell], "Sell power.\nsell", "the description comes first, and there is no line break after the last line"
    )
    share = sell | {"parameters": {"share": ("integer", "Percent"), "kind": ("string", "Solar or wind")}}
    wanted = "Sell power.\nsell\n- share (integer) Percent\n- kind (string) Solar or wind"
    yield case([share], wanted, "a parameter's line has a dash, its name, type in brackets, what it is")
    wait = {"name": "wait", "description": "Wait.", "parameters": {"days": ("integer", "How long")}}
    yield case([share, wait], f"{wanted}\nWait.\nwait\n- days (integer) How long", "every tool is listed, in order")


@checks
def disguise() -> Iterator[Case]:
    def case(text: str, names: dict[str, str], wanted: str, hint: str) -> Case:
        return Case(f"the text {text!r} and the names {names}", (text, names), wanted, hint)

    yield case("book: a doctor", {"book": "plant"}, "plant: a doctor", "the name is replaced, the rest stays")
    yield case("book, book!", {"book": "plant"}, "plant, plant!", "a name is replaced everywhere in the text")
    inside = "a name inside a longer word is another word"
    yield case("book_doctor books book", {"book": "plant"}, "book_doctor books plant", inside)
    chain = {"sell": "wait", "wait": "log"}
    yield case("sell then wait", chain, "wait then log", "all names change at once: a new name is not replaced again")


# A3, is r3-nano ready


@checks
def opening_gains() -> Iterator[Case]:
    def case(counts: dict[str, dict[str, tuple[int, int]]], hint: str) -> Case:
        rows = list(counts.values())
        total = sum(n for _, n in rows[0].values())
        single = max(sum(right for right, _ in row.values()) for row in rows) / total
        each = sum(max(row[kind][0] for row in rows) for kind in rows[0]) / total
        return Case(f"the counts {counts}", (counts,), (single, each), hint)

    hint = "return two shares: the best single opening comes first, then the best opening for each kind"
    yield case({"search": {"missed": (3, 10), "bracket": (0, 10)}}, hint)
    two = {"search": {"missed": (3, 10), "bracket": (0, 10)}, "check": {"missed": (1, 10), "bracket": (5, 10)}}
    yield Case(
        "an opening that corrects 3 of 20 failures and one that corrects 6",
        (two,),
        (0.3, 0.4),
        "two shares; the single opening comes first; the best single opening is one of them, whatever the kinds",
    )
    uneven = {"search": {"missed": (9, 90), "bracket": (0, 10)}, "check": {"missed": (0, 90), "bracket": (8, 10)}}
    yield case(uneven, "a kind that occurs more often counts more")
    rng, kinds = random.Random(0), "abc"
    for _ in range(5):
        many = {kind: rng.randint(5, 30) for kind in kinds}
        rows = {name: {kind: (rng.randint(0, n), n) for kind, n in many.items()} for name in "uvwx"}
        yield case(rows, "other counts")


@checks
def smallest_group() -> Iterator[Case]:
    def case(share: float, wanted: float, hint: str) -> Case:
        size = next(size for size in range(2, 10_000) if 1 - (1 - share) ** size - share**size >= wanted)
        return Case(f"a share of {share} and {wanted} wanted", (share, wanted), size, hint)

    yield case(0.5, 0.4, "groups begin with two: one reflection alone is compared with nothing")
    yield case(0.8, 0.55, "a group whose retries are all right has no signal either")
    hint = "try every size, one after another, and stop at the first that is enough"
    yield case(0.5, 0.7, hint)
    for share, wanted in ((0.1, 0.5), (0.1, 0.9), (0.02, 0.5), (0.3, 0.99), (0.7, 0.9)):
        yield case(share, wanted, hint)
