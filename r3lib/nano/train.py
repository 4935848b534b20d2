"""The recipe of r3-nano: from nothing to a hub-format checkpoint in one command (`r3 nano`).

A Qwen2-architecture causal LM learns the texts of `r3lib.nano.corpus` in float32 on the CPU (or a GPU where there is
one): matrices by Muon, everything else by AdamW. Seven phases, each with its own texts and its own ramp of the learning
rate: many bare sums and terse workings; workings that also name the numbers that are left; dead ends; bookkeeping;
candidates that are finished honestly however they were begun; more of the same, with none tried twice; and longer
searches. Killed runs go on from their last checkpoint.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from r3lib import models
from r3lib.files import DATA, rewind
from r3lib.nano import habits
from r3lib.nano.calls import CallTexts
from r3lib.nano.calls import corpus as call_corpus
from r3lib.nano.corpus import Message, Texts, corpus
from r3lib.nano.habits import Habits
from r3lib.nano.tokenizer import train_tokenizer
from r3lib.problems.function_calling_data import vocabulary


@dataclass(frozen=True)
class Phase:
    """A stretch of training: the rate rises to `peak` (a share of the full one), then falls straight to zero."""

    tokens: int
    peak: float
    texts: Texts | Habits
    warmup: float = 0.01  # share of the phase
    calls: CallTexts | None = None  # the function-calling texts, if any
    share: float = 0.0  # theirs


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a model; `seed` fixes first weights and texts, not the rounding of sums.

    start: the folder in data/ whose weights training begins from, None for random ones. tokenizer: the folder in data/
    whose tokenizer is taken, None to learn one; whole_words: which of the two kinds (`r3lib.nano.tokenizer`). The
    defaults are r3-nano's, `CALLS` is r3-nano-calls's, `PICO` r3-pico's; those that end in 2 are of the second edition.
    """

    hidden_size: int = 256
    intermediate_size: int = 768
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    vocab_size: int = 1700
    whole_words: bool = False
    start: str | None = None
    tokenizer: str | None = None
    phases: tuple[Phase, ...] = (
        Phase(13_000_000, 1.0, Texts(drills=0.25, left=False, dead_ends=0.0, worked=0.15, misses=0, honest=0.0)),
        Phase(9_000_000, 0.6, Texts(drills=0.06, dead_ends=0.0, worked=0.15, misses=0, honest=0.0), warmup=0.03),
        Phase(4_000_000, 0.35, Texts(dead_ends=0.4, worked=0.25, misses=0, honest=0.0), warmup=0.03),
        Phase(7_000_000, 0.5, Texts(books=0.2, dead_ends=0.4, worked=0.2, misses=0, honest=0.0), warmup=0.03),
        Phase(5_500_000, 0.5, Texts(dead_ends=0.2, worked=0.15, misses=1, honest=0.5), warmup=0.03),
        Phase(2_500_000, 0.35, Texts(dead_ends=0.2, worked=0.25, misses=1, honest=1.0), warmup=0.03),
        Phase(3_500_000, 0.35, Texts(worked=0.19), warmup=0.03),
    )
    batch_tokens: int = 8_192
    muon_lr: float = 0.01
    adam_lr: float = 2e-3
    weight_decay: float = 0.01
    seed: int = 0
    sizes: tuple[int, ...] = (3, 4)
    bfloat16: bool = False  # the products of matrices in the passes; weights and optimizers stay in float32


