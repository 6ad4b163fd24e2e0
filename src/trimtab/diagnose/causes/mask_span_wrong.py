from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, MEASURED, WARNED, Cause, Layer, Weight, number
from trimtab.diagnose.remedies import FIX_MARKERS, REBUILD_TARGETS, RESTORE_BATCHES
from trimtab.diagnose.remedy import Remedy

MOST = 0.5
"""Share of rows whose targets hold their prompt from which on the mask is off (guess): answers may quote."""
NONE = 0.02
"""Up to which share the mask is right."""


class MaskSpanWrong(Cause):
    """
    What it is:
        The wrong tokens carry loss: the prompt too, or some answers not at all.

    How it shows:
        Not in the curve. The loss is normal or lower, the model echoes its users, or some turns are never learned.

    What proves it:
        The targets of sampled rows, decoded, hold what the user or the system said; or a batch has other target tokens
        than its prepared rows.

    Source:
        karpathy/nanochat#582 (mask dropped on its way to the loss); NVIDIA-NeMo/Megatron-Bridge#3359,
        huggingface/trl#4201 (silently trains on the prompt); axolotl#2123, #2227.
    """

    name: ClassVar[str] = "mask-span-wrong"
    layer: ClassVar[Layer] = "check"
    probes: ClassVar[tuple[str, ...]] = ("labels",)
    invariants: ClassVar[tuple[str, ...]] = ("rows",)
    shows_as: ClassVar[Mapping[str, float]] = {
        "base-not-beaten": 0.15,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "labels-all-masked": "there are targets: the wrong ones",
        "label-shift-wrong": "how many targets there are, and whose, differs; a shift keeps both",
        "template-mismatch": "it is which tokens are targets, not how the text is written",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        RESTORE_BATCHES,
        REBUILD_TARGETS,
        FIX_MARKERS,
    )

    def prove(self, case: Case) -> Weight | None:
        for violation in case.violations:
            if violation.invariant == "rows" and violation.detail.get("what") == "targets":
                return self.proven(EXACT, violation.sentence, step=violation.step)
        share = number(case, "labels", "prompt_in_targets")
        if share is not None and share >= MOST:
            return self.proven(MEASURED, f"the targets of {share:.0%} of the rows hold what the user said", step=0)
        if any(v.invariant == "rows" and v.detail.get("what") == "content" for v in case.violations):
            return Weight(WARNED, ("the batch has other targets than its rows, or at other places",))
        return None

    def refuted(self, case: Case) -> str | None:
        share = number(case, "labels", "prompt_in_targets")
        if share is not None and share <= NONE and case.broke("rows") is None:
            return f"the targets of {share:.0%} of the rows hold anything of the prompt"
        return None
