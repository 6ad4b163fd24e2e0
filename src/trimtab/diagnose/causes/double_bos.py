from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import Cause, Layer, Weight
from trimtab.diagnose.remedies import ONE_BOS
from trimtab.diagnose.remedy import Remedy


class DoubleBos(Cause):
    """
    What it is:
        Examples begin with the beginning-of-sequence token twice: the template writes one and the tokenizer adds
        another.

    How it shows:
        Hardly: the loss may not move at all, answers are slightly worse, the first token is odd.

    What proves it:
        The first two ids of the prepared rows. The loss is no evidence: it was 2.873 with and 2.876 without.

    Source:
        OpenRLHF#393, huggingface/open-r1#462, unslothai/unsloth#10312, MakazhanAlpamys/Soup#781.
    """

    name: ClassVar[str] = "double-bos"
    layer: ClassVar[Layer] = "check"
    told_apart: ClassVar[Mapping[str, str]] = {
        "template-mismatch": "the ids are the template's, with one more in front",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (ONE_BOS,)

    def prove(self, case: Case) -> Weight | None:
        return None
