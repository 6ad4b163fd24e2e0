from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.records import Severity

LOWEST, HIGHEST = 0.5, 4.0
"""Of lora_alpha / r. Recipes have 1 (alpha = r) or 2 (alpha = 2 r); the bounds are twice as far."""


class LoraScaleUnusual(Rule):
    """
    What it finds:
        An adapter whose output is scaled by less than a half, or by more than four: lora_alpha / r.

    Why it matters:
        The scale acts as a learning rate does. With rank 128 and an alpha left at 8 the adapter counts for a
        thirty-second of the usual, and learns less than rank 8; far too large a scale diverges at a usual rate.

    Example:
        r: 128, lora_alpha: 8 is a scale of 0.0625.

    Fix:
        Leave adapter.lora_alpha out (twice r), or set adapter.use_rslora: true for high ranks.

    What it cannot see:
        A learning rate that was chosen for the scale: then it is no fault, and the rule only warns.

    Source:
        huggingface/lerobot#3551 (r 128, alpha 8); ml-explore/mlx-examples#620 (diverges); rsLoRA, arXiv 2312.03732.
    """

    name: ClassVar[str] = "lora-scale-unusual"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.CONFIG
    cause: ClassVar[str] = "lora-scale-wrong"

    def judge(self, seen: Evidence) -> Judgement:
        adapter = seen.config.adapter
        if adapter is None:
            return NotApplicable("there is no adapter")
        if adapter.use_rslora:
            return NotApplicable("rsLoRA scales by the root of the rank")
        alpha = 2 * adapter.r if adapter.lora_alpha == "auto" else adapter.lora_alpha
        scale = alpha / adapter.r
        value, limit = f"{alpha} / {adapter.r} = {scale:g}", f"{LOWEST:g} to {HIGHEST:g}"
        if LOWEST <= scale <= HIGHEST:
            return Good(value=value, limit=limit)
        which = "less" if scale < LOWEST else "more"
        return Bad(
            value=value,
            limit=limit,
            evidence=f"the adapter counts for {scale / 2:.3g} times the usual: it acts as {which} learning rate does",
            fix=f"set adapter.lora_alpha: {2 * adapter.r}, or adapter.use_rslora: true",
        )
