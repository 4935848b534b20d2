"""GRPO on masked tokens, in plain torch: what `r3lib.grpo` asks TRL to do, readable on one page.

Shapes: B sequences, in groups of G that share a prompt (neighbours in the batch); T completion tokens.
The paper's point is one argument: `mask` is 1 on the reflection and 0 on everything else, the retry included.

Not here: several updates per batch (`old_logps` covers them if you do), entropy terms, sequence-level ratios.
"""

from __future__ import annotations

import torch
from transformers import PreTrainedModel


def group_advantages(rewards: torch.Tensor, group_size: int, scale: bool = True) -> torch.Tensor:
    """How much better each completion did than its group (GRPO, arXiv 2402.03300, eq. 4.1).

    rewards: (B,) with B a multiple of group_size. Returns (B,): reward minus the group's mean, divided by the group's
    standard deviation plus 1e-4 where `scale`. A group whose rewards are all equal gives zeros: it teaches nothing.
    Raises ValueError if B is not a multiple of group_size.
    """
    if group_size < 2 or len(rewards) % group_size:
        raise ValueError(
            f"{len(rewards)} rewards do not split into groups of {group_size}; use whole groups of 2 or more."
        )
    groups = rewards.float().view(-1, group_size)  # (B / G, G)
    advantages = groups - groups.mean(1, keepdim=True)
    if scale:
        advantages = advantages / (groups.std(1, keepdim=True) + 1e-4)
    return advantages.flatten()


def zero_advantage_fraction(rewards: torch.Tensor, group_size: int) -> float:
    """Share of groups whose rewards are all equal, in [0, 1]: groups that cost time and give no gradient."""
    groups = rewards.float().view(-1, group_size)
    return (groups.max(1).values == groups.min(1).values).float().mean().item()


def token_logps(
    model: PreTrainedModel, ids: torch.Tensor, attention_mask: torch.Tensor, completion: int, temperature: float = 1.0
) -> torch.Tensor:
    """Log-probability of each of the last `completion` tokens of every sequence.

    ids, attention_mask: (B, P + T) with T = completion; pads anywhere the attention mask is 0. Returns (B, T).
    """
    positions = (attention_mask.cumsum(1) - 1).clamp(min=0)
    logits = model(
        input_ids=ids,
        attention_mask=attention_mask,
        position_ids=positions,
        use_cache=False,
        logits_to_keep=completion + 1,
    ).logits[:, :-1]  # (B, T, vocabulary)
    logps = torch.log_softmax(logits.float() / temperature, -1)
    return logps.gather(-1, ids[:, -completion:, None]).squeeze(-1)


def masked_grpo_loss(
    logps: torch.Tensor,
    mask: torch.Tensor,
    advantages: torch.Tensor,
    old_logps: torch.Tensor | None = None,
    ref_logps: torch.Tensor | None = None,
    epsilon: float = 0.2,
    beta: float = 0.0,
    level: str = "sequence",
) -> tuple[torch.Tensor, dict[str, float]]:
    """The clipped, KL-regularized GRPO loss over the tokens where mask is 1 (paper section 3.2).

    logps, mask: (B, T); advantages: (B,); old_logps: (B, T), those of the policy that sampled (None: this one, just
    now); ref_logps: (B, T), those of the reference policy, needed where beta > 0.
    level: "sequence", GRPO's own mean, where each reflection weighs the same however long it is (TRL's "grpo"); or
    "token", where each token does (TRL's "dapo"; arXiv 2503.14476, eq. 12), as in r3lib.grpo.
    Returns the scalar loss and {"kl", "clipped"}, means over masked tokens. On-policy the loss's *value* is zero at
    sequence level but for the KL term (advantages average to zero in every group); its gradient is not.
    """
    if beta and ref_logps is None:
        raise ValueError("beta > 0 needs ref_logps: the log-probabilities under the reference policy.")
    ratio = torch.exp(logps - (logps.detach() if old_logps is None else old_logps))  # (B, T)
    gain = advantages[:, None]  # one advantage for all tokens of a reflection
    per_token = -torch.minimum(ratio * gain, ratio.clamp(1 - epsilon, 1 + epsilon) * gain)
    kl = torch.zeros_like(logps)
    if beta:
        gap = ref_logps - logps
        kl = torch.exp(gap) - gap - 1  # Schulman's k3 estimate: unbiased, never negative
        per_token = per_token + beta * kl
    mask = mask.to(per_token.dtype)
    tokens = mask.sum().clamp(min=1)
    if level == "token":
        loss = (per_token * mask).sum() / tokens
    elif level == "sequence":
        loss = ((per_token * mask).sum(1) / mask.sum(1).clamp(min=1)).mean()
    else:
        raise ValueError(f"There is no level {level!r}; choose sequence or token.")
    clipped = ((ratio < 1 - epsilon) & (gain < 0)) | ((ratio > 1 + epsilon) & (gain > 0))
    return loss, {"kl": ((kl * mask).sum() / tokens).item(), "clipped": ((clipped * mask).sum() / tokens).item()}
