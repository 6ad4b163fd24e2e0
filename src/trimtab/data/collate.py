"""From examples to one batch of tensors: laid end to end without padding, or padded to the longest.

B rows, T tokens a row, N target tokens. Loss is taken at N positions only, so the batch names them:
`target_positions_N` are the places (in the flattened [B·T] hidden states) that predict `target_ids_N`.
The two layouts name the same predictions, which is why they train the same weights (law 1).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from trimtab.data.store import Example


FINGERPRINTS = 1 << 20
"""So many are there; float32 holds each exactly."""
_ORDERS, _APART = 8191, 31
"""Primes, so that neither order nor role cancels."""


class Layout(enum.Enum):
    """How the examples of a micro batch lie in memory."""

    SEGMENTS = "packed, attention cut at the examples' borders"
    """End to end in one row; model/attention.py sees each example alone."""
    POSITIONS = "packed, the model's own isolation by positions"
    """End to end in one row; positions restart at each example and the model class keeps examples apart by them."""
    BLOCK_MASK = "packed with a block mask"
    """End to end in one row, kept apart by an explicit block-diagonal causal mask."""
    PADDED = "padded"
    """One row each, padded on the right."""


@dataclass(frozen=True)
class Batch:
    """One micro batch."""

    input_ids_BT: torch.Tensor
    position_ids_BT: torch.Tensor
    attention_mask: torch.Tensor | None
    """[B, T] (padded), [1, 1, T, T] (block mask) or None (packed)."""
    segment_lengths: tuple[int, ...] | None
    """Lengths of the examples in a row, for attention that is cut at their borders."""
    target_positions_N: torch.Tensor
    target_ids_N: torch.Tensor
    tokens: int
    """Real tokens, without padding."""

    @property
    def target_tokens(self) -> int:
        return self.target_ids_N.numel()

    def fingerprint(self) -> torch.Tensor:
        """A whole number below FINGERPRINTS, of which token predicts which, in order; on the batch's device. Equal for
        the two layouts, and for the same examples only (up to chance: one in a million)."""
        predicting_N = self.input_ids_BT.flatten()[self.target_positions_N]
        order_N = torch.arange(1, self.target_tokens + 1, device=self.target_ids_N.device) % _ORDERS
        return (order_N * (self.target_ids_N + _APART * predicting_N)).sum() % FINGERPRINTS

    def to(self, device: torch.device) -> Batch:
        if device.type == "cpu":
            return self

        def moved(tensor: torch.Tensor) -> torch.Tensor:
            # From pinned memory a copy does not wait for the device.
            return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)

        return replace(
            self,
            input_ids_BT=moved(self.input_ids_BT),
            position_ids_BT=moved(self.position_ids_BT),
            attention_mask=None if self.attention_mask is None else moved(self.attention_mask),
            target_positions_N=moved(self.target_positions_N),
            target_ids_N=moved(self.target_ids_N),
        )


def fingerprint(examples: Sequence[Example]) -> int:
    """What `Batch.fingerprint` is of a batch of these examples, without making one."""
    predicting, targets = [], []
    for example in examples:
        at = np.flatnonzero(_predictable(example))
        targets.append(example.input_ids[at].astype(np.int64))
        predicting.append(example.input_ids[at - 1].astype(np.int64))
    ids_N = np.concatenate(targets) + _APART * np.concatenate(predicting)
    return int((np.arange(1, len(ids_N) + 1) % _ORDERS * ids_N).sum() % FINGERPRINTS)


def targets_of(example: Example) -> NDArray[np.int64]:
    """The token ids that a batch of this example predicts, in order."""
    ids: NDArray[np.int64] = example.input_ids[_predictable(example)].astype(np.int64)
    return ids


def collate(examples: Sequence[Example], layout: Layout, *, pad_id: int = 0) -> Batch:
    """A batch of at least one example."""
    assert examples, "a batch needs an example; see empty_batch"
    return _padded(examples, pad_id) if layout is Layout.PADDED else _packed(examples, layout)


def empty_batch(examples: Sequence[Example], layout: Layout, *, pad_id: int = 0) -> Batch:
    """A batch with no targets, for a process whose share of a step ran out: it takes part in the exchange of
    gradients and adds nothing."""
    batch = collate(examples, layout, pad_id=pad_id)
    none = torch.zeros(0, dtype=torch.long)
    return replace(batch, target_positions_N=none, target_ids_N=none, tokens=0)


def _packed(examples: Sequence[Example], layout: Layout) -> Batch:
    lengths = [len(example.input_ids) for example in examples]
    ids = torch.from_numpy(np.concatenate([example.input_ids for example in examples]).astype(np.int64))
    positions = torch.from_numpy(np.concatenate([np.arange(length) for length in lengths]))
    is_target = np.concatenate([_predictable(example) for example in examples])
    targets = torch.from_numpy(np.flatnonzero(is_target))
    mask = _block_mask(lengths) if layout is Layout.BLOCK_MASK else None
    segments = tuple(lengths) if layout is Layout.SEGMENTS else None
    return Batch(ids[None], positions[None], mask, segments, targets - 1, ids[targets], tokens=sum(lengths))


def _padded(examples: Sequence[Example], pad_id: int) -> Batch:
    longest = max(len(example.input_ids) for example in examples)
    ids = np.full((len(examples), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(examples), longest), dtype=np.int64)
    is_target = np.zeros((len(examples), longest), dtype=bool)
    for row, example in enumerate(examples):
        length = len(example.input_ids)
        ids[row, :length] = example.input_ids
        mask[row, :length] = 1
        is_target[row, :length] = _predictable(example)
    targets = np.flatnonzero(is_target)
    positions = np.broadcast_to(np.arange(longest), ids.shape).copy()
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        torch.from_numpy(mask),
        None,
        torch.from_numpy(targets - 1),
        torch.from_numpy(ids.reshape(-1)[targets]),
        tokens=int(mask.sum()),
    )


def _predictable(example: Example) -> np.ndarray:
    """Targets that have a token before them: an example's first token is predicted by nothing."""
    is_target = np.array(example.is_target, dtype=bool)
    is_target[:1] = False
    return is_target


def _block_mask(lengths: Sequence[int]) -> torch.Tensor:
    """[1, 1, T, T], True where a query may attend: the same example, not later."""
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    same = owner[:, None] == owner[None, :]
    return (same & torch.ones_like(same).tril())[None, None]
