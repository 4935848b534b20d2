"""How r3-nano is made: which characters carry loss, the tokenizer, the held-out problems, a recipe in miniature."""

from __future__ import annotations

import itertools
import json
import math
import random
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from r3lib import models
from r3lib.files import DATA, read_jsonl
from r3lib.machine.profiles import PROFILES
from r3lib.nano import train as recipe_module
from r3lib.nano.corpus import OPENING, Message, Texts, book, corpus, dead_end, drill, wrong_tree
from r3lib.nano.tokenizer import CHAT_TEMPLATE, PHRASES
from r3lib.nano.train import CALLS, RECIPES, Phase, Recipe, encode, train
from r3lib.problems.countdown import verify
from r3lib.problems.countdown_data import key, value_of

TOY = Recipe(
    hidden_size=64,
    intermediate_size=128,
    layers=2,
    heads=2,
    kv_heads=1,
    vocab_size=400,
    phases=(Phase(40_000, 1.0, Texts(left=False)), Phase(20_000, 0.5, Texts(drills=0.2, books=0.2))),
    batch_tokens=512,
    sizes=(3,),
)
MEGABYTE = 1_000_000


class EvenTargets(set):
    """The held-out problems: all whose target is even."""

    def __contains__(self, item: tuple) -> bool:
        return item[1] % 2 == 0


HELD_OUT = EvenTargets()


@pytest.fixture(scope="module", params=["r3-nano", "r3-nano-2"])
def tokenizer(request):
    return models.load_tokenizer(str(DATA / request.param))


@pytest.fixture(scope="module")
def texts() -> list[list[Message]]:
    return list(itertools.islice(corpus(11, set()), 200))


@pytest.fixture(scope="module")
def drills() -> list[list[Message]]:
    return [drill(random.Random(seed)) for seed in range(40)]


@pytest.fixture(scope="module")
def encoded(tokenizer, texts) -> list[tuple[list[int], list[bool]]]:
    return encode(tokenizer, texts)


def problem_of(text: list[Message]) -> tuple[list[int], int]:
    numbers, target = re.search(r"numbers (\[.*?\]), create an equation that equals (\d+)", text[0].text).groups()
    return json.loads(numbers), int(target)


def segments(tokenizer, ids: list[int], mask: list[bool]) -> list[tuple[list[int], list[bool]]]:
    """Cut an encoded conversation before each message."""
    start = tokenizer.convert_tokens_to_ids("<|im_start|>")
    cuts = [*(i for i, token in enumerate(ids) if token == start), len(ids)]
    return [(ids[a:b], mask[a:b]) for a, b in zip(cuts, cuts[1:])]


# the loss mask


def test_exactly_the_marked_characters_carry_loss(tokenizer, texts, encoded, drills):
    """Spaces aside: a space before unmarked digits may hang on to the marked word before it."""
    for text, (ids, mask) in zip(texts + drills, encoded + encode(tokenizer, drills), strict=True):
        for message, (tokens, carries) in zip(text, segments(tokenizer, ids, mask), strict=True):
            said = tokenizer.decode([t for t, c in zip(tokens, carries) if c and t != tokenizer.eos_token_id])
            marked = "".join(message.text[a:b] for a, b in message.loss)
            assert said.replace(" ", "") == marked.replace(" ", "")


def test_the_end_of_turn_carries_loss_where_the_last_character_does(tokenizer, texts, encoded):
    """Or the model would not learn to stop; a message cut off on purpose must not teach it to stop there."""
    seen = set()
    for text, (ids, mask) in zip(texts, encoded):
        for message, (tokens, carries) in zip(text, segments(tokenizer, ids, mask)):
            closed = any(end == len(message.text) for _, end in message.loss)
            assert carries[tokens.index(tokenizer.eos_token_id)] == closed
            seen.add(closed)
    assert seen == {True, False}


def test_encoding_is_that_of_the_chat_template(tokenizer, texts, encoded):
    for text, (ids, mask) in zip(texts, encoded):
        rendered = tokenizer.apply_chat_template([{"role": m.role, "content": m.text} for m in text], tokenize=False)
        assert ids == tokenizer(rendered)["input_ids"] and len(ids) == len(mask)


