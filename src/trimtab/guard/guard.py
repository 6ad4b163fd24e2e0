"""The guard: watches every step, and where something may be wrong, finds out by experiment and puts it right.

    each step     invariants (exact)  +  gates (statistics, which only ask for experiments)
    a suspicion   is the run damaged? fixed held-out examples: now, at the last good state, at the base
    an incident   probes on a copy → diagnosis → policy: go back to before the damage and change one thing, or stop
    a repair      is measured again when the run is where it was: better than it was without it, or undone

A healthy run is not changed: all that happens to it is a copy of what learns each ten steps.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from trimtab.data.collate import Batch
from trimtab.data.order import Rows, permutation
from trimtab.data.store import TokenStore
from trimtab.diagnose.case import Case
from trimtab.diagnose.engine import diagnose
from trimtab.diagnose.online import Gates
from trimtab.diagnose.trace import Trace
from trimtab.guard.broken import Broken
from trimtab.guard.held_out import Certified
from trimtab.guard.incident import FLAT, LEAST_GAIN, Incident, setup_of
from trimtab.guard.invariants import Invariants, same_evaluation
from trimtab.guard.lab import FORWARD_SHARE, Lab
from trimtab.guard.policy import HALVED, WEIGHTS_ARE_WELL, Policy, Trial
from trimtab.guard.probe import CannotProbe
from trimtab.guard.ring import Ring
from trimtab.records import EvalRecord, RunEvent, StepRecord
from trimtab.records.diagnosis import Diagnosis, Repair, Sighting, Violation
from trimtab.train.observer import CONTINUE, Intervention, Investigate, Measured
from trimtab.train.snapshot import take

if TYPE_CHECKING:
    from trimtab.config import GuardConfig
    from trimtab.train.loop import Loop

HELD_OUT_EXAMPLES = 64
"""At most; fewer where measuring them would cost more than a step. With 32, a run at a hundred times its best rate was
once not surely worse than its base (p 0.003)."""
FEWEST_EXAMPLES = 8
"""Of a validation set that is measured instead of training examples."""
LEAST_MEASURED = 24
"""Also where a step is so small that they cost more: with 12, a run whose loss was 7 % above its base's could have been
chance."""
SUSPICION_SHARE = 0.005
"""Of the steps done so far, that looking at suspicions may cost; half of what watching may (law 6)."""
FIRST_SUSPICIONS = 4.0
"""In steps: what may be looked at before any step was done."""
LEAST_PROBE_STEPS = 24.0
LEAST_PROBE_EXAMPLES = 240.0
"""Whichever is more. 2 % of a short run is no experiment at all: a search for the learning rate takes so many."""
SLOW_SHARE, SLOW_STEPS = 0.2, 16
"""Of the run, and steps beyond its warmup, after which an evaluation should be below the base's: a guess."""
RECORDS = 4096
"""Newest steps that a diagnosis looks at: a long run's first ones say nothing of its end."""
REPEATED_EXAMPLES = 2
"""Measured twice at each evaluation: equal, or something is drawn at random in it."""


