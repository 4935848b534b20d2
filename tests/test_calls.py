"""r3-nano's function-calling texts: true, without the test tools, with loss where it belongs."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections import Counter

import pytest

from r3lib.conversation import prompt_ids
from r3lib.files import read_jsonl
from r3lib.nano import calls, corpus
from r3lib.nano.calls import CallTexts
from r3lib.nano.tokenizer import CHAT_TEMPLATE, PHRASES, train_tokenizer
from r3lib.nano.train import encode
from r3lib.problems import function_calling, function_calling_data
from r3lib.problems.tools import read_tools


@pytest.fixture(scope="module")
def items():
    return list(itertools.islice(function_calling_data.draw(random.Random(1), "train"), 400))


@pytest.fixture(scope="module")
def texts():
    return list(itertools.islice(calls.corpus(3), 1500))


@pytest.fixture(scope="module")
def tokenizer(texts):
    countdown = itertools.islice(corpus.corpus(0, set()), 300)
    words = [m.text for text in itertools.chain(texts, countdown) for m in text] + ["user\n", "assistant\n"] * 500
    return train_tokenizer(words + [str(n) for n in range(1000)] * 100, 2600, whole_words=True)


def test_what_is_learned_is_right_and_what_failed_is_wrong(items):
    rng = random.Random(2)
    kinds = set()
    for item in items:
        assert function_calling.verify(json.dumps(item.answers), item.answers, item.tools).ok
        failed, diagnosis = calls.wrong_calls(rng, item)
        verdict = function_calling.verify(json.dumps(failed), item.answers, item.tools)
        assert not verdict.ok, (item.query, failed)
        kinds.add(verdict.kind)
    assert kinds >= {"wrong_tool", "wrong_parameter_value", "wrong_parameter_name", "wrong_call_count"}


def test_attempts_and_retries_with_loss_are_right(texts):
    for text in texts:
        assert [m.role for m in text[:2]] == ["system", "user"]
        for message in text:
            if message.role == "assistant" and message.text.startswith("["):
                json.loads(message.text)
                assert bool(message.loss) == (message is text[-1])


def test_only_assistants_carry_loss(texts):
    assert all(not m.loss for text in texts for m in text if m.role != "assistant")


def test_a_worked_reflection_names_every_argument_and_its_steps(items):
    for item in items:
        said = calls.worked(item)
        for fact in item.facts:
            assert f"{fact.parameter} is " in said
            assert all(step in said for step in fact.working)
            if not fact.working or isinstance(fact.value, str):
                assert json.dumps(fact.value) in said
            else:
                assert f"= {fact.value}" in said


def test_worked_reflections_are_rarely_opened_with_loss(texts):
    reflections = [text[4] for text in texts if len(text) == 7]
    worked = [r for r in reflections if r.text.startswith(calls.OPENING) and r.loss]
    opened = sum(r.loss[0][0] == 0 for r in worked)
    taught = opened + sum(bool(r.loss) and not r.text.startswith(calls.OPENING) for r in reflections)
    assert len(worked) > 0.5 * len(reflections)
    assert abs(opened / taught - CallTexts().worked) < 0.06


def test_no_text_is_about_a_tool_of_another_split_or_a_problem_of_the_training_file(texts):
    held_out = {tool["name"] for split in ("validation", "test") for tool in function_calling_data.tools_of(split)}
    queries = {row["query"] for row in read_jsonl(function_calling_data.FOLDER / "train.jsonl")}
    for text in texts:
        offered = {line for line in text[0].text.splitlines() if not line.startswith("- ")}
        assert not offered & held_out
        assert text[1].text not in queries


def test_renamed_problems_are_the_same_problems(items):
    rng = random.Random(5)
    for item in items:
        (other,) = calls.renamed(rng, [item])
        assert other.query == item.query
        assert function_calling.verify(json.dumps(other.answers), other.answers, other.tools).ok
        assert [[*a["arguments"].values()] for a in other.answers] == [[*a["arguments"].values()] for a in item.answers]
        offered = {tool["name"]: tool["parameters"] for tool in other.tools}
        assert not offered.keys() & {tool["name"] for tool in item.tools}
        for answer in other.answers:
            assert answer["arguments"].keys() <= offered[answer["name"]].keys()


def test_revalued_problems_ask_for_other_things_in_the_same_words(items):
    rng, changed = random.Random(5), 0
    for item in items:
        other = calls.revalued(rng, item)
        assert function_calling.verify(json.dumps(other.answers), other.answers, other.tools).ok
        assert [a["arguments"].keys() for a in other.answers] == [a["arguments"].keys() for a in item.answers]
        for old, new in zip(item.facts, other.facts):
            assert (old.working, old.phrase in item.query) == (new.working, new.phrase in other.query)
            assert new.value == other.answers[new.call]["arguments"][new.parameter]
            if new.value != old.value:
                assert not new.working and "enum" not in json.dumps(
                    next(t for t in item.tools if t["name"] == item.answers[new.call]["name"])["parameters"][
                        new.parameter
                    ]
                )
                changed += 1
    assert changed > 100


def test_sessions_answer_every_query_with_the_tools_on_the_list():
    for text in itertools.islice(calls.corpus(8, CallTexts(sessions=1.0, disguised=0.5)), 200):
        offered = {line for line in text[0].text.splitlines() if not line.startswith("- ")}
        assert [m.role for m in text[1:]] == ["user", "assistant"] * ((len(text) - 1) // 2)
        for message in text[2::2]:
            assert message.loss and {call["name"] for call in json.loads(message.text)} <= offered


def test_drills_in_choosing_ask_for_what_is_listed():
    rng, forms = random.Random(9), set()
    for text in (calls.choosing(rng) for _ in range(300)):
        lines = text[0].text.splitlines()[1:]
        beside = {n: {*words.lower().strip(".").split(), *n.split("_")} for words, n in zip(lines[::2], lines[1::2])}
        if text[1].text == "Names, please.":
            asked = [line.split(": ") for line in text[2].text.splitlines()]
            assert "".join(text[2].text[a:b] for a, b in text[2].loss) == "".join(name for _, name in asked)
        else:
            asked = [(q.text, json.loads(a.text)[0]["name"]) for q, a in zip(text[1::2], text[2::2])]
            assert all(message.loss == [(0, len(message.text))] for message in text[2::2])
        forms.add(text[1].text == "Names, please.")
        for words, name in asked:
            assert beside[name] & set(words.lower().strip(".").split())
    assert forms == {True, False}


def test_drills_in_filling_give_every_value_beside_a_word_of_its_parameter():
    rng = random.Random(9)
    for text in (calls.filling(rng) for _ in range(200)):
        about = {}
        for line in text[0].text.splitlines()[3:]:
            name, words = line.removeprefix("- ").split(" ", 1)
            about[name] = {name, *words.partition(") ")[2].lower().split()}
        for query, call in zip(text[1::2], text[2::2]):
            (answer,) = json.loads(call.text)
            assert answer["arguments"].keys() == about.keys() and call.loss == [(0, len(call.text))]
            words = re.findall(r"\w+", query.text)
            for parameter, value in answer["arguments"].items():
                value = str(value).split()
                places = [k for k in range(len(words)) if words[k : k + len(value)] == value]
                near = [
                    w for k in places for w in words[max(0, k - 2) : k] + words[k + len(value) : k + len(value) + 1]
                ]
                assert about[parameter] & {word.lower() for word in near}, (query.text, parameter)


@pytest.fixture(scope="module")
def shared():
    """Groups of problems on one list of tools."""
    return list(itertools.islice(function_calling_data.groups(random.Random(4)), 60))


def test_drills_in_following_need_the_notes_alone(shared):
    rng, listed = random.Random(9), Counter()
    for items in shared:
        text = calls.following(rng, items)
        listed[text[0].role] += 1
        turns = text[text[0].role == "system" :]
        assert [m.role for m in turns] == ["user", "assistant"] * len(items)
        for notes, answer in zip(turns[::2], turns[1::2]):
            assert answer.loss == [(0, len(answer.text))] and not notes.loss
            for call in json.loads(answer.text):
                assert f"{call['name']}: " in notes.text
                assert all(f"{name} is " in notes.text for name in call["arguments"])
    assert listed["system"] > listed["user"] > 0


def test_reworded_problems_are_the_same_problems_in_other_words(shared):
    rng, linked, changed = random.Random(11), 0, 0
    for items in shared:
        told = calls.reworded(rng, items)
        common = calls.common_words()
        for item, other in zip(items, told):
            assert (other.answers, other.facts) == (item.answers, item.facts)
            assert [tool["name"] for tool in other.tools] == [tool["name"] for tool in item.tools]
            assert [[*tool["parameters"]] for tool in other.tools] == [[*tool["parameters"]] for tool in item.tools]
            assert function_calling.verify(json.dumps(other.answers), other.answers, other.tools).ok
            assert all(fact.phrase.strip("'") in other.query for fact in item.facts if fact.phrase in item.query)
            before, after = (re.findall("[A-Za-z]+", text) for text in (item.query, other.query))
            described = set(re.findall("[a-z]+", calls.tool_list(item.tools).lower()))
            for word in {word.lower() for word in before} & described - common:
                linked += 1
                changed += word not in {w.lower() for w in after}
    assert linked > 100 and changed / linked > 0.5  # those within values stay


def test_drills_in_working_teach_the_notes_and_not_their_opening(shared):
    rng = random.Random(10)
    for items in shared:
        text = calls.working(rng, items)
        assert text[0].role == "system"
        for query, notes in zip(text[1::2], text[2::2]):
            assert notes.text.startswith(calls.OPENING) and notes.loss == [(len(calls.OPENING), len(notes.text))]
            assert not query.loss


def test_the_chat_template_lists_tools_as_the_texts_do(items, tokenizer):
    assert tokenizer.chat_template == CHAT_TEMPLATE
    for item in items[:100]:
        messages = function_calling.TASK.messages(item.problem())
        rendered = prompt_ids(tokenizer, messages, function_calling.TASK.tools(item.problem()))
        text = [calls.Message("system", calls.tool_list(item.tools)), calls.Message("user", item.query)]
        ids = encode(tokenizer, [text])[0][0]
        assert rendered[: len(ids)] == ids
        assert tokenizer.decode(rendered[len(ids) :]) == "<|im_start|>assistant\n"


def test_a_name_is_cut_alike_in_the_list_and_in_the_call(items, tokenizer):
    def within(name, text):
        cut = tokenizer(name)["input_ids"]
        whole = tokenizer(text)["input_ids"]
        return any(whole[i : i + len(cut)] == cut for i in range(len(whole)))

    for item in items[:100]:
        for answer in item.answers:
            for name in (answer["name"], *answer["arguments"]):
                assert within(name, calls.tool_list(item.tools)) and within(name, json.dumps(answer))


def test_fixed_sentences_are_single_tokens(tokenizer):
    assert all(len(tokenizer(phrase)["input_ids"]) == 1 for phrase in PHRASES)


def test_schemas_keep_what_the_list_of_tools_shows(items):
    for item in items[:100]:
        for tool, schema in zip(item.tools, read_tools(item.tools)):
            for name, parameter in tool["parameters"].items():
                kept = schema["function"]["parameters"]["properties"][name]
                assert kept == parameter