def test_batches_hold_each_text_with_its_labels(tokenizer, texts, encoded, monkeypatch):
    code = {id(text): item for text, item in zip(texts, encoded)}
    monkeypatch.setattr(recipe_module, "encode", lambda _, pool: [code[id(text)] for text in pool])
    found = {}
    stream = recipe_module.batches(tokenizer, itertools.cycle(texts), 4096, random.Random(0))
    for ids, labels in itertools.islice(stream, 60):
        assert ids.shape == labels.shape and ids.numel() <= 4096
        for row, wanted in zip(ids.tolist(), labels.tolist()):
            length = row.index(tokenizer.pad_token_id) if tokenizer.pad_token_id in row else len(row)
            found[tuple(row[:length])] = wanted
    assert len(found) > 50
    for ids, mask in encoded:
        labels = found.pop(tuple(ids), None)
        expected = [token if one else -100 for token, one in zip(ids, mask)]
        assert labels is None or labels == expected + [-100] * (len(labels) - len(ids))
    assert not found


# what is taught


def test_only_right_answers_carry_loss(texts):
    """Every message that is an answer is either taught and right, or not taught; first failed attempts are wrong."""
    taught = failed = 0
    for text in texts:
        numbers, target = problem_of(text)
        for message in text:
            if message.role != "assistant" or not message.text.startswith("<answer>"):
                continue
            if message.loss:
                assert message.loss == [(0, len(message.text))] and verify(message.text, numbers, target).ok
                taught += 1
        if len(text) > 2:
            assert text[1].loss == [] and not verify(text[1].text, numbers, target).ok
            failed += 1
    assert taught == len(texts) and failed > len(texts) / 2


def test_a_wrong_tree_is_wrong_even_where_every_try_hits_the_target():
    """Rare in the corpus, but sure to come in a long one: the sum of the two numbers that are left is the target."""
    for seed in range(1000):
        assert value_of(wrong_tree(random.Random(seed), [11, 20], 31)) != 31


def test_workings_are_true_and_name_what_is_left():
    """Every step is right arithmetic on what is at hand: results so far and the untouched numbers, named after it."""
    checked = 0
    for text in itertools.islice(corpus(13, set()), 600):
        if len(text) != 6 or not text[3].text.startswith(OPENING) or not text[3].loss:
            continue
        numbers, target = problem_of(text)
        for candidate in re.findall(r"[.] (\d[^.]*), (?:no|yes)[.]", text[3].text):
            untouched, results = list(numbers), []
            for a, op, b, result, _, left in re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)( \(([\d ]+)\))?", candidate):
                assert value_of((op, int(a), int(b))) == int(result)
                for operand in (int(a), int(b)):
                    (results if operand in results else untouched).remove(operand)
                results.append(int(result))
                assert [int(word) for word in left.split()] == untouched
            if " = " in candidate.split(", ")[-1]:  # else a dead end
                assert len(results) == 1 and not untouched
                checked += 1
    assert checked > 200


@pytest.mark.parametrize("honest", [0.0, 0.5])
def test_what_is_taught_of_a_miss(honest):
    """Never its first choice if it is the first candidate; later choices if honest. No candidate comes twice."""
    taught, searched = {"begins": 0, "goes on": 0}, 0
    for text in itertools.islice(corpus(14, set(), texts=Texts(honest=honest)), 600):
        if len(text) != 6 or not text[3].text.startswith(OPENING) or not text[3].loss:
            continue
        said = text[3].text
        has_loss = [any(a <= i < z for a, z in text[3].loss) for i in range(len(said))]
        misses = list(re.finditer(r"(?<=[.] )\d[^.]*?(?=, no[.])", said))
        finished = [m[0] for m in misses if " = " in m[0].split(", ")[-1]]  # the others are dead ends
        assert len(set(finished)) == len(finished)
        for k, miss in enumerate(misses):
            begins, *goes_on = [miss.start() + c.start() for c in re.finditer(r"\d+ [-+*/] \d+(?= =)", miss[0])] or [
                miss.start()
            ]
            assert not (k == 0 and has_loss[begins])
            taught["begins"] += has_loss[begins]
            taught["goes on"] += sum(has_loss[i] for i in goes_on)
        searched += len(misses)
    assert searched > 200
    if honest:
        assert taught["begins"] > 0.2 * searched and taught["goes on"] > 0.6 * searched
    else:
        assert taught == {"begins": 0, "goes on": 0}


