from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import MEASURED, WARNED, Cause, Layer, Weight, listed, number, said_no, said_yes
from trimtab.diagnose.remedies import CLIP_GRADIENTS, FIX_ROWS, LEAVE_OUTLIERS_OUT
from trimtab.diagnose.remedy import Remedy

FAR = 6.0
"""Robust z from which a row is not like its peers: of 18 healthy runs none had a row beyond it; garbage had 18.7."""


class BadExample(Cause):
    """
    What it is:
        One row, or a few, unlike all others: garbage bytes, another language, fewer than 10 target tokens, far too
        long.

    How it shows:
        A spike of one step that recovers. With clipping it mostly does no harm, and needs no repair.

    What proves it:
        The row's loss is high now and at the base alike, far outside its peers (robust z above 6), while the peers are
        as low as at the base. The learning rate is not at fault.

    Source:
        axolotl#1434; jingyaogong/minimind#503; measured: a garbage row 4.91 now and 5.60 before, its peers 2.34, robust
        z 18.7.
    """

    name: ClassVar[str] = "bad-example"
    layer: ClassVar[Layer] = "statistic"
    probes: ClassVar[tuple[str, ...]] = ("held-out", "replay", "row-bisection")
    decisive: ClassVar[str] = "replay"
    shows_as: ClassVar[Mapping[str, float]] = {
        "spike": 0.4,
        "non-finite-gradient": 0.1,
        "oscillating": 0.1,
        "eval-rising": 0.1,
        "train-eval-gap-growing": 0.1,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "lr-too-high": "the step's other rows and their peers are no worse than at the base",
        "empty-or-invalid-example": "its loss is a number, only far too high",
        "label-noise": "it is one row far outside the others, not many a little",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        LEAVE_OUTLIERS_OUT,
        CLIP_GRADIENTS,
        FIX_ROWS,
    )

    def prove(self, case: Case) -> Weight | None:
        z = number(case, "replay", "worst_z")
        if z is not None and z > FAR:
            name = case.value("replay", "worst_row_name") or "a row"
            said = f"{name} has a loss at the base that is {z:.1f} deviations above its peers'"
            text = case.value("replay", "worst_text")
            evidence = (said, f"it reads: {str(text)[:120]}") if text else (said,)
            if said_no(case, "replay", "state_damaged"):
                return self.proven(MEASURED, *evidence)
            return Weight(WARNED, evidence)
        if said_yes(case, "row-bisection", "reproduces") and case.value("row-bisection", "what") == "outlier loss":
            names = ", ".join(map(str, listed(case, "row-bisection", "names")))
            return Weight(WARNED, (f"{names} alone has the outlying loss",))
        return None

    def refuted(self, case: Case) -> str | None:
        z = number(case, "replay", "worst_z")
        if z is not None and z <= FAR:
            return f"the step's worst row is {z:.1f} deviations from its peers at the base: like any other"
        return None
