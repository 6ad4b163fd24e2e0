from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import MEASURED, WARNED, Cause, Layer, Weight, number
from trimtab.diagnose.remedies import APPEND_END, OTHER_PAD_TOKEN
from trimtab.diagnose.remedy import Remedy

FEW = 0.05
"""Share of rows that end in a trained end token up to which cutting cannot be the reason: it hits the longest rows."""
MOST = 0.95
"""From here on the end is trained."""


class EosNotTrained(Cause):
    """
    What it is:
        The token that ends an answer is not among the targets, so nothing teaches the model to stop.

    How it shows:
        Not in the curve: the loss is normal, and generations run on.

    What proves it:
        The share of sampled rows whose last target ends a turn is next to nothing. Padding that equals the end token
        and is masked by value is the usual reason.

    Source:
        huggingface/course#33, unslothai/unsloth#416, huggingface/trl#3200, #1623, #3091 (padding equals the end token;
        no end appended).
    """

    name: ClassVar[str] = "eos-not-trained"
    layer: ClassVar[Layer] = "check"
    probes: ClassVar[tuple[str, ...]] = ("labels",)
    told_apart: ClassVar[Mapping[str, str]] = {
        "truncated-responses": "rows of every length miss their end, not the longest",
        "template-mismatch": "no end token of any kind is trained, rather than another one",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        APPEND_END,
        OTHER_PAD_TOKEN,
    )

    def prove(self, case: Case) -> Weight | None:
        share = number(case, "labels", "ends_trained")
        if share is None or not share < MOST or case.broke("targets") is not None:  # without targets none can end
            return None
        said = f"{share:.0%} of the rows have a token that ends a turn as their last target"
        return self.proven(MEASURED, said, step=0) if share <= FEW else Weight(WARNED, (said,), step=0)

    def refuted(self, case: Case) -> str | None:
        share = number(case, "labels", "ends_trained")
        return f"{share:.0%} of the rows end in a trained end token" if share is not None and share >= MOST else None
