from __future__ import annotations

from typing import ClassVar

import numpy as np

from trimtab.diagnose.other_losses import no_cross_entropy
from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.symptoms.non_finite_gradient import runs_of
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting

ZERO = 1e-4
"""Nats: what logs with four decimals print as 0.0 or 0.0001. No text is that certain."""
LAST = 3


class LossAtZero(Symptom):
    """
    What it is:
        A loss of zero. No text can be foretold so well, unless it is known by heart or stands in the prompt.

    How it is told:
        The last logged losses are all at most 0.0001: three of them, and a twentieth of all; or the last evaluation's.

    What it is not:
        One step with a loss near zero; a low loss of short, certain answers (0.003); a policy's loss.

    Source:
        Nothing to learn (trl#6025, unsloth#1128), NaN shown as 0.0 (trl#6702), learned by heart, or the answer in the
        prompt (axolotl#3453): each looks like this.
    """

    name: ClassVar[str] = "loss-at-zero"

    def look(self, trace: Trace) -> Sighting | None:
        logged = trace.lost | np.isfinite(trace.loss)
        losses, steps = trace.loss[logged], trace.step[logged]
        if no_cross_entropy(trace) is not None:
            return None
        zero = np.abs(losses) <= ZERO
        if len(losses) and zero[-1]:
            starts, lengths = runs_of(zero)
            length = int(lengths[-1])
            if length >= LAST and (20 * length >= len(losses) or np.all(losses[-length:] == 0)):
                step = steps[int(starts[-1])]
                value = f"{length:,} logged losses of at most {losses[-length:].max():.4g}"
                return self.seen(step, value, f"above {ZERO:g}", f"the training loss is zero from step {step} on")
        evals = trace.eval_loss
        if len(evals) and abs(evals[-1]) <= ZERO:
            at = int(np.flatnonzero(np.abs(evals) <= ZERO)[0])
            step = trace.eval_step[at]
            value = f"{evals[at]:.2g}"
            return self.seen(step, value, f"above {ZERO:g}", f"the evaluation's loss is zero at step {step}")
        return None
