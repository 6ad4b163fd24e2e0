from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, Cause, Layer, Weight, number, said_yes, unequal_from
from trimtab.diagnose.remedies import CHECK_MACHINE, EAGER_ATTENTION
from trimtab.diagnose.remedy import Remedy


class KernelOrMaskFault(Cause):
    """
    What it is:
        A kernel computes something else than the plain one, or a mask hides everything or nothing.

    How it shows:
        NaN where rows are padded, with one attention implementation only, or under a compiler only.

    What proves it:
        The same row alone and in a padded batch has different logits; or what a token is predicted to be changes with
        the tokens after it.

    Source:
        pytorch#103749, huggingface/transformers#32390, allenai/OLMo#323, unslothai/unsloth#9848; LlamaFactory#8088;
        torchtune#2765; linkedin/Liger-Kernel#678, #968.
    """

    name: ClassVar[str] = "kernel-or-mask-fault"
    layer: ClassVar[Layer] = "probe"
    invariants: ClassVar[tuple[str, ...]] = ("sees-only-its-past",)
    probes: ClassVar[tuple[str, ...]] = ("precision", "equality")
    decisive: ClassVar[str] = "equality"
    shows_as: ClassVar[Mapping[str, float]] = {
        "non-finite-loss": 0.15,
        "non-finite-gradient": 0.1,
        "loss-at-zero": 0.1,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "fp16-overflow": "it depends on the padding, not on the precision",
        "packing-leak": "no example is packed with another in this comparison",
        "empty-or-invalid-example": "the row alone computes well",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        EAGER_ATTENTION,
        CHECK_MACHINE,
    )

    def prove(self, case: Case) -> Weight | None:
        seen = case.broke("sees-only-its-past")
        if seen is not None and seen.detail.get("what") == "later-tokens":
            return self.proven(EXACT, seen.sentence, step=seen.step)
        difference = number(case, "equality", "padding_difference")
        if difference is None or said_yes(case, "equality", "holds") or not difference > unequal_from(case):
            return None
        return self.proven(EXACT, f"padded rows differ from the same rows alone by {difference:.2g}", step=0)

    def refuted(self, case: Case) -> str | None:
        difference = number(case, "equality", "padding_difference")
        if difference is not None and difference <= unequal_from(case):
            return f"padded rows and single ones agree to {difference:.1g}"
        return None
