from __future__ import annotations

from typing import ClassVar

import numpy as np

from trimtab.diagnose.levels import TO_SIGMA
from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting

FIRST, LAST = 3, 5
"""Steps 1 to 3 against 6 to 10."""
SIGMAS = 5.0
LEAST = 0.1
"""Of the first steps' level; guess."""


class LossNotFallingAtStepTen(Symptom):
    """
    What it is:
        Within the first ten steps the loss has risen.

    How it is told:
        The median of steps 6 to 10 lies above that of steps 1 to 3 by 10 % and by five times the noise of the steps up
        to
        30. Only where every step was logged; a run of ours has better: the same examples before and after
        (first_steps in verdict.json).

    What it is not:
        A loss that has not fallen yet: within ten steps of other rows each, chance decides that.

    Source:
        docs/log.md: raw losses of the first steps cannot tell learning from noise; damage by a rate a hundred times too
        high shows.
    """

    name: ClassVar[str] = "loss-not-falling-at-step-10"

    def look(self, trace: Trace) -> Sighting | None:
        losses = trace.loss[:30]
        if len(losses) < 10 or trace.step[0] > 1 or trace.step[9] - trace.step[0] != 9 or trace.is_averaged:
            return None
        if not np.isfinite(losses[:10]).all():
            return None
        early, late = float(np.median(losses[:FIRST])), float(np.median(losses[10 - LAST : 10]))
        parts = (losses[:FIRST] - early, losses[10 - LAST : 10] - late, losses[10:][np.isfinite(losses[10:])])
        later = parts[2] - np.median(parts[2]) if len(parts[2]) else parts[2]
        apart = np.abs(np.concatenate([parts[0], parts[1], later]))
        noise = max(TO_SIGMA * float(np.median(apart)), float(np.abs(parts[0]).max()) / 2, 1e-3 * abs(early))
        if late - early < max(SIGMAS * noise * np.sqrt(1 / FIRST + 1 / LAST), LEAST * abs(early)):
            return None
        value, limit = (
            f"{early:.3f} in steps 1 to 3, {late:.3f} in steps 6 to 10",
            f"a rise of {LEAST:.0%}, beyond noise",
        )
        return self.seen(10, value, limit, f"the loss rose within ten steps from {early:.3f} to {late:.3f}")
