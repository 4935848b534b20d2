"""Conversations: recorded tokens against the chat template, cached logits against plain forwards."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import trl
from peft import get_peft_model

from r3lib import folded, models, prompts
from r3lib.conversation import SPANS, Conversation, Transcript, prompt_ids, rendered
from r3lib.files import DATA, read_jsonl
from r3lib.loop import Loop
from r3lib.machine.profiles import PROFILES
from r3lib.problems.countdown import TASK
from r3lib.problems.function_calling import TASK as CALLS
from r3lib.static import Passes

TOLERANCE = {"tiny": 1e-4, "nano": 1e-3}
TEMPLATES = Path(trl.__file__).parent / "chat_templates"


@pytest.fixture(params=TOLERANCE)
def either(request):
    """(model, tokenizer, tolerance of logits): float32 and NF4."""
    return *request.getfixturevalue(request.param), TOLERANCE[request.param]


def begin(model, tokenizer, problems, seed=0) -> Conversation:
    conversation = Conversation(model, tokenizer, seed)
    conversation.open(TASK, problems)
    return conversation


def sampled(model, tokenizer, problems, seed=0) -> Conversation:
    """A whole conversation, sampled, its messages cut off or not."""
    conversation = begin(model, tokenizer, problems, seed)
    conversation.reply("attempt", 7, 1.0)
    conversation.say(TASK.reflect_prompt, "reflection_prompt")
    conversation.reply("reflection", 9, 1.0)
    conversation.say([TASK.ask(p) for p in problems], "retry_prompt")
    conversation.reply("retry", 7, 1.0)
    return conversation


def assert_cache_is_exact(conversation: Conversation, tolerance: float) -> None:
    """The next-token logits of every row are those of a plain forward over its unpadded transcript."""
    conversation.read()
    for row, transcript in enumerate(conversation.transcripts):
        with torch.no_grad():
            plain = conversation.model(
                input_ids=torch.tensor([transcript.ids], device=conversation.model.device)
            ).logits[0, -1]
        torch.testing.assert_close(conversation._logits[row], plain, atol=tolerance, rtol=0)


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
        tokenizer.chat_template = (TEMPLATES / template).read_text(encoding="utf-8")
    said = ("<answer>1 + 2</answer>", "I forgot a number. Use 3 * (4 + 5).", "<answer>3 * (4 + 5)</answer>")
    conversation = begin(model, tokenizer, problems)
    asks = [TASK.ask(p) for p in problems]
    conversation.put([said[0]] * len(problems), "attempt")
    conversation.say(TASK.reflect_prompt, "reflection_prompt")
    conversation.put([said[1]] * len(problems), "reflection")
    conversation.say(asks, "retry_prompt")
    conversation.put([said[2]] * len(problems), "retry")
    for ask, transcript in zip(asks, conversation.transcripts):
        users, assistants = (ask, TASK.reflect_prompt, ask), said
        messages = [
            m
            for user, assistant in zip(users, assistants)
            for m in ({"role": "user", "content": user}, {"role": "assistant", "content": assistant})
        ]
        whole = tokenizer.apply_chat_template(messages, tokenize=False)
        assert transcript.ids + tokenizer("<|im_end|>\n")["input_ids"] == tokenizer(whole)["input_ids"]
    assert conversation.texts("reflection") == [said[1]] * len(problems)


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
    tokenizer.chat_template = (TEMPLATES / f"{request.param}.jinja").read_text(encoding="utf-8")
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
    conversation = Conversation(model, tokenizer)
    conversation.open(CALLS, calls)
    conversation.put([said[0]] * len(calls), "attempt")
    conversation.say(CALLS.reflect_prompt, "reflection_prompt")
    conversation.put([said[1]] * len(calls), "reflection")
    conversation.say([CALLS.ask(p) for p in calls], "retry_prompt")
    conversation.put([said[2]] * len(calls), "retry")
    for problem, transcript in zip(calls, conversation.transcripts):
        turns = (CALLS.ask(problem), said[0], CALLS.reflect_prompt, said[1], CALLS.ask(problem))
        messages = [{"role": r, "content": c} for r, c in zip(("user", "assistant") * 3, turns)]

        # without tools, what the template adds to the first message is the same
        after = rendered(tokenizer, messages).removeprefix(rendered(tokenizer, messages[:1]))
        begun = prompt_ids(tokenizer, messages[:1], CALLS.tools(problem))
        assert transcript.ids[: len(begun)] == begun
        assert tokenizer.decode(transcript.ids[len(begun) :]) == after + said[2]
        marked = [token for token, one in zip(transcript.ids, transcript.mask(), strict=True) if one]
        assert tokenizer.decode(marked) == tokenizer.decode(transcript.tokens("reflection")) == said[1]


def test_a_cut_off_message_is_closed_and_a_closed_one_is_not_closed_twice(tiny, problems):
    model, tokenizer = tiny
    end, word = tokenizer.eos_token_id, tokenizer("7")["input_ids"][0]
    conversation = begin(model, tokenizer, problems[:3])
    with dictated(model, [[end, word, word], [word, end, word]]):  # ends at once, ends at the limit, is cut off
        texts = conversation.reply("attempt", 2, 0)
    conversation.say("Again.", "retry_prompt")
    closing = "<|im_end|>\n<|im_start|>user\nAgain.<|im_end|>\n<|im_start|>assistant\n"
    assert texts == ["", "7", "77"]
    assert [t.tokens("attempt") for t in conversation.transcripts] == [[end], [word, end], [word, word]]
    whole = [tokenizer.decode(t.ids[t.spans["attempt"][0] :]) for t in conversation.transcripts]
    assert whole == [text + closing for text in texts]


def test_a_new_chat_template_is_used(tiny, problems):
    model, tokenizer = tiny[0], copy.deepcopy(tiny[1])

    def said() -> str:
        conversation = begin(model, tokenizer, problems[:1])
        conversation.say("Again.", "again")
        return tokenizer.decode(conversation.transcripts[0].tokens("again"))

    assert said().endswith("<|im_start|>assistant\n")
    tokenizer.chat_template = tokenizer.chat_template.replace("<|im_start|>assistant", "<|im_start|>helper")
    assert said().endswith("<|im_start|>helper\n")


# the cache


def test_logits_after_messages_of_different_lengths(either, problems):
    model, tokenizer, tolerance = either
    conversation = sampled(model, tokenizer, problems)
    conversation.say([f"Again, {'and ' * row}once more." for row in range(len(problems))], "again")
    assert len({len(t.ids) for t in conversation.transcripts}) > 2
    assert_cache_is_exact(conversation, tolerance)


def test_logits_after_select(either, problems):
    model, tokenizer, tolerance = either
    conversation = begin(model, tokenizer, problems[:4])
    conversation.reply("attempt", 5, 1.0)
    kept = [conversation.transcripts[row].ids for row in (3, 0)]
    conversation.select([3, 0])
    assert [t.ids for t in conversation.transcripts] == kept
    conversation.say(["Again.", "Say that once more, please."], "again")
    assert_cache_is_exact(conversation, tolerance)


def test_logits_after_fork(either, problems):
    """Copies share what was read, then go their own ways."""
    model, tokenizer, tolerance = either
    conversation = begin(model, tokenizer, problems[:3])
    own = [t.ids[:] for t in conversation.transcripts]
    conversation.fork([2, 1, 3])
    assert [t.ids for t in conversation.transcripts] == [own[row] for row in (0, 0, 1, 2, 2, 2)]
    assert_cache_is_exact(conversation, tolerance)
    conversation.reply("attempt", 6, 1.5)
    assert conversation.transcripts[3].ids != conversation.transcripts[4].ids
    conversation.say([f"Again, {'and ' * row}once more." for row in range(6)], "again")
    assert_cache_is_exact(conversation, tolerance)


def test_logits_after_rewind(either, problems):
    """Two futures of one past: the second knows nothing of the first."""
    model, tokenizer, tolerance = either
    conversation = begin(model, tokenizer, problems[:3])
    conversation.reply("attempt", 5, 1.0)
    past, here = [t.ids[:] for t in conversation.transcripts], conversation.mark()
    for text in ("Reflect on what went wrong.", "Again."):
        conversation.rewind(here)
        assert [t.ids for t in conversation.transcripts] == past
        conversation.say(text, "again")
        assert_cache_is_exact(conversation, tolerance)
        conversation.reply("retry", 5, 1.0)


def test_rewind_to_a_fork(tiny, problems):
    """Sampling twice from one fork is what drawing more reflections of one failure needs."""
    conversation = begin(*tiny, problems[:1])
    conversation.fork([3])
    here = conversation.mark()
    conversation.reply("attempt", 3, 0)
    first = [t.ids for t in conversation.transcripts]
    conversation.rewind(here)
    conversation.reply("attempt", 3, 0)
    assert [t.ids for t in conversation.transcripts] == first


# decoding


def test_greedy_reply_is_that_of_generate(either, problems):
    model, tokenizer, _ = either
    conversation = begin(model, tokenizer, problems)
    batch = tokenizer.pad({"input_ids": [t.ids for t in conversation.transcripts]}, return_tensors="pt").to(
        model.device
    )
    out = model.generate(**batch, do_sample=False, max_new_tokens=14)[:, batch["input_ids"].shape[1] :].tolist()
    conversation.reply("attempt", 14, 0)
    end = tokenizer.eos_token_id
    expected = [row[: row.index(end) + 1] if end in row else row for row in out]
    assert [t.tokens("attempt") for t in conversation.transcripts] == expected


def test_a_row_that_ended_is_not_written_to(tiny, problems, monkeypatch):
    """With one word of the first row declared an end of turn, that row stops there and the others go on as before."""
    model, tokenizer = tiny
    free = begin(model, tokenizer, problems[:3])
    free.reply("attempt", 8, 0)
    words = [t.tokens("attempt") for t in free.transcripts]
    stop = next(word for word in words[0][:5] if word not in words[1])
    monkeypatch.setattr(model.generation_config, "eos_token_id", [tokenizer.eos_token_id, stop])
    conversation = begin(model, tokenizer, problems[:3])
    conversation.reply("attempt", 8, 0)
    expected = [row[: row.index(stop) + 1] if stop in row else row for row in words]
    assert len(expected[0]) < len(expected[1])
    assert [t.tokens("attempt") for t in conversation.transcripts] == expected
    conversation.say("Again.", "again")
    assert_cache_is_exact(conversation, TOLERANCE["tiny"])
    assert conversation._mask.sum(1).tolist() == [len(t.ids) for t in conversation.transcripts]


def test_rows_that_end_leave_the_batch_and_come_back(either, problems):
    """Four rows, then two, then one are read; afterwards each has its own tokens in the cache, and no others."""
    model, tokenizer, tolerance = either
    end, a, b, c = tokenizer.eos_token_id, 300, 301, 302
    conversation = begin(model, tokenizer, problems[:4])
    asked = [len(t.ids) for t in conversation.transcripts]
    sizes = []
    handle = model.register_forward_hook(lambda module, args, output: sizes.append(output.logits.shape[0]))
    with dictated(model, [[end, end, a, b], [a, a, b, end], [c, a], [a], [end]]):
        conversation.reply("attempt", 5, 0)
    handle.remove()
    assert sizes == [4, 4, 2, 1, 1]
    assert [t.ids[n:] for t, n in zip(conversation.transcripts, asked)] == [[end], [end], [a, b, c, a, end], [b, end]]
    conversation.say([f"Again, {'and ' * row}once more." for row in range(4)], "again")
    assert_cache_is_exact(conversation, tolerance)
    assert conversation._mask.sum(1).tolist() == [len(t.ids) for t in conversation.transcripts]


@pytest.mark.parametrize("kind", ["nano", "tiny", "half"])
def test_folded_layers_are_those_of_base_and_adapter(kind, request, problems):
    """NF4, float32 and bfloat16 bases, the adapter on and off; afterwards the layers are as before."""
    base, tokenizer = request.getfixturevalue("tiny" if kind == "half" else kind)
    ids = torch.tensor([prompt_ids(tokenizer, TASK.messages(problems[0]))])
    base = copy.deepcopy(base)
    base = base.bfloat16() if kind == "half" else base
    model = get_peft_model(base, models.lora(PROFILES["nano"]))
    before = {name: p.detach().clone() for name, p in model.named_parameters() if "lora_" not in name}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.05)
        on = model(ids).logits
        with folded.folded(model):
            on_folded = model(ids).logits
            adapted = [module for module in model.modules() if hasattr(module, "base_layer")]
            assert adapted and all("forward" in vars(module) for module in adapted)
        with model.disable_adapter():
            off = model(ids).logits
            with folded.folded(model):
                off_folded = model(ids).logits
    assert (on - off).abs().max() > 0.1 and not any("forward" in vars(module) for module in model.modules())
    close = dict(atol=0.2, rtol=0.05) if kind == "half" else dict(atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(on_folded, on, **close)
    torch.testing.assert_close(off_folded, off, **close)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters() if name in before)


def test_a_gpu_without_room_leaves_the_layers_as_they_are(nano, monkeypatch):
    monkeypatch.setattr(folded, "_room", lambda model, pairs: False)
    with folded.folded(nano[0]):
        assert not any("forward" in vars(module) for module in nano[0].modules())


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_passes_at_fixed_addresses_write_the_same(either, problems, temperature, monkeypatch):
    """What a GPU replays as one graph, pass by pass: the same tokens, through groups, failures and a way back."""
    model, tokenizer, tolerance = either
    found = []
    for static in (False, True):
        monkeypatch.setattr(Conversation, "static", static)
        conversation = begin(model, tokenizer, problems, seed=6)
        conversation._ends = torch.arange(0, len(tokenizer), 6)  # rows end at all times
        conversation.fork([2] * len(problems))
        conversation.reply("attempt", 9, temperature)
        conversation.select(list(range(0, 2 * len(problems), 3)))
        here = conversation.mark()
        conversation.say(TASK.reflect_prompt, "reflection_prompt")
        conversation.reply("reflection", 12, temperature)
        conversation.rewind(here)
        conversation.say("Again.", "retry_prompt")
        conversation.reply("retry", 9, temperature)
        conversation.put([[9]] * len(conversation.transcripts), "more")
        assert_cache_is_exact(conversation, tolerance)
        found.append([(t.ids, t.spans) for t in conversation.transcripts])
    assert found[0] == found[1]
    assert len({len(ids) for ids, _ in found[0]}) > 2


def test_a_model_that_cannot_be_a_graph_writes_all_the_same(tiny, problems, monkeypatch):
    plain = begin(*tiny, problems)
    plain.reply("attempt", 6, 1.0)

    def capture(passes):
        passes._pass()  # what a capture that fails leaves in the cache
        raise RuntimeError("shapes depend on tokens")

    monkeypatch.setattr(Conversation, "static", True)
    monkeypatch.setattr(Passes, "_capture", capture)
    init = Passes.__init__
    monkeypatch.setattr(Passes, "__init__", lambda self, *given: (init(self, *given), setattr(self, "record", True))[0])
    conversation = begin(*tiny, problems)
    with pytest.warns(UserWarning, match="No CUDA graph of .*, so it writes slower: shapes"):
        conversation.reply("attempt", 6, 1.0)
    assert written(conversation) == written(plain)


def test_the_seed_decides_what_is_sampled(tiny, problems):
    first, same, other = ([t.ids for t in sampled(*tiny, problems, seed).transcripts] for seed in (3, 3, 4))
    assert first == same
    assert first != other


# what is drawn


def written(conversation: Conversation, span: str = "attempt") -> list[list[int]]:
    return [transcript.tokens(span) for transcript in conversation.transcripts]


@pytest.fixture(scope="module")
def drawn(nano, problems):
    """r3-nano's attempts and what follows, all eight problems in one batch."""
    return sampled(*nano, problems, seed=3)


