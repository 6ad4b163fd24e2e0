from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import MEASURED, SUSPECTED_AT_MOST, Cause, Layer, Weight, number
from trimtab.diagnose.remedies import READ_RAW_VALUES, REMOVE_GUARD
from trimtab.diagnose.remedy import Remedy

REAL = 0.05
"""Nats above which a loss is not nearly zero: rows known by heart have less (guess)."""


def _filtered(case: Case) -> bool:
    trace = case.trace
    if trace.loss.size != trace.lost_norm.size:
        return False
    return bool(np.any((trace.loss == 0.0) & trace.lost_norm))


class GuardOrLogFault(Cause):
    """
    What it is:
        The log or a guard says something else than what happens: a filter that prints 0.0 for NaN, a limit that skips
        every step.

    How it shows:
        A logged loss of 0.0 or one that does not change, while the gradient's norm is NaN; or training that stands
        still while the guard is busy.

    What proves it:
        The raw loss, measured again, is not the logged one; or the log has a loss of exactly 0.0 in the very steps
        whose gradient norm is not finite.

    Source:
        huggingface/trl#6702, huggingface/transformers#13758 (logging_nan_inf_filter alters the log alone); axolotl#3864
        (a guard that never fires); Kai-46/minFM#4 (one that always does).
    """

    name: ClassVar[str] = "guard-or-log-fault"
    layer: ClassVar[Layer] = "invariant"
    probes: ClassVar[tuple[str, ...]] = ("precision",)
    shows_as: ClassVar[Mapping[str, float]] = {
        "loss-at-zero": 0.35,
        "non-finite-loss": 0.05,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "labels-all-masked": "the raw loss, measured again, is a number other than zero",
        "fp16-overflow": "the raw step is finite",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        READ_RAW_VALUES,
        REMOVE_GUARD,
    )

    def prove(self, case: Case) -> Weight | None:
        measured = [number(case, "precision", f"as_is_{what}") for what in ("loss", "norm")]
        is_raw = case.broke("finite-loss", "finite-gradient") is not None
        is_finite = all(value is not None and math.isfinite(value) for value in measured)
        if case.saw("loss-at-zero", "non-finite-loss") and not is_raw and is_finite and (measured[0] or 0.0) > REAL:
            return self.proven(MEASURED, f"the log says otherwise, and the loss measured again is {measured[0]:.3f}")
        if _filtered(case):
            said = "the log has a loss of exactly 0.0 where the gradient's norm is not finite: NaN was filtered"
            return Weight(SUSPECTED_AT_MOST, (said,))
        return None

    def refuted(self, case: Case) -> str | None:
        if case.broke("targets") is not None:
            return "the target tokens were counted themselves"
        if case.broke("finite-loss", "finite-gradient") is not None:
            return "the values are raw ones: no log or filter lies between"
        return None
