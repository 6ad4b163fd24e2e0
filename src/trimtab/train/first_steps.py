"""What a run's first steps say of it: whether its memory suffices, and whether its loss falls.

A step's loss jumps with its examples: ten losses in a row say next to nothing (rules on them accuse every healthy
run, docs/log.md). So the same examples are measured twice, before the first step and after the tenth; what they differ
by is the run's doing, and their spread says how far chance goes.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Sequence

import numpy as np

from trimtab.data.order import Order, Rows
from trimtab.plan.choice import LIMIT_SHARE
from trimtab.plan.schedule import Schedule
from trimtab.records import EvalRecord, Finding, Severity, StepRecord
from trimtab.records.device import Device
from trimtab.records.units import memory_size
from trimtab.records.verdict import FirstSteps, Movement
from trimtab.train.observer import CONTINUE, HalveMicroBatch, Intervention, Stop

JUDGED_STEP = 10
"""The step after which the loss is judged; a shorter run is judged after its last."""
EXAMPLES = 32
"""Measured twice: fewer than two steps' work, and a change of half their spread is beyond chance."""
FEWEST_EXAMPLES = 5
"""Below it a spread is a guess, and nothing is said to rise."""
CHANCE = 0.001
"""How rare a change must be by chance to be called one."""
LEAST_RISE = 0.02
"""Share of the loss that a rise must reach to be told. bench/first_steps.py: healthy runs stay below."""
LEAST_CHANGE = 0.001
"""Share of the loss that the whole run must promise to change it by, at the pace of the first steps: a guess, far below
what any run is made for. The test sees changes a thousand times smaller."""
LEAST_UPDATES = 1.0
"""Learning rate applied so far, in updates at its peak, below which "not yet" is no news: a guess."""

RISING = "loss-rising-at-step-10"
UNMOVED = "loss-unmoved-at-step-10"
UNTRAINED = "nothing-trained-at-step-10"
RUINED = "loss-beyond-guessing-at-step-10"
MEMORY = "memory-over-limit"


class MemoryWatch:
    """Answers HalveMicroBatch while a step takes more than 90 % of the device; looks at the first step, and at the
    first after each answer.

    On a GPU the rest is for what the driver holds and the allocator reserves beside; on a CPU for everybody else.
    """

    def __init__(self, device: Device, *, accepted: Collection[str] = ()) -> None:
        self.device = device
        self.is_accepted = lets_pass(accepted, MEMORY)
        self.is_proven = self.is_accepted

    def on_step(self, record: StepRecord) -> Intervention:
        if self.is_proven:
            return CONTINUE
        limit = int(LIMIT_SHARE * self.device.memory_bytes)
        self.is_proven = self.is_accepted or record.memory_bytes <= limit
        if self.is_proven:
            return CONTINUE
        return HalveMicroBatch(
            f"step {record.step} took {memory_size(record.memory_bytes)}, more than {LIMIT_SHARE:.0%} of the "
            f"{memory_size(self.device.memory_bytes)} of {self.device.name}"
        )

    def on_eval(self, record: EvalRecord) -> Intervention:
        return CONTINUE


def judged_step(total_steps: int) -> int:
    return min(JUDGED_STEP, total_steps)


def judged_rows(order: Order, total_steps: int) -> Rows:
    """Up to `EXAMPLES` of those that the first steps train on, evenly over them, each once."""
    rows = np.concatenate([order.rows(step) for step in range(judged_step(total_steps))])
    _, first_places = np.unique(rows, return_index=True)
    distinct = rows[np.sort(first_places)]
    picked = np.linspace(0, len(distinct) - 1, min(EXAMPLES, len(distinct))).round().astype(int)
    return np.asarray(distinct[picked], dtype=np.int64)


def judge_first_steps(
    before: Sequence[float],
    after: Sequence[float],
    *,
    step: int,
    vocabulary: int,
    had_gradient: bool,
    schedule: Schedule,
    total_steps: int,
) -> FirstSteps:
    """`before` and `after`: mean losses of the same examples, in nats.

    Whether the loss fell or rose is Student's t of their differences, one-sided. A rise must also be worth telling:
    in a run of batch size 1 all examples move together with the last one trained on. And a fall must lead somewhere:
    paired differences show one of a millionth of a nat.
    """
    mean_before, mean_after = statistics.fmean(before), statistics.fmean(after)
    differences = [then - now for now, then in zip(before, after, strict=True)]
    error = standard_error(differences)
    p_rising, p_falling = one_sided(differences)
    updates = sum(schedule(done) for done in range(step))
    to_the_end = sum(schedule(done) for done in range(total_steps)) / updates if updates >= LEAST_UPDATES else math.inf
    promised = (abs(mean_after - mean_before) + 3 * error) * to_the_end
    guessing = math.log(vocabulary)
    moved = f"{mean_before:.3f} → {mean_after:.3f} on {len(before)} examples of the first {step} steps"
    if not had_gradient:
        movement, sentence = Movement.UNTRAINED, f"every gradient was exactly zero in {step} steps"
    elif mean_before < guessing and (
        not any(map(math.isfinite, after)) or (mean_after - guessing > 2 * error and p_rising < CHANCE)
    ):
        movement = Movement.RUINED
        sentence = f"the loss went {moved}: worse than guessing among {vocabulary:,} tokens ({guessing:.2f})"
    elif not all(map(math.isfinite, [*before, *after])):
        lost = sum(not math.isfinite(loss) for loss in after)
        movement = Movement.RISING if lost > sum(not math.isfinite(loss) for loss in before) else Movement.UNDECIDED
        sentence = f"{lost} of {len(after)} examples of the first {step} steps have a loss that is no number"
    elif not any(differences) and updates >= LEAST_UPDATES:
        movement = Movement.UNMOVED
        sentence = f"not one of {len(before)} examples changed its loss in {step} steps"
    elif promised < LEAST_CHANGE * mean_before:
        movement = Movement.UNMOVED
        sentence = (
            f"the loss hardly moves: by {mean_after - mean_before:+.1g} in {step} steps, at which pace the whole run "
            f"changes its {mean_before:.3f} by less than {promised:.1g}"
        )
    elif p_falling < CHANCE:
        movement, sentence = Movement.FALLING, f"the loss is falling: {moved}"
    elif p_rising < CHANCE and mean_after - mean_before > LEAST_RISE * mean_before and len(before) >= FEWEST_EXAMPLES:
        movement, sentence = Movement.RISING, f"the loss is rising: {moved}"
    else:
        movement = Movement.UNDECIDED
        too_early = f"; the learning rate has made up only {updates:.2g} full updates" * (updates < LEAST_UPDATES)
        sentence = f"too early to tell whether the loss falls: {moved}, ± {error:.3f}{too_early}"
    return FirstSteps(
        movement=movement,
        step=step,
        examples=len(before),
        loss_before=mean_before,
        loss_after=mean_after,
        standard_error=error,
        p_falling=p_falling,
        p_rising=p_rising,
        sentence=sentence,
    )


