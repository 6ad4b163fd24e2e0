"""What a step's own numbers say of it, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from trimtab.records import StepRecord, Violation

SWALLOWED = 0.2
"""Share of elements with a gradient that a step leaves as they were, from which on updates are lost: 44 to 99 % in
bf16, 0 % in float32."""


@dataclass(frozen=True)
class Known:
    """What the host knows of a step before its numbers are there."""

    step: int
    epoch: float
    learning_rate: float
    seconds: float
    has_labels: bool
    was_skipped: bool
    has_norm: bool


def breaches(record: StepRecord, known: Known, unmoved: float, dtype: str) -> list[Violation]:
    """What the step's own numbers say."""
    found = []
    if known.has_labels and record.target_tokens == 0:
        found.append(breach("targets", record, "has no target token: every label is -100", seen=0))
    if not math.isfinite(record.loss):
        found.append(breach("finite-loss", record, f"has a loss of {record.loss}", grad_norm=str(record.grad_norm)))
    if known.has_norm and not math.isfinite(record.grad_norm) and not known.was_skipped:
        found.append(breach("finite-gradient", record, f"has a gradient of norm {record.grad_norm}"))
    if record.grad_norm == 0.0 and record.target_tokens > 0:
        sentence = f"has a gradient of exactly zero at a loss of {record.loss:.3f}"
        found.append(breach("gradient-not-zero", record, sentence, loss=record.loss))
    if unmoved > SWALLOWED:
        sentence = f"left {unmoved:.0%} of the weights that have a gradient as they were"
        found.append(breach("weights-move", record, sentence, share=unmoved, dtype=dtype))
    return found


def breach(invariant: str, record: StepRecord, said: str, **detail: Any) -> Violation:
    return Violation(invariant=invariant, step=record.step, sentence=f"step {record.step} {said}", detail=detail)