@pytest.mark.parametrize("rows", [[0], [5], [3, 1], [7, 6, 5, 4, 3, 2, 1, 0]])
def test_a_row_says_the_same_in_any_batch_and_order(drawn, nano, problems, rows):
    other = sampled(*nano, [problems[i] for i in rows], seed=3)
    for span in ("attempt", "reflection", "retry"):
        assert written(other, span) == [written(drawn, span)[i] for i in rows]


def test_a_row_says_the_same_when_others_leave(drawn, nano, problems):
    conversation = begin(*nano, problems, seed=3)
    conversation.reply("attempt", 7, 1.0)
    conversation.select([6, 2])
    conversation.say(TASK.reflect_prompt, "reflection_prompt")
    conversation.reply("reflection", 9, 1.0)
    assert written(conversation, "reflection") == [written(drawn, "reflection")[i] for i in (6, 2)]


def draws(conversation: Conversation, span: str = "attempt", columns: int = 6) -> torch.Tensor:
    return conversation._draws(span, columns)


def test_draws_differ_by_seed_problem_message_sample_and_position(tiny, problems):
    conversation = begin(*tiny, problems[:2], seed=1)
    conversation.fork([2, 2])
    found = draws(conversation)
    assert found.shape == (4, 6) and 0 <= found.min() and found.max() < 1
    others = [draws(conversation, "retry"), draws(begin(*tiny, problems[:2], seed=2))]
    assert torch.cat([found, *others]).unique().numel() == 24 + 24 + 12
    steps = [draws(begin(*tiny, problems[:2], seed=(1, step))) for step in (0, 1)]
    assert torch.cat([found, *steps]).unique().numel() == 24 + 12 + 12
    assert torch.equal(draws(begin(*tiny, problems[:2], seed=(1,))), found[[0, 2]])


