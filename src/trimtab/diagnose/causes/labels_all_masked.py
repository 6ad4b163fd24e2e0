from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, MEASURED, Cause, Layer, Weight, number
from trimtab.diagnose.remedies import FIX_MARKERS, LEAVE_INVALID_ROWS_OUT, LONGER_EXAMPLES, SHORTER_PROMPTS
from trimtab.diagnose.remedy import Remedy

FEW = 0.5
"""Share of rows with targets up to which the run is lost rather than short of rows: as for the rule no-target-rows."""
MOSTLY = 0.5
"""Of the losses of zero: so many with a gradient are no chance."""
ENOUGH = 0.95
"""From here on it is not the rows' targets that are missing."""


class LabelsAllMasked(Cause):
    """
    What it is:
        No token carries loss: the answers were masked or cut away, so there is nothing to learn from.

    How it shows:
        A loss of 0.0 or NaN, a gradient norm of 0 or NaN, while the count of tokens goes on growing. Tools that filter
        their logs print 0.0 for NaN.

    What proves it:
        A step without a target token (counted, not inferred from the loss); or the real collator's rows, decoded: half
        of them or more have no target.

    Source:
        huggingface/trl#6025, #3927, #6668; unslothai/unsloth#1128, #2095, #2734; huggingface/transformers#27733;
        NVIDIA-NeMo/Automodel#3797.
    """

    name: ClassVar[str] = "labels-all-masked"
    layer: ClassVar[Layer] = "check"
    probes: ClassVar[tuple[str, ...]] = ("labels",)
    invariants: ClassVar[tuple[str, ...]] = ("targets",)
    shows_as: ClassVar[Mapping[str, float]] = {
        "loss-at-zero": 0.5,
        "gradient-exactly-zero": 0.4,
        "non-finite-loss": 0.3,
        "non-finite-gradient": 0.2,
        "flat-from-the-start": 0.25,
        "loss-not-falling-at-step-10": 0.2,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "guard-or-log-fault": "the target tokens were counted themselves: there are none, whatever the log says",
        "adapter-not-trainable": "without a target there is no gradient, whatever can be trained",
        "fp16-overflow": "0 divided by 0 targets is no overflow",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        FIX_MARKERS,
        LEAVE_INVALID_ROWS_OUT,
        LONGER_EXAMPLES,
        SHORTER_PROMPTS,
    )

    def prove(self, case: Case) -> Weight | None:
        broken = case.broke("targets")
        if broken is not None:
            return self.proven(EXACT, broken.sentence, step=broken.step)
        share = number(case, "labels", "share_with_targets")
        if share is not None and share <= FEW:
            return self.proven(MEASURED, f"{share:.0%} of the rows that were decoded have a target token", step=0)
        return None

    def refuted(self, case: Case) -> str | None:
        share = number(case, "labels", "share_with_targets")
        if share is not None and share >= ENOUGH and case.broke("targets") is None:
            return f"{share:.0%} of the rows that were decoded have target tokens"
        norms = case.trace.grad_norm[case.trace.loss == 0.0]
        pulled = norms[norms > 0]
        if len(pulled) and len(pulled) >= MOSTLY * len(norms) and case.broke("targets") is None:
            return f"the gradient's norm is {np.median(pulled):.3g} where the loss is 0: something is learned from"
        return None
