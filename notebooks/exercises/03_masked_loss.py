# %% [markdown] group_advantages · easy · 10 minutes · Better than the group
# Write section 1's advantages for a whole batch: reward minus the group's mean, divided by the group's standard
# deviation plus 1e-4. Neighbours are a group.

# %%
import torch


def group_advantages(rewards, group_size):
    """The advantages, a tensor (B,).

    rewards: a tensor (B,) of float, groups of `group_size` side by side; B is a multiple of it.
    Example: rewards [1, 0, 0, 0] in groups of 4 give about [1.5, -0.5, -0.5, -0.5].
    """
    ### BEGIN SOLUTION
    groups = rewards.view(-1, group_size)
    above = groups - groups.mean(1, keepdim=True)
    return (above / (groups.std(1, keepdim=True) + 1e-4)).flatten()
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("groups - groups.mean(1, keepdim=True)", "groups.mean(1, keepdim=True) - groups", "not mean minus reward"),
    (" + 1e-4", "", "a group whose rewards are all equal gives zeros"),
    ("groups.std(1, keepdim=True)", "groups.std(1, keepdim=True, correction=0)", "standard deviation with n - 1"),
    ("view(-1, group_size)", "view(1, -1)", "each group has a mean and a deviation of its own"),
    ("view(-1, group_size)", "view(group_size, -1).T", "neighbours are a group"),
]

# %% [markdown] reflection_mask · medium · 10 minutes · The mask of a batch
# Transcripts differ in length, so a batch is filled up at the right. Make its mask: 1 on the reflections; 0 before
# them, on the retries and on what was filled up. (`t.ids` are a transcript's tokens, `t.spans["reflection"]` is
# `(start, end)`.)

# %%
import torch


def reflection_mask(transcripts):
    """A tensor (B, T) of 0 and 1, T the length of the longest transcript.

    Example. Row 1: 2 tokens of the prompt, 1 of the reflection, then padding. Row 2: 1 token of
    the prompt, 2 of the reflection, 1 of the retry.
    [[0, 0, 1, 0],
     [0, 1, 1, 0]]
    """
    ### BEGIN SOLUTION
    width = max(len(t.ids) for t in transcripts)
    mask = torch.zeros(len(transcripts), width)
    for row, t in enumerate(transcripts):
        start, end = t.spans["reflection"]
        mask[row, start:end] = 1
    return mask
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("start:end", "start:", "the retry is not rewarded"),
    ("start:end", "start : end + 1", "the retry is not rewarded"),
    ("start:end", "start - len(t.ids) : end - len(t.ids) or None", "filled up with 0 at their right end"),
    ("len(t.ids) for", 't.spans["reflection"][1] for', "the mask is 0 from the reflection's end on"),
]

# %% [markdown] masked_grpo_loss · hard · 20 minutes · GRPO's loss
# Section 2 has it as `grpo`; now write it yourself. For each token: the ratio of new to old
# probability times the advantage of its row, and the same with the ratio cut to 1 ± epsilon; the smaller of the two
# counts, with a minus, as training makes the loss small. Average over each row's masked tokens, then over the rows.

# %%
import torch


def masked_grpo_loss(logps, old_logps, mask, advantages, epsilon=0.2):
    """The loss, a tensor without dimensions, through which a gradient flows into `logps`.

    logps, old_logps, mask: (B, T); advantages: (B,). Each row of the mask has a 1.
    Example: one token, ratio 2, advantage +1, epsilon 0.2: the loss is -1.2.
    """
    ### BEGIN SOLUTION
    ratio = torch.exp(logps - old_logps)
    gain = advantages[:, None]
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon)
    per_token = -torch.minimum(ratio * gain, clipped * gain)
    per_row = (per_token * mask).sum(1) / mask.sum(1)
    return per_row.mean()
    ### END SOLUTION


# %% mistakes
MISTAKES = [
    ("-torch.minimum", "torch.minimum", "mind the minus"),
    ("(per_token * mask).sum(1) / mask.sum(1)", "per_token.mean(1)", "counts nowhere, be it padding or the retry"),
    ("/ mask.sum(1)", "/ mask.shape[1]", "counts nowhere, be it padding or the retry"),
    (
        "(per_token * mask).sum(1) / mask.sum(1)",
        "(per_token * mask).sum() / mask.sum()",
        "each reflection is averaged over its own tokens",
    ),
    ("clipped * gain)", "ratio * gain)", "no more than 1 + epsilon times the advantage"),
    ("torch.minimum(ratio * gain, clipped * gain)", "(clipped * gain)", "clipping must not hide"),
    ("1 - epsilon, 1 + epsilon", "0.8, 1.2", "epsilon is an argument"),
    ("exp(logps - old_logps)", "exp(logps.detach() - old_logps) + 0 * logps", "must not be detached"),
]