def test_books_use_up_the_numbers():
    for seed in range(40):
        rng = random.Random(seed)
        numbers = [rng.randint(1, 99) for _ in range(3 + seed % 2)]
        ask, reply = book(rng, numbers)
        assert ask.loss == [] and reply.loss == [(0, len(reply.text))]
        for way in reply.text.rstrip(".").split(". "):
            at_hand = list(numbers)
            for a, op, b, result in re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", way):
                assert value_of((op, int(a), int(b))) == int(result)
                at_hand.remove(int(a))
                at_hand.remove(int(b))
                at_hand.append(int(result))
            assert len(at_hand) == 1


def test_dead_ends_stop_where_no_step_can_be_taken():
    seen = set()
    for seed in range(200):
        rng = random.Random(seed)
        found = dead_end(rng, [7, 45, 92, 60][: 3 + seed % 2], left=True)
        if not found:
            continue
        *taken, (choice, result) = found
        a, op, b = choice.split()
        assert result == "" and (int(a) % int(b) if op == "/" else int(a) * int(b) > 999)
        assert all(result for _, result in taken)
        seen.add(op)
    assert seen == {"/", "*"}


def test_drills_are_true_and_teach_their_results(drills):
    for ask, reply in drills:
        facts = re.findall(r"(\d+) ([-+*/]) (\d+) = (\d+)", reply.text)
        assert ", ".join(f"{a} {op} {b} = {c}" for a, op, b, c in facts) == reply.text
        assert all(value_of((op, int(a), int(b))) == int(c) for a, op, b, c in facts)
        taught = "".join(reply.text[a:b] for a, b in reply.loss)
        assert taught == ", ".join(f" = {c}" for *_, c in facts) and ask.loss == []


def test_users_carry_no_loss(texts):
    assert all(message.loss == [] for text in texts for message in text if message.role == "user")


def test_worked_reflections_are_rarely_opened_with_loss():
    """The model shall be able to write them and seldom do: `Texts.worked` of the reflections whose kind is taught."""
    reflections = [t[3] for t in itertools.islice(corpus(12, set(), (3,)), 2500) if len(t) == 6]
    worked = [r for r in reflections if r.text.startswith(OPENING) and r.loss]
    opened = sum(r.loss[0] == (0, len(OPENING)) for r in worked)
    plain = sum(1 for r in reflections if not r.text.startswith(OPENING) and r.loss)
    assert len(worked) > 0.5 * len(reflections)
    assert 0.13 < opened / (opened + plain) < 0.27


# held-out problems


def test_held_out_problems_are_not_in_the_corpus():
    drawn = [problem_of(text) for text in itertools.islice(corpus(11, HELD_OUT), 200)]
    assert len({key(*problem) for problem in drawn}) > 150
    assert not any(key(*problem) in HELD_OUT for problem in drawn)


# the tokenizer


def test_digits_share_no_token_with_anything_else(tokenizer):
    assert [t for t in tokenizer.get_vocab() if re.search(r"\d", t) and not re.fullmatch(r"\d+", t)] == []


