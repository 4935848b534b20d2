"""Instructions that a small instruct model can follow sometimes: the third task, for the profile smol. Not the paper's.

Three kinds, each about a topic, each checked by counting:

    list       a numbered list of exactly n different things, one on each line, and nothing else
    words      one sentence of at most n words
    sentences  exactly n sentences

What an answer says of its topic is not judged, but that it names it (not in a list). Topics are disjoint between the
splits, so a trained model is judged on topics that its training never saw. Standard library only.
"""

from __future__ import annotations

import random
import re

from r3lib.tasks import Task, Verdict

NUMBERS = {"list": range(2, 9), "words": range(8, 16), "sentences": range(2, 6)}
TOPICS = {  # split -> kind of topic -> topics
    "train": {
        "things": "fruits; colors; animals that live on a farm; tools; sports; rivers; jobs in a hospital; musical "
        "instruments; things in a kitchen; kinds of weather; European countries; school subjects; insects; vegetables; "
        "things to wear; vehicles; planets; parts of the body; languages; birds; games for children; things on a desk",
        "subjects": "the moon; a cat; the sea; bread; winter; a train; music; a bicycle; rain; a doctor; coffee; the "
        "desert; a bridge; sleep; a garden; money; a castle; friendship; a computer; fire; a letter; the city; snow; a "
        "teacher; chess; a mirror; silence; a horse; paper; the wind; a clock; soup; travel; a forest; gold; laughter; "
        "a boat; salt; a mountain; sunlight; a village; glass",
    },
    "validation": {
        "things": "trees; drinks; pets; cities in Asia; things in a school bag; flowers; holidays; desserts",
        "subjects": "a library; honey; the night; a market; football; a river; wool; a map; hope; an elephant",
    },
    "test": {
        "things": "spices; fish; dances; oceans and seas; things in a bathroom; metals; breakfast foods; board games; "
        "kinds of pasta; things you find in a park; kinds of shoes; famous scientists; wild animals; pieces of "
        "furniture; things made of wood; jobs in a theater; martial arts; kinds of cheese; hobbies; kinds of hats; "
        "months of the year; emotions; shapes",
        "subjects": "a dog; the sun; tea; autumn; an island; a camera; history; an airplane; thunder; a farmer; "
        "chocolate; the jungle; a tower; a dream; a bakery; luck; a ship; courage; a robot; ice; a book; the beach; "
        "stars; a painter; a drum; a window; time; a bee; iron; the sky; a bell; rice; a festival; a lake; silver; "
        "kindness; a road; sugar; a valley; spring; a harbor; cotton",
    },
}
ASK = {
    "list": "Write a numbered list of exactly {n} {topic}, one on each line, and nothing else.",
    "words": "Describe {topic} in one sentence of at most {n} words, and name it in the sentence.",
    "sentences": "Write exactly {n} sentences about {topic}, and name it in at least one of them.",
}
REFLECT = (
    "You tried performing the task, but your answer did not follow the instruction. Reflect on what went wrong and "
    "write a short explanation that will help you do better next time."
)
ITEM = re.compile(r"\s*(\d{1,3})[.)]\s+(\S.*)")
END = re.compile(r"[.!?][\"'”’)]*(?:\s+|$)")
CORRECT = Verdict(True, "correct", "The answer follows the instruction.")


def splits(seed: int, sizes: dict[str, int]) -> dict[str, list[dict]]:
    """Named lists of distinct problems `{"kind", "n", "topic"}`, in equal shares of the kinds as far as they go."""
    rng, out = random.Random(seed), {}
    for name, size in sizes.items():
        topics = {kind: TOPICS[name]["things" if kind == "list" else "subjects"].split("; ") for kind in NUMBERS}
        every = {
            kind: [{"kind": kind, "n": n, "topic": topic} for n in numbers for topic in topics[kind]]
            for kind, numbers in NUMBERS.items()
        }
        for own in every.values():
            rng.shuffle(own)
        turns = [own[i] for i in range(max(map(len, every.values()))) for own in every.values() if i < len(own)]
        out[name] = turns[:size]
        rng.shuffle(out[name])
    return out


