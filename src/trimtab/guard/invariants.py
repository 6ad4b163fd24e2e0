"""What holds of every step of a sound run, exactly. A violation needs no statistics, and none of this makes the device
wait: what is not known on the host is read a step late.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from trimtab.data.collate import Batch
from trimtab.data.order import Rows
from trimtab.guard.fed_rows import FedRows
from trimtab.guard.look import has_experts
from trimtab.guard.looks import Looks
from trimtab.guard.wiring import Wiring
from trimtab.records import StepRecord
from trimtab.records.diagnosis import Violation
from trimtab.train.observer import Measured

if TYPE_CHECKING:
    from trimtab.train.loop import Loop

SCALER_STEPS = 20
"""fp16's loss scale starts at 2^16 and is halved at each overflow: so many in a row leave nothing to halve."""
LOST_UNDER_SCALER = 3
"""Losses in a row that are no numbers, from which on it is not one bad batch (guess)."""
SWALLOWED = 0.2
"""Share of elements with a gradient that a step leaves as they were, from which on updates are lost: measured 44 to
99 % in bf16, 0 % in float32 (docs/log.md)."""
STILL = 0.99
"""Share of the few elements that are looked at in every step, from which on nothing moves."""
LEAST_RATE = 0.1
"""Of the peak learning rate, below which an element that does not move says nothing: float32 swallows 6e-8 at 1."""
MOVES_AWAY = 4
"""Times as many updates, after which an adapter's B lies clearly further from zero (guess)."""
ENOUGH_MOVED = 1e-5
"""Sum of the rates applied so far: an adapter's B that moved less may still be zero in half precision, and then its A
gets no gradient."""
SAME_ON_A_GPU = 1e-2
"""Relative: kernels that add in any order differ by as much in bf16; dropout in an evaluation differs by more (3.14
against 3.27 and 3.30 where it was measured, huggingface/peft#2438). A guess between."""


