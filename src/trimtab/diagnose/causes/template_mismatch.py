from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import Cause, Layer, Weight
from trimtab.diagnose.remedies import FIX_MARKERS, OWN_TEMPLATE
from trimtab.diagnose.remedy import Remedy


class TemplateMismatch(Cause):
    """
    What it is:
        The text is written in another chat template, or by another tokenizer, than the model was made with or will be
        served with.

    How it shows:
        A high first loss, then good training; bad chat, or answers that stop late or early.

    What proves it:
        The base's loss on the same answers under its own template is lower by more than 0.1 nats; or the trained end
        token is none that generation stops at.

    Source:
        LlamaFactory#2761, #7454, #7943, #9189; QwenLM/Qwen3#1064; ymcui/Chinese-LLaMA-Alpaca#269.
    """

    name: ClassVar[str] = "template-mismatch"
    layer: ClassVar[Layer] = "check"
    told_apart: ClassVar[Mapping[str, str]] = {
        "label-shift-wrong": "the same rows have the loss of a sound model under its own template",
        "eos-not-trained": "an end token is trained: another one",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        OWN_TEMPLATE,
        FIX_MARKERS,
    )

    def prove(self, case: Case) -> Weight | None:
        return None
