"""What a step is fed with is what the plan says: these rows, their targets, cut at their borders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from trimtab.data.collate import FINGERPRINTS, Batch, fingerprint, targets_of
from trimtab.data.order import Order, Rows, micro_batches, rows_of
from trimtab.records.diagnosis import Violation
from trimtab.train.run import order_of

if TYPE_CHECKING:
    from trimtab.train.loop import Loop

CONTENT_EVERY = 10
"""Steps between two comparisons of what was fed with what is stored; the first ones are all compared."""
CONTENT_FIRST = 5
STEPS_LOOKED_THROUGH = 100_000
"""For the step that rows belong to, once they are not the planned ones: a second's work."""


class FedRows:
    """By the order that plan and seed make, worked out afresh."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._order = order_of(loop.config, loop.plan)
        self._since = loop.state.global_step
        self._expected: dict[int, tuple[int, list[torch.Tensor], Rows]] = {}
        """Step (from 1) → the fingerprint that its rows have, the targets that it was fed with, its rows."""
        self._knows_other_rows = False
        self._had: tuple[int, NDArray[np.bool_]] | None = None
        """Once the rows are others than planned: the epoch, and which of its rows were had."""

    def after_step(self, loop: Loop, rows: Rows, batches: Sequence[Batch], done: int) -> Iterator[Violation]:
        """Of the step after `done` updates, which was just queued."""
        planned = rows_of(self._order, done)
        left_out = loop.state.changes.left_out
        planned = planned[~np.isin(planned, left_out)] if left_out else planned
        if len(rows) != len(planned) or not (rows == planned).all():
            yield Violation(
                invariant="rows",
                step=done + 1,
                sentence=f"the step was made of other rows than planned (row {_first(rows)} first, planned: "
                f"{_first(planned)})",
                detail={
                    "what": "rows",
                    "repeats": self._repeats(rows, len(planned), done),
                    "seen": rows[:8].tolist(),
                    "planned": planned[:8].tolist(),
                    "of_step": None if self._knows_other_rows else self._step_of(rows, loop),
                },
            )
            self._knows_other_rows = True
            planned = rows  # what was made of them is another question
        processes = loop.stepper.processes
        share = planned[processes.index :: processes.count]
        targets = sum(batch.target_tokens for batch in batches)
        expected = int(loop.train.target_counts[share].sum())
        if targets == 0 and expected:
            yield Violation(
                invariant="targets",
                step=done + 1,
                sentence=f"the batch had no target token; its rows have {expected}",
                detail={"seen": 0, "planned": expected},
            )
        elif targets != expected:
            yield Violation(
                invariant="rows",
                step=done + 1,
                sentence=f"the batch had {targets} target tokens; its rows have {expected}",
                detail={"what": "targets", "seen": targets, "planned": expected},
            )
        shares = micro_batches(
            planned, micro_batch_size=loop.micro_batch_size, process=processes.index, processes=processes.count
        )
        yield from self._borders(loop, shares, batches, done)
        if done - self._since < CONTENT_FIRST or done % CONTENT_EVERY == 0:
            marks = [fingerprint([loop.train.example(int(row)) for row in part]) for part in shares if len(part)]
            self._expected[done + 1] = sum(marks) % FINGERPRINTS, [batch.target_ids_N for batch in batches], planned

    def on_step(self, step: int, fed: int) -> Iterator[Violation]:
        """What was fed, a step late: its fingerprint."""
        expected = self._expected.pop(step, None)
        if expected is None or expected[0] == fed:
            return
        is_shifted = self._are_planned(*expected[1:])
        how = "the right targets, at other places" if is_shifted else "other targets, or at other places"
        yield Violation(
            invariant="rows",
            step=step,
            sentence=f"what the step predicted is not what its rows say: {how}",
            detail={"what": "shifted" if is_shifted else "content"},
        )

    def go_back_to(self, step: int) -> None:
        self._expected.clear()
        self._since = step
        self._knows_other_rows, self._had = False, None

    def restore(self, loop: Loop) -> None:
        loop.order = Order(**vars(self._order))

    def _repeats(self, rows: Rows, planned: int, done: int) -> bool:
        """Whether the step is no other order of the epoch's rows: more or fewer than planned, or some again."""
        epoch, position = divmod(done, self._order.steps_per_epoch)
        if self._had is None or self._had[0] != epoch:
            had = np.zeros(self._order.examples, dtype=bool)
            for step in range(done - position, done) if self._had is None else ():
                had[self._loop.order.rows(step)] = True
            self._had = epoch, had
        had = self._had[1]
        again = bool(had[rows].any()) or len(np.unique(rows)) < len(rows)
        had[rows] = True
        return again or len(rows) != planned

    def _step_of(self, rows: Rows, loop: Loop) -> int | None:
        """The step (from 1) of which these are the planned rows; None where they are of none."""
        left_out = loop.state.changes.left_out
        for done in range(min(loop.plan.total_steps.value, STEPS_LOOKED_THROUGH)):
            planned = rows_of(self._order, done)
            planned = planned[~np.isin(planned, left_out)] if left_out else planned
            if len(planned) == len(rows) and (planned == rows).all():
                return done + 1
        return None

    def _borders(self, loop: Loop, shares: Sequence[Rows], batches: Sequence[Batch], done: int) -> Iterator[Violation]:
        """Where attention is cut at the borders that a batch names, these are its examples' own."""
        for part, batch in zip(shares, batches, strict=False):
            lengths = tuple(loop.train.lengths[part].tolist())
            if batch.segment_lengths is None or not lengths or batch.segment_lengths == lengths:
                continue
            yield Violation(
                invariant="sees-only-its-past",
                step=done + 1,
                sentence=f"attention is cut into {len(batch.segment_lengths)} pieces of {sum(batch.segment_lengths)} "
                f"tokens; the batch has {len(lengths)} examples",
                detail={"what": "borders", "seen": batch.segment_lengths[:8], "planned": lengths[:8]},
            )
            return

    def _are_planned(self, targets: Sequence[torch.Tensor], rows: Rows) -> bool:
        """Whether the step was to predict the tokens that its rows say, in their order. (Of one process; the device is
        waited for: the run is broken.)"""
        if self._loop.stepper.processes.count > 1:
            return False
        planned = [targets_of(self._loop.train.example(int(row))) for row in rows]
        return bool(np.array_equal(np.concatenate(planned), torch.cat(list(targets)).cpu().numpy()))


def _first(rows: Rows) -> int | str:
    return int(rows[0]) if len(rows) else "none"
