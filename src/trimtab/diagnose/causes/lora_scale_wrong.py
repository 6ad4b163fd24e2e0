from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import MEASURED, Cause, Layer, Weight, number, said_yes
from trimtab.diagnose.remedies import LOWER_LEARNING_RATE, USUAL_LORA_SCALE
from trimtab.diagnose.remedy import Remedy

LOWEST, HIGHEST = 0.5, 4.0
"""alpha / r outside of which a scale is unusual: 2 is what most recipes take."""
USUAL_RATES = 3e-5, 1e-2
"""LoRA's: 1e-4 to 3e-4 on large models, more on small ones (checks: learning-rate-unusual); 3e-5 to be sure."""
OFF = 0.25
"""What an unusual scale is worth by itself: many runs are well with one."""


def _scale(case: Case) -> float | None:
    setup = case.setup
    if not setup.lora_alpha or not setup.r:
        return None
    # rsLoRA divides by the root: held against the same limits as at rank 16, where they differ by 4.
    return setup.lora_alpha / (4.0 * math.sqrt(setup.r) if setup.use_rslora else setup.r)


def _has_symptom(case: Case) -> bool:
    return bool(case.sightings or case.violations)


class LoraScaleWrong(Cause):
    """
    What it is:
        lora_alpha does not fit the rank: the adapter's output is scaled so far up or down that a usual learning rate is
        none any more.

    How it shows:
        It learns too little, or diverges, at a learning rate that is usual.

    What proves it:
        alpha / r lies outside 0.5 to 4, the learning rate does not lie outside of what is usual for LoRA, and the
        search finds that a rate helps which makes up for the scale.

    Source:
        huggingface/lerobot#3551, #3573 (r=128 with the default alpha=8); ml-explore/mlx-examples#620; axolotl#1434;
        measured: r128/alpha8 2.313, r128/alpha256 2.170 at step 100.
    """

    name: ClassVar[str] = "lora-scale-wrong"
    layer: ClassVar[Layer] = "check"
    probes: ClassVar[tuple[str, ...]] = ("wiring", "learning-rate-search")
    decisive: ClassVar[str] = "learning-rate-search"
    told_apart: ClassVar[Mapping[str, str]] = {
        "lr-too-high": "the learning rate is usual for LoRA; what it is multiplied with is not",
        "lr-too-low": "the learning rate is usual for LoRA; what it is multiplied with is not",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        USUAL_LORA_SCALE,
        LOWER_LEARNING_RATE,
    )

    def prove(self, case: Case) -> Weight | None:
        scale = _scale(case)
        if scale is None or LOWEST <= scale <= HIGHEST or not _has_symptom(case):
            return None
        said = f"lora_alpha / r is {scale:.3g}; usual is {LOWEST:g} to {HIGHEST:g}"
        helps = "helps_higher" if scale < LOWEST else "helps_lower"
        rate = case.setup.learning_rate
        is_usual = rate is not None and USUAL_RATES[0] <= rate <= USUAL_RATES[1]
        if said_yes(case, "learning-rate-search", helps) and is_usual:
            best = number(case, "learning-rate-search", "best_factor")
            made_up = (
                f"at {best:g} times the rate, which makes up for it, the run learns"
                if best
                else "a rate makes up for it"
            )
            return self.proven(MEASURED, said, made_up, step=0)
        return Weight(OFF, (said,), step=0)

    def refuted(self, case: Case) -> str | None:
        scale = _scale(case)
        if scale is not None and LOWEST <= scale <= HIGHEST:
            return f"lora_alpha / r is {scale:.3g}, as is usual"
        return None
