from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.records import Severity

FEWEST_PER_EPOCH = 2
"""The final checklist says several; one an epoch finds an overfit an epoch late."""
ENOUGH_IN_ALL = 8
"""A guess: so many points show a curve's turn, however many epochs they are spread over."""


class FewEvaluations(Rule):
    """
    What it finds:
        A run with validation data that is evaluated never, or less than twice an epoch.

    Why it matters:
        The training loss falls whether the model learns or memorises; only the validation loss tells them apart. The
        best weights can only be found where the run is evaluated.

    Example:
        eval_strategy: epoch with 3 epochs: the best weights were at 1.4 epochs, and nobody looked.

    Fix:
        Leave training.eval_strategy and training.eval_steps out (about ten a run), or set eval_steps: 0.1.

    What it cannot see:
        Whether the validation data is large enough for its loss to mean something.

    Source:
        Prechelt, Early Stopping – But When? (1998).
    """

    name: ClassVar[str] = "few-evaluations"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.CONFIG

    def judge(self, seen: Evidence) -> Judgement:
        plan = seen.plan
        if seen.data.validation is None:
            return NotApplicable("there is no validation data")
        count, total = len(plan.eval_points.value), plan.total_steps.value
        epochs = total / plan.steps_per_epoch.value
        fewest = min(FEWEST_PER_EPOCH, plan.steps_per_epoch.value)
        value = f"{count} in {total:,} steps, {count / epochs:.1f} an epoch"
        limit = f"at least {fewest} an epoch, or {ENOUGH_IN_ALL} in all"
        if count >= ENOUGH_IN_ALL or count >= fewest * epochs - 1e-9:
            return Good(value=value, limit=limit)
        every = max(1, int(total / max(ENOUGH_IN_ALL + 2, fewest * epochs)))
        keys = [key for key in ("eval_strategy", "eval_steps") if f"training.{key}" in seen.origins]
        where = ", ".join(f"training.{key} by {seen.origins[f'training.{key}']}" for key in keys) or "the plan"
        return Bad(
            value=value,
            limit=limit,
            evidence=f"{plan.validation_examples.value:,} validation examples are at hand; looked at "
            f"{'never' if not count else 'after steps ' + ', '.join(map(str, plan.eval_points.value[:5]))} ({where})",
            fix=f"set training.eval_strategy: steps and training.eval_steps: {every}",
            severity=Severity.NOTES if count >= epochs - 1e-9 and count else Severity.WARNS,
        )