def test_draws_do_not_depend_on_the_limit_of_a_message(tiny, problems):
    conversation = begin(*tiny, problems[:2])
    assert torch.equal(draws(conversation, columns=9)[:, :4], draws(conversation, columns=4))


def test_samples_keep_their_numbers_through_fork_and_select(tiny, problems):
    conversation = begin(*tiny, problems[:3])
    conversation.fork([1, 3, 2])
    assert conversation.samples == [0, 0, 1, 2, 0, 1] and len(set(conversation.keys)) == 3
    whole = draws(conversation)
    conversation.select([5, 2])
    assert conversation.samples == [1, 1] and torch.equal(draws(conversation), whole[[5, 2]])
    conversation.fork([2, 2])
    assert conversation.samples == [2, 3, 2, 3]  # a sample of a sample has a number of its own


def test_groups_of_different_sizes(tiny, small, problems):
    """A group may be cut where the batch ends: what is left of it may be a single one."""
    loop = Loop(Conversation(*tiny), TASK, problems[:2], small)
    texts = loop.attempt(copies=[3, 1])
    assert len(texts) == 4 and loop.problems == [*[problems[0]] * 3, problems[1]]
    assert [t.tokens("prompt") for t in loop.conversation.transcripts] == [
        prompt_ids(tiny[1], TASK.messages(problem)) for problem in loop.problems
    ]