def test_numbers_are_cut_alike_wherever_they_stand(tokenizer):
    """Numbers of one length have one token count, and the same tokens in a list, an equation, a sentence."""

    def ids(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    for numbers in (range(10), range(10, 100)):
        assert len({len(ids(str(n))) for n in numbers}) == 1
    # one token each in the first edition; r3-nano-2's card says that some have two there
    assert len({len(ids(str(n))) for n in range(100, 1000)}) == (2 if "r3-nano-2" in tokenizer.name_or_path else 1)
    for n in (7, 34, 99, 192):
        for before, after in (
            ("[", ", 2, 6]"),
            ("<answer>(", " - 2) * 6</answer>"),
            ("Use 2 * ", "."),
            (" = ", ", no."),
        ):
            whole, own = ids(f"{before}{n}{after}"), ids(str(n))
            start = len(ids(before))
            assert tokenizer.decode(whole[:start]) == before and whole[start : start + len(own)] == own


@settings(deadline=None, max_examples=100, database=None)
@given(text=st.text(max_size=80) | st.text("<|>im_startendanswer/ 0123456789+-*()=,.\n", max_size=60))
def test_decoding_undoes_encoding(tokenizer, text):
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text


# the recipe in miniature


def shorten(patch: pytest.MonkeyPatch) -> None:
    """A few hundred texts, encoded once, stand for the endless corpus."""

    def short_corpus(seed, held_out, *rest):
        assert held_out is HELD_OUT
        return itertools.cycle(list(itertools.islice(corpus(seed, held_out, *rest), 400)))

    def encode_once(tokenizer, pool):
        distinct = {id(text): text for text in pool}
        code = dict(zip(distinct, encode(tokenizer, list(distinct.values()))))
        return [code[id(text)] for text in pool]

    patch.setattr(recipe_module, "corpus", short_corpus)
    patch.setattr(recipe_module, "encode", encode_once)


def run_toy(out: Path, stop_at: int | None = None) -> list[float]:
    """Train the toy with a checkpoint after every step; returns the tokens of its phase that each step had seen.

    stop_at: the step that is killed.
    """
    seen: list[float] = []
    rate = recipe_module.rate

    def watched_rate(tokens, phase):
        if len(seen) == stop_at:
            raise KeyboardInterrupt
        seen.append(tokens)
        return rate(tokens, phase)

    with pytest.MonkeyPatch.context() as patch:
        shorten(patch)
        patch.setattr(recipe_module, "rate", watched_rate)
        try:
            train(TOY, out, HELD_OUT, checkpoint_every=-1.0)
        except KeyboardInterrupt:
            assert stop_at is not None
    return seen


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """(folder, tokens seen at each step) of one uninterrupted run."""
    out = tmp_path_factory.mktemp("toy")
    return out, run_toy(out)


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """(folder, tokens seen at each step) of the same run, killed in step 121 and run again."""
    out = tmp_path_factory.mktemp("resumed")
    before = run_toy(out, stop_at=120)
    assert (out / "checkpoint.pt").exists() and not (out / "model.safetensors").exists()
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"step": 140, "loss": 9.0}\n')  # a step that was logged, but killed before its checkpoint
    return out, before + run_toy(out)


def test_the_recipe_lowers_the_loss(toy):
    """Conversations and drills differ in loss, so means of three; guessing blindly costs the vocabulary's logarithm."""
    losses = [line["loss"] for line in read_jsonl(toy[0] / "log.jsonl")]
    first, last = sum(losses[:3]) / 3, sum(losses[-3:]) / 3
    assert len(losses) >= 6 and last < first and last < 0.65 * math.log(TOY.vocab_size)


def test_the_recipe_writes_a_model_that_loads(toy):
    out, _ = toy
    assert not (out / "checkpoint.pt").exists()
    assert json.loads((out / "recipe.json").read_text(encoding="utf-8")) == json.loads(json.dumps(asdict(TOY)))
    model, tokenizer = models.load(replace(PROFILES["nano"], model=str(out)))
    assert model.is_loaded_in_4bit and model.config.num_hidden_layers == TOY.layers
    ids = tokenizer("<|im_start|>user\n1 + 2", return_tensors="pt").to(model.device)
    assert model(**ids).logits.shape[-1] == len(tokenizer) == TOY.vocab_size


def test_a_killed_recipe_goes_on_with_the_same_batches(toy, resumed):
    """The steps begin at the same tokens, and the weights are the whole run's."""
    assert resumed[1] == toy[1]
    weights = [load_file(out / "model.safetensors") for out, _ in (resumed, toy)]
    torch.testing.assert_close(*weights, atol=2e-3, rtol=1e-2)


