from __future__ import annotations

from typing import ClassVar

import numpy as np

from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting

FEWEST = 40
TIMES = 2.0
"""Slower, for a tenth of the run; guess."""


class ThroughputDrop(Symptom):
    """
    What it is:
        Steps take much longer than they did.

    How it is told:
        The median time of a target token in the last tenth of at least 40 steps is twice that of the run's second to
        fifth tenth; of a step, where tokens are not logged.

    What it is not:
        Single slow steps (checkpoints, evaluations); steps with more tokens.

    Source:
        A device that throttles, another process, a disk that fills: operation, not learning.
    """

    name: ClassVar[str] = "throughput-drop"

    def look(self, trace: Trace) -> Sighting | None:
        has_tokens = np.isfinite(trace.target_tokens).any()
        each = trace.seconds / np.maximum(trace.target_tokens, 1.0) if has_tokens else trace.seconds
        known = np.isfinite(each)
        each, steps = each[known], trace.step[known]
        if len(each) < FEWEST:
            return None
        tenth = len(each) // 10
        before, now = float(np.median(each[tenth : 5 * tenth])), float(np.median(each[-tenth:]))
        if not now > TIMES * before > 0:
            return None
        slow = np.flatnonzero(each[tenth:] <= np.sqrt(now * before)) + tenth
        step = steps[min(int(slow[-1]) + 1, len(steps) - 1)] if len(slow) else steps[0]
        value = f"{now / before:.1f} times as long"
        return self.seen(
            step, value, f"{TIMES:g} times", f"steps take {now / before:.1f} times as long since step {step}"
        )