def test_two_wrong_answers_to_one_problem_draw_apart_once_told_so(tiny, problems):
    conversation = begin(*tiny, [problems[0]] * 2)
    conversation.put(["<answer>1</answer>", "<answer>2</answer>"], "attempt")
    assert torch.equal(*draws(conversation))
    conversation.tell_apart()
    assert not torch.equal(*draws(conversation))


def test_temperature_shapes_what_is_sampled(tiny, problems):
    """Near zero, sampling is greedy; high, it is not; and the share of a token is its softmax's."""
    greedy, cold, hot = (begin(*tiny, problems) for _ in range(3))
    greedy.reply("attempt", 6, 0)
    cold.reply("attempt", 6, 1e-4)
    hot.reply("attempt", 6, 5.0)
    assert written(cold) == written(greedy) != written(hot)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_tokens_share_is_its_probability(tiny, problems, temperature):
    model, tokenizer = tiny
    conversation = begin(model, tokenizer, problems[:1])
    conversation.fork([4000])
    logits = torch.full((len(tokenizer),), -1e9)
    logits[[300, 301, 302]] = torch.tensor([0.0, 0.7, 1.4])

    def force(module, args, output):
        output.logits[:] = logits

    handle = model.register_forward_hook(force)
    conversation._logits = None
    conversation._queue = [[300]] * 4000
    try:
        conversation.reply("attempt", 1, temperature)
    finally:
        handle.remove()
    tokens = torch.tensor(written(conversation)).flatten()
    shares = torch.stack([(tokens == t).double().mean() for t in (300, 301, 302)])
    torch.testing.assert_close(
        shares, torch.softmax(logits[[300, 301, 302]].double() / temperature, 0), atol=0.03, rtol=0
    )


def test_every_token_is_drawn_apart(tiny, problems):
    """Else a message whose first word was unlikely would go on with unlikely words."""
    model, tokenizer = tiny
    conversation = begin(model, tokenizer, problems[:1])

    def force(module, args, output):
        output.logits.fill_(-1e9)
        output.logits[..., [300, 301, 302]] = 0
        return output

    handle = model.register_forward_hook(force)
    try:
        conversation.reply("attempt", 60, 1.0)
    finally:
        handle.remove()
    [tokens] = written(conversation)
    assert len(tokens) == 60 and all(10 <= tokens.count(token) <= 30 for token in (300, 301, 302))


# errors


def test_a_row_without_a_question_is_an_error(tiny, problems):
    model, tokenizer = tiny
    conversation = Conversation(model, tokenizer)
    conversation.start([prompt_ids(tokenizer, TASK.messages(problems[0])), []])
    with pytest.raises(ValueError, match="nothing to answer"):
        conversation.reply("attempt", 3, 0)


def test_a_conversation_that_was_not_started_is_an_error(tiny):
    with pytest.raises(ValueError, match="nothing to answer"):
        Conversation(*tiny).reply("attempt", 3, 0)


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