def test_a_recipe_goes_on_with_the_next_lesson_after_any_step(tokenizer, monkeypatch):
    """Killed within a phase, at its last step, at the very last step."""
    shorten(monkeypatch)
    recipe = replace(TOY, phases=tuple(replace(phase, tokens=4_000) for phase in TOY.phases), batch_tokens=1_000)
    seen, states, whole = 0, [], []
    for at, taken, share, ids, labels in recipe_module.lessons(recipe, tokenizer, HELD_OUT):
        seen += ids.numel()
        states.append((seen, at, taken))
        whole.append((at, taken, share, ids.tolist(), labels.tolist()))
    assert {at for _, at, _ in states} == set(range(len(recipe.phases)))
    last = max(k for k, (_, at, _) in enumerate(states) if at == 0)
    for k in (1, last, len(states) - 1):
        rest = recipe_module.lessons(recipe, tokenizer, HELD_OUT, *states[k])
        assert [(*head, ids.tolist(), labels.tolist()) for *head, ids, labels in rest] == whole[k + 1 :]


def test_a_killed_recipe_logs_no_step_twice(toy, resumed):
    again, whole = ([line["step"] for line in read_jsonl(out / "log.jsonl")] for out, _ in (resumed, toy))
    assert again == whole


# what is shipped


def test_the_data_folder_is_small():
    def size(pattern: str) -> int:
        return sum(path.stat().st_size for path in DATA.rglob(pattern) if path.is_file())

    assert size("*.safetensors") <= 31 * MEGABYTE and size("*") <= 36 * MEGABYTE


@pytest.mark.parametrize("name", [name for name in RECIPES if (DATA / name).is_dir()])
def test_the_shipped_model_is_that_of_the_recipe(name):
    """Settings, architecture and vocabulary, so that the one command remakes what is shipped."""
    recipe, folder = RECIPES[name], DATA / name
    assert json.loads((folder / "recipe.json").read_text(encoding="utf-8")) == json.loads(json.dumps(asdict(recipe)))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    tokenizer = models.load_tokenizer(str(folder))
    names = {
        "hidden_size": recipe.hidden_size,
        "intermediate_size": recipe.intermediate_size,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "num_key_value_heads": recipe.kv_heads,
        "vocab_size": len(tokenizer),
    }
    assert {name: config[name] for name in names} == names
    phrases = len(PHRASES) if recipe.whole_words else 0  # added to those that were learned
    assert recipe.vocab_size <= len(tokenizer) <= recipe.vocab_size + phrases
    assert tokenizer.chat_template == CHAT_TEMPLATE


def test_a_model_that_starts_from_another_speaks_as_that_one_did():
    """With the same tokenizer it is that model; with another, known tokens keep their embeddings, as do the layers."""
    from r3lib.nano.train import carry_over, make_model

    folder = DATA / "r3-nano"
    old = models.load_tokenizer(str(folder))
    ids = torch.tensor([old("<|im_start|>user\nsome words to read")["input_ids"]])
    shipped = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    model = make_model(RECIPES["r3-nano"], old)
    assert not torch.allclose(model(ids).logits, shipped(ids).logits, atol=0.1)
    carry_over(model, old, folder)
    torch.testing.assert_close(model(ids).logits, shipped(ids).logits)
    new = models.load_tokenizer(str(DATA / "r3-nano-calls"))
    other = make_model(CALLS, new)
    carry_over(other, new, folder)
    shared = set(old.get_vocab()) & set(new.get_vocab())
    assert len(shared) > 1000
    for token in sorted(shared)[:50]:
        rows = shipped.get_input_embeddings().weight[old.get_vocab()[token]]
        torch.testing.assert_close(other.get_input_embeddings().weight[new.get_vocab()[token]], rows)
    torch.testing.assert_close(other.model.layers[0].mlp.up_proj.weight, shipped.model.layers[0].mlp.up_proj.weight)
    assert other.get_output_embeddings().weight is other.get_input_embeddings().weight
