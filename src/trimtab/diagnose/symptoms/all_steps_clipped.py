from __future__ import annotations

from typing import ClassVar

import numpy as np

from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting

FEWEST = 10
FAR = 10.0
"""Times the limit. Norms of one to a few are usual with a limit of 1, and Adam does not mind a constant factor;
guess."""
ALL = 0.99


class AllStepsClipped(Symptom):
    """
    What it is:
        Every gradient is cut to a small part of its length.

    How it is told:
        99 % of at least ten logged norms are above max_grad_norm, and their median is above ten times that.

    What it is not:
        Norms somewhat above the limit, as most healthy runs have them.

    Source:
        OpenAdaptAI/openadapt-evals#255 (norm 101, limit 1); karpathy/minFM#4 for a limit that every step exceeds.
    """

    name: ClassVar[str] = "all-steps-clipped"

    def look(self, trace: Trace) -> Sighting | None:
        norms = trace.grad_norm[np.isfinite(trace.grad_norm)]
        limit = trace.max_grad_norm
        if not limit or len(norms) < FEWEST or (norms > limit).mean() < ALL or np.median(norms) < FAR * limit:
            return None
        middle = float(np.median(norms))
        sentence = f"every step is clipped: norms of about {middle:.3g} are cut to {limit:g}"
        return self.seen(trace.step[0], f"median norm {middle:.3g}", f"{FAR:g} × max_grad_norm {limit:g}", sentence)
