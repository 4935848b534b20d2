"""The reflect-retry loop: recorded tokens against the chat template, cached logits against plain forwards."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import trl
from peft import get_peft_model

from r3lib import models, prompts
from r3lib.conversation import DATE, SPANS, Conversation, Transcript, prompt_ids
from r3lib.files import DATA, read_jsonl
from r3lib.machine.profiles import PROFILES
from r3lib.problems.countdown import TASK
from r3lib.problems.function_calling import TASK as CALLS

TOLERANCE = {"tiny": 1e-4, "nano": 1e-3}
TEMPLATES = Path(trl.__file__).parent / "chat_templates"


@pytest.fixture(params=TOLERANCE)
def either(request):
    """(model, tokenizer, tolerance of logits): float32 and NF4."""
    return *request.getfixturevalue(request.param), TOLERANCE[request.param]


def begin(model, tokenizer, problems, seed=0) -> Conversation:
    talk = Conversation(model, tokenizer, len(problems), seed)
    talk.start([prompt_ids(tokenizer, TASK.messages(p)) for p in problems])
    return talk


def sampled(model, tokenizer, problems, seed=0) -> Conversation:
    """A whole conversation, sampled, its messages cut off or not."""
    talk = begin(model, tokenizer, problems, seed)
    talk.reply("attempt", 7, 1.0)
    talk.say(TASK.reflect_prompt, "reflection_prompt")
    talk.reply("reflection", 9, 1.0)
    talk.say([TASK.ask(p) for p in problems], "retry_prompt")
    talk.reply("retry", 7, 1.0)
    return talk


def assert_cache_is_exact(talk: Conversation, tolerance: float) -> None:
    """The next-token logits of every row are those of a plain forward over its unpadded transcript."""
    talk.read()
    for row, transcript in enumerate(talk.transcripts):
        with torch.no_grad():
            plain = talk.model(input_ids=torch.tensor([transcript.ids], device=talk.model.device)).logits[0, -1]
        torch.testing.assert_close(talk._logits[row], plain, atol=tolerance, rtol=0)


@contextmanager
def dictated(model, columns: list[list[int]]):
    """The model's k-th forward wants token columns[k][row] next."""
    script = iter(columns)

    def force(module, args, output):
        output.logits.fill_(-1e9)
        for row, token in enumerate(next(script)):
            output.logits[row, -1, token] = 0
        return output

    handle = model.register_forward_hook(force)
    try:
        yield
    finally:
        handle.remove()


# tokens and spans


def test_spans_are_in_order_and_cover_all_tokens(tiny, problems):
    for transcript in sampled(*tiny, problems).transcripts:
        assert tuple(transcript.spans) == SPANS
        edges = [0, *(end for _, end in transcript.spans.values())]
        assert [start for start, _ in transcript.spans.values()] == edges[:-1] and edges[-1] == len(transcript.ids)
        assert [token for span in SPANS for token in transcript.tokens(span)] == transcript.ids


def test_mask_marks_the_reflection_and_nothing_else(tiny, problems):
    for transcript in sampled(*tiny, problems).transcripts:
        marked = [token for token, one in zip(transcript.ids, transcript.mask(), strict=True) if one == 1]
        assert marked == transcript.tokens("reflection")
        assert sum(transcript.mask()) == len(marked)


def test_prompt_span_is_the_text_of_the_chat_template(tiny, problems):
    model, tokenizer = tiny
    for problem, transcript in zip(problems, begin(model, tokenizer, problems).transcripts):
        text = tokenizer.apply_chat_template(TASK.messages(problem), add_generation_prompt=True, tokenize=False)
        assert tokenizer.decode(transcript.tokens("prompt")) == text


@pytest.mark.parametrize("template", [None, "qwen2_5.jinja"])
def test_grown_conversation_is_the_tokenized_whole(tiny, problems, template):
    """Message by message gives the ids of the six messages rendered at once; Qwen2.5 adds a system message."""
    model, tokenizer = tiny[0], copy.deepcopy(tiny[1])
    if template:
        tokenizer.chat_template = (TEMPLATES / template).read_text()
    said = ("<answer>1 + 2</answer>", "I forgot a number. Use 3 * (4 + 5).", "<answer>3 * (4 + 5)</answer>")
    talk = begin(model, tokenizer, problems)
    asks = [TASK.ask(p) for p in problems]
    talk.put([said[0]] * len(problems), "attempt")
    talk.say(TASK.reflect_prompt, "reflection_prompt")
    talk.put([said[1]] * len(problems), "reflection")
    talk.say(asks, "retry_prompt")
    talk.put([said[2]] * len(problems), "retry")
    for ask, transcript in zip(asks, talk.transcripts):
        users, assistants = (ask, TASK.reflect_prompt, ask), said
        messages = [
            m
            for user, assistant in zip(users, assistants)
            for m in ({"role": "user", "content": user}, {"role": "assistant", "content": assistant})
        ]
        whole = tokenizer.apply_chat_template(messages, tokenize=False)
        assert transcript.ids + tokenizer("<|im_end|>\n")["input_ids"] == tokenizer(whole)["input_ids"]
    assert talk.texts("reflection") == [said[1]] * len(problems)