def verify(problem: dict, response: str) -> Verdict:
    """Whether a response follows its instruction. Never raises; time linear in the response's length."""
    if not isinstance(response, str) or not response.strip():
        return Verdict(False, "no_answer", "The response is empty.")
    text = response.strip()
    if problem["kind"] == "list":
        return _list(text, problem["n"])
    sentences = _sentences(text)
    if sentences is None:
        return Verdict(False, "unfinished", "The last sentence has no end.")
    if not _named(problem["topic"], text):
        return Verdict(False, "topic_missing", f"The answer does not name its topic, {problem['topic']}.")
    wanted = problem["n"] if problem["kind"] == "sentences" else 1
    if len(sentences) != wanted:
        return Verdict(False, "wrong_count", f"The answer has {len(sentences)} sentences, not {wanted}.")
    if len(set(map(str.casefold, sentences))) < len(sentences):
        return Verdict(False, "repeated", "A sentence stands in the answer twice.")
    if problem["kind"] == "words" and (words := len(text.split())) > problem["n"]:
        return Verdict(False, "too_long", f"The sentence has {words} words, more than {problem['n']}.")
    if min(len(sentence.split()) for sentence in sentences) < 3:
        return Verdict(False, "too_short", "A sentence has fewer than three words.")
    return CORRECT


def _list(text: str, n: int) -> Verdict:
    lines = [line for line in text.splitlines() if line.strip()]
    items = [ITEM.fullmatch(line.rstrip()) for line in lines]
    if not all(items):
        return Verdict(False, "extra_text", "A line is no numbered item.")
    if [int(item[1]) for item in items] != list(range(1, len(items) + 1)):
        return Verdict(False, "wrong_numbering", "The items are not numbered 1, 2, 3 and so on.")
    if len(items) != n:
        return Verdict(False, "wrong_count", f"The list has {len(items)} items, not {n}.")
    if len({item[2].strip(" .").casefold() for item in items}) < n:
        return Verdict(False, "repeated", "An item stands in the list twice.")
    return CORRECT


def _sentences(text: str) -> list[str] | None:
    """The sentences of a text; None if what stands last is no whole sentence."""
    *sentences, rest = END.split(text)
    return [" ".join(each.split()) for each in sentences] if sentences and not rest.strip() else None


def _named(topic: str, text: str) -> bool:
    word = topic.split()[-1].casefold()
    return re.search(rf"\b{re.escape(word)}", text.casefold()) is not None


def contains_answer(problem: dict, text: str) -> bool:
    """Whether a text holds an accepted answer: the whole text, a paragraph, or neighbouring lines or sentences."""
    return any(verify(problem, piece).ok for piece in _pieces(problem, text))


def redact(problem: dict, text: str) -> str:
    """The text with "…" for every piece that is an accepted answer."""
    for piece in _pieces(problem, text):
        if verify(problem, piece).ok:
            text = text.replace(piece.strip(), "…")
    return text


def _pieces(problem: dict, text: str) -> list[str]:
    """What in a text could be an answer: runs of n lines for a list, of 1 or n sentences for the others, and it all."""
    if problem["kind"] == "list":
        parts, n = text.splitlines(keepends=True), problem["n"]
    else:
        ends = [match.end() for match in END.finditer(text)]
        parts = [text[a:b] for a, b in zip([0, *ends], ends)]
        n = problem["n"] if problem["kind"] == "sentences" else 1
    return [text, *("".join(parts[i : i + n]) for i in range(len(parts) - n + 1))]


TASK = Task("instructions", lambda p: ASK[p["kind"]].format_map(p), verify, contains_answer, REFLECT, redact=redact)