CALLS = Recipe(
    vocab_size=6000,
    whole_words=True,
    start="r3-nano",
    phases=(
        Phase(2_400_000, 0.6, Texts(worked=0.19), 0.03, CallTexts(worked=0.19), 0.75),
        Phase(4_600_000, 0.7, Texts(worked=0.19), 0.03, CallTexts(drills=0.35, disguised=0.7, worked=0.19), 0.85),
        Phase(4_200_000, 0.7, Texts(worked=0.19), 0.02, CallTexts(0.15, 0.5, 0.5, 0.19), 0.85),
        Phase(5_400_000, 0.7, Texts(worked=0.19), 0.02, CallTexts(0.15, 0.5, 0.6, 0.19), 0.7),
        Phase(2_100_000, 0.7, Texts(worked=0.19), 0.02, CallTexts(0.5, 0.5, 0.5, 0.19), 0.8),
        Phase(5_800_000, 0.7, Texts(worked=0.19), 0.02, CallTexts(0.3, 0.4, 0.6, 0.19), 0.75),
        Phase(4_400_000, 0.6, Texts(worked=0.19), 0.02, CallTexts(0.45, 0.3, 0.6, 0.19), 0.75),
        Phase(5_500_000, 0.7, Texts(worked=0.19), 0.02, CallTexts(0.2, 0.3, 0.5, 0.19), 1.0),
        Phase(4_000_000, 0.6, Texts(worked=0.19), 0.02, CallTexts(0.4, 0.15, 0.6, 0.19), 1.0),
        Phase(5_000_000, 0.7, Texts(worked=0.19), 0.02, CallTexts(0.3, 0.2, 0.4, 0.19, 0.7), 1.0),
        Phase(6_000_000, 0.7, Texts(worked=0.19), 0.02, CallTexts(0.45, 0.1, 0.4, 0.19, 0.7), 1.0),
    ),
)
SAID = dict(checks=(0.26, 0.06))
SECOND = Recipe(
    start="r3-nano",
    phases=(
        Phase(3_500_000, 0.6, Habits(drills=0.05, firsts=0.4, thought=0.6, **SAID), 0.03),
        Phase(5_000_000, 0.6, Habits(firsts=0.35, thought=0.5, **SAID), 0.03),
        Phase(3_500_000, 0.4, Habits(firsts=0.25, thought=0.4, **SAID), 0.03),
    ),
    bfloat16=True,
)
# a tenth of r3-nano's parameters, from the same texts in the same tokens, both editions
PICO = Recipe(hidden_size=96, intermediate_size=224, layers=3, heads=2, kv_heads=1, tokenizer="r3-nano")
PICO_2 = replace(PICO, start="r3-pico", tokenizer="r3-nano-2", phases=SECOND.phases, bfloat16=True)
RECIPES = {"r3-nano": Recipe(), "r3-nano-2": SECOND, "r3-nano-calls": CALLS, "r3-pico": PICO, "r3-pico-2": PICO_2}


def texts_of(phase: Phase, seed: int, held_out: set, sizes: tuple[int, ...]) -> Iterator[list[Message]]:
    """Endless texts of a phase, of one task or both. Countdown's are about no problem in `held_out`."""
    rng, countdown, calls = (
        random.Random(seed),
        (habits.corpus if isinstance(phase.texts, Habits) else corpus)(seed, held_out, sizes, phase.texts),
        call_corpus(seed, phase.calls or CallTexts()),
    )
    while True:
        yield next(calls if rng.random() < phase.share else countdown)


def encode(tokenizer: PreTrainedTokenizerFast, texts: list[list[Message]]) -> list[tuple[list[int], list[bool]]]:
    """Token ids of whole conversations, as the chat template renders them, and which of them carry loss.

    A token carries loss when its first character does; so does the end-of-turn token after a message whose last
    character does.
    """
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    newline = tokenizer("\n")["input_ids"]
    flat = [message for text in texts for message in text]
    heads = [f"{message.role}\n" for message in flat]
    batch = tokenizer([head + message.text for head, message in zip(heads, flat)], return_offsets_mapping=True)
    encoded = iter(zip(flat, heads, batch["offset_mapping"], batch["input_ids"]))
    out = []
    for text in texts:
        ids: list[int] = []
        mask: list[bool] = []
        for _ in text:
            message, head, offsets, tokens = next(encoded)
            carries = [False] * len(message.text)
            for a, b in message.loss:
                carries[a:b] = [True] * (b - a)
            ids += [start, *tokens, end, *newline]
            mask += [False] + [a >= len(head) and carries[a - len(head)] for a, _ in offsets]
            mask += [bool(carries and carries[-1])] + [False] * len(newline)
        out.append((ids, mask))
    return out


