from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, WARNED, Cause, Layer, Weight, listed, number, said_yes
from trimtab.diagnose.remedies import INPUTS_NEED_GRADIENTS, MATCH_MODULES, UNFREEZE
from trimtab.diagnose.remedy import Remedy


class AdapterNotTrainable(Cause):
    """
    What it is:
        What should learn cannot: the adapter, or a part of it, is frozen or cut off from the loss.

    How it shows:
        A flat loss with the noise of its batches; a gradient norm of exactly 0.0; or a loss that falls while only some
        layers learn.

    What proves it:
        A trainable tensor that gets no gradient, a tensor of the adapter that is frozen, a set of trainable tensors
        that changed.

    Source:
        huggingface/peft#1142, lm-sys/FastChat#581 (checkpointing without an input that needs a gradient);
        locuslab/open-unlearning#178 (silently a part); huggingface/trl#3926, #4081, #6700; modelscope/ms-swift#9452,
        huggingface/peft#3290 (frozen after a save).
    """

    name: ClassVar[str] = "adapter-not-trainable"
    layer: ClassVar[Layer] = "invariant"
    probes: ClassVar[tuple[str, ...]] = ("wiring",)
    invariants: ClassVar[tuple[str, ...]] = ("gradient-everywhere", "gradient-not-zero", "trainables-unchanged")
    shows_as: ClassVar[Mapping[str, float]] = {
        "gradient-exactly-zero": 0.5,
        "flat-from-the-start": 0.3,
        "loss-not-falling-at-step-10": 0.25,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "stale-optimizer-params": "no gradient arrives: it is not the update that is lost",
        "lr-too-low": "no learning rate moves a weight without a gradient",
        "bf16-update-lost": "no gradient arrives: there is no update to lose",
        "labels-all-masked": "the steps have target tokens",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        UNFREEZE,
        INPUTS_NEED_GRADIENTS,
        MATCH_MODULES,
    )

    def prove(self, case: Case) -> Weight | None:
        broken = case.broke("trainables-unchanged", "gradient-everywhere")
        if broken is None and case.broke("targets") is None:
            broken = case.broke("gradient-not-zero")
        if broken is not None and broken.detail.get("zero"):
            return None  # an A gets no gradient while its B is zero: the adapter is as it was at the start
        if broken is not None and broken.detail.get("frozen") != []:
            return self.proven(EXACT, broken.sentence, step=broken.step)
        never, frozen = listed(case, "wiring", "never_gradient"), listed(case, "wiring", "frozen")
        trainable, planned = number(case, "wiring", "trainable"), number(case, "wiring", "planned_trainable")
        if trainable == 0:
            return self.proven(EXACT, "nothing is trainable")
        if frozen:
            return self.proven(EXACT, f"tensors of the adapter are frozen: {', '.join(map(str, frozen[:3]))}")
        if never:
            return self.proven(EXACT, f"trained tensors get no gradient: {', '.join(map(str, never[:3]))}")
        if trainable is not None and planned is not None and trainable < planned:
            return Weight(WARNED, (f"{trainable:.0f} tensors are trainable, {planned:.0f} were planned",))
        return None

    def refuted(self, case: Case) -> str | None:
        if case.broke("targets") is not None:
            return "a step without target tokens has no gradient, whatever can be trained"
        if case.broke(*self.invariants) is not None:
            return None
        trainable, with_gradient = number(case, "wiring", "trainable"), number(case, "wiring", "with_gradient")
        if trainable and with_gradient == trainable and not listed(case, "wiring", "frozen"):
            return f"all {trainable:.0f} trainable tensors get a gradient"
        if said_yes(case, "one-batch", "moved"):
            return "two rows are learned by heart: the wiring works"
        return None
