from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.plan.horizon import usual_epochs
from trimtab.records import Severity

MOST = 3.0
MANY = 10.0
"""Up to which it is only noted where evaluations watch and the guard keeps the best weights: 8 epochs of 100 rows did
not overfit (bench/faults/healthy.py)."""


class TooManyEpochs(Rule):
    """
    What it finds:
        More than three passes over the training data.

    Why it matters:
        From the second pass on the model has seen every answer. It learns them by heart, and what it says to other
        questions gets worse while the training loss looks better than ever.

    Example:
        8 examples, 100 epochs: training loss 0.17, held-out loss 3.9 where the base had 2.8.

    Fix:
        1 to 3 epochs for some thousand examples, 1 from 50,000 on. With validation data the best weights are kept
        whatever the number; training.early_stopping_patience: 3 saves the rest of the time.

    What it cannot see:
        That learning by heart is what is wanted. Up to 10 epochs it is noted only, where evaluations watch and the
        guard keeps the best weights.

    Source:
        docs/design.md, Plan; Muennighoff et al., Scaling Data-Constrained Language Models (arXiv 2305.16264): up to
        four repetitions cost little in pretraining; fine-tuning sets are far smaller.
    """

    name: ClassVar[str] = "too-many-epochs"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.CONFIG
    cause: ClassVar[str] = "overfit"

    def judge(self, seen: Evidence) -> Judgement:
        plan = seen.plan
        epochs = plan.total_steps.value / plan.steps_per_epoch.value
        value, limit = f"{epochs:.3g} epochs", f"at most {MOST:g}"
        if epochs <= MOST + 1e-9:
            return Good(value=value, limit=limit)
        stops = bool(plan.eval_points.value) and seen.config.training.early_stopping_patience is not None
        keeps_best = bool(plan.eval_points.value) and seen.config.guard.mode == "repair"
        watched = stops or (keeps_best and epochs < MANY)
        key = "max_steps" if seen.config.training.max_steps > 0 else "num_train_epochs"
        usual = usual_epochs(plan.examples.value)
        fix = f"set training.num_train_epochs: {usual:g}"
        if key == "max_steps":
            fix = f"set training.max_steps: {round(usual * plan.steps_per_epoch.value)}, or leave it out"
        return Bad(
            value=value,
            limit=limit,
            evidence=f"each of {plan.examples.value:,} examples is seen {epochs:.3g} times "
            f"(training.{key}, by {seen.origins.get(f'training.{key}', 'the plan')})"
            + ("; early stopping watches" if stops else ""),
            fix=fix + ("" if stops else ", or training.early_stopping_patience: 3 with validation data"),
            severity=Severity.NOTES if watched else Severity.WARNS,
        )
