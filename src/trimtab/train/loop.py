"""The loop.

evaluate the base                               → observers: on_eval (step 0)
measure the examples that the first steps are judged by
for each step:
    for each micro batch: forward, backward     (memory runs out before the update: halve the micro batch, once more)
    clip, set the learning rate, update
    read what the step before this one measured → observers: on_step (one step late: nothing waits for the device)
    after step 10: measure the same examples again, judge
    if planned here: evaluate, keep the best    → observers: on_eval
    if planned here: save
    carry out the first answer that is not CONTINUE; stop if the user asked for it
read what is left to read                       → observers: on_step
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trimtab.data.order import Order
from trimtab.data.store import TokenStore
from trimtab.records import EvalRecord, Plan, RunDir, RunEvent, StepRecord
from trimtab.train.checkpoint import Keeper
from trimtab.train.evaluate import evaluate, losses_of_each
from trimtab.train.feed import Feed
from trimtab.train.first_steps import (
    MemoryWatch,
    finding,
    intervention,
    judge_first_steps,
    judged_rows,
    judged_step,
)
from trimtab.train.interrupt import Interrupt
from trimtab.train.observer import CONTINUE, HalveMicroBatch, Intervention, Observer, Stop
from trimtab.train.state import RunState
from trimtab.train.step import Stepper
from trimtab.train.telemetry import Telemetry


@dataclass(frozen=True)
class Ending:
    """Why the loop ended."""

    reason: str
    interrupted: bool = False
    is_failure: bool = False


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
    memory: MemoryWatch
    telemetry: Telemetry
    vocabulary: int
    notify: Callable[[str], None]
    accepted: Collection[str] = ()
    """Findings of the first steps that do not stop the run."""
    save_on_best: bool = False
    pending: Sequence[Intervention] = ()
    """What observers answered before the run was resumed and nobody carried out."""

    def run(self, interrupt: Interrupt) -> Ending:
        """Train until the plan is done, an observer says stop, or the user does."""
        plan, state = self.plan, self.state
        evals, saves = set(plan.eval_points.value), set(plan.save_points.value)
        answers: list[Intervention] = list(self.pending)
        if state.global_step == 0:
            if self.validation is not None:
                answers += self._evaluate()
            state.losses_before = self._judged_losses()
        self.stepper.model.train()
        self.telemetry.start_peak()
        self.telemetry.start_clock()

        while state.global_step < plan.total_steps.value:
            answers += self._halve_if_asked(answers)
            if stop := next((answer for answer in answers if isinstance(answer, Stop)), None):
                self._record(leave=0)
                return Ending(stop.reason, is_failure=stop.is_failure)
            answers.clear()
            rows = self.order.rows(state.global_step)
            target_tokens = int(self.train.target_counts[rows].sum())
            tokens = int(self.train.lengths[rows].sum())
            measured_2K = self._step(target_tokens)
            if measured_2K is None:
                continue
            state.global_step += 1
            state.tokens_seen += tokens
            self.telemetry.push(state.global_step, measured_2K, target_tokens=target_tokens, tokens=tokens)

            judges = state.global_step == judged_step(plan.total_steps.value) and state.first_steps is None
            looks_up = judges or state.global_step in evals or state.global_step in saves
            answers += self._record(leave=1 if self.memory.is_proven and not looks_up else 0)
            if judges and state.losses_before:
                answers.append(self._judge_first_steps())
            if state.global_step in evals:
                answers += self._evaluate()
            if state.global_step in saves:
                self._save()
            if looks_up:
                self.telemetry.start_clock()
                self.telemetry.start_peak()

            is_last = state.global_step == plan.total_steps.value
            if self.stepper.processes.any(interrupt.requested is not None) and not is_last:
                self._record(leave=0)
                if state.global_step not in saves:
                    self._save()
                return Ending(f"stopped by {interrupt.requested or 'another process'}", interrupted=True)
        self._record(leave=0)
        failure = next((answer for answer in answers if isinstance(answer, Stop) and answer.is_failure), None)
        return Ending(failure.reason if failure else "all planned steps are done", is_failure=failure is not None)

    @property
    def eval_batch_size(self) -> int:
        """As planned; where the micro batch was halved, halved as often: what a step cannot hold, it cannot either."""
        planned = self.plan.per_device_eval_batch_size.value
        return max(1, planned * self.micro_batch_size // self.plan.per_device_train_batch_size.value)

    @property
    def micro_batch_size(self) -> int:
        """Examples per forward: the plan's, or what an amendment made of it."""
        planned = self.plan.per_device_train_batch_size.value
        return min(planned, self.state.micro_batch_size or planned)

    def _step(self, target_tokens: int) -> torch.Tensor | None:
        """The next step; None if memory ran out before anything was updated: then its gradients are dropped and the
        micro batch is halved, and the same step can come again."""
        done = self.state.global_step
        batches = self.feed.step(self.train, self.order, done, self.micro_batch_size)
        try:
            return self.stepper.step(batches, updates_done=done, target_tokens=target_tokens)
        except torch.OutOfMemoryError as error:
            # Other processes wait for this one in an exchange that it will not come to.
            if self.stepper.processes.count > 1 or self.micro_batch_size == 1 or _was_updating(error):
                raise
            said = str(error).splitlines()[0] if str(error) else "no memory left"
        # Not in the handler: the error holds the frames, and these the activations.
        for learner in self.stepper.learners:
            learner.optimizer.zero_grad(set_to_none=True)
        self._halve(f"memory ran out in step {done + 1} ({said})")
        return None

    def _halve_if_asked(self, answers: Sequence[Intervention]) -> list[Intervention]:
        """What one process answers is done in all; where it cannot be done, all stop."""
        reasons = [answer.reason for answer in answers if isinstance(answer, HalveMicroBatch)]
        if not self.stepper.processes.any(bool(reasons)):
            return []
        reason = reasons[0] if reasons else "another process has too little memory"
        if self.micro_batch_size > 1:
            self._halve(reason)
            return []
        remedy = (
            "a forward has one example already. Set training.gradient_checkpointing=true, model.load_in_4bit=true or a "
            "smaller data.max_length, or let it pass with --accept memory-over-limit"
        )
        return [Stop(f"{reason}; {remedy}", is_failure=True)]

    def _halve(self, reason: str) -> None:
        before, share = self.micro_batch_size, self.plan.effective_batch_size.value // self.stepper.processes.count
        after = before // 2
        self.state.micro_batch_size = after
        self.memory.is_proven = False
        self.telemetry.give_back()
        self.amend(
            f"micro batches of {after} × {math.ceil(share / after)} instead of {before} × {math.ceil(share / before)}, "
            f"the same effective batch: {reason}",
            {"per_device_train_batch_size": after, "gradient_accumulation_steps": math.ceil(share / after)},
        )

    def _judged_losses(self) -> list[float]:
        """Of examples of the first steps, each by itself, as the model is now."""
        rows = judged_rows(self.order, self.plan.total_steps.value)
        batches = self.feed.each(self.train, rows)
        return losses_of_each(self.stepper.model, batches, precision=self.stepper.precision)

    def _judge_first_steps(self) -> Intervention:
        state, processes = self.state, self.stepper.processes
        judged = judge_first_steps(
            state.losses_before,
            self._judged_losses(),
            step=state.global_step,
            vocabulary=self.vocabulary,
            had_gradient=state.had_gradient,
            schedule=self.stepper.learners[0].schedule,
            total_steps=self.plan.total_steps.value,
        )
        state.first_steps = processes.from_main(judged)  # their kernels may round differently
        self._tell("judged", judged.sentence, judged.model_dump(mode="json", exclude={"sentence"}))
        found = finding(state.first_steps, accepted=self.accepted)
        self.notify(f"step {judged.step}: {judged.sentence}" + (f" [{found.rule}]" if found else ""))
        return intervention(found)

    def _record(self, *, leave: int) -> list[Intervention]:
        """Read measured steps, write them down, ask the observers."""
        answers = []
        for reading in self.telemetry.ready(leave=leave):
            self.state.train_seconds += reading.seconds
            self.state.had_gradient |= any(norm != 0.0 for norm in reading.grad_norms)
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
                answers += [observer.on_step(record) or CONTINUE for observer in (self.memory, *self.observers)]
        self.state.peak_memory_bytes = max(self.state.peak_memory_bytes, self.telemetry.peak_memory_bytes)
        return answers

    def _evaluate(self) -> list[Intervention]:
        """Measure the validation loss where the run is; keep the weights if they are the best so far."""
        assert self.validation is not None
        state, processes = self.state, self.stepper.processes
        batches = self.feed.all(self.validation, self.eval_batch_size)
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

    def amend(self, message: str, detail: dict[str, Any] | None = None) -> None:
        """Record a departure from the plan, numbered, and say it (law 3)."""
        if self.stepper.processes.is_main:
            number = 1 + sum(event.kind == "amendment" for event in self.run_dir.read_events())
            self._tell("amendment", f"amendment {number}: {message}", detail)
            self.notify(f"amendment {number}: {message}")

    def _tell(self, kind: str, message: str, detail: dict[str, Any] | None = None) -> None:
        if self.stepper.processes.is_main:
            event = RunEvent.model_validate(
                {"kind": kind, "step": self.state.global_step, "message": message, "detail": detail or {}}
            )
            self.run_dir.append_event(event)


def _was_updating(error: BaseException) -> bool:
    """Whether it was raised by the update itself, which may have changed some weights or moments already."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code is Stepper.update.__code__ for frame, _ in frames)
