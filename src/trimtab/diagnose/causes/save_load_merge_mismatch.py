from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, Cause, Layer, Weight
from trimtab.diagnose.remedies import EXPORT_AGAIN
from trimtab.diagnose.remedy import Remedy


class SaveLoadMergeMismatch(Cause):
    """
    What it is:
        What was saved, merged or loaded is not what was trained: an empty adapter, another base, keys that fit nothing.

    How it shows:
        A tuned model that answers as its base does, or far worse once merged.

    What proves it:
        The loss of what was written, measured on the same rows as that of what was trained (trimtab export does); or
        the file holds other tensors than the model does (train looks when it has written them).

    Source:
        huggingface/peft#1043, #2105, #2892, #1402; huggingface/trl#4416; tloen/alpaca-lora#459;
        meta-pytorch/torchtune#935; MakazhanAlpamys/Soup v0.72.1.
    """

    name: ClassVar[str] = "save-load-merge-mismatch"
    layer: ClassVar[Layer] = "check"
    invariants: ClassVar[tuple[str, ...]] = ("saved-as-trained",)
    told_apart: ClassVar[Mapping[str, str]] = {
        "adapter-not-trainable": "the weights in memory had learned",
        "eval-mismatch": "both losses are of the same rows by the same evaluation",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (EXPORT_AGAIN,)

    def prove(self, case: Case) -> Weight | None:
        broken = case.broke("saved-as-trained")
        return None if broken is None else self.proven(EXACT, broken.sentence, step=broken.step)
