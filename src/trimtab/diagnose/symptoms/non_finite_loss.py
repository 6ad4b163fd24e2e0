from __future__ import annotations

from typing import ClassVar

import numpy as np

from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting


class NonFiniteLoss(Symptom):
    """
    What it is:
        A training or evaluation loss that is not a number, or infinite.

    How it is told:
        Exactly: one value is enough.

    What it is not:
        A loss printed as 0.0 in place of NaN, as the transformers trainer does (loss-at-zero, non-finite-gradient).

    Source:
        transformers#13758, trl#6702: logging_nan_inf_filter hides it from the log, not from the weights.
    """

    name: ClassVar[str] = "non-finite-loss"

    def look(self, trace: Trace) -> Sighting | None:
        lost = np.flatnonzero(trace.lost)
        if len(lost):
            step = trace.step[lost[0]]
            value = f"{len(lost):,} of {len(trace.step):,} logged losses"
            sentence = f"the training loss is not a number from step {step} on"
            if len(lost) < len(trace.step) - lost[0]:
                times = "" if len(lost) == 1 else f", and {len(lost):,} times in all"
                sentence = f"the training loss is not a number at step {step}{times}"
            return self.seen(step, value, "none", sentence)
        lost = np.flatnonzero(~np.isfinite(trace.eval_loss))
        if len(lost):
            step = trace.eval_step[lost[0]]
            value = f"{len(lost):,} of {len(trace.eval_step):,} evaluations"
            return self.seen(step, value, "none", f"the evaluation's loss is not a number at step {step}")
        return None
