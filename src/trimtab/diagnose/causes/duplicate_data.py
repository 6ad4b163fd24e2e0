from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import MEASURED, Cause, Layer, Weight, number
from trimtab.diagnose.remedies import FEWER_EPOCHS, REMOVE_DUPLICATES
from trimtab.diagnose.remedy import Remedy

FEW = 0.5
"""Share of unique rows up to which a run is mostly repetition (guess); the rule exact-duplicates warns far earlier."""
MANY = 0.95
"""Share of unique rows from which repetition explains nothing."""


class DuplicateData(Cause):
    """
    What it is:
        The same rows many times over, exactly or nearly: each copy is an epoch more than was meant.

    How it shows:
        The training loss falls towards zero, in stairs; held-out loss is left behind.

    What proves it:
        The share of distinct rows among all, or of rows that another one nearly equals.

    Source:
        marin-community/marin#7130 (a packing miscount made 6.5 epochs); huggingface/transformers#18730;
        paiml/entrenar#294; OPT's log book (flooding text).
    """

    name: ClassVar[str] = "duplicate-data"
    layer: ClassVar[Layer] = "check"
    probes: ClassVar[tuple[str, ...]] = ("duplicates",)
    shows_as: ClassVar[Mapping[str, float]] = {
        "memorised": 0.35,
        "loss-at-zero": 0.2,
        "train-eval-gap-growing": 0.2,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "overfit": "the rows were counted: they repeat within one epoch",
        "train-eval-leak": "the copies are within the training rows",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        REMOVE_DUPLICATES,
        FEWER_EPOCHS,
    )

    def prove(self, case: Case) -> Weight | None:
        unique, near = number(case, "duplicates", "unique_share"), number(case, "duplicates", "near_share")
        if unique is not None and unique <= FEW:
            return self.proven(MEASURED, f"{unique:.0%} of the rows are unique", step=0)
        if near is not None and near > FEW:
            return self.proven(MEASURED, f"{near:.0%} of the rows nearly equal another one", step=0)
        return None

    def refuted(self, case: Case) -> str | None:
        unique, near = number(case, "duplicates", "unique_share"), number(case, "duplicates", "near_share")
        if unique is not None and unique >= MANY and (near is None or near <= 1 - MANY):
            return f"{unique:.0%} of the rows are unique"
        return None
