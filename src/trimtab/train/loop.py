"""The loop.

evaluate the base                               → observers: on_eval (step 0)
for each step:
    for each micro batch: forward, backward
    clip, set the learning rate, update
    read what the step before this one measured → observers: on_step (one step late: nothing waits for the device)
    if planned here: evaluate, keep the best    → observers: on_eval
    if planned here: save
    carry out the first answer that is not CONTINUE; stop if the user asked for it
read what is left to read                       → observers: on_step
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trimtab.data.order import Order
from trimtab.data.store import TokenStore
from trimtab.records import EvalRecord, Plan, RunDir, RunEvent, StepRecord
from trimtab.train.checkpoint import Keeper
from trimtab.train.evaluate import evaluate
from trimtab.train.feed import Feed
from trimtab.train.interrupt import Interrupt
from trimtab.train.observer import CONTINUE, Intervention, Observer, Stop
from trimtab.train.state import RunState
from trimtab.train.step import Stepper
from trimtab.train.telemetry import Telemetry


@dataclass(frozen=True)
class Ending:
    """Why the loop ended."""

    reason: str
    interrupted: bool = False


@dataclass
class Loop:
    """Everything a run needs, built; `run` runs it from where `state` says it is."""

    plan: Plan
    stepper: Stepper
    feed: Feed
    train: TokenStore
    validation: TokenStore | None
    order: Order
    state: RunState
    keeper: Keeper
    run_dir: RunDir
    observers: Sequence[Observer]
    telemetry: Telemetry
    save_on_best: bool = False
    pending: Sequence[Intervention] = ()
    """What observers answered before the run was resumed and nobody carried out."""

    def run(self, interrupt: Interrupt) -> Ending:
        """Train until the plan is done, an observer says stop, or the user does."""
        plan, state = self.plan, self.state
        evals, saves = set(plan.eval_points.value), set(plan.save_points.value)
        answers: list[Intervention] = list(self.pending)
        if state.global_step == 0 and self.validation is not None:
            answers += self._evaluate()
        self.stepper.model.train()
        self.telemetry.start_clock()

        while state.global_step < plan.total_steps.value:
            if stop := next((answer for answer in answers if isinstance(answer, Stop)), None):
                self._record(leave=0)
                return Ending(stop.reason)
            answers.clear()
            rows = self.order.rows(state.global_step)
            target_tokens = int(self.train.target_counts[rows].sum())
            tokens = int(self.train.lengths[rows].sum())
            batches = self.feed.step(self.train, self.order, state.global_step, plan.per_device_train_batch_size.value)
            measured_2K = self.stepper.step(batches, updates_done=state.global_step, target_tokens=target_tokens)
            state.global_step += 1
            state.tokens_seen += tokens
            self.telemetry.push(state.global_step, measured_2K, target_tokens=target_tokens, tokens=tokens)

            looks_up = state.global_step in evals or state.global_step in saves
            answers += self._record(leave=0 if looks_up else 1)
            if state.global_step in evals:
                answers += self._evaluate()
            if state.global_step in saves:
                self._save()
            if looks_up:
                self.telemetry.start_clock()

            is_last = state.global_step == plan.total_steps.value
            if self.stepper.processes.any(interrupt.requested is not None) and not is_last:
                self._record(leave=0)
                if state.global_step not in saves:
                    self._save()
                return Ending(f"stopped by {interrupt.requested or 'another process'}", interrupted=True)
        self._record(leave=0)
        return Ending("all planned steps are done")

    def _record(self, *, leave: int) -> list[Intervention]:
        """Read measured steps, write them down, ask the observers."""
        answers = []
        for reading in self.telemetry.ready(leave=leave):
            self.state.train_seconds += reading.seconds
            for learner, loss, norm in zip(self.stepper.learners, reading.losses, reading.grad_norms, strict=True):
                record = StepRecord(
                    trial=learner.trial,
                    step=reading.step,
                    epoch=self.order.epoch(reading.step),
                    loss=loss,
                    grad_norm=norm,
                    learning_rate=learner.learning_rate(reading.step - 1),
                    target_tokens=reading.target_tokens,
                    tokens=reading.tokens,
                    seconds=reading.seconds,
                    memory_bytes=reading.memory_bytes,
                )
                if self.stepper.processes.is_main:
                    self.run_dir.append_metric(record)
                answers += [observer.on_step(record) or CONTINUE for observer in self.observers]
        self.state.peak_memory_bytes = max(self.state.peak_memory_bytes, self.telemetry.peak_memory_bytes)
        return answers

    def _evaluate(self) -> list[Intervention]:
        """Measure the validation loss where the run is; keep the weights if they are the best so far."""
        assert self.validation is not None
        state, processes = self.state, self.stepper.processes
        batches = self.feed.all(self.validation, self.plan.per_device_eval_batch_size.value)
        losses, target_tokens, seconds = evaluate(
            self.stepper.model, batches, precision=self.stepper.precision, processes=processes
        )
        answers = []
        for learner, loss in zip(self.stepper.learners, losses, strict=True):
            record = EvalRecord(
                trial=learner.trial,
                step=state.global_step,
                epoch=self.order.epoch(state.global_step),
                loss=loss,
                target_tokens=target_tokens,
                seconds=seconds,
            )
            if processes.is_main:
                self.run_dir.append_metric(record)
            answers += [observer.on_eval(record) or CONTINUE for observer in self.observers]
        self._judge(losses[0])
        return answers

    def _judge(self, loss: float) -> None:
        """Is this the best evaluation so far? A loss that is not a number never is."""
        state = self.state
        if state.global_step == 0:
            state.base_eval_loss = loss
            return
        if math.isfinite(loss) and (state.best_eval_loss is None or loss < state.best_eval_loss):
            state.best_eval_loss, state.best_step = loss, state.global_step
            self.keeper.keep_best(state)
            self._tell("best", f"evaluation loss {loss:.4f}, the best so far", {"eval_loss": loss})
            if self.save_on_best:
                self._save()

    def _save(self) -> None:
        self.keeper.save(self.state)
        self._tell("checkpoint", f"saved {self.run_dir.checkpoint(self.state.global_step).name}")

    def _tell(self, kind: str, message: str, detail: dict[str, float] | None = None) -> None:
        if self.stepper.processes.is_main:
            event = RunEvent.model_validate(
                {"kind": kind, "step": self.state.global_step, "message": message, "detail": detail or {}}
            )
            self.run_dir.append_event(event)
