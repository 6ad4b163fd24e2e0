"""What is done about a diagnosis: at most one change at a time, from before the damage, measured afterwards.

1. a cause that is certain → the first of its remedies that may be applied (safe, or allowed by name)
2. a damaged run without one → back once, unchanged: what does not come again was chance or hardware
3. nothing helps, or too often → stop, and say what was tried
never: a change of what the data mean; a change because of a statistic alone
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from trimtab.config import GuardConfig
from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import MEASURED
from trimtab.diagnose.causes import BY_NAME
from trimtab.diagnose.causes.overfit import SPOILED
from trimtab.diagnose.trace import Trace
from trimtab.guard.incident import CHANCE, Incident
from trimtab.guard.paired import larger_p, mean
from trimtab.guard.remedy_changes import LEARNING_RATE, Changed, change_of
from trimtab.records import Severity
from trimtab.records.diagnosis import CauseFound, Diagnosis, RemedyKind, RemedyNote, Repair, RuledOut
from trimtab.train.observer import CONTINUE, Intervention, Rewind, Stop
from trimtab.train.snapshot import Snapshot
from trimtab.train.state import Changes

if TYPE_CHECKING:
    from trimtab.train.loop import Loop

Restore = Callable[["Loop"], None]

HALVED = "halve-micro-batch"
"""The loop's own remedy; it is recorded among the repairs and is none of the policy's."""
MOST_TIMES = 4
"""As many repairs in a run as four causes may have: more is no repair (guess)."""
LEAST_TRIAL_STEPS = 5
UNKNOWN = "unknown"
CHANCE_OR_MACHINE = "nondeterministic-or-hardware"
REWIRES = frozenset(
    {"restore-schedule", "unfreeze-adapter", "rebuild-optimizer", "fp32-adapter", "restore-planned-rows"}
)
UNCHANGED = frozenset({"go-back", "restore-batches"})
WEIGHTS_ARE_WELL = frozenset({"evaluation-repeats", "loss-is-the-targets"})
"""Broken without harm to the weights: an evaluation is wrong, or a factor that AdamW and the clip take out again. It is
told, and the run goes on."""


@dataclass(frozen=True)
class Trial:
    """A repair that has yet to show that it helps."""

    repair: Repair
    until_step: int
    damaged: Sequence[float]
    """Held-out losses of the run as it was when it was interrupted."""
    good: Sequence[float]
    """And of the state that it went back to."""
    snapshot: Snapshot
    """The state that it went back to."""
    changes_before: Changes
    """Those that were in force without it."""
    must_win: bool
    """It must beat the damaged run too; where the fault was exact, not being worse than the good state is enough."""


class Policy:
    """Decides, and remembers the repair that is on trial."""

    def __init__(self, settings: GuardConfig) -> None:
        self.settings = settings
        self.trial: Trial | None = None
        self.earliest_step = 0
        """A resumed run has no state from before it was resumed."""

    def decide(self, loop: Loop, incident: Incident, diagnosis: Diagnosis, restore: Restore) -> Intervention:
        """The answer to a diagnosis."""
        found = diagnosis.causes[0] if diagnosis.causes and not diagnosis.abstains else None
        if self.settings.mode != "repair":
            return self._watching(incident, found, diagnosis)
        cause = found.rule if found is not None else UNKNOWN
        repairs = [repair for repair in loop.state.repairs if repair.remedy != HALVED]
        attempts = sum(repair.cause == cause and not repair.kept for repair in repairs)
        needs_repair = incident.is_damaged or _cannot_learn(incident) or (found is not None and incident.is_flat)
        if (bent := _bent(loop, diagnosis)) is not None and not incident.is_ruined:
            return self._end_with_best(loop, bent)
        if not needs_repair:
            return CONTINUE
        most = self.settings.max_repairs
        is_spent = max(attempts, _failed_in_a_row(repairs)) >= most or len(repairs) >= MOST_TIMES * most
        if is_spent and _must_end(incident):
            helped = sum(bool(repair.kept) for repair in repairs)
            return self._give_up(diagnosis, f"{len(repairs)} repairs were made, {helped} helped")
        rewind = None
        if not is_spent:
            rewind = (
                self._by_cause(loop, incident, found, attempts, restore)
                if found is not None
                else self._without_a_cause(loop, incident, diagnosis, attempts, restore)
            )
        if rewind is not None:
            return rewind
        if _must_end(incident):
            return self._give_up(diagnosis, "no remedy may be applied by itself")
        return CONTINUE

    def _end_with_best(self, loop: Loop, found: CauseFound) -> Intervention:
        """Go on: an evaluation may fall again as the rate decays. But the last weights are not the ones to keep."""
        state = loop.state
        if loop.config.training.load_best_model_at_end or state.best_step is None or state.changes.ends_with_best:
            return CONTINUE
        state.changes = state.changes.model_copy(update={"ends_with_best": found.rule})
        loop.notify(
            f"step {state.global_step}: {found.rule}: the best weights, of step {state.best_step} so far, will end it, "
            "unless a later evaluation is better"
        )
        return CONTINUE

    def judge(
        self, loop: Loop, trial: Trial, now: Sequence[float], *, is_broken: bool
    ) -> tuple[Repair, Diagnosis | None]:
        """The run is where the repair interrupted it, or an invariant broke again before (`is_broken`). Returns the
        repair, kept or not, and what its outcome proves."""
        self.trial = None
        after, before = mean(now), mean(trial.damaged)
        helped = (
            not is_broken
            and math.isfinite(after)
            and (
                not math.isfinite(before)
                or (not _is_worse(trial.good, now) and (not trial.must_win or _is_better(trial.damaged, now)))
            )
        )
        step, repair = loop.state.global_step, trial.repair
        said = "helped" if helped else "did not help"
        repair = repair.model_copy(
            update={
                "after": after,
                "kept": helped,
                "sentence": f"{repair.remedy} for {repair.cause} {said}: held-out loss {after:.3f} at step {step}, "
                f"{before:.3f} without it",
            }
        )
        loop.state.repairs[repair.number - 1] = repair
        if not helped:
            loop.state.changes = trial.changes_before  # the next remedy is not stacked on one that did not help
        proof = _chance_or_machine(repair, step) if helped and repair.cause == UNKNOWN else None
        return repair, proof

    def undo(self, trial: Trial) -> Rewind:
        """Nothing else is found, and the repair did not help: back to where it was made, without it."""
        reason = f"{trial.repair.remedy} did not help and is undone"
        return Rewind(trial.snapshot, reason, trial.changes_before)

    def _watching(self, incident: Incident, found: CauseFound | None, diagnosis: Diagnosis) -> Intervention:
        if incident.is_ruined or _learns_nothing_right(incident):
            return self._give_up(diagnosis, "guard.mode is watch, so nothing was changed")
        return CONTINUE

    def _give_up(self, diagnosis: Diagnosis, why: str) -> Stop:
        return Stop(f"{diagnosis.sentence}; {why}", is_failure=True, by_guard=True)

    def _by_cause(
        self, loop: Loop, incident: Incident, found: CauseFound, attempts: int, restore: Restore
    ) -> Rewind | None:
        """The first remedy of a certain cause that may be applied, and can."""
        for note in found.remedies:
            if note.kind is RemedyKind.SAFE or (note.kind is RemedyKind.OPT_IN and note.remedy in self.settings.allow):
                rewind = self._carry_out(loop, incident, found, note, attempts, restore)
                if rewind is not None:
                    return rewind
        return None

    def _without_a_cause(
        self, loop: Loop, incident: Incident, diagnosis: Diagnosis, attempts: int, restore: Restore
    ) -> Rewind | None:
        """Back once, unchanged: damage that does not come again was chance or the machine. If it does, the likeliest
        cause's remedy is tried, where it changes the learning rate only: whether it helps is measured. Else back once
        more, further: the state that looked good may have been damaged already where no example shows it."""
        if not attempts:
            return self._back(loop, incident, UNKNOWN, "go-back", loop.state.changes, {}, restore=None)
        likeliest = diagnosis.causes[0] if diagnosis.causes else None
        note = likeliest.remedies[0] if likeliest is not None and likeliest.remedies else None
        if likeliest is not None and note is not None and note.remedy == "lower-learning-rate":
            return self._carry_out(loop, incident, likeliest, note, attempts - 1, restore)
        if attempts > 1 or not incident.goes_further_back():
            return None
        return self._back(loop, incident, UNKNOWN, "go-back", loop.state.changes, {}, restore=None)

    def _carry_out(
        self, loop: Loop, incident: Incident, found: CauseFound, note: RemedyNote, attempts: int, restore: Restore
    ) -> Rewind | None:
        """One remedy; None where it cannot be applied here."""
        name, changes = note.remedy, loop.state.changes
        if incident.is_flat and not incident.violations:
            # Nothing was learnt so far, and all planned steps done rightly are worth more than the rest of them.
            incident.goes_back_to_the_start()
        if name in REWIRES:
            if attempts:  # the wiring was made anew, and broke again
                return None
            return self._back(loop, incident, found.rule, name, changes, {}, restore=restore)
        if name in UNCHANGED:
            if attempts and not incident.goes_further_back():
                return None
            return self._back(loop, incident, found.rule, name, changes, {}, restore=None)
        made = change_of(loop, incident, name, attempts)
        if made is None:
            return None
        update, changed = made
        return self._back(loop, incident, found.rule, name, changes.model_copy(update=update), changed, restore=None)

    def _back(
        self,
        loop: Loop,
        incident: Incident,
        cause: str,
        remedy: str,
        changes: Changes,
        changed: Changed,
        *,
        restore: Restore | None,
    ) -> Rewind | None:
        good = incident.good
        if good is None or good.step < self.earliest_step:
            return None
        if self.trial is not None:  # another incident came before it could be measured
            made = self.trial.repair.number - 1  # a halved micro batch may have been recorded since
            loop.state.repairs[made] = loop.state.repairs[made].model_copy(update={"kept": False})
        step = loop.state.global_step
        what = "; ".join(f"{key} {_shown(old)} → {_shown(new)}" for key, (old, new) in changed.items()) or "unchanged"
        repair = Repair(
            number=len(loop.state.repairs) + 1,
            step=step,
            back_to_step=good.step,
            cause=cause,
            remedy=remedy,
            changed=changed,
            before=mean(incident.now_losses),
            sentence=f"{remedy} for {cause}: back to step {good.step}, {what}",
        )
        loop.state.repairs.append(repair)
        until = max(step, good.step + LEAST_TRIAL_STEPS)
        self.trial = Trial(
            repair=repair,
            until_step=min(until, loop.plan.total_steps.value),
            damaged=incident.now_losses,
            good=incident.good_losses,
            snapshot=good,
            changes_before=loop.state.changes,
            must_win=remedy in LEARNING_RATE,
        )
        return Rewind(good, repair.sentence, changes, restore=restore)


def _chance_or_machine(repair: Repair, step: int) -> Diagnosis:
    """The same steps from the same state did no damage: it was none of the data, the settings or the software."""
    evidence = (
        f"the same steps, done again unchanged from step {repair.back_to_step} to step {step}, did no damage: "
        f"held-out loss {repair.after:.3f}"
    )
    found = CauseFound(
        rule=CHANCE_OR_MACHINE,
        confidence=MEASURED,
        step=repair.step,
        evidence=(evidence,),
        ruled_out=tuple(
            RuledOut(cause=alike, why="it would have come again: the same rows, settings and weights were used")
            for alike in BY_NAME[CHANCE_OR_MACHINE].look_alikes
        ),
        remedies=tuple(
            remedy.note(Case(step, Trace(source="run folder"))) for remedy in BY_NAME[CHANCE_OR_MACHINE].remedies
        ),
    )
    return Diagnosis(step=step, causes=(found,), sentence=f"{CHANCE_OR_MACHINE}: {evidence}")


def _bent(loop: Loop, diagnosis: Diagnosis) -> CauseFound | None:
    """Overfitting, if it is certain, or if nothing is and it comes second to rows that the checks warned of: these are
    learnt by heart, and the best weights are the ones to keep in either case."""
    if not diagnosis.causes:
        return None
    first, *rest = diagnosis.causes
    if first.rule == "overfit" and not diagnosis.abstains:
        return first
    warned = {finding.cause for finding in loop.findings if finding.severity is not Severity.NOTES}
    comes_second = bool(rest) and rest[0].rule == "overfit" and first.rule in SPOILED & warned
    return rest[0] if comes_second and diagnosis.abstains else None


def _failed_in_a_row(repairs: Sequence[Repair]) -> int:
    """The newest ones that did not help, whatever they were for."""
    return len(list(takewhile(lambda repair: repair.kept is False, reversed(repairs))))


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _cannot_learn(incident: Incident) -> bool:
    """The steps do not do what was planned, and going back did not change that."""
    return any(violation.invariant not in WEIGHTS_ARE_WELL for violation in incident.violations)


def _must_end(incident: Incident) -> bool:
    """Nothing can be done, and what would come of going on is worth nothing."""
    return incident.is_damaged or _learns_nothing_right(incident)


def _learns_nothing_right(incident: Incident) -> bool:
    return _cannot_learn(incident) and not _is_only_reordered(incident)


def _is_only_reordered(incident: Incident) -> bool:
    """The steps are made of the epoch's rows, in another order than planned. It is told, and mended where it can be; a
    run that learns from them is worth more than none."""
    return all(
        violation.invariant in WEIGHTS_ARE_WELL
        or (
            violation.invariant == "rows"
            and violation.detail.get("what") == "rows"
            and not violation.detail.get("repeats")
        )
        for violation in incident.violations
    )


def _is_better(before: Sequence[float], after: Sequence[float]) -> bool:
    return mean(after) < mean(before) and larger_p(before, after) < 10 * CHANCE


def _is_worse(before: Sequence[float], after: Sequence[float]) -> bool:
    return bool(before) and mean(after) > mean(before) and larger_p(after, before) < CHANCE
