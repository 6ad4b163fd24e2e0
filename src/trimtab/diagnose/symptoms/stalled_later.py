from __future__ import annotations

from typing import ClassVar

import numpy as np

from trimtab.diagnose.levels import MEDIAN_ERROR, levels_of
from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting

FEWEST = 40
SIGMAS = 6.0
EXPECTED = 0.25
"""Of the fall in a stretch, in the next one of twice its length: a power law of exponent up to 2 gives a quarter or
more."""
STILL_LEARNING = 0.3
"""Of the peak learning rate; below it a curve may stand because the schedule ends it. Guess."""
LEFT = 0.2
"""Of the start's level: a loss that has fallen so far has learned what there was. Guess."""


class StalledLater(Symptom):
    """
    What it is:
        The loss fell, and then stands where it should still fall.

    How it is told:
        Between a quarter and half of the points it fell by more than six standard errors; in the second half by less
        than a quarter of that, with its error added, while the learning rate was above 30 % of its peak.

    What it is not:
        A curve that falls ever less, as healthy ones do; one that the schedule brought to its end.

    Source:
        Learning curves fall as powers of the steps (Hestness et al., arXiv 1712.00409).
    """

    name: ClassVar[str] = "stalled-later"

    def look(self, trace: Trace) -> Sighting | None:
        found = levels_of(trace.loss)
        if found is None or len(found.points) < FEWEST or found.end.value < LEFT * found.start.value:
            return None
        rates = trace.learning_rate[np.isfinite(trace.loss)]
        known = rates[np.isfinite(rates)]
        if not len(known) or not known[-1] >= STILL_LEARNING * known.max() > 0:
            return None
        points, count = found.points, len(found.points)
        width = max(3, count // 10)
        quarter, half, end = (
            float(np.median(points[at - width // 2 : at - width // 2 + width]))
            for at in (count // 4, count // 2, count - width // 2 - 1)
        )
        error = max(MEDIAN_ERROR * found.noise / np.sqrt(width), found.block_error) * np.sqrt(2)
        if quarter - half < SIGMAS * error or half - end + 2 * error > EXPECTED * (quarter - half):
            return None
        step = trace.step[np.flatnonzero(np.isfinite(trace.loss))[count // 2]]
        value = f"{quarter - half:.3f} down before step {step}, {half - end:+.3f} since"
        limit = f"{EXPECTED * (quarter - half):.3f}"
        return self.seen(step, value, limit, f"the loss fell until about step {step} and stands since")
