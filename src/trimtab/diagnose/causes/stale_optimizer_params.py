from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, MEASURED, SUSPECTED_AT_MOST, Cause, Layer, Weight, number, said_no, said_yes
from trimtab.diagnose.remedies import REBUILD_OPTIMIZER
from trimtab.diagnose.remedy import Remedy

ALL = 0.999
"""Share of elements that an update left as they were from which on nothing moves at all."""


class StaleOptimizerParams(Cause):
    """
    What it is:
        The optimizer holds other tensors than those that are trained: it was built before the model was wrapped, moved
        or loaded again.

    How it shows:
        A flat loss with healthy noise and gradients, which may grow because the wrong ones are zeroed. No error.

    What proves it:
        The tensors of the optimizer's groups are not the trainable ones, by identity; or a step with gradients leaves
        every weight as it was.

    Source:
        huggingface/accelerate#2665, #3256; pytorch#107843; huggingface/peft#3503; measured: 0 parameters changed, no
        exception, a noisy-normal loss.
    """

    name: ClassVar[str] = "stale-optimizer-params"
    layer: ClassVar[Layer] = "invariant"
    probes: ClassVar[tuple[str, ...]] = ("wiring",)
    invariants: ClassVar[tuple[str, ...]] = ("optimizer-holds-trainables", "weights-move")
    shows_as: ClassVar[Mapping[str, float]] = {
        "flat-from-the-start": 0.25,
        "loss-not-falling-at-step-10": 0.2,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "adapter-not-trainable": "every trained tensor gets a gradient",
        "lr-too-low": "no weight moves at all: it is not a matter of how far",
        "bf16-update-lost": "it is not a part of the elements that stands still: the update goes elsewhere",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (REBUILD_OPTIMIZER,)

    def prove(self, case: Case) -> Weight | None:
        broken = case.broke("optimizer-holds-trainables")
        if broken is not None:
            return self.proven(EXACT, broken.sentence, step=broken.step)
        if said_no(case, "wiring", "optimizer_matches"):
            return self.proven(EXACT, "the optimizer's tensors are not those that are trained")
        moved, with_gradient = number(case, "wiring", "moved_tensors"), number(case, "wiring", "with_gradient")
        if moved == 0 and with_gradient:
            return self.proven(MEASURED, f"a step moves none of the {with_gradient:.0f} tensors that get a gradient")
        still = case.broke("weights-move")
        if still is None or "share" not in still.detail or not still.detail["share"] >= ALL:
            return None
        if said_yes(case, "wiring", "optimizer_matches") or still.detail.get("dtype") in ("bfloat16", "float16"):
            return None
        return Weight(SUSPECTED_AT_MOST, (still.sentence,), step=still.step)

    def refuted(self, case: Case) -> str | None:
        if case.broke("optimizer-holds-trainables") is not None:
            return None
        if said_yes(case, "wiring", "optimizer_matches"):
            moved = number(case, "wiring", "moved_tensors")
            if moved != 0:
                return "the optimizer holds exactly the trained tensors, and a step moves them"
        return "two rows are learned by heart: updates arrive" if said_yes(case, "one-batch", "moved") else None
