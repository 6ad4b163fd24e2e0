from __future__ import annotations

from typing import ClassVar

import numpy as np

from trimtab.diagnose.held_out import held_out
from trimtab.diagnose.levels import between, levels_of
from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting

FEWEST = 4
LEAST_FALL = 0.15
"""Of the training loss, over the second half of the evaluations; guess."""
FOLLOWED = 0.2
"""Of that fall, by the evaluations, in nats; less is none. Guess."""


class TrainEvalGapGrowing(Symptom):
    """
    What it is:
        The training loss keeps falling and evaluations no longer follow.

    How it is told:
        Over the second half of at least four evaluations the training loss falls by more than 15 % and six standard
        errors, and the evaluation's by less than a fifth of that.

    What it is not:
        A gap that stands: other rows, dropout, a loss logged as a mean over past steps. Whether evaluations rise
        (eval-rising).

    Source:
        The usual picture of overfitting about to begin; thresholds are guesses on curves with known ends.
    """

    name: ClassVar[str] = "train-eval-gap-growing"

    def look(self, trace: Trace) -> Sighting | None:
        evals, training = held_out(trace), levels_of(trace.loss)
        if evals is None or training is None or len(trace.eval_step) < FEWEST or len(training.points) < 2 * FEWEST:
            return None
        half = len(evals.loss) // 2
        at = int(np.searchsorted(trace.step, evals.step[half], side="right"))
        width = max(1, len(trace.step) // 20)
        then = between(trace.loss, at - width, at + width)
        fall = then - training.end.value
        if not fall > max(LEAST_FALL * abs(then), 6 * training.end.error):
            return None
        followed = float(evals.loss[half]) - evals.end
        if followed > FOLLOWED * fall:
            return None
        step = int(evals.step[half])
        value = f"training {-fall:+.3f}, evaluations {-followed:+.3f} since step {step}"
        limit = f"{-FOLLOWED * fall:+.3f} for the evaluations"
        return self.seen(step, value, limit, f"since step {step} training falls and the evaluations do not follow")