class Guard:
    """One run's. In several processes each has one; what the main one finds is done in all."""

    def __init__(self, settings: GuardConfig) -> None:
        self.settings = settings
        self.policy = Policy(settings)
        self.ring = Ring()
        self.records: deque[StepRecord] = deque(maxlen=RECORDS)
        self.evals: list[EvalRecord] = []
        self._sightings: dict[str, Sighting] = {}
        self._broken = Broken()
        self._told: set[str] = set()
        """Symptoms of evaluations, and that memory is short."""
        self._suspicion_steps = 0.0
        self._lab: Lab | None = None
        self._is_begun = False
        self._has_room = True
        self._last_norm = 1.0
        self._certified: Certified = {}

    # ── what the loop calls ──────────────────────────────────────────────────────────────────────────────────

    def begin(self, loop: Loop) -> None:
        if self._is_begun:
            return
        self._is_begun = True
        self.invariants = Invariants(loop)
        self.gates = self._new_gates(loop)
        self.policy.earliest_step = loop.state.global_step
        self._lab = self._new_lab(loop)
        self._has_room = not loop.stepper.processes.any(not self.ring.has_room(_snapshot_bytes(loop)))
        if loop.state.global_step:
            _, evals = loop.stepper.processes.from_main(loop.run_dir.read_metrics())
            self.evals = [record for record in evals if record.step <= loop.state.global_step]
        for record in self.evals:  # the base's, and on a resume those before it
            self.gates.on_eval(record)
        self._broken.add(self.invariants.at_start())

    def before_step(self, loop: Loop) -> None:
        step = loop.state.global_step
        self.invariants.before_step(step)
        is_start = not self.ring.snapshots and step == 0  # to compare with, also where nothing is repaired
        if _breaks(self._broken.waiting) or not (is_start or self.settings.mode == "repair"):
            return
        if self._has_room and self.ring.is_due(step):
            self.ring.keep(take(loop.stepper.learners[0], loop.stepper.scaler, loop.state))
        elif not self._has_room and "memory" not in self._told:
            self._told.add("memory")
            loop.notify("guard: there is no memory for states to go back to, so a run that goes wrong stops")

    def after_step(self, loop: Loop, rows: Rows, batches: Sequence[Batch]) -> Intervention:
        self._broken.add(self.invariants.after_step(loop, rows, batches))
        return self._on_violation()

    def on_step(self, record: StepRecord, measured: Measured) -> Intervention:
        self.records.append(record)
        self._last_norm = record.grad_norm if math.isfinite(record.grad_norm) else self._last_norm
        self._broken.add(self.invariants.on_step(record, measured))
        seen = self.gates.on_step(self._without_overflow(record))
        for sighting in seen:
            self._sightings.setdefault(sighting.symptom, sighting)
        if (asks := self._on_violation()) is not CONTINUE:
            return asks
        trial = self.policy.trial
        if trial is not None and record.step >= trial.until_step:
            return Investigate(f"the repair of step {trial.repair.step} is measured")
        if flat := next((sighting for sighting in seen if sighting.symptom in FLAT), None):
            return Investigate(flat.sentence)
        if self.gates.gate() >= 1.0 and self._may_look(record.step):
            return Investigate("; ".join(s.sentence for s in self._sightings.values()) or "the loss is unusual")
        return CONTINUE

    def on_eval(self, loop: Loop, record: EvalRecord) -> Intervention:
        self.evals.append(record)
        if self._is_begun and self._lab is not None and not self._broken.knows("evaluation-repeats"):
            rows = self._lab.held_out_rows[:REPEATED_EXAMPLES]
            first, second = (self._lab.losses(self._lab.held_out_store, rows) for _ in range(2))
            if not same_evaluation(first, second, loop.stepper.processes.device):
                seen_twice = Violation(
                    invariant="evaluation-repeats",
                    step=record.step,
                    sentence=f"two evaluations of the same weights differ: {first[0]:.6f} and {second[0]:.6f}",
                    detail={"first": first, "second": second},
                )
                self._broken.add([seen_twice])
        if not self._is_begun:  # the base's; `begin` tells the gates
            return CONTINUE
        self._broken.add(self.invariants.look_now(record.step))
        seen = [*self.gates.on_eval(record), *self._slow(loop, record)]
        for sighting in seen:
            self._sightings[sighting.symptom] = sighting
        asks = [s for s in seen if f"{s.symptom}@eval" not in self._told]
        if asks:
            self._told |= {f"{s.symptom}@eval" for s in asks}
            return Investigate(asks[0].sentence)
        return self._on_violation()

    def investigate(self, loop: Loop, reason: str) -> Intervention:
        """What to do about what was seen. A guard that fails must not end a run that may be healthy."""
        try:
            return self._investigate(loop, reason)
        except (torch.OutOfMemoryError, CannotProbe) as error:
            self._event(loop, "notice", f"not looked into ({reason}): {str(error).splitlines()[0]}", {})
            self._broken.looked_into(tuple(self._broken.waiting), goes_on=True)
            self._forget()
            return CONTINUE
        finally:
            if self._lab is not None:
                self._lab.snapshots = ()  # those that the ring drops must not stay

    def _investigate(self, loop: Loop, reason: str) -> Intervention:
        lab = self._lab = self._new_lab(loop)
        processes = loop.stepper.processes
        self._broken.add(self.invariants.look_now(loop.state.global_step))
        violations = [violation for seen in processes.everyone(self._broken.waiting) for violation in seen]
        trial: Trial | None = self.policy.trial
        lost_trial: Trial | None = None
        if trial is not None and (_breaks(violations) or loop.state.global_step >= trial.until_step):
            if self._helped(loop, lab, trial, is_broken=_breaks(violations)):
                return CONTINUE
            lost_trial = trial
        incident = Incident(
            lab=lab,
            loop=loop,
            records=list(self.records),
            evals=self.evals,
            sightings=processes.from_main(tuple(self._sightings.values())),
            violations=tuple(violations),
            certified=self._certified,
            since=processes.from_main(self.gates.damaged_since()),
            budget_steps=self._budget_steps(loop),
        )
        before = lab.spent_steps
        with lab.apart():  # what the run is in is copied once for all experiments
            incident.look()
            diagnosis = incident.diagnose() if violations or incident.is_serious else None
        spent = lab.spent_steps - before
        loop.state.probe_steps += spent
        if not violations:
            self._suspicion_steps += spent
        answer: Intervention = CONTINUE
        if diagnosis is not None and diagnosis.abstains and not violations and not incident.is_damaged:
            self._event(loop, "notice", f"looked into, and nothing found: {reason}", {})
        elif diagnosis is not None:
            self._tell(loop, diagnosis)
            answer = self.policy.decide(loop, incident, diagnosis, self.invariants.restore)
        if answer is CONTINUE and lost_trial is not None:
            answer = self.policy.undo(lost_trial)
        self._broken.looked_into(violations, goes_on=answer is CONTINUE)
        self._forget()
        return answer

    def _forget(self) -> None:
        """What was looked into is not asked about again."""
        self._sightings.clear()
        self.gates.clear()

    def went_back(self, loop: Loop) -> None:
        step = loop.state.global_step
        self.ring.go_back_to(step)
        for later in [at for at in self._certified if at > step]:
            del self._certified[later]
        self.records = deque((record for record in self.records if record.step <= step), maxlen=RECORDS)
        self.evals = [record for record in self.evals if record.step <= step]
        self.gates.rewind(step)
        self.invariants.go_back_to(step)
        self._sightings.clear()
        self._broken.went_back()
        self._told &= {"memory"}

    def halved(self, loop: Loop, reason: str, before: int, after: int) -> None:
        """It is the loop's own remedy, in every mode; here it gets its cause."""
        step = loop.state.global_step
        seen = Sighting(
            symptom="memory-over-limit", step=step, value=f"micro batches of {before}", limit="memory", sentence=reason
        )
        case = Case(step=step, trace=Trace(source="run folder"), setup=setup_of(loop), sightings=(seen,))
        diagnosis = diagnose(case)
        self._tell(loop, diagnosis)
        repair = Repair(
            number=len(loop.state.repairs) + 1,
            step=step,
            back_to_step=step,
            cause=diagnosis.causes[0].rule,
            remedy=HALVED,
            changed={"training.per_device_train_batch_size": [before, after]},
            kept=True,
            sentence=f"{HALVED} for {diagnosis.causes[0].rule}: micro batches of {after} instead of {before}, the same "
            "effective batch",
        )
        loop.state.repairs.append(repair)

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────

    def _on_violation(self) -> Intervention:
        return Investigate(self._broken.waiting[0].sentence) if self._broken.waiting else CONTINUE

    def _slow(self, loop: Loop, record: EvalRecord) -> list[Sighting]:
        """Whether the whole validation set is hardly better than under the base, where it should be."""
        base, total = loop.state.base_eval_loss, loop.plan.total_steps.value
        due = max(SLOW_SHARE * total, loop.plan.warmup_steps.value + SLOW_STEPS)
        if base is None or not math.isfinite(base) or not due <= record.step < total:
            return []
        gain = (base - record.loss) / base
        if not abs(gain) < LEAST_GAIN:
            return []
        sentence = f"step {record.step}: the evaluation loss is {record.loss:.3f}, {gain:.1%} below the base's"
        value, limit = f"{gain:.1%}", f"{LEAST_GAIN:.0%}"
        return [Sighting(symptom="slow", step=record.step, value=value, limit=limit, sentence=sentence)]

    def _without_overflow(self, record: StepRecord) -> StepRecord:
        """fp16's scaler leaves out an update whose gradient overflowed: to the statistics that is no loss."""
        scaler = self._lab.stepper.scaler if self._lab is not None else None
        if scaler is None or not scaler.is_enabled() or math.isfinite(record.grad_norm):
            return record
        return record.model_copy(update={"grad_norm": self._last_norm})

    def _budget_steps(self, loop: Loop) -> float:
        """That an incident may cost."""
        least = max(LEAST_PROBE_STEPS, LEAST_PROBE_EXAMPLES / loop.plan.effective_batch_size.value)
        return max(least, self.settings.probe_share * loop.plan.total_steps.value)

    def _may_look(self, step: int) -> bool:
        return self._suspicion_steps < FIRST_SUSPICIONS + SUSPICION_SHARE * step

    def _new_gates(self, loop: Loop) -> Gates:
        base = loop.state.base_eval_loss
        return Gates(
            total_steps=loop.plan.total_steps.value,
            warmup_steps=loop.plan.warmup_steps.value,
            max_grad_norm=loop.stepper.learners[0].max_grad_norm,
            vocabulary=loop.vocabulary,
            base_loss=base if base is not None and math.isfinite(base) else None,
        )

    def _new_lab(self, loop: Loop) -> Lab:
        store, rows = self._held_out(loop) if self._lab is None else (self._lab.held_out_store, self._lab.held_out_rows)
        return Lab(
            config=loop.config,
            plan=loop.plan,
            data=loop.data,
            tokenizer=loop.tokenizer,
            stepper=loop.stepper,
            feed=loop.feed,
            order=loop.order,
            state=loop.state,
            snapshots=self.ring.snapshots,
            held_out_store=store,
            held_out_rows=rows,
            micro_batch_size=loop.micro_batch_size,
            history={record.step: (record.loss, record.grad_norm) for record in self.records},
        )

    def _held_out(self, loop: Loop) -> tuple[TokenStore, Rows]:
        """Validation examples spread over the set; without any, the training examples that come last."""
        room = loop.plan.effective_batch_size.value * float(loop.train.lengths.mean()) / FORWARD_SHARE
        store = loop.data.validation
        if store is not None and len(store) >= FEWEST_EXAMPLES:
            candidates = np.linspace(0, len(store) - 1, min(HELD_OUT_EXAMPLES, len(store))).astype(np.int64)
        else:
            store = loop.train
            order = permutation(loop.order.examples, loop.config.training.data_seed_or_seed, 0)
            candidates = np.sort(order[-HELD_OUT_EXAMPLES:])
        tokens = np.cumsum(store.lengths[candidates])
        fitting = max(LEAST_MEASURED, int((tokens <= room).sum()))
        if fitting < len(candidates):
            candidates = candidates[np.linspace(0, len(candidates) - 1, fitting).astype(np.int64)]
        return store, candidates

    def _helped(self, loop: Loop, lab: Lab, trial: Trial, *, is_broken: bool) -> bool:
        """The run is where the repair interrupted it, or an invariant broke again before: is it better than it was?"""
        before = lab.spent_steps
        now = lab.agreed(lab.held_out())
        loop.state.probe_steps += lab.spent_steps - before
        repair, proof = self.policy.judge(loop, trial, now, is_broken=is_broken)
        if proof is not None:
            loop.state.diagnoses.append(proof)
            self._event(loop, "diagnosis", proof.sentence, proof.model_dump(mode="json"))
        self._event(loop, "repair", repair.sentence, repair.model_dump(mode="json"))
        loop.notify(f"guard: {repair.sentence}")
        if repair.kept:
            self.gates.clear()
            self._sightings.clear()
        return bool(repair.kept)

    def _tell(self, loop: Loop, diagnosis: Diagnosis) -> None:
        loop.state.diagnoses.append(diagnosis)
        for sighting in diagnosis.symptoms:
            self._event(loop, "symptom", sighting.sentence, sighting.model_dump(mode="json"))
        self._event(loop, "diagnosis", diagnosis.sentence, diagnosis.model_dump(mode="json"))
        loop.notify(f"guard: step {diagnosis.step}: {diagnosis.sentence}")

    def _event(self, loop: Loop, kind: str, message: str, detail: dict[str, object]) -> None:
        if loop.stepper.processes.is_main:
            loop.run_dir.append_event(
                RunEvent.model_validate(
                    {"kind": kind, "step": loop.state.global_step, "message": message, "detail": detail}
                )
            )


def _breaks(violations: Sequence[Violation]) -> bool:
    """Whether the steps themselves are wrong."""
    return any(violation.invariant not in WEIGHTS_ARE_WELL for violation in violations)


def _snapshot_bytes(loop: Loop) -> int:
    """Weights that learn, and AdamW's two moments of each."""
    return 3 * sum(p.numel() * p.element_size() for p in loop.stepper.learners[0].parameters.values())
