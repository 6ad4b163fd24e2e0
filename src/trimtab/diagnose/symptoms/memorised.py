from __future__ import annotations

from typing import ClassVar

import numpy as np

from trimtab.diagnose.held_out import held_out
from trimtab.diagnose.levels import levels_of
from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.trace import Floats, Trace
from trimtab.records.diagnosis import Sighting

KNOWN_BY_HEART = 0.1
"""Nats a token: e^-0.1 is 90 % certainty of each. Text that is not known by heart is not that certain."""
OUT_OF_REACH = 1.0
"""Nats: an evaluation's loss that tells of nothing learned for other rows."""
EPOCHS = 5
"""Rows are known by heart once they were seen about so often; before, a low loss is an easy task. Guess."""
CHOICES = 1.8
"""Nats: a run that starts below ln 6 chooses among a few answers, and may well be that certain. Guess."""
SURELY = 0.01


class Memorised(Symptom):
    """
    What it is:
        The training rows are known by heart.

    How it is told:
        The training loss ends below 0.1 nats a token, and evaluations are above 1.0 and at least five times as high,
        or, where there are none, the rows were seen five times or more. A task that starts like a choice among a few
        answers must end below 0.01.

    What it is not:
        An easy or narrow task, which is certain within its first epoch; a run whose evaluations are as low as its
        training loss.

    Source:
        Carlini et al., Quantifying memorization (arXiv 2202.07646): repetition decides. The pair 0.1 and 1.0 is a rule
        of thumb.
    """

    name: ClassVar[str] = "memorised"

    def look(self, trace: Trace) -> Sighting | None:
        found = levels_of(trace.loss)
        if found is None or found.end.value >= KNOWN_BY_HEART or len(found.points) < 3:
            return None
        evals = held_out(trace)
        finite = np.flatnonzero(np.isfinite(trace.loss))
        below = np.flatnonzero(trace.loss[finite] < KNOWN_BY_HEART)
        step = trace.step[finite[below[0]]]
        value = f"training {found.end.value:.3g}"
        if evals is not None:
            if evals.end > OUT_OF_REACH and evals.end > 5 * found.end.value:
                value += f", evaluations {evals.end:.3g}"
                limit = f"{KNOWN_BY_HEART:g} with evaluations above {OUT_OF_REACH:g}"
                return self.seen(step, value, limit, "the training rows are known by heart, and others are not learned")
            return None
        epochs = last_epoch(trace)
        few = float(np.nanmax(trace.loss)) < CHOICES and found.end.value > SURELY
        if epochs is None or epochs < EPOCHS or few:
            return None
        limit = f"{KNOWN_BY_HEART:g} after {EPOCHS} epochs"
        sentence = f"after {epochs:.3g} epochs the rows are known by heart; without evaluations nothing else is known"
        return self.seen(step, f"{value} after {epochs:.3g} epochs", limit, sentence)


def last_epoch(trace: Trace) -> float | None:
    """How often the rows were seen."""

    def last(epochs: Floats) -> float | None:
        known = epochs[np.isfinite(epochs)]
        return float(known[-1]) if len(known) else None

    return last(trace.epoch) if last(trace.epoch) is not None else last(trace.eval_epoch)
