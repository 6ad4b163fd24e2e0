from __future__ import annotations

from typing import ClassVar

import numpy as np

from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.symptoms.non_finite_gradient import runs_of
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting

IN_A_ROW = 3


class GradientExactlyZero(Symptom):
    """
    What it is:
        The gradient's norm is exactly 0.0: nothing is being trained.

    How it is told:
        Three logged norms in a row, or all of them where there are fewer.

    What it is not:
        A small norm. One zero (a step whose rows have no target tokens).

    Source:
        trl#3926, ms-swift#9452: adapters frozen by the way; trl#6025: no target tokens.
    """

    name: ClassVar[str] = "gradient-exactly-zero"

    def look(self, trace: Trace) -> Sighting | None:
        known = np.isfinite(trace.grad_norm)
        zero = trace.grad_norm[known] == 0.0
        if not zero.any():
            return None
        starts, lengths = runs_of(zero)
        longest = int(lengths.argmax())
        if lengths[longest] < IN_A_ROW and not zero.all():
            return None
        step = trace.step[known][starts[longest]]
        value = f"{int(lengths[longest]):,} norms in a row"
        return self.seen(step, value, "above 0", f"the gradient is exactly zero from step {step} on")