class Invariants:
    """Knows how the run was wired when it began; see diagnose.case.INVARIANTS for what is held."""

    def __init__(self, loop: Loop) -> None:
        self._loop, self._plan, self._learner = loop, loop.plan, loop.stepper.learners[0]
        self._wiring, self._rows, self._looks = Wiring(loop), FedRows(loop), Looks(loop)
        self._is_adapter = loop.config.adapter is not None
        self._is_sparse = has_experts(loop.stepper.model)
        self._since = loop.state.global_step
        self._usual_without: int | None = None
        self._overflows = 0
        self._moved = False
        self._rates = 0.0
        self._lost_in_a_row = 0

    def at_start(self) -> Iterator[Violation]:
        """Before the first step: an adapter of which a part is frozen, a model that sees what it must not,
        a loss that is another."""
        yield from self.look_now(self._since)
        yield from self._wiring.at_start(self._since)

    def before_step(self, done: int) -> None:
        """The step after `done` updates is about to be queued."""
        self._looks.before_step(done)

    def after_step(self, loop: Loop, rows: Rows, batches: Sequence[Batch]) -> Iterator[Violation]:
        """What the host knows of the step that was just queued, which is counted already."""
        done = loop.state.global_step - 1
        yield from self._wiring.after_step(loop, done)
        yield from self._rows.after_step(loop, rows, batches, done)
        yield from self._looks.after_step(done + 1, int(loop.train.target_counts[rows].sum()))

    def look_now(self, step: int) -> Iterator[Violation]:
        """What tiny forwards show, without waiting for their turn: of an evaluation too."""
        yield from self._looks.now(step)

    def on_step(self, record: StepRecord, measured: Measured) -> Iterator[Violation]:
        """What the step's numbers say, a step late."""
        self._looks.took(record.seconds)
        uses_scaler = self._loop.stepper.scaler.is_enabled()  # a repair may have changed the precision
        self._lost_in_a_row = 0 if math.isfinite(record.loss) else self._lost_in_a_row + 1
        # fp16's scaler leaves the update of such a step out.
        if self._lost_in_a_row >= (LOST_UNDER_SCALER if uses_scaler else 1):
            yield Violation(
                invariant="finite-loss",
                step=record.step,
                sentence=f"the loss of step {record.step} is {record.loss}",
                detail={"loss": str(record.loss), "grad_norm": str(record.grad_norm)},
            )
        self._overflows = 0 if math.isfinite(record.grad_norm) else self._overflows + 1
        if self._overflows and (not uses_scaler or self._overflows >= SCALER_STEPS):
            yield Violation(
                invariant="finite-gradient",
                step=record.step,
                sentence=f"the gradient's norm of step {record.step} is {record.grad_norm}",
                detail={"loss": str(record.loss), "in_a_row": self._overflows},
            )
        yield from self._gradients(record, measured)
        yield from self._movement(record, measured)
        yield from self._rows.on_step(record.step, measured.fed)

    def _gradients(self, record: StepRecord, measured: Measured) -> Iterator[Violation]:
        if record.grad_norm == 0.0 and record.loss != 0.0:
            yield Violation(
                invariant="gradient-not-zero",
                step=record.step,
                sentence=f"the gradient of step {record.step} is exactly zero at a loss of {record.loss:.3f}",
                detail={"loss": record.loss},
            )
            return
        without = measured.without_gradient
        # An adapter's A gets none until its B has moved; of experts, some get none in any step.
        if without < 0 or self._is_sparse or not math.isfinite(record.grad_norm):
            return
        usual = self._usual_without
        self._rates += record.learning_rate
        has_moved = self._moved and self._rates > ENOUGH_MOVED and not self._loop.stepper.scaler.is_enabled()
        if usual is not None and without > usual:
            yield self._without(record.step, without, usual)
        elif self._is_adapter and has_moved and without > 0:
            yield self._without(record.step, without, 0)
        self._usual_without = without if usual is None else min(usual, without)
        self._moved = self._moved or record.learning_rate > 0.0

    def _without(self, step: int, count: int, usual: int) -> Violation:
        # An A gets no gradient while its B is zero. Once all had one, a B that is no further from zero than the updates
        # since then take it (AdamW's first are as large as the rate) was set back to it.
        updates = self._loop.state.global_step - step + 1
        reach = 2.0 * updates * self._learner.learning_rate(step - 1)
        could_tell = self._usual_without == 0 and step - self._since > MOVES_AWAY * updates
        whole = {name: p for name, p in self._wiring.trainable.items() if could_tell and not hasattr(p, "full_tensor")}
        zero = [name for name, p in whole.items() if ".lora_B" in name and bool(p.abs().max() <= reach)]
        return Violation(
            invariant="gradient-everywhere",
            step=step,
            sentence=f"{count} of {len(self._wiring.trainable)} trained tensors got no gradient in step {step}"
            + (f" ({usual} before)" if usual else ""),
            detail={"count": count, "usual": usual, "trained": len(self._wiring.trainable), "zero": len(zero)},
        )

    def _movement(self, record: StepRecord, measured: Measured) -> Iterator[Violation]:
        peak = float(self._plan.learning_rate.value)
        # In float32 a norm's elements, which are about 1, may be swallowed late in a schedule; never all elements.
        is_narrow = any(p.element_size() < 4 for p in self._wiring.trainable.values())
        most = SWALLOWED if is_narrow and self._learner.watches_movement(record.step - 1) else STILL
        if measured.unmoved <= most or record.learning_rate < LEAST_RATE * peak or not self._moved:
            return
        dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in self._wiring.trainable.values()})
        yield Violation(
            invariant="weights-move",
            step=record.step,
            sentence=f"step {record.step} left {measured.unmoved:.0%} of the weights that have a gradient as they were",
            detail={"share": measured.unmoved, "dtype": dtypes[0]},
        )

    def go_back_to(self, step: int) -> None:
        self._overflows = 0
        self._since = step
        self._moved = step > 1
        self._usual_without = None
        self._rates = 0.0
        self._lost_in_a_row = 0
        self._rows.go_back_to(step)
        self._looks.forget()

    def restore(self, loop: Loop) -> None:
        """Make the run what it was when it began: what is trained, in which dtype, by a new optimizer at the planned
        learning rate, on the planned rows."""
        self._rows.restore(loop)
        self._wiring.restore(loop)


def same_evaluation(first: Sequence[float], second: Sequence[float], device: torch.device) -> bool:
    """Whether two evaluations of the same weights are equal: to the last bit on a CPU, up to rounding elsewhere."""
    if device.type == "cpu":
        return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(first, second, strict=True))
    return bool(np.allclose(first, second, rtol=SAME_ON_A_GPU, atol=1e-6, equal_nan=True))
