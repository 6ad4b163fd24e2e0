"""From a batch to each adapter's own summed loss, all in one forward.

K adapters, B rows of a batch, T tokens a row, N targets, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from trimtab.data.collate import Batch
from trimtab.errors import ModelError
from trimtab.model.adapter_bank import AdapterBank
from trimtab.model.core import Head, causal_lm, hidden_states
from trimtab.model.target_loss import CHUNK_LOGITS, summed_loss


class CohortLoss(nn.Module):
    """As TargetLoss, for the adapters of a bank: the head and the loss go adapter by adapter, so that there are never
    more logits than for one."""

    def __init__(self, bank: AdapterBank, head: Head) -> None:
        super().__init__()
        self.model = bank.base
        self.bank = bank
        self.head = head

    def forward(self, batch: Batch | Sequence[Batch]) -> torch.Tensor:
        """The summed cross-entropy of each adapter's targets in nats, [K]. One batch is everybody's; several are one
        for each, in the members' order, laid end to end: that takes a layout that is cut at the examples' borders."""
        slots = self.bank.slots
        batches = [batch] * slots.count if isinstance(batch, Batch) else list(batch)
        assert len(batches) == slots.count, "a batch for each adapter"
        slots.tokens = [one.input_ids_BT.numel() for one in batches]
        together = _repeated(batch, slots.count) if isinstance(batch, Batch) else _end_to_end(batches)
        hidden = hidden_states(causal_lm(self.model), together).flatten(0, 1)
        losses = []
        for rows, one in zip(hidden.split(slots.tokens), batches, strict=True):
            positions, ids = one.target_positions_N, one.target_ids_N
            if not one.target_tokens:
                positions = ids = one.input_ids_BT.new_zeros(1)
            loss = self._summed(rows[positions], ids)
            losses.append(loss if one.target_tokens else loss * 0.0)
        return torch.stack(losses)

    def of_examples(self, batch: Batch, target_counts: Sequence[int]) -> torch.Tensor:
        """Of each example of the batch, in order, the summed loss of each adapter, [examples, K]; with the adapters off
        the base's, [examples, 1]. `target_counts`: of each example."""
        slots = self.bank.slots
        count = 1 if slots.is_off else slots.count
        slots.tokens = [batch.input_ids_BT.numel()] * count
        hidden = hidden_states(causal_lm(self.model), _repeated(batch, count)).flatten(0, 1)
        counts = list(target_counts)
        ids = batch.target_ids_N.split(counts)
        sums = []
        for rows in hidden.split(slots.tokens):
            examples = zip(rows[batch.target_positions_N].split(counts), ids, strict=True)
            sums.append(torch.stack([self._summed(*one) for one in examples]))
        return torch.stack(sums, dim=1)

    def _summed(self, hidden_ND: torch.Tensor, target_ids_N: torch.Tensor) -> torch.Tensor:
        if not len(target_ids_N):
            return hidden_ND.new_zeros((), dtype=torch.float32)
        vocabulary: int = causal_lm(self.model).config.get_text_config().vocab_size
        rows_per_chunk = max(1, CHUNK_LOGITS // vocabulary)
        return summed_loss(hidden_ND, target_ids_N, self.head, (), rows_per_chunk=rows_per_chunk)


def _repeated(batch: Batch, count: int) -> Batch:
    """The same rows, once for each adapter."""
    if count == 1:
        return batch
    mask = batch.attention_mask
    return replace(
        batch,
        input_ids_BT=batch.input_ids_BT.repeat(count, 1),
        position_ids_BT=batch.position_ids_BT.repeat(count, 1),
        # A padding mask is one row's; a block mask is the same for all.
        attention_mask=mask.repeat(count, 1) if mask is not None and mask.ndim == 2 else mask,
    )


def _end_to_end(batches: Sequence[Batch]) -> Batch:
    """Different rows, in one."""
    if len(batches) == 1:
        return batches[0]
    lengths: list[int] = []
    for one in batches:
        if one.segment_lengths is None:
            raise ModelError(
                "This model does not keep packed examples apart by their borders, so adapters with data of their own "
                "cannot share it."
            )
        lengths += one.segment_lengths
    return replace(
        batches[0],
        input_ids_BT=torch.cat([one.input_ids_BT for one in batches], dim=1),
        position_ids_BT=torch.cat([one.position_ids_BT for one in batches], dim=1),
        segment_lengths=tuple(lengths),
        tokens=sum(one.tokens for one in batches),
    )
