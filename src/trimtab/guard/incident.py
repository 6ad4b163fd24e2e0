"""One incident: what is known, what is tried, and what it means."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trimtab.diagnose.case import Case, Setup
from trimtab.diagnose.engine import diagnose
from trimtab.diagnose.trace import Trace
from trimtab.guard.held_out import CLEAR_RISE, Certified, compare, find_good, held_out_at, held_out_at_base
from trimtab.guard.lab import Lab
from trimtab.guard.paired import mean
from trimtab.guard.probe import CannotProbe, Suspect
from trimtab.guard.probes import by_name
from trimtab.records import EvalRecord, RunEvent, StepRecord
from trimtab.records.diagnosis import Diagnosis, ProbeResult, Sighting, Violation
from trimtab.train.snapshot import Snapshot

if TYPE_CHECKING:
    from trimtab.train.loop import Loop

CHANCE = 0.001
"""How rarely chance may make held-out examples as much worse: as for the first steps."""
LOST_SHARE = 0.5
"""Of what the run had gained over its base, whose loss is damage although the run is still better than the base."""
LEAST_GAIN = 0.03
"""Of the base's loss: as diagnose.online_curve.SLOW."""
FLAT = frozenset({"flat-from-the-start", "slow", "loss-not-falling-at-step-10"})
OVERFITTING = frozenset({"eval-rising", "train-eval-gap-growing", "memorised"})


@dataclass
class Incident:
    """Something that was seen at `loop.state.global_step`."""

    lab: Lab
    loop: Loop
    records: list[StepRecord]
    evals: list[EvalRecord]
    sightings: tuple[Sighting, ...]
    violations: tuple[Violation, ...]
    since: int
    """The step with which the statistics say that it began."""
    budget_steps: float
    certified: Certified
    probes: dict[str, ProbeResult] = field(default_factory=dict)
    good: Snapshot | None = None
    good_losses: list[float] = field(default_factory=list)
    now_losses: list[float] = field(default_factory=list)
    _spent_before: float = 0.0
    """What had been spent when the experiments began; looking at the held-out examples is not one of them."""

    @property
    def step(self) -> int:
        return self.loop.state.global_step

    @property
    def suspicious_step(self) -> int:
        """Updates before the step that was first seen to be wrong."""
        steps = [violation.step for violation in self.violations] or [self.since]
        return max(0, min([*steps, self.step]) - 1)

    def look(self) -> ProbeResult:
        """Held-out examples now, at the base, and, if they are worse than the base or exact evidence asks for a state
        to go back to, at the last good state."""
        lab = self.lab
        self.now_losses = lab.agreed(lab.held_out())
        base = held_out_at_base(lab, self.certified)
        before = self.suspicious_step if self.violations else self.step
        self.good, self.good_losses = find_good(lab, self.certified, before=before, base=base)
        good_step = None if self.good is None else self.good.step
        values, sentence = compare(self.now_losses, self.good_losses, good_step, base)
        held = ProbeResult(probe="held-out", step=self.step, values=values, sentence=sentence)
        self.probes["held-out"] = held
        return held

    @property
    def is_ruined(self) -> bool:
        """Held-out examples have no finite loss."""
        return bool(self.now_losses) and not math.isfinite(mean(self.now_losses))

    @property
    def is_damaged(self) -> bool:
        """Worse than the base, or most of what was gained is lost, beyond chance."""
        held = self.probes["held-out"].values
        if self.is_ruined:
            return True
        now, base, good = held["now"], held["base"], held["good"]
        if math.isfinite(base) and held["worse_than_base_p"] < CHANCE and now - base > CLEAR_RISE * base:
            return True
        gained = base - good
        return bool(
            math.isfinite(gained)
            and held["worse_than_good_p"] < CHANCE
            and now - good > max(CLEAR_RISE * good, LOST_SHARE * gained)
        )

    @property
    def is_serious(self) -> bool:
        """Whether it is worth finding out why."""
        return self.is_damaged or self.is_flat or self.is_overfitting

    def value(self, probe: str, name: str) -> Any:
        """What a probe measured; None where it was not made."""
        result = self.probes.get(probe)
        return None if result is None else result.values.get(name)

    def goes_further_back(self) -> bool:
        """To the newest state before the good one; False where there is none."""
        older = [s for s in self.lab.snapshots if self.good is not None and s.step < self.good.step]
        if older:
            self.good, self.good_losses = older[-1], held_out_at(self.lab, older[-1], self.certified)
        return bool(older)

    def goes_back_to_the_start(self) -> None:
        """Where it was kept."""
        if self.lab.start is not None:
            self.good, self.good_losses = self.lab.start, held_out_at(self.lab, self.lab.start, self.certified)

    def accused_rows(self) -> list[int]:
        """Training rows that an experiment names."""
        if self.value("row-bisection", "reproduces"):
            return [int(row) for row in self.value("row-bisection", "rows") or []]
        worst = self.value("replay", "worst_row")
        return [int(worst)] if worst is not None and not self.value("replay", "state_damaged") else []

    def row_name(self, row: int) -> str:
        return self.lab.name_of(row)

    @property
    def is_flat(self) -> bool:
        """It was seen to be flat, and the held-out examples do not contradict it."""
        if not any(sighting.symptom in FLAT for sighting in self.sightings):
            return False
        held = self.probes["held-out"].values
        return not held["better_than_base_p"] <= CHANCE or held["base"] - held["now"] < LEAST_GAIN * held["base"]

    @property
    def is_overfitting(self) -> bool:
        return any(s.symptom in OVERFITTING for s in self.sightings)

    def diagnose(self) -> Diagnosis:
        """The cause, by experiments on a copy."""
        if self.is_overfitting:
            self.probe("dependence")  # shuffled answers can only be learnt by heart
        self._spent_before = self.lab.spent_steps
        here = Case(
            step=self.step,
            trace=self._trace(),
            setup=setup_of(self.loop),
            sightings=self.sightings,
            violations=self.violations,
            findings=tuple(self.loop.findings),
            probes=dict(self.probes),
        )
        case = self.loop.stepper.processes.from_main(here)  # seconds and bytes are each process's own
        return diagnose(case, probe=self.probe, budget_steps=self.budget_steps)

    def probe(self, name: str) -> ProbeResult | None:
        """Make an experiment, once; None where it cannot be made here."""
        if name not in self.probes:
            result = self._run(name)
            if result is None:
                return None
            self.probes[name] = self.loop.stepper.processes.from_main(result)
            self._tell(self.probes[name])
        return self.probes[name]

    def _run(self, name: str) -> ProbeResult | None:
        experiment = by_name(name)
        if experiment is None:
            return None
        done = self.suspicious_step
        suspect = Suspect(
            step=done,
            rows=self.lab.order.rows(done),
            good=self.good,
            damaged_since=None if self.good is None else self.good.step,
        )
        spent = self.lab.spent_steps
        try:
            result = experiment.run(
                self.lab, suspect, budget_steps=max(1.0, self.budget_steps + self._spent_before - spent)
            )
        except CannotProbe:
            return None
        return result.model_copy(update={"cost_steps": self.lab.spent_steps - spent})

    def _tell(self, result: ProbeResult) -> None:
        if self.loop.stepper.processes.is_main:
            self.loop.run_dir.append_event(
                RunEvent(kind="probe", step=self.step, message=result.sentence, detail=result.model_dump(mode="json"))
            )

    def _trace(self) -> Trace:
        steps, evals = self.records, self.evals
        base = self.loop.state.base_eval_loss
        losses = np.array([record.loss for record in steps], dtype=float)
        norms = np.array([record.grad_norm for record in steps], dtype=float)
        return Trace(
            source="run folder",
            step=np.array([record.step for record in steps], dtype=np.int64),
            loss=np.where(np.isfinite(losses), losses, np.nan),
            grad_norm=np.where(np.isfinite(norms), norms, np.nan),
            learning_rate=np.array([record.learning_rate for record in steps], dtype=float),
            epoch=np.array([record.epoch for record in steps], dtype=float),
            target_tokens=np.array([record.target_tokens for record in steps], dtype=float),
            seconds=np.array([record.seconds for record in steps], dtype=float),
            memory_bytes=np.array([record.memory_bytes for record in steps], dtype=float),
            lost=~np.isfinite(losses),
            lost_norm=~np.isfinite(norms),
            eval_step=np.array([record.step for record in evals], dtype=np.int64),
            eval_loss=np.array([r.loss if math.isfinite(r.loss) else math.nan for r in evals], dtype=float),
            eval_epoch=np.array([record.epoch for record in evals], dtype=float),
            base_eval_loss=base,
            max_grad_norm=self.loop.stepper.learners[0].max_grad_norm or None,
            warmup_steps=self.loop.plan.warmup_steps.value,
            planned_steps=self.loop.plan.total_steps.value,
            vocabulary=self.loop.vocabulary,
        )


