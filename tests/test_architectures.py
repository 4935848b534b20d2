"""Families by architecture and by chat template: what works is exact, what cannot work is refused in words."""

from __future__ import annotations

import copy
import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import trl
from test_conversation import assert_cache_is_exact, sampled
from transformers import AutoConfig

from r3lib import models
from r3lib.conversation import Conversation, end_tokens, prompt_ids, rendered, user_turn
from r3lib.files import DATA, R3Error, read_json
from r3lib.machine import architectures
from r3lib.machine.architectures import Family
from r3lib.machine.profiles import PROFILES
from r3lib.problems.countdown import TASK

ALL = {one.name: one for one in architectures.architectures()}
RECURRENT = ("Qwen 3.5", "Qwen 3, Next", "LFM 2", "Nemotron H", "Granite 4, hybrid", "Falcon H1", "Llama 4", "Mamba")
NO_LANGUAGE = [name for name, one in ALL.items() if one.config is None]
WORKING = [name for name in ALL if name not in (*RECURRENT, *NO_LANGUAGE)]
TEMPLATES = sorted(p.stem for p in (Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
PICTURES = ("idefics3", "llava_next", "smolvlm")  # their messages are lists of parts, and models.load refuses them
TEXT = [name for name in TEMPLATES if not name.endswith("_training") and name not in PICTURES]


@pytest.fixture(autouse=True, scope="module")
def brief():
    """Every fourth token ends a turn, so that rows finish at all times and leave holes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("r3lib.conversation.end_tokens", lambda model, tokenizer: list(range(0, len(tokenizer), 4)))
        yield


@pytest.fixture(scope="module", params=WORKING)
def working(request, brief, problems):
    """A whole conversation, sampled by the small model of a family, beyond its window if it has one."""
    tokenizer = ALL["SmolLM 2"].tokenizer()
    model = ALL[request.param].model(len(tokenizer))
    return read(sampled(model, tokenizer, problems))


def read(conversation: Conversation) -> Conversation:
    """The same, with one more word in each row and all in the cache."""
    conversation.put([[9]] * len(conversation.transcripts), "more")
    conversation.read()
    return conversation


def tolerance(conversation: Conversation) -> float:
    return 2e-4 * max(1.0, float(conversation._logits.abs().max()))


def test_the_cache_says_what_a_plain_pass_says(working):
    models.check_cache(working.model)
    window = getattr(working.model.config, "sliding_window", None)
    assert window is None or min(len(t.ids) for t in working.transcripts) > 2 * window
    assert (working._mask == 0).any(1).sum() > 1  # rows with holes
    assert_cache_is_exact(working, tolerance(working))


def test_rows_that_left_and_a_way_back_change_nothing(working, problems):
    """The same conversation, whose rows leave as soon as they have finished, and which went back once on its way."""
    again = Conversation(working.model, working.tokenizer, working.seed)
    again.leave_below = 1.0
    again.open(TASK, problems)
    again.reply("attempt", 7, 1.0)
    mark = again.mark()
    again.say("Another question, asked in vain.", "aside")
    again.reply("in vain", 20, 1.0)
    again.rewind(mark)
    again.say(TASK.reflect_prompt, "reflection_prompt")
    again.reply("reflection", 9, 1.0)
    again.say([TASK.ask(p) for p in problems], "retry_prompt")
    again.reply("retry", 7, 1.0)
    assert_cache_is_exact(read(again), tolerance(again))
    assert [t.ids for t in again.transcripts] == [t.ids for t in working.transcripts]


def test_a_window_is_counted_in_tokens_where_rows_have_holes(problems, monkeypatch):
    """transformers counts columns: by its own mask, rows with holes see fewer tokens."""
    monkeypatch.setattr(Conversation, "_seen", lambda self, positions: self._mask)
    tokenizer = ALL["SmolLM 2"].tokenizer()
    conversation = read(sampled(ALL["Mistral"].model(len(tokenizer)), tokenizer, problems))
    with pytest.raises(AssertionError):
        assert_cache_is_exact(conversation, 1e-2)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_model_that_sums_the_past_up_is_refused_when_it_is_loaded(name, small, tmp_path):
    tokenizer = ALL["SmolLM 2"].tokenizer()
    ALL[name].model(len(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    profile = dataclasses.replace(small, model=str(tmp_path), four_bit=False)
    with pytest.raises(R3Error, match="does not keep a key and a value of every token"):
        models.load(profile)


@pytest.mark.parametrize("name", NO_LANGUAGE)
def test_a_model_that_is_no_language_model_is_refused_when_it_is_loaded(name, small, tmp_path):
    AutoConfig.for_model(ALL[name].architecture).save_pretrained(tmp_path)
    models.load_tokenizer(PROFILES["nano"].model).save_pretrained(tmp_path)
    with pytest.raises(R3Error, match="no causal language model"):
        models.load(dataclasses.replace(small, model=str(tmp_path), four_bit=False))


def test_every_template_of_trl_has_its_architecture():
    """Later revisions of a template, and those of the models' other sizes, stand for the same architecture."""
    families = {one.template for one in ALL.values() if one.template}
    left = {re.sub(r"(_v\d|_training)+$", "", name) for name in TEMPLATES} - families
    same = {"lfm2_2_5": "lfm2", "nemotron_3_5_lightning": "nemotron_3_nano", "nemotron_3_super": "nemotron_3_nano"}
    same |= {"nemotron_3_ultra": "nemotron_3_nano", "qwen3_5_nothink": "qwen3_5_think", "qwen3_6": "qwen3_5_think"}
    assert left - same.keys() <= {"qwen3_8"} and set(same.values()) <= families


@pytest.fixture(params=TEXT)
def template(request):
    return Family(request.param, "", request.param, None).tokenizer()


def test_every_template_shows_query_and_tools_and_cuts_no_message(template):
    function = {
        "name": "get_weather",
        "description": "Weather of a town",
        "parameters": {"type": "object", "properties": {"town": {"type": "string", "description": "Which"}}},
    }
    ids = prompt_ids(template, [{"role": "user", "content": "How warm is it?"}], [{"function": function}])
    text = template.decode(ids)
    assert "How warm is it?" in text and "get_weather" in text and "town" in text
    words = "Now \u2581answer\u2581 again, \u2581answer\u2581."
    turn = template.decode(user_turn(template, str(template.chat_template), words))
    assert words in turn and turn.count("\u2581answer\u2581") == 2


def test_what_closes_a_turn_ends_it(template):
    """Whether or not eos or the generation config lists it."""
    first = user_turn(template, str(template.chat_template), ".")[0]
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=None))
    assert first in template.added_tokens_decoder and first in end_tokens(model, template)


