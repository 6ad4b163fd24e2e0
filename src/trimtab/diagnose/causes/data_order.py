from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, TREND, Cause, Layer, Weight, number
from trimtab.diagnose.remedies import RESTORE_PLANNED_ROWS, SHUFFLE
from trimtab.diagnose.remedy import Remedy

EXPLAINED = 0.5
"""Share of the loss's variance from which on the order is the explanation."""
LITTLE = 0.2


class DataOrder(Cause):
    """
    What it is:
        The order of the rows drives the loss: sorted by length or source, never shuffled, or not the plan's.

    How it shows:
        A saw-tooth, or jumps where one source ends and the next begins. Sorted by length on purpose it is harmless.

    What proves it:
        Length or source explains more than half of the loss's variance; or a step is made of other rows than the
        plan's.

    Source:
        artidoro/qlora#228, huggingface/transformers#20810 (group_by_length); jingyaogong/minimind#503 (not shuffled).
    """

    name: ClassVar[str] = "data-order"
    layer: ClassVar[Layer] = "statistic"
    probes: ClassVar[tuple[str, ...]] = ("order",)
    invariants: ClassVar[tuple[str, ...]] = ("rows",)
    shows_as: ClassVar[Mapping[str, float]] = {
        "oscillating": 0.4,
        "spike": 0.15,
        "stalled-later": 0.1,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "bad-example": "the loss follows the order over many steps, not one row",
        "lr-too-high": "what the rows are explains the loss: the weights do not",
        "resume-state-lost": "it is so without a resume, and these are the rows of no step of the plan",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        RESTORE_PLANNED_ROWS,
        SHUFFLE,
    )

    def prove(self, case: Case) -> Weight | None:
        for violation in case.violations:
            if (
                violation.invariant == "rows"
                and violation.detail.get("what", "rows") == "rows"
                and violation.detail.get("of_step") is None
                and not case.trace.restarts
            ):
                return self.proven(EXACT, violation.sentence, step=violation.step)
        shares = {what: number(case, "order", f"explained_by_{what}") for what in ("length", "source")}
        for what, share in shares.items():
            if share is not None and share > EXPLAINED:
                return self.proven(TREND, f"the rows' {what} explains {share:.0%} of the loss's variance")
        return None

    def refuted(self, case: Case) -> str | None:
        shares = [number(case, "order", f"explained_by_{what}") for what in ("length", "source")]
        known = [share for share in shares if share is not None]
        if known and all(share < LITTLE for share in known) and case.broke("rows") is None:
            return f"the rows' length or source explains at most {max(known):.0%} of the loss's variance"
        return None