def finding(judged: FirstSteps, *, accepted: Collection[str]) -> Finding | None:
    """What there is to tell of the first steps, as the checks before the run would."""
    told = _TOLD.get(judged.movement)
    if told is None:
        return None
    rule, severity, limit, fix = told
    return Finding(
        rule=rule,
        severity=severity,
        value=f"{judged.loss_before:.3f} → {judged.loss_after:.3f} nats",
        limit=limit,
        evidence=judged.sentence,
        fix=fix,
        accepted=lets_pass(accepted, rule),
        cause=_CAUSES[rule],
    )


def intervention(found: Finding | None) -> Intervention:
    if found is None or not found.blocks:
        return CONTINUE
    return Stop(f"{found.evidence}. {found.fix} [{found.rule}]", is_failure=True)


def lets_pass(accepted: Collection[str], rule: str) -> bool:
    return rule in accepted or "all" in accepted


def standard_error(differences: Sequence[float]) -> float:
    """Of their mean; infinite for fewer than two."""
    if len(differences) < 2 or not all(map(math.isfinite, differences)):
        return math.inf
    return statistics.stdev(differences) / math.sqrt(len(differences))


def one_sided(differences: Sequence[float]) -> tuple[float, float]:
    """How often chance would make the mean as large, and as small, if there were no change."""
    error = standard_error(differences)
    if math.isinf(error):
        return 0.5, 0.5
    mean = statistics.fmean(differences)
    if error == 0.0:
        return (0.5, 0.5) if mean == 0.0 else (float(mean < 0), float(mean > 0))
    t, degrees = mean / error, len(differences) - 1
    return t_tail(t, degrees), t_tail(-t, degrees)


def t_tail(t: float, degrees: int) -> float:
    """P(T > t) of Student's distribution with whole degrees of freedom: the finite series 26.7.3 and 26.7.4 of
    Abramowitz and Stegun, Handbook of Mathematical Functions."""
    angle = math.atan(t / math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = degrees % 2
    total, term = 0.0, 1.0
    for number in range(degrees // 2):
        if number:
            term *= cosine**2 * ((2 * number) / (2 * number + 1) if is_odd else (2 * number - 1) / (2 * number))
        total += term
    within = (2 / math.pi) * (angle + sine * cosine * total) if is_odd else sine * total
    return min(1.0, max(0.0, (1 - within) / 2))  # rounding may go below 0 by 1e-16


_SMALLER = "Set training.learning_rate to a tenth, or lengthen training.warmup_steps."

_TOLD: dict[Movement, tuple[str, Severity, str, str]] = {
    Movement.RISING: (
        RISING,
        Severity.WARNS,
        "falling, or within chance",
        f"Watch the next evaluations: it may recover. If it does not: {_SMALLER}",
    ),
    Movement.UNMOVED: (
        UNMOVED,
        Severity.WARNS,
        f"{LEAST_CHANGE:.1%} over the whole run",
        "The steps are too small: raise training.learning_rate or training.max_grad_norm, unless fp16's loss scale, "
        "which is still settling, explains it.",
    ),
    Movement.UNTRAINED: (
        UNTRAINED,
        Severity.BLOCKS,
        "a gradient other than zero",
        "Nothing is being trained: see which layers adapter.target_modules matches, and whether the loss is zero "
        "already.",
    ),
    Movement.RUINED: (RUINED, Severity.BLOCKS, "better than uniform guessing", f"The model is destroyed. {_SMALLER}"),
}
"""Rule, severity, limit, fix."""

_CAUSES = {
    RISING: "lr-too-high",
    UNMOVED: "lr-too-low",
    UNTRAINED: "adapter-not-trainable",
    RUINED: "lr-too-high",
}
"""What each is evidence of."""