DATED = {
    "SmolLM 3": 'Today Date: {{ strftime_now("%d %B %Y") }}',
    "Mistral Small 3": "{%- set today = strftime_now('%Y-%m-%d') %}The current date is {{ today }}.",
    "Granite": "Today's Date: {{- strftime_now('%B %d, %Y') }}.",
}


@pytest.mark.parametrize("name", DATED)
def test_a_template_that_asks_for_the_date_is_told_one(name):
    """transformers gives templates today's, and lets nobody give another."""
    tokenizer = copy.deepcopy(ALL["SmolLM 2"].tokenizer())
    tokenizer.chat_template = DATED[name] + "{{ messages[0]['content'] }}"
    assert re.search(r"26 July 2024|2024-07-26|July 26, 2024", rendered(tokenizer, [{"role": "user", "content": "."}]))


def test_a_tokenizer_with_several_templates(problems):
    """Hub models may have one for tools beside the usual one, and the usual one then is in a dict."""
    tokenizer = copy.deepcopy(ALL["SmolLM 2"].tokenizer())
    plain = tokenizer.chat_template
    tokenizer.chat_template = {"default": plain, "tool_use": "{{ tools[0]['function']['name'] }}" + plain}
    messages = TASK.messages(problems[0])
    assert rendered(tokenizer, messages) == rendered(ALL["SmolLM 2"].tokenizer(), messages)
    function = {"name": "weather", "description": "Of a town", "parameters": {"type": "object", "properties": {}}}
    with_tools = prompt_ids(tokenizer, messages, [{"type": "function", "function": function}])
    assert tokenizer.decode(with_tools).startswith("weather")
    assert user_turn(tokenizer, str(tokenizer.chat_template), "?")


def test_the_table_is_what_the_families_say():
    page = (DATA / "FAMILIES.md").read_text(encoding="utf-8")
    assert (
        page.partition("<!-- families:start -->\n")[2].partition("\n<!-- families:end -->")[0] == architectures.table()
    )
    assert {row["architecture"] for row in read_json(DATA / "models.json").values()} <= {
        one.architecture for one in ALL.values()
    }
