from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import Cause, Layer, Weight
from trimtab.diagnose.remedies import OWN_TEMPLATE, TRAIN_EMBEDDINGS
from trimtab.diagnose.remedy import Remedy


class UntrainedSpecialToken(Cause):
    """
    What it is:
        The data uses a token whose embedding nothing has ever trained, and this run does not train it either.

    How it shows:
        Answers that never stop, or a token that is never said; NaN where the row is zero and is divided by.

    What proves it:
        The row of the embedding or the head: zeros, equal to another row, or at the mean of all, in a module that stays
        frozen.

    Source:
        unslothai/unsloth#1053, #1056, #1258, #658; QwenLM/Qwen3#1064; huggingface/trl#2414; axolotl#1570;
        LlamaFactory#10547.
    """

    name: ClassVar[str] = "untrained-special-token"
    layer: ClassVar[Layer] = "check"
    told_apart: ClassVar[Mapping[str, str]] = {
        "eos-not-trained": "the token is among the targets: its row cannot learn",
        "fp16-overflow": "the weights file itself holds the row",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        TRAIN_EMBEDDINGS,
        OWN_TEMPLATE,
    )

    def prove(self, case: Case) -> Weight | None:
        return None
