from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.plan.schedule import schedule
from trimtab.records import Severity

ENDED = 0.001
"""Share of the peak at which nothing more is learnt."""
IDLE_SHARE = 0.05
"""Of the steps. A linear or cosine decay is below `ENDED` for 0.1 % and 2 % of them."""
STILL_HIGH = 0.5
SHORT_RUN_STEPS = 20
"""In fewer, a decay over the last fifth has no step to show in."""


class ScheduleEndsEarly(Rule):
    """
    What it finds:
        A learning rate that reaches zero well before the last step; a run that ends before it has seen the data once;
        and, only to be known, one that never decays.

    Why it matters:
        Steps at learning rate zero cost as much as others and teach nothing. Examples that are never reached teach
        nothing either. A rate that never falls leaves the loss higher than it needs to be at the end.

    Example:
        warmup_stable_decay with num_stable_steps: 100 and num_decay_steps: 50 in a run of 1,000 steps: 840 of them do
        nothing. The two were counted for a shorter run.

    Fix:
        Leave training.lr_scheduler_kwargs out, or count its steps for this run; leave training.max_steps out, or
        set training.num_train_epochs to 1 or more.

    What it cannot see:
        Whether a short run is a trial: less than an epoch is then meant.

    Source:
        MiniCPM (arXiv 2404.06395), section 4, on what a decay is worth.
    """

    name: ClassVar[str] = "schedule-ends-early"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.CONFIG
    cause: ClassVar[str] = "schedule-wrong"

    def judge(self, seen: Evidence) -> Judgement:
        plan = seen.plan
        total, per_epoch, kind = plan.total_steps.value, plan.steps_per_epoch.value, plan.lr_scheduler_type.value
        factor = schedule(
            kind, warmup_steps=plan.warmup_steps.value, total_steps=total, options=plan.lr_scheduler_kwargs.value
        )
        last_learning = next((done for done in range(total - 1, -1, -1) if factor(done) > ENDED), 0)
        idle = total - 1 - last_learning
        value, limit = f"{kind} over {total:,} steps", "above zero to the end, and at least an epoch"
        options = ", ".join(f"{key}: {given}" for key, given in plan.lr_scheduler_kwargs.value.items())
        if idle >= max(2, IDLE_SHARE * total):
            if kind == "warmup_stable_decay":
                stay = total - plan.warmup_steps.value - max(1, round(0.2 * total))
                fix = f"remove training.lr_scheduler_kwargs, or set num_stable_steps: {max(0, stay)} in it"
            else:
                fix = "remove training.lr_scheduler_kwargs"
            return Bad(
                value=f"{kind}, zero from step {last_learning + 2:,} of {total:,} on",
                limit=limit,
                evidence=f"{idle:,} steps ({idle / total:.0%}) would change nothing"
                + (f"; lr_scheduler_kwargs has {options}" if options else ""),
                fix=fix,
            )
        if total < per_epoch:
            unseen = plan.examples.value - total * plan.effective_batch_size.value
            return Bad(
                value=f"{total:,} steps of an epoch's {per_epoch:,}",
                limit=limit,
                evidence=f"{max(0, unseen):,} of {plan.examples.value:,} examples are never trained on "
                f"({_decided_by(seen)})",
                fix=f"{_an_epoch(seen)}; for a trial run nothing need be done",
                severity=Severity.NOTES,
            )
        if factor(total - 1) > STILL_HIGH and total >= SHORT_RUN_STEPS:
            return Bad(
                value=f"{kind}, at {factor(total - 1):.0%} of its peak in the last step",
                limit=limit,
                evidence="a rate that falls to zero usually ends a few hundredths of a nat lower"
                + (f"; lr_scheduler_kwargs has {options}" if options else ""),
                fix="leave training.lr_scheduler_type and training.lr_scheduler_kwargs out, unless this is meant",
                severity=Severity.NOTES,
            )
        return Good(value=value, limit=limit)


def _decided_by(seen: Evidence) -> str:
    key = _length_key(seen)
    return f"{key}: {getattr(seen.config.training, key.removeprefix('training.'))}, {seen.origins.get(key, 'default')}"


def _length_key(seen: Evidence) -> str:
    """The key that decided the length of the run."""
    return "training.max_steps" if seen.config.training.max_steps > 0 else "training.num_train_epochs"


def _an_epoch(seen: Evidence) -> str:
    if _length_key(seen) == "training.max_steps":
        return f"set training.max_steps: {seen.plan.steps_per_epoch.value}, or leave it out"
    return "set training.num_train_epochs: 1, or leave it out"
