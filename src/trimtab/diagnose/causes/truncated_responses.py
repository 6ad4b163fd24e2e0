from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import Cause, Layer, Weight
from trimtab.diagnose.remedies import FIX_ROWS, LONGER_EXAMPLES, SHORTER_PROMPTS
from trimtab.diagnose.remedy import Remedy


class TruncatedResponses(Cause):
    """
    What it is:
        Answers were cut at the longest length, so the model learns to break off.

    How it shows:
        A lower loss, and outputs that end in the middle.

    What proves it:
        The share of rows whose answer lost its end to cutting, and the tokens that each role lost.

    Source:
        LlamaFactory#3995, #3143; huggingface/trl#2400; unslothai/unsloth#2904; axolotl#1749, #2211.
    """

    name: ClassVar[str] = "truncated-responses"
    layer: ClassVar[Layer] = "check"
    shows_as: ClassVar[Mapping[str, float]] = {
        "eval-rising": 0.1,
        "train-eval-gap-growing": 0.1,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "eos-not-trained": "short rows keep their end token; those at the limit lost it",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        LONGER_EXAMPLES,
        SHORTER_PROMPTS,
        FIX_ROWS,
    )

    def prove(self, case: Case) -> Weight | None:
        return None
