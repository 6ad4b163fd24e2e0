from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, WARNED, Cause, Layer, Weight, listed, number, numbers, said_yes
from trimtab.diagnose.remedies import FIX_ROWS, LEAVE_INVALID_ROWS_OUT
from trimtab.diagnose.remedy import Remedy


def _is_finite(value: float | None) -> bool | None:
    return None if value is None else math.isfinite(value)


class EmptyOrInvalidExample(Cause):
    """
    What it is:
        A row that no model can have a finite loss on: empty, over-long, or holding ids that mean nothing.

    How it shows:
        NaN in single steps, the same ones in each epoch.

    What proves it:
        The row's loss is not finite at the base either, with the adapter off, and halving the batch ends at this row.

    Source:
        alibaba/FederatedScope#625 (177 rows of dolly-15k), axolotl#290, LlamaFactory#9600.
    """

    name: ClassVar[str] = "empty-or-invalid-example"
    layer: ClassVar[Layer] = "check"
    probes: ClassVar[tuple[str, ...]] = ("replay", "row-bisection", "precision")
    shows_as: ClassVar[Mapping[str, float]] = {
        "non-finite-loss": 0.3,
        "non-finite-gradient": 0.2,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "fp16-overflow": "the row's loss is not finite at the base either",
        "lr-too-high": "the base, which no learning rate touched, has no finite loss on it",
        "nondeterministic-or-hardware": "it comes again with this row and with no other",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        LEAVE_INVALID_ROWS_OUT,
        FIX_ROWS,
    )

    def prove(self, case: Case) -> Weight | None:
        at_base = listed(case, "replay", "non_finite_rows_base")
        found = said_yes(case, "row-bisection", "reproduces") and listed(case, "row-bisection", "names")
        what = case.value("row-bisection", "what")
        if at_base:
            named = f": {', '.join(map(str, found))}" if found and "non-finite" in str(what) else ""
            # The base computes in the run's precision too: fp32 has to agree.
            is_finite_in_fp32 = _is_finite(number(case, "precision", "fp32_loss"))
            leaves = () if is_finite_in_fp32 is False else ("fp16-overflow",)
            said = f"{len(at_base)} of the step's rows have no finite loss at the base, with the adapter off{named}"
            return self.proven(EXACT, said, leaves=leaves)
        if found and what == "non-finite loss" and not listed(case, "replay", "rows_base"):
            said = f"{', '.join(map(str, found))} alone makes the loss non-finite"
            return Weight(WARNED, (said,))
        return None

    def refuted(self, case: Case) -> str | None:
        rows = numbers(case, "replay", "rows_base")
        if rows and all(map(math.isfinite, rows)) and not listed(case, "replay", "non_finite_rows_base"):
            return f"each of the step's {len(rows)} rows has a finite loss at the base"
        return None
