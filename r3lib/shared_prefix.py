"""A prompt is read once for all reflections on it: the kit's one use of a private method of TRL's.

A group's rows are the same but for their ends, and a failed conversation is longer than most reflections on it, so the
prompt is most of a batch. Here the reflections attend to one cache of it, through which the gradient flows; the
log-probabilities are the same (trl 1.16; tests/test_grpo.py compares).
"""

from __future__ import annotations

import torch
from transformers import DynamicCache
from trl import GRPOTrainer


class SharedPrefix(GRPOTrainer):
    """GRPOTrainer that reads a prompt once for all reflections on it, and reflections of like length together.

    Under gradient checkpointing, which keeps no cache, rows are read whole.
    """

    rows_at_once = 8

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **options
    ):
        """input_ids, attention_mask: (rows, columns), padded on both sides. Returns tensors (rows, logits_to_keep)."""
        columns = input_ids.shape[1]
        before = columns - logits_to_keep - 1  # columns of the prompt but its last token, which predicts the first
        whole = self.args.gradient_checkpointing
        prompts = None if whole else self._read_prompts(model, input_ids[:, :before], attention_mask[:, :before])
        ends = columns - attention_mask.flip(1).argmax(1)  # (rows,) one past a row's last token
        order = ends.argsort(stable=True)
        parts = []
        for rows in order.split(self.rows_at_once):
            cut = min(columns - int(ends[rows].max()), logits_to_keep - 1)
            ids, mask, keep = (
                input_ids[rows, : columns - cut],
                attention_mask[rows, : columns - cut],
                logits_to_keep - cut,
            )
            if whole:
                found = super()._get_per_token_logps_and_entropies(
                    model, ids, mask, keep, batch_size, compute_entropy, **options
                )
            else:
                read = self._read_reflections(model, *prompts, rows, ids[:, before:], mask[:, before:])
                found = read.log_probs[:, -keep:], read.entropy[:, -keep:] if compute_entropy else None, None
            parts.append([x if x is None else torch.nn.functional.pad(x, (0, cut)) for x in found])
        back = order.argsort()
        return tuple(None if x[0] is None else torch.cat(x)[back] for x in zip(*parts))

    def _read_prompts(self, model, ids, attention) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
        """Each of the different prompts once: their cache, their mask (prompts, columns), and every row's prompt."""
        different, which = torch.cat([ids, attention], 1).unique(dim=0, return_inverse=True)
        ids, mask = different.chunk(2, 1)
        skip = int(mask.argmax(1).min())  # columns of padding in every row
        ids, mask = ids[:, skip:], mask[:, skip:]
        with self.accelerator.autocast():
            cache = DynamicCache()  # keeps all, whatever a layer's window
            model(input_ids=ids, attention_mask=mask, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return cache, mask, which

    def _read_reflections(self, model, shared, mask, which, rows, ids, own):
        """TRL's scores of these rows' tokens after the first, which is the prompt's last."""
        cache = DynamicCache()
        for layer, one in enumerate(shared.layers):
            cache.update(one.keys[which[rows]], one.values[which[rows]], layer)
        labels = ids.masked_fill(own == 0, -100)
        labels[:, 0] = -100
        with self.accelerator.autocast():
            return model(
                input_ids=ids,
                attention_mask=torch.cat([mask[which[rows]], own], 1),
                past_key_values=cache,
                use_cache=True,
                labels=labels,
                fused_lm_head=True,
            )