def setup_of(loop: Loop) -> Setup:
    """The run's settings, as it is now."""
    plan, config = loop.plan, loop.config
    training, adapter = config.training, config.adapter
    return Setup(
        learning_rate=float(plan.learning_rate.value) * loop.state.changes.learning_rate_scale,
        warmup_steps=plan.warmup_steps.value,
        total_steps=plan.total_steps.value,
        lr_scheduler_type=str(plan.lr_scheduler_type.value),
        max_grad_norm=loop.stepper.learners[0].max_grad_norm,
        precision=loop.state.changes.precision or str(plan.precision.value),
        optim=loop.state.changes.optim or str(plan.optim.value),
        adam_epsilon=training.adam_epsilon,
        weight_decay=training.weight_decay,
        effective_batch_size=plan.effective_batch_size.value,
        micro_batch_size=loop.micro_batch_size,
        examples=plan.examples.value,
        epochs=plan.total_steps.value / max(1, plan.steps_per_epoch.value),
        max_length=plan.max_length.value,
        packing=bool(plan.packing.value),
        is_lora=adapter is not None,
        is_4bit=config.model.load_in_4bit,
        r=None if adapter is None else adapter.r,
        lora_alpha=None
        if adapter is None
        else float(2 * adapter.r if adapter.lora_alpha == "auto" else adapter.lora_alpha),
        use_rslora=None if adapter is None else adapter.use_rslora,
        lora_dropout=None if adapter is None else adapter.lora_dropout,
        target_modules=None if adapter is None else str(adapter.target_modules),
    )
