from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting

LEAST_SHARE = 0.3
"""Of the planned steps: before, the learning rate has hardly begun to work; guess."""


class BaseNotBeaten(Symptom):
    """
    What it is:
        The last evaluation is not better than that of the base, before any training.

    How it is told:
        Exactly: the same rows, the same measure. From 30 % of the planned steps on.

    What it is not:
        A run that has just begun; a log without the base's own evaluation.

    Source:
        The base is the one reference that every run has for nothing.
    """

    name: ClassVar[str] = "base-not-beaten"

    def look(self, trace: Trace) -> Sighting | None:
        base = trace.base_eval_loss
        finite = np.flatnonzero(np.isfinite(trace.eval_loss) & (trace.eval_step > 0))
        if base is None or not math.isfinite(base) or not len(finite):
            return None
        last, step = float(trace.eval_loss[finite[-1]]), int(trace.eval_step[finite[-1]])
        if last < base or (trace.planned_steps and step < LEAST_SHARE * trace.planned_steps):
            return None
        worse = (
            finite[int(np.flatnonzero(trace.eval_loss[finite] < base)[-1]) + 1 :]
            if (trace.eval_loss[finite] < base).any()
            else finite
        )
        since = int(trace.eval_step[worse[0]])
        sentence = f"the evaluation at step {step} ({last:.4f}) is not better than the base's own ({base:.4f})"
        return self.seen(since, f"{last:.4f}", f"below {base:.4f}", sentence)
