from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, Cause, Layer, Weight, number, said_yes, unequal_from
from trimtab.diagnose.remedies import FIX_DIVISOR
from trimtab.diagnose.remedy import Remedy


class LossScalingWrong(Cause):
    """
    What it is:
        The loss or the gradient is divided by the wrong number, so that it depends on how the batch is cut: by micro
        batch, accumulation or process.

    How it shows:
        A loss that is 2, 8 or 16 times too high, or results that change with the split. Adam with clipping hides it.

    What proves it:
        The same rows at once and accumulated have another loss or gradient norm; the ratio names the fault (the
        accumulation steps, the processes, 2).

    Source:
        huggingface/transformers#34191, #35203, #35651, #37766, #35438, #37474; axolotl#2262, #1100;
        unslothai/unsloth#2055; measured: 4.118 against 3.004.
    """

    name: ClassVar[str] = "loss-scaling-wrong"
    layer: ClassVar[Layer] = "probe"
    invariants: ClassVar[tuple[str, ...]] = ("loss-is-the-targets",)
    probes: ClassVar[tuple[str, ...]] = ("equality",)
    shows_as: ClassVar[Mapping[str, float]] = {
        "divergence": 0.1,
        "all-steps-clipped": 0.15,
        "slow": 0.1,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "lr-too-high": "the very same rows and weights give two losses: no step was made",
        "packing-leak": "the rows are the same and not packed in either computation",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (FIX_DIVISOR,)

    def prove(self, case: Case) -> Weight | None:
        broken = case.broke("loss-is-the-targets", what="trained")
        if broken is not None:
            return self.proven(EXACT, broken.sentence, step=broken.step)
        for what in ("loss", "norm"):
            ratio = number(case, "equality", f"accumulation_{what}_ratio")
            if ratio is not None and abs(ratio - 1.0) > unequal_from(case) and not said_yes(case, "equality", "holds"):
                said = f"accumulated, the {what} of the same rows is {ratio:.3g} times that at once"
                return self.proven(EXACT, said, step=0)
        return None

    def refuted(self, case: Case) -> str | None:
        ratios = [number(case, "equality", f"accumulation_{what}_ratio") for what in ("loss", "norm")]
        if all(ratio is not None and abs(ratio - 1.0) <= unequal_from(case) for ratio in ratios):
            return "the same rows have the same loss and gradient norm at once and accumulated"
        return None
