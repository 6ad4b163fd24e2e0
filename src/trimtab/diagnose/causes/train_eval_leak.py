from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import Cause, Layer, Weight
from trimtab.diagnose.remedies import SPLIT_BY_GROUP
from trimtab.diagnose.remedy import Remedy


class TrainEvalLeak(Cause):
    """
    What it is:
        Validation rows are among the training rows, or nearly: the evaluation measures memory.

    How it shows:
        Evaluations that are too good, below the training loss even, and never rise.

    What proves it:
        Overlap of the two sets, exact or by 13 words in a row.

    Source:
        ai-forever/ru-gpts#23, conclugen datasets#4261, mteb#1036; marin#6742 (17 to 19 % better than its scaling law).
    """

    name: ClassVar[str] = "train-eval-leak"
    layer: ClassVar[Layer] = "check"
    told_apart: ClassVar[Mapping[str, str]] = {
        "duplicate-data": "the copies are on both sides of the split",
        "overfit": "the evaluation cannot rise where it is trained on",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (SPLIT_BY_GROUP,)

    def prove(self, case: Case) -> Weight | None:
        return None