FAMILIES = {  # TRL's copy of each family's template: the tokens it needs, the one that ends a turn
    "qwen2_5": (("<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    "qwen3": (("<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    "llama3_1": (("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|eot_id|>"),
    "llama3_2": (("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|eot_id|>"),
    "phi3_5": (("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"), "<|end|>"),
}


@pytest.fixture(params=FAMILIES)
def family(request, tiny):
    """(model, tokenizer) with the chat template and the special tokens of a family of models."""
    tokens, end = FAMILIES[request.param]
    model, tokenizer = tiny[0], copy.deepcopy(tiny[1])
    tokenizer.add_special_tokens({"additional_special_tokens": [t for t in tokens if t not in tokenizer.get_vocab()]})
    tokenizer.eos_token, tokenizer.bos_token = end, tokens[0]
    tokenizer.chat_template = (TEMPLATES / f"{request.param}.jinja").read_text()
    return model, tokenizer


@pytest.fixture(scope="module")
def calls():
    return read_jsonl(DATA / "function_calling" / "validation.jsonl")[:6]


def test_every_family_is_shown_the_query_and_all_tools(family, calls):
    tokenizer = family[1]
    for problem in calls:
        ids = prompt_ids(tokenizer, CALLS.messages(problem), CALLS.tools(problem))
        text = tokenizer.decode(ids)
        assert problem["query"] in text
        for tool in problem["tools"]:
            assert f'"{tool["name"]}"' in text
            assert all(f'"{name}"' in text for name in tool["parameters"])


def test_prompts_do_not_change_with_the_date(family, calls):
    text = family[1].decode(prompt_ids(family[1], CALLS.messages(calls[0]), CALLS.tools(calls[0])))
    assert text.count("Today Date: 26 Jul 2024") == text.count("Today Date")


def test_the_reflection_span_of_a_call_is_exact_in_every_family(family, calls):
    """The reflection's tokens are its text's, and what surrounds it is what the template gives for the whole."""
    model, tokenizer = family
    said = ('[{"name": "a", "arguments": {}}]', "I chose the wrong tool.", '[{"name": "b", "arguments": {"x": 5}}]')
    talk = Conversation(model, tokenizer, len(calls))
    talk.start([prompt_ids(tokenizer, CALLS.messages(p), CALLS.tools(p)) for p in calls])
    talk.put([said[0]] * len(calls), "attempt")
    talk.say(CALLS.reflect_prompt, "reflection_prompt")
    talk.put([said[1]] * len(calls), "reflection")
    talk.say([CALLS.ask(p) for p in calls], "retry_prompt")
    talk.put([said[2]] * len(calls), "retry")
    for problem, transcript in zip(calls, talk.transcripts):
        turns = (CALLS.ask(problem), said[0], CALLS.reflect_prompt, said[1], CALLS.ask(problem))
        messages = [{"role": r, "content": c} for r, c in zip(("user", "assistant") * 3, turns)]

        def plain(messages, opening):
            return tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=opening, date_string=DATE
            )

        # without tools, what the template adds to the first message is the same
        after = plain(messages, True).removeprefix(plain(messages[:1], True))
        begun = prompt_ids(tokenizer, messages[:1], CALLS.tools(problem))
        assert transcript.ids[: len(begun)] == begun
        assert tokenizer.decode(transcript.ids[len(begun) :]) == after + said[2]
        marked = [token for token, one in zip(transcript.ids, transcript.mask(), strict=True) if one]
        assert tokenizer.decode(marked) == tokenizer.decode(transcript.tokens("reflection")) == said[1]


def test_a_cut_off_message_is_closed_and_a_closed_one_is_not_closed_twice(tiny, problems):
    model, tokenizer = tiny
    end, word = tokenizer.eos_token_id, tokenizer("7")["input_ids"][0]
    talk = begin(model, tokenizer, problems[:3])
    with dictated(model, [[end, word, word], [word, end, word]]):  # ends at once, ends at the limit, is cut off
        texts = talk.reply("attempt", 2, 0)
    talk.say("Again.", "retry_prompt")
    closing = "<|im_end|>\n<|im_start|>user\nAgain.<|im_end|>\n<|im_start|>assistant\n"
    assert texts == ["", "7", "77"]
    assert [t.tokens("attempt") for t in talk.transcripts] == [[end], [word, end], [word, word]]
    whole = [tokenizer.decode(t.ids[t.spans["attempt"][0] :]) for t in talk.transcripts]
    assert whole == [text + closing for text in texts]


def test_a_new_chat_template_is_used(tiny, problems):
    model, tokenizer = tiny[0], copy.deepcopy(tiny[1])

    def said() -> str:
        talk = begin(model, tokenizer, problems[:1])
        talk.say("Again.", "again")
        return tokenizer.decode(talk.transcripts[0].tokens("again"))

    assert said().endswith("<|im_start|>assistant\n")
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_start|>assistant", "<|im_start|>helper")
    assert said().endswith("<|im_start|>helper\n")


# the cache


def test_logits_after_messages_of_different_lengths(either, problems):
    model, tokenizer, tolerance = either
    talk = sampled(model, tokenizer, problems)
    talk.say([f"Again, {'and ' * row}once more." for row in range(len(problems))], "again")
    assert len({len(t.ids) for t in talk.transcripts}) > 2
    assert_cache_is_exact(talk, tolerance)


def test_logits_after_select(either, problems):
    model, tokenizer, tolerance = either
    talk = begin(model, tokenizer, problems[:4])
    talk.reply("attempt", 5, 1.0)
    kept = [talk.transcripts[row].ids for row in (3, 0)]
    talk.select([3, 0])
    assert [t.ids for t in talk.transcripts] == kept
    talk.say(["Again.", "Say that once more, please."], "again")
    assert_cache_is_exact(talk, tolerance)


def test_logits_after_fork(either, problems):
    """Copies share what was read, then go their own ways."""
    model, tokenizer, tolerance = either
    talk = begin(model, tokenizer, problems[:3])
    own = [t.ids[:] for t in talk.transcripts]
    talk.fork([2, 1, 3])
    assert [t.ids for t in talk.transcripts] == [own[row] for row in (0, 0, 1, 2, 2, 2)]
    assert_cache_is_exact(talk, tolerance)
    talk.reply("attempt", 6, 1.5)
    assert talk.transcripts[3].ids != talk.transcripts[4].ids
    talk.say([f"Again, {'and ' * row}once more." for row in range(6)], "again")
    assert_cache_is_exact(talk, tolerance)


def test_logits_after_rewind(either, problems):
    """Two futures of one past: the second knows nothing of the first."""
    model, tokenizer, tolerance = either
    talk = begin(model, tokenizer, problems[:3])
    talk.reply("attempt", 5, 1.0)
    past, here = [t.ids[:] for t in talk.transcripts], talk.mark()
    for text in ("Reflect on what went wrong.", "Again."):
        talk.rewind(here)
        assert [t.ids for t in talk.transcripts] == past
        talk.say(text, "again")
        assert_cache_is_exact(talk, tolerance)
        talk.reply("retry", 5, 1.0)


def test_rewind_to_a_fork(tiny, problems):
    """Sampling twice from one fork is what drawing more reflections of one failure needs."""
    talk = begin(*tiny, problems[:1])
    talk.fork([3])
    here = talk.mark()
    talk.reply("attempt", 3, 0)
    first = [t.ids for t in talk.transcripts]
    talk.rewind(here)
    talk.reply("attempt", 3, 0)
    assert [t.ids for t in talk.transcripts] == first


# decoding


def test_greedy_reply_is_that_of_generate(either, problems):
    model, tokenizer, _ = either
    talk = begin(model, tokenizer, problems)
    batch = tokenizer.pad({"input_ids": [t.ids for t in talk.transcripts]}, return_tensors="pt").to(model.device)
    out = model.generate(**batch, do_sample=False, max_new_tokens=14)[:, batch["input_ids"].shape[1] :].tolist()
    talk.reply("attempt", 14, 0)
    end = tokenizer.eos_token_id
    expected = [row[: row.index(end) + 1] if end in row else row for row in out]
    assert [t.tokens("attempt") for t in talk.transcripts] == expected


def test_a_row_that_ended_is_not_written_to(tiny, problems, monkeypatch):
    """With one word of the first row declared an end of turn, that row stops there and the others go on as before."""
    model, tokenizer = tiny
    free = begin(model, tokenizer, problems[:3])
    free.reply("attempt", 8, 0)
    words = [t.tokens("attempt") for t in free.transcripts]
    stop = next(word for word in words[0][:5] if word not in words[1])
    monkeypatch.setattr(model.generation_config, "eos_token_id", [tokenizer.eos_token_id, stop])
    talk = begin(model, tokenizer, problems[:3])
    talk.reply("attempt", 8, 0)
    expected = [row[: row.index(stop) + 1] if stop in row else row for row in words]
    assert len(expected[0]) < len(expected[1])
    assert [t.tokens("attempt") for t in talk.transcripts] == expected
    talk.say("Again.", "again")
    assert_cache_is_exact(talk, TOLERANCE["tiny"])
    assert talk._mask.sum(1).tolist() == [len(t.ids) for t in talk.transcripts]


def test_rows_that_end_leave_the_batch_and_come_back(either, problems):
    """Four rows, then two, then one are read; afterwards each has its own tokens in the cache, and no others."""
    model, tokenizer, tolerance = either
    end, a, b, c = tokenizer.eos_token_id, 300, 301, 302
    talk = begin(model, tokenizer, problems[:4])
    asked = [len(t.ids) for t in talk.transcripts]
    sizes = []
    handle = model.register_forward_hook(lambda module, args, output: sizes.append(output.logits.shape[0]))
    with dictated(model, [[end, end, a, b], [a, a, b, end], [c, a], [a], [end]]):
        talk.reply("attempt", 5, 0)
    handle.remove()
    assert sizes == [4, 4, 2, 1, 1]
    assert [t.ids[n:] for t, n in zip(talk.transcripts, asked)] == [[end], [end], [a, b, c, a, end], [b, end]]
    talk.say([f"Again, {'and ' * row}once more." for row in range(4)], "again")
    assert_cache_is_exact(talk, tolerance)
    assert talk._mask.sum(1).tolist() == [len(t.ids) for t in talk.transcripts]


def test_unpacked_layers_are_those_of_nf4(nano, problems):
    """Inside `unpacked` the logits are the same, with an adapter on and off; afterwards the layers are as before."""
    base, tokenizer = nano
    ids = torch.tensor([prompt_ids(tokenizer, TASK.messages(problems[0]))])
    model = get_peft_model(copy.deepcopy(base), models.lora(PROFILES["nano"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.05)
        on = model(ids).logits
        with nf4_cpu.unpacked(model):
            on_unpacked = model(ids).logits
            assert any("forward" in vars(module) for module in model.modules())
        with model.disable_adapter():
            off = model(ids).logits
            with nf4_cpu.unpacked(model):
                off_unpacked = model(ids).logits
    assert (on - off).abs().max() > 0.1 and not any("forward" in vars(module) for module in model.modules())
    torch.testing.assert_close(on_unpacked, on, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(off_unpacked, off, atol=1e-3, rtol=1e-3)


def test_the_seed_decides_what_is_sampled(tiny, problems):
    first, same, other = ([t.ids for t in sampled(*tiny, problems, seed).transcripts] for seed in (3, 3, 4))
    assert first == same
    assert first != other


# errors


def test_a_row_without_a_question_is_an_error(tiny, problems):
    model, tokenizer = tiny
    talk = Conversation(model, tokenizer, 2)
    talk.start([prompt_ids(tokenizer, TASK.messages(problems[0])), []])
    with pytest.raises(ValueError, match="nothing to answer"):
        talk.reply("attempt", 3, 0)


def test_a_conversation_that_was_not_started_is_an_error(tiny):
    with pytest.raises(ValueError, match="nothing to answer"):
        Conversation(*tiny, rows=2).reply("attempt", 3, 0)


def test_a_span_is_written_once():
    transcript = Transcript()
    transcript.add("retry", [1, 2])
    with pytest.raises(ValueError, match="'retry'"):
        transcript.add("retry", [3])
    assert transcript.ids == [1, 2]


def test_a_tokenizer_without_chat_template_is_an_error(tiny):
    tokenizer = copy.deepcopy(tiny[1])
    tokenizer.chat_template = None
    with pytest.raises(ValueError, match="no chat template"):
        prompt_ids(tokenizer, [{"role": "user", "content": prompts.COUNTDOWN_REFLECT}])
