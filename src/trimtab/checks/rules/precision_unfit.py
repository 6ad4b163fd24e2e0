from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.records import Severity


class PrecisionUnfit(Rule):
    """
    What it finds:
        A precision that was asked for and that the device does not compute in, or one that wastes what it has.

    Why it matters:
        fp16 ends at 65,504: activations of models that were trained in bf16 can exceed it, and the loss becomes no
        number. fp32 on a GPU with bf16 takes twice the memory and several times the time, and learns no better.

    Example:
        bf16: true on a T4. It would be emulated, so the run takes fp16.

    Fix:
        Leave training.bf16 and training.fp16 out: the plan takes what the device has.

    What it cannot see:
        Whether this model overflows in fp16. Training tells: a loss that is no number, updates left out.

    Source:
        Micikevicius et al., Mixed Precision Training (arXiv 1710.03740); NVIDIA's data sheets.
    """

    name: ClassVar[str] = "precision-unfit"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.CONFIG
    cause: ClassVar[str] = "fp16-overflow"

    def judge(self, seen: Evidence) -> Judgement:
        training, device, taken = seen.config.training, seen.device, seen.plan.precision.value
        limit = f"what {device.name} computes in"
        if device.kind == "cpu":
            best, alternatives = "fp32", ("fp32", "bf16") if device.native_bf16 else ("fp32",)
        else:
            best, alternatives = ("bf16", ("bf16",)) if device.native_bf16 else ("fp16", ("fp16",))
        asked = "bf16" if training.bf16 is True else "fp16" if training.fp16 is True else None
        where = seen.origins.get(f"training.{asked}", "the config") if asked else ""
        if asked is not None and asked != taken:
            risk = "it can overflow" if taken == "fp16" else "it is exact, and slower"
            return Bad(
                value=f"{asked}, by {where}",
                limit=limit,
                evidence=f"{device.name} does not compute in {asked}, so the run takes {taken}: {risk}",
                fix=f"remove training.{asked}, or train on a device with {asked}",
                severity=Severity.WARNS if taken == "fp16" else Severity.NOTES,
            )
        if taken in alternatives:
            return Good(value=taken, limit=limit)
        cost = (
            "fp32 takes twice the memory of bf16 and several times the time, for full fine-tuning too: what learns is "
            "kept in float32 anyway"
            if taken == "fp32"
            else "fp16 ends at 65,504 and can overflow; bf16 is as fast here and does not"
        )
        return Bad(
            value=taken,
            limit=limit,
            evidence=f"{device.name} computes in {best}; {cost}",
            fix="remove training.bf16 and training.fp16, or set training.bf16=true"
            if best == "bf16"
            else "remove training.bf16 and training.fp16",
            severity=Severity.NOTES,
        )
