from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import TREND, WARNED, Cause, Layer, Weight, number
from trimtab.diagnose.remedies import FIX_ROWS, REPAIR_PAIRS
from trimtab.diagnose.remedy import Remedy

LEAST_ROWS = 100
"""Fewer say nothing: 150 rows gave a standard error of 0.01 nats."""
NO_GAP = 1.0
"""Standard errors up to which there is no gap."""
SMALL = 0.02
"""Nats that the gap may reach at most, by two standard errors: half of what healthy pairs showed (a guess)."""
CLEAR_GAP = 3.0


class LabelNoise(Cause):
    """
    What it is:
        Many answers do not belong to their questions: columns out of step, wrong labels, another row's answer.

    How it shows:
        A plateau above what was expected, with little between training and evaluation; swapped answers look like any
        healthy run.

    What proves it:
        At the base, an answer is no likelier after its own prompt than after another row's, over 100 rows or more.

    Source:
        gururise/AlpacaDataCleaned (wrong, empty and merged rows); measured: a gap of -0.006 ± 0.010 nats where answers
        were permuted, +0.044 ± 0.010 where not.
    """

    name: ClassVar[str] = "label-noise"
    layer: ClassVar[Layer] = "probe"
    probes: ClassVar[tuple[str, ...]] = ("dependence",)
    shows_as: ClassVar[Mapping[str, float]] = {
        "stalled-later": 0.2,
        "slow": 0.2,
        "flat-from-the-start": 0.1,
        "base-not-beaten": 0.2,
        "eval-rising": 0.1,
        "train-eval-gap-growing": 0.1,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "bad-example": "it is so on average over many rows, not in one",
        "lr-too-low": "the pairs were judged at the base, which nothing trained",
        "adapter-coverage-too-small": "the pairs were judged at the base, without an adapter",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        REPAIR_PAIRS,
        FIX_ROWS,
    )

    def prove(self, case: Case) -> Weight | None:
        gap, error = number(case, "dependence", "gap"), number(case, "dependence", "error")
        z, rows = number(case, "dependence", "z"), number(case, "dependence", "rows")
        if gap is None or error is None or z is None or rows is None or rows < LEAST_ROWS or not z < 2 * NO_GAP:
            return None
        said = f"an answer is likelier by {gap:.3f} ± {error:.3f} nats after its own prompt than after another's"
        sure = z < NO_GAP and gap + 2 * error < SMALL
        return self.proven(TREND, f"{said} ({rows:.0f} rows)", step=0) if sure else Weight(WARNED, (said,), step=0)

    def refuted(self, case: Case) -> str | None:
        z = number(case, "dependence", "z")
        if z is not None and z >= CLEAR_GAP:
            return f"answers depend on their prompts: {z:.1f} standard errors"
        return None
