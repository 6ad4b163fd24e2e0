from __future__ import annotations

from typing import ClassVar

import numpy as np

from trimtab.diagnose.levels import levels_of
from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting

FEWEST = 20
LEAST, MOST = 0.005, 0.05
"""Of the start: less is flat, more is learning; guesses."""
SIGMAS = 4.0
STRAIGHT = 0.7
"""Of the first half's fall, in the second: a curve that learns falls fastest first (a power law of exponent 0.3 gives
0.2), one whose learning rate is far too low falls evenly. Guess."""
ENOUGH_STEPS = 50


class Slow(Symptom):
    """
    What it is:
        The loss falls, evenly and so little that the run will end close to where it began.

    How it is told:
        A fall of 0.5 to 5 % over at least 20 points and 50 steps, beyond four standard errors, of which the second half
        has at least 70 % of what the first had.

    What it is not:
        A curve that falls fast first and little later, as every healthy one does; a flat one.

    Source:
        The learning rate divided by 300 in the measurements behind this project: evenly falling, far from done.
    """

    name: ClassVar[str] = "slow"

    def look(self, trace: Trace) -> Sighting | None:
        found = levels_of(trace.loss)
        if found is None or len(found.points) < FEWEST or trace.step[-1] - trace.step[0] < ENOUGH_STEPS:
            return None
        third = len(found.points) // 3
        first, middle, last = (
            float(np.median(part)) for part in np.split(found.points, [third, len(found.points) - third])
        )
        error = found.noise * 1.2533 * np.sqrt(2 / third)
        whole = found.fall
        if not (LEAST < whole < MOST and first - last > SIGMAS * error and middle - last > STRAIGHT * (first - middle)):
            return None
        if first - middle <= 0:
            return None
        value = f"{whole:.1%} in {trace.step[-1] - trace.step[0]:,} steps, evenly"
        return self.seen(trace.step[0], value, f"{MOST:.0%}", "the loss falls evenly, and hardly")
