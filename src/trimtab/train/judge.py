"""How a finished run did, judged by its records against the base it started from."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trimtab.records import EvalRecord, Status, StepRecord


def judge(
    steps: Sequence[StepRecord], evals: Sequence[EvalRecord], *, best_is_final: bool, why_it_ended: str
) -> tuple[Status, str]:
    """Healthy if the final weights' evaluation is better than the base's own at step 0: a loss that fell from where
    training itself had driven it up is no success. `best_is_final` says whether the best weights became the final
    ones, or the last."""
    status, reason = _by_evaluations(evals, best_is_final) if len(evals) > 1 else _by_steps(steps, why_it_ended)
    lost = [record.step for record in steps if not math.isfinite(record.loss)]
    if lost and len(evals) > 1:
        reason += f"; the training loss was not a number in {len(lost)} steps, first in step {lost[0]}"
    return status, reason


def _by_evaluations(evals: Sequence[EvalRecord], best_is_final: bool) -> tuple[Status, str]:
    base, later = evals[0].loss, [record.loss for record in evals[1:]]
    finite = [loss for loss in later if math.isfinite(loss)]
    if not finite:
        return Status.FAILED, "no evaluation after the first step gave a finite loss"
    final = min(finite) if best_is_final else later[-1]
    if not math.isfinite(final):
        return Status.FAILED, "the last evaluation gave no finite loss, and the last weights are the final ones"
    if math.isfinite(base) and final >= base:
        which = "no evaluation was" if best_is_final else "the last evaluation was not"
        return Status.FAILED, f"{which} better than the base itself ({final:.4f} against {base:.4f})"
    return Status.HEALTHY, f"evaluation loss {base:.4f} → {final:.4f}"


def _by_steps(steps: Sequence[StepRecord], why_it_ended: str) -> tuple[Status, str]:
    if not all(math.isfinite(record.loss) for record in steps):
        return Status.FAILED, "the training loss stopped being a number"
    return Status.HEALTHY, f"{why_it_ended}; without validation data nothing says how good it is"
