from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, WARNED, Cause, Layer, Weight, number, numbers
from trimtab.diagnose.remedies import REMOVE_SECOND_SHIFT, RESTORE_BATCHES
from trimtab.diagnose.remedy import Remedy

NO_LOSS = -1
"""What the probe says where no loss is a number."""


class LabelShiftWrong(Cause):
    """
    What it is:
        The labels are shifted twice, or not at all: the model learns to predict a token further on, or the one it just
        read.

    How it shows:
        The first loss is far above the base's own (5.2 against 3.1) and then falls in a healthy shape.

    What proves it:
        The loss of logits at t against the token at t+k is smallest at k = 1 for every sound model; here it is at
        another k, at the base or after training.

    Source:
        huggingface/transformers#37830, #47394, #46898, #47388 (labels shifted twice); pytorch/torchtune#2613;
        mosaicml/llm-foundry#288.
    """

    name: ClassVar[str] = "label-shift-wrong"
    layer: ClassVar[Layer] = "check"
    probes: ClassVar[tuple[str, ...]] = ("shift",)
    shows_as: ClassVar[Mapping[str, float]] = {
        "base-not-beaten": 0.15,
        "divergence": 0.1,
        "loss-not-falling-at-step-10": 0.1,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "template-mismatch": "under a wrong template k = 1 is still the smallest",
        "mask-span-wrong": "a wrong mask leaves each target in its place",
        "lr-too-high": "a damaged model's loss is high at every k",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        RESTORE_BATCHES,
        REMOVE_SECOND_SHIFT,
    )

    def prove(self, case: Case) -> Weight | None:
        at, losses = number(case, "shift", "argmin_base"), numbers(case, "shift", "base")
        if at is not None and at not in (1, NO_LOSS):
            measured = ", ".join(f"{loss:.2f}" for loss in losses)
            said = f"the base's loss is smallest {at:.0f} tokens on, not 1 (at 0, 1, 2: {measured})"
            return self.proven(EXACT, said, step=0)
        for broken in case.violations:
            if broken.invariant == "rows" and broken.detail.get("what") == "shifted":
                return self.proven(EXACT, broken.sentence, step=broken.step)
        if any(v.invariant == "rows" and v.detail.get("what") == "content" for v in case.violations):
            return Weight(WARNED, ("the batch has other targets than its rows, or at other places",))
        return None

    def refuted(self, case: Case) -> str | None:
        base = number(case, "shift", "argmin_base")
        is_torn = any(violation.detail.get("what") in ("content", "shifted") for violation in case.violations)
        if base == 1 and not is_torn:
            return "the loss is smallest for the very next token, as it should be"
        return None
