from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, Cause, Layer, Weight, number, said_yes, unequal_from
from trimtab.diagnose.remedies import EAGER_ATTENTION, NO_PACKING
from trimtab.diagnose.remedy import Remedy


class PackingLeak(Cause):
    """
    What it is:
        Packed examples see one another: attention crosses from one document into the next.

    How it shows:
        Not at all. The loss looks normal and the result is worse.

    What proves it:
        The logits of an example packed with another differ from those of it alone, by the batches and flags that are
        trained with.

    Source:
        huggingface/trl#805, #1230, #3067, #3526; MeetKai/functionary#265; huggingface/transformers#46634; axolotl#2332,
        #3301; measured: logits differ by 10.1 with a leak and by 1e-5 without.
    """

    name: ClassVar[str] = "packing-leak"
    layer: ClassVar[Layer] = "probe"
    invariants: ClassVar[tuple[str, ...]] = ("sees-only-its-past",)
    probes: ClassVar[tuple[str, ...]] = ("equality",)
    told_apart: ClassVar[Mapping[str, str]] = {
        "kernel-or-mask-fault": "a padded example computes as it does alone; only a packed one does not",
        "loss-scaling-wrong": "it is the logits that differ, before any loss is divided",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        NO_PACKING,
        EAGER_ATTENTION,
    )

    def prove(self, case: Case) -> Weight | None:
        seen = case.broke("sees-only-its-past")
        if seen is not None and seen.detail.get("what") != "later-tokens":
            return self.proven(EXACT, seen.sentence, step=seen.step)
        difference = number(case, "equality", "packing_difference")
        if difference is None or said_yes(case, "equality", "holds") or not difference > unequal_from(case):
            return None
        padding = number(case, "equality", "padding_difference")
        leaves = ("kernel-or-mask-fault",) if padding is not None and padding > unequal_from(case) else ()
        return self.proven(EXACT, f"packed examples differ from single ones by {difference:.2g}", leaves=leaves, step=0)

    def refuted(self, case: Case) -> str | None:
        difference = number(case, "equality", "packing_difference")
        if difference is not None and difference <= unequal_from(case):
            return f"packed and single examples agree to {difference:.1g}"
        return None
