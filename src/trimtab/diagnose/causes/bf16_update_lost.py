from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, MEASURED, Cause, Layer, Weight, number
from trimtab.diagnose.remedies import FP32_ADAPTER, RAISE_LEARNING_RATE
from trimtab.diagnose.remedy import Remedy

SWALLOWED = 0.2
"""Share of elements that stand still from which on updates are lost (see the measurements above)."""
SIXTEEN_BITS = ("bfloat16", "float16")


class Bf16UpdateLost(Cause):
    """
    What it is:
        The trained weights are kept in 16 bits, and updates below half their spacing change nothing.

    How it shows:
        A flat or slow loss with normal gradients.

    What proves it:
        The share of elements with a gradient that a step leaves exactly as they were: 44 to 99 % in bf16, 0 % in fp32.

    Source:
        pytorch/torchtune#2254, pytorch/ao#1124, ml-by-hand#85 (0 of 768 move), OneTrainer#996; measured: 44.5 % at
        2e-4, 94.1 % at 2e-5, 99.7 % at 1e-6.
    """

    name: ClassVar[str] = "bf16-update-lost"
    layer: ClassVar[Layer] = "invariant"
    probes: ClassVar[tuple[str, ...]] = ("wiring",)
    invariants: ClassVar[tuple[str, ...]] = ("weights-move",)
    shows_as: ClassVar[Mapping[str, float]] = {
        "flat-from-the-start": 0.2,
        "slow": 0.2,
        "stalled-later": 0.15,
        "loss-not-falling-at-step-10": 0.15,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "lr-too-low": "the same learning rate in fp32 moves every element",
        "stale-optimizer-params": "the optimizer holds the trained tensors: some of their elements move",
        "adapter-not-trainable": "the elements that stand still have a gradient",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        FP32_ADAPTER,
        RAISE_LEARNING_RATE,
    )

    def prove(self, case: Case) -> Weight | None:
        if case.broke("optimizer-holds-trainables") is not None:
            return None
        for broken in case.violations:
            if broken.invariant == "weights-move" and broken.detail.get("dtype") in SIXTEEN_BITS:
                return self.proven(EXACT, broken.sentence, step=broken.step)
        share, moved = number(case, "wiring", "unchanged_share"), number(case, "wiring", "moved_tensors")
        if share is None or not share > SWALLOWED or moved == 0 or case.setup.precision == "fp32":
            return None
        said = f"a step leaves {share:.0%} of the adapter's elements as they were, though they have a gradient"
        return self.proven(MEASURED, said)

    def refuted(self, case: Case) -> str | None:
        share = number(case, "wiring", "unchanged_share")
        if share is not None and share <= SWALLOWED and case.broke("weights-move") is None:
            return f"a step leaves {share:.0%} of the adapter's elements as they were"
        return None
