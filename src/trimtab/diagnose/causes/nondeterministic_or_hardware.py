from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import (
    EXACT,
    MEASURED,
    TREND,
    Cause,
    Layer,
    Weight,
    listed,
    number,
    numbers,
    said_no,
    said_yes,
    symptoms,
)
from trimtab.diagnose.remedies import CHECK_MACHINE, GO_BACK
from trimtab.diagnose.remedy import Remedy
from trimtab.diagnose.search import search

ROUNDING = 1e-3
"""Difference of two runs of a step up to which the order of sums on a GPU explains it: a guess above bf16's."""


def _all_finite(values: list[float | None]) -> bool:
    return all(value is not None and math.isfinite(value) for value in values)


class NondeterministicOrHardware(Cause):
    """
    What it is:
        The same step gives another result: faulty memory, a driver, a link between devices, a race.

    How it shows:
        NaN or a spike that does not come again.

    What proves it:
        The step, repeated with the same rows, weights and random state, gives another result; or what was not finite is
        finite when it is done again.

    Source:
        huggingface/peft#1927, NVIDIA/nccl-tests#117 (silently wrong between two cards); Megatron's rerun machine;
        openpi#822.
    """

    name: ClassVar[str] = "nondeterministic-or-hardware"
    layer: ClassVar[Layer] = "probe"
    probes: ClassVar[tuple[str, ...]] = ("held-out", "rerun", "precision", "replay", "learning-rate-search")
    decisive: ClassVar[str] = "rerun"
    shows_as: ClassVar[Mapping[str, float]] = {
        "non-finite-loss": 0.2,
        "non-finite-gradient": 0.15,
        "spike": 0.1,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "fp16-overflow": "the same precision is finite when the step is done again",
        "empty-or-invalid-example": "the same rows are finite when the step is done again",
        "bad-example": "the same rows give another result",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        GO_BACK,
        CHECK_MACHINE,
    )

    def prove(self, case: Case) -> Weight | None:
        broken = case.broke("finite-loss", "finite-gradient")
        again = [number(case, "precision", f"as_is_{what}") for what in ("loss", "norm")]
        if broken is not None and _all_finite(again) and case.broke("weights-finite") is None:
            said = f"{broken.sentence}; done again with the same rows and weights it is {again[0]:.3f}"
            return self.proven(MEASURED, said, step=broken.step)
        if (once := self._did_not_come_again(case)) is not None:
            return once
        if not said_no(case, "rerun", "identical"):
            return None
        difference = number(case, "rerun", "difference")
        if difference is not None and difference <= ROUNDING:
            return None
        size = "and no number says how far" if difference is None or math.isnan(difference) else f"by {difference:.2g}"
        return self.proven(EXACT, f"the same step with the same rows and weights differs {size}")

    def _did_not_come_again(self, case: Case) -> Weight | None:
        """The state is lost, so the step cannot be done again in it; from the good one the same steps do no harm."""
        found, rows = search(case), numbers(case, "replay", "rows_good")
        lost = number(case, "held-out", "now")
        is_lost = "non-finite-loss" in symptoms(case) and lost is not None and not math.isfinite(lost)
        if not is_lost or found is None or found.harms_at_1 or not rows or not all(map(math.isfinite, rows)):
            return None
        if listed(case, "replay", "non_finite_rows_base"):
            return None
        said = "the step's rows are finite in the last good state, and training on from it does no harm: "
        return self.proven(TREND, f"{said}held-out loss changes by {found.change_at_1:+.3f}")

    def refuted(self, case: Case) -> str | None:
        held_out = number(case, "held-out", "now")
        if held_out is not None and not math.isfinite(held_out):
            return None  # in a state that is lost nothing is finite, whatever made it so
        again = [number(case, "precision", f"as_is_{what}") for what in ("loss", "norm")]
        if any(value is not None and not math.isfinite(value) for value in again):
            return "done again, the step is not finite again"
        if said_yes(case, "rerun", "identical") and case.broke("finite-loss", "finite-gradient") is None:
            return "the step, done again, gives the same to the last bit"
        return None
