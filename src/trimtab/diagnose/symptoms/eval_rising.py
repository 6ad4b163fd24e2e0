from __future__ import annotations

from typing import ClassVar

from trimtab.diagnose.held_out import SIGMAS, SMALL, held_out
from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting

FEWEST = 3
"""Evaluations; of two, one is an accident."""


class EvalRising(Symptom):
    """
    What it is:
        The evaluation's loss has a lowest point behind it and has risen since.

    How it is told:
        At least three evaluations. The end lies above the lowest by more than three times their noise (and what the
        lowest of many is low by luck) and 3 % (10 % where only one comes after it), and has not come half-way back. The
        noise is what goes against one fall and one rise.

    What it is not:
        Evaluations that are level within 3 %; one that stands out and is followed by lower ones.

    Source:
        transformers#22934; Prechelt, Early stopping - but when? (1998): a rise counts once it persists.
    """

    name: ClassVar[str] = "eval-rising"

    def look(self, trace: Trace) -> Sighting | None:
        found = held_out(trace)
        if found is None or len(found.loss) < FEWEST or not found.rises:
            return None
        step = int(found.step[found.at_best])
        value = f"{found.best:.4g} at step {step}, {found.end:.4g} at the end ({found.rise:+.0%})"
        limit = f"+{max(SIGMAS * found.noise / abs(found.best), SMALL):.0%}"
        return self.seen(step, value, limit, f"the evaluation's loss was lowest at step {step} and has risen since")
