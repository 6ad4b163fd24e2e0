from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import (
    MEASURED,
    SUSPECTED_AT_MOST,
    Cause,
    Layer,
    Weight,
    harmed,
    learned_by_heart,
    symptoms,
    unharmed,
)
from trimtab.diagnose.remedies import CLIP_GRADIENTS, LENGTHEN_WARMUP, LOWER_LEARNING_RATE
from trimtab.diagnose.remedy import Remedy
from trimtab.diagnose.search import lost_at_every_rate, search


class LrTooHigh(Cause):
    """
    What it is:
        The steps are too large: each destroys more than it learns.

    How it shows:
        A loss above the base's, spiky or flat; gradient norms may be small. No number of it is too high by itself: on
        one base 1e-2 beat 2e-3.

    What proves it:
        Held-out rows are worse than at the base or at the last good state, and from that good state, on other rows, the
        run's rate does harm where a smaller one learns.

    Source:
        tloen/alpaca-lora#391 (3e-3); haotian-liu/LLaVA#918; axolotl#1434; measured: going back and a hundredth of the
        rate ended at 2.35 (clean 2.32), any cut in place at 3.5.
    """

    name: ClassVar[str] = "lr-too-high"
    layer: ClassVar[Layer] = "probe"
    probes: ClassVar[tuple[str, ...]] = ("held-out", "replay", "learning-rate-search")
    decisive: ClassVar[str] = "learning-rate-search"
    shows_as: ClassVar[Mapping[str, float]] = {
        "divergence": 0.6,
        "base-not-beaten": 0.45,
        "non-finite-loss": 0.35,
        "oscillating": 0.35,
        "spike": 0.35,
        "loss-not-falling-at-step-10": 0.3,
        "flat-from-the-start": 0.2,
        "loss-at-zero": 0.2,
        "all-steps-clipped": 0.15,
        "non-finite-gradient": 0.2,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "bad-example": "other rows do the harm too at this rate, and none at a smaller one",
        "empty-or-invalid-example": "other rows do the harm too at this rate, and none at a smaller one",
        "fp16-overflow": "at a smaller rate the same precision is finite and learns",
        "optimizer-state-fault": "at a smaller rate the same optimizer learns",
        "schedule-wrong": "the rate does the harm where it is constant",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        LOWER_LEARNING_RATE,
        CLIP_GRADIENTS,
        LENGTHEN_WARMUP,
    )

    def prove(self, case: Case) -> Weight | None:
        harm = harmed(case)
        found = search(case)
        if unharmed(case) is not None or learned_by_heart(case) is not None:
            return None
        if found is None:
            return Weight(SUSPECTED_AT_MOST, (harm,)) if harm else None
        learns, best = found.change_at_best < 0, found.best_factor
        if not (found.lower_is_better and learns and best < 1):
            return None
        said = f"from the last good state the run's rate changes held-out loss by {found.change_at_1:+.3f}, "
        said += f"{best:g} times it by {found.change_at_best:+.3f}"
        if found.harms_at_1 and (harm or "non-finite-loss" in symptoms(case)):
            return self.proven(MEASURED, *filter(None, (said, harm)))
        if harm is not None:
            leaves = ("bad-example", "empty-or-invalid-example", "optimizer-state-fault")
            return self.proven(MEASURED, said, harm, leaves=leaves)
        return Weight(SUSPECTED_AT_MOST, (said,))

    def refuted(self, case: Case) -> str | None:
        if case.broke("learning-rate") is not None:
            return "the rate that was applied is not the one that was asked for"
        lowest = lost_at_every_rate(case)
        if lowest is not None and lowest < 1:
            return f"the loss is lost at {lowest:g} times the run's rate as well"
        found = search(case)
        if found is not None and not found.lower_is_better and math.isfinite(found.change_at_1):
            return f"no smaller rate does better: {found.change_at_1:+.3f} at the run's own"
        return unharmed(case) or learned_by_heart(case)