def batches(
    tokenizer: PreTrainedTokenizerFast, texts: Iterator[list[Message]], batch_tokens: int, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches `(ids, labels)`, both (rows, length), of texts of like length; labels are -100 without loss."""
    pad = tokenizer.pad_token_id
    while True:
        pool = sorted(encode(tokenizer, [next(texts) for _ in range(8192)]), key=lambda item: len(item[0]))
        ready, rows = [], []
        for i, row in enumerate(pool):
            rows.append(row)
            longest = -(-len(row[0]) // 16) * 16
            following = len(pool[i + 1][0]) if i + 1 < len(pool) else longest
            if (len(rows) + 1) * (-(-following // 16) * 16) > batch_tokens or i + 1 == len(pool):
                ids = torch.full((len(rows), longest), pad)
                labels = torch.full((len(rows), longest), -100)
                for r, (tokens, mask) in enumerate(rows):
                    ids[r, : len(tokens)] = torch.tensor(tokens)
                    labels[r, : len(tokens)] = torch.where(torch.tensor(mask), torch.tensor(tokens), -100)
                ready.append((ids, labels))
                rows = []
        rng.shuffle(ready)
        yield from ready


class Muon(torch.optim.Optimizer):
    """Momentum whose matrix updates are orthogonalized by a Newton-Schulz iteration (Jordan et al., 2024).

    torch.optim.Muon takes one matrix after another; this one takes those of one shape together. dtype: that of the
    iteration; a CPU without bfloat16 units runs bfloat16 four times slower than float32.
    """

    def __init__(self, params, lr: float, weight_decay: float, dtype: torch.dtype, momentum: float = 0.95):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))
        self.dtype = dtype

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.nn.Parameter]] = {}
            for p in group["params"]:
                shapes.setdefault(p.shape, []).append(p)
            for shape, params in shapes.items():
                grads = []
                for p in params:
                    buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
                    buffer.lerp_(p.grad, 1 - group["momentum"])
                    grads.append(p.grad.lerp(buffer, group["momentum"]))
                x = torch.stack(grads)  # (matrices, rows, columns)
                tall = shape[0] > shape[1]
                x = x.mT if tall else x
                x = (x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)).to(self.dtype)
                for _ in range(5):
                    gram = x @ x.mT
                    x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
                x = (x.mT if tall else x).float()
                scale = max(1.0, shape[0] / shape[1]) ** 0.5
                for p, update in zip(params, x):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"] * scale)


def make_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Qwen2ForCausalLM:
    torch.manual_seed(recipe.seed)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden_size,
            intermediate_size=recipe.intermediate_size,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.kv_heads,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        )
    )


def make_tokenizer(recipe: Recipe, held_out: set) -> PreTrainedTokenizerFast:
    """The tokenizer of a recipe: another model's, or learned from its first and its last texts."""
    if recipe.tokenizer:
        return models.load_tokenizer(str(DATA / recipe.tokenizer))
    texts = [
        text
        for phase in {recipe.phases[0], recipe.phases[-1]}
        for text in islice(texts_of(phase, recipe.seed, held_out, recipe.sizes), 8000 if recipe.whole_words else 4000)
    ]
    words = [m.text for text in texts for m in text] + [f"{role}\n" for role in ("user", "assistant", "system")] * 4000
    # every number to 999 is one token, and so is every word of the tools: what is copied is copied whole
    words += [str(number) for number in range(1000)] * (500 if recipe.whole_words else 50)
    words += [*vocabulary()] * 300 if recipe.whole_words else []
    return train_tokenizer(words, recipe.vocab_size, recipe.whole_words)


@torch.no_grad()
def carry_over(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Begin from another model's weights. A token that both tokenizers have keeps its embedding; another one begins as
    the mean of its old pieces, and a little noise, so that two tokens of the same pieces can part."""
    old, known = models.load_tokenizer(str(folder)), AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    embedding, weights = known.get_input_embeddings().weight, known.state_dict()
    rows = model.get_input_embeddings().weight.clone()
    kept = old.get_vocab()
    new = tokenizer.get_vocab()
    pieces = old([tokenizer.decode([i]) for i in new.values()])["input_ids"]
    for (token, i), ids in zip(new.items(), pieces):
        if token in kept:
            rows[i] = embedding[kept[token]]
        else:
            rows[i] = embedding[ids].mean(0) + 0.3 * embedding.std() * torch.randn(embedding.shape[1])
    model.load_state_dict({k: v for k, v in weights.items() if v.shape == model.state_dict()[k].shape}, strict=False)
    model.get_input_embeddings().weight.copy_(rows)


def rate(seen: int, phase: Phase) -> float:
    """Share of the full learning rate after `seen` tokens of a phase."""
    progress = min(1.0, seen / phase.tokens)
    return phase.peak * min(progress / phase.warmup, (1 - progress) / (1 - phase.warmup))


def lessons(
    recipe: Recipe, tokenizer: PreTrainedTokenizerFast, held_out: set, seen: int = 0, at: int = 0, taken: int = 0
) -> Iterator[tuple[int, int, float, torch.Tensor, torch.Tensor]]:
    """What is left to train on after `seen` tokens, `taken` steps into phase number `at`.

    Yields (phase number, steps into it, share of the full learning rate, ids, labels).
    """
    end = 0
    for number, phase in enumerate(recipe.phases):
        start, end = end, end + phase.tokens
        if number < at:
            continue
        texts = texts_of(phase, recipe.seed + number, held_out, recipe.sizes)
        stream = batches(tokenizer, texts, recipe.batch_tokens, random.Random(recipe.seed))
        taken = taken if number == at else 0
        if seen < end:
            for _ in range(taken):
                next(stream)
        while seen < end:
            ids, labels = next(stream)
            taken += 1
            yield number, taken, rate(seen + 1 - start, phase), ids, labels
            seen += ids.numel()


def train(recipe: Recipe, out: Path, held_out: set, checkpoint_every: float = 300.0) -> None:
    """Train and save to `out` (weights, tokenizer, recipe.json, log.jsonl); continue from out/checkpoint.pt.

    held_out: keys of problems (`r3lib.problems.countdown_data.key`) that no text may be about.
    """
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    else:
        tokenizer = make_tokenizer(recipe, held_out)
        tokenizer.save_pretrained(out)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = make_model(recipe, tokenizer)
    if recipe.start and not checkpoint.exists():
        carry_over(model, tokenizer, DATA / recipe.start)
    model = model.to(device).train()
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim < 2 or "embed" in n]
    optimizers = [
        Muon(matrices, recipe.muon_lr, recipe.weight_decay, torch.bfloat16 if recipe.bfloat16 else torch.float32),
        torch.optim.AdamW(rest, recipe.adam_lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    full = [group["lr"] for o in optimizers for group in o.param_groups]
    seen = step = at = taken = 0  # tokens and steps so far, the phase, steps into it
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        seen, step, at, taken = state["seen"], state["step"], state["phase"], state["taken"]
    rewind(out / "log.jsonl", step)
    log = (out / "log.jsonl").open("a", encoding="utf-8")
    saved_at = started = time.monotonic()
    total = sum(phase.tokens for phase in recipe.phases)
    bar = tqdm(total=total, initial=seen, unit="tok", unit_scale=True, desc=out.name, mininterval=5)
    left = lessons(recipe, tokenizer, held_out, seen, at, taken)
    for at, taken, share, ids, labels in left:
        ids, labels = ids.to(device), labels.to(device)
        for group, lr in zip((g for o in optimizers for g in o.param_groups), full):
            group["lr"] = lr * share
        carries = labels[:, 1:] != -100  # (rows, length - 1)
        with torch.autocast(device, torch.bfloat16, enabled=recipe.bfloat16):
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
            logits = model.lm_head(hidden[carries])  # (tokens with loss, vocabulary)
        loss = torch.nn.functional.cross_entropy(logits.float(), labels[:, 1:][carries])
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen, step = seen + ids.numel(), step + 1
        bar.update(ids.numel())
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
            log.write(
                json.dumps(
                    {
                        "step": step,
                        "tokens": seen,
                        "loss": round(loss.item(), 4),
                        "norm": round(norm.item(), 3),
                        "rate": round(share, 4),
                        "seconds": round(time.monotonic() - started, 1),
                    }
                )
                + "\n"
            )
            log.flush()
        if math.isnan(loss.item()):
            raise FloatingPointError(
                f"The loss is not a number at step {step}: lower muon_lr or adam_lr in the recipe."
            )
        if time.monotonic() - saved_at > checkpoint_every:
            saved_at = time.monotonic()
            partial = checkpoint.with_suffix(".tmp")
            torch.save(
                {
                    "model": model.state_dict(),
                    "optimizers": [o.state_dict() for o in optimizers],
                    "seen": seen,
                    "step": step,
                    "phase": at,
                    "taken": taken,
                },
                partial,
            )
            partial.replace(checkpoint)
    model.to(torch.bfloat16).save_pretrained(out)
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1) + "\n", encoding="utf-8")
    checkpoint.unlink(missing_ok=True)
