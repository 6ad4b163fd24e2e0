from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, Cause, Layer, Weight, number, said_no, said_yes
from trimtab.diagnose.remedies import EVAL_MODE
from trimtab.diagnose.remedy import Remedy

ROUNDING = 1e-4
"""Relative: what the order of sums may change on a GPU."""


class EvalMismatch(Cause):
    """
    What it is:
        The evaluation measures something else than training does: dropout still on, another mask, another packing,
        another collator.

    How it shows:
        An evaluation that is noisy or off by a constant.

    What proves it:
        Two evaluations of the same weights differ, and training steps repeat exactly; or an evaluation's loss is not
        the cross-entropy of its targets.

    Source:
        huggingface/peft#2438; karpathy/nanoGPT#240; huggingface/trl#1907; axolotl#3465; measured: 3.30 and 3.27 with
        dropout, 3.143 without.
    """

    name: ClassVar[str] = "eval-mismatch"
    layer: ClassVar[Layer] = "check"
    probes: ClassVar[tuple[str, ...]] = ("evaluation", "rerun")
    invariants: ClassVar[tuple[str, ...]] = ("evaluation-repeats", "loss-is-the-targets")
    shows_as: ClassVar[Mapping[str, float]] = {
        "train-eval-gap-growing": 0.1,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "nondeterministic-or-hardware": "a step repeats to the last bit: it is the evaluation alone that does not",
        "overfit": "it differs without a step in between",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (EVAL_MODE,)

    def prove(self, case: Case) -> Weight | None:
        offset = case.broke("loss-is-the-targets", what="evaluated")
        if offset is not None:
            return self.proven(EXACT, offset.sentence, step=offset.step)
        broken = case.broke("evaluation-repeats")
        leaves = ("nondeterministic-or-hardware",)
        if broken is not None:
            return self.proven(EXACT, broken.sentence, leaves=leaves, step=broken.step)
        first, second = number(case, "evaluation", "first"), number(case, "evaluation", "second")
        if not said_no(case, "evaluation", "identical") or first is None or second is None:
            return None
        if not abs(first - second) > ROUNDING * max(abs(first), abs(second)):
            return None
        said = f"two evaluations of the same weights give {first:.4f} and {second:.4f}"
        return self.proven(EXACT, said, leaves=leaves)

    def refuted(self, case: Case) -> str | None:
        if said_yes(case, "evaluation", "identical") and case.broke(*self.invariants) is None:
            return "two evaluations of the same weights are equal"
        return None
