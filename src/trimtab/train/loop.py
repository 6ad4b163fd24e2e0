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
    (where the guard is not sure that all is well: it experiments on a copy, and may let the run go back)
read what is left to read                       → observers: on_step
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trimtab.config import RunConfig
from trimtab.data.collate import Batch
from trimtab.data.order import Order, Rows
from trimtab.data.prepare import PreparedData
from trimtab.data.store import TokenStore
from trimtab.records import EvalRecord, Finding, Plan, RunDir, RunEvent, StepRecord
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
from trimtab.train.observer import (
    CONTINUE,
    EarlyStopping,
    HalveMicroBatch,
    Intervention,
    Investigate,
    Measured,
    Observer,
    Rewind,
    Stop,
    Watch,
)
from trimtab.train.rewind import go_back
from trimtab.train.state import RunState
from trimtab.train.step import Stepper
from trimtab.train.telemetry import Telemetry


@dataclass(frozen=True)
class Ending:
    """Why the loop ended."""

    reason: str
    interrupted: bool = False
    is_failure: bool = False
    by_guard: bool = False


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
    config: RunConfig
    data: PreparedData
    tokenizer: Any
    watch: Watch | None = None
    findings: Sequence[Finding] = ()
    """What the checks before the run found."""
    accepted: Collection[str] = ()
    """Findings of the first steps that do not stop the run."""
    save_on_best: bool = False
    has_begun: bool = False
    pending: Sequence[Intervention] = ()
    """What observers answered before the run was resumed and nobody carried out."""

    def run(self, interrupt: Interrupt) -> Ending:
        """Train until the plan is done, an observer says stop, or the user does."""
        plan, state = self.plan, self.state
        evals, saves = set(plan.eval_points.value), set(plan.save_points.value)
        answers: list[Intervention] = [] if self.has_begun else list(self.pending)
        if state.global_step == 0 and not self.has_begun:
            if self.validation is not None:
                answers += self._evaluate()
            state.losses_before = self._judged_losses()
        if self.watch is not None:
            self.watch.begin(self)
            if not self.has_begun:
                answers = self._investigated(answers)
        self.has_begun = True
        self.stepper.model.train()
        self.telemetry.start_peak()
        self.telemetry.start_clock()

        while state.global_step < plan.total_steps.value:
            answers += self._halve_if_asked(answers)
            if rewind := next((answer for answer in answers if isinstance(answer, Rewind)), None):
                self._rewind(rewind)
                answers.clear()
                continue
            if ending := _ending(answers):
                self._record(leave=0)
                return ending
            answers.clear()
            rows = self._rows(state.global_step)
            if not len(rows):  # every row of it was left out
                state.global_step += 1
            elif not self._train_on(rows, answers):
                continue

            judges = state.global_step == judged_step(plan.total_steps.value) and state.first_steps is None
            looks_up = judges or state.global_step in evals or state.global_step in saves
            answers += self._record(leave=1 if self.memory.is_proven and not looks_up else 0)
            if judges and state.losses_before:
                answers.append(self._judge_first_steps())
            answers = self._investigated(answers)
            if _is_broken(answers):  # it is neither measured nor kept
                continue
            if state.global_step in evals:
                answers = self._investigated([*answers, *self._evaluate()])
                if _is_broken(answers):
                    continue
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
        answers = self._investigated([*answers, *self._record(leave=0)])
        if rewind := next((answer for answer in answers if isinstance(answer, Rewind)), None):
            self._rewind(rewind)
            return self.run(interrupt)
        ending = _ending(answers)
        return ending if ending and ending.is_failure else Ending("all planned steps are done")

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

    def _train_on(self, rows: Rows, answers: list[Intervention]) -> bool:
        """One step, counted; False if it has to be made again with smaller micro batches."""
        target_tokens = int(self.train.target_counts[rows].sum())
        tokens = int(self.train.lengths[rows].sum())
        made = self._step(rows, target_tokens)
        if made is None:
            return False
        measured_RK, batches = made
        self.state.global_step += 1
        self.state.tokens_seen += tokens
        self.telemetry.push(self.state.global_step, measured_RK, target_tokens=target_tokens, tokens=tokens)
        if self.watch is not None:
            answers.append(self.watch.after_step(self, rows, batches) or CONTINUE)
        return True

    def _rows(self, step: int) -> Rows:
        """The examples of `step` (from 0), without those that a repair left out."""
        rows = self.order.rows(step)
        left_out = self.state.changes.left_out
        return rows[~np.isin(rows, left_out)] if left_out else rows

    def _step(self, rows: Rows, target_tokens: int) -> tuple[torch.Tensor, list[Batch]] | None:
        """The next step and what it was made of; None if memory ran out before anything was updated: then its gradients
        are dropped and the micro batch is halved, and the same step can come again."""
        done = self.state.global_step
        if self.watch is not None:
            self.watch.before_step(self)
        batches = list(self.feed.of_rows(self.train, rows, self.micro_batch_size))
        try:
            return self.stepper.step(batches, updates_done=done, target_tokens=target_tokens), batches
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
        if self.watch is not None:
            self.watch.halved(self, reason, before, after)

    def _investigated(self, answers: Sequence[Intervention]) -> list[Intervention]:
        """The answers, with the guard's instead of what asks for it; all processes ask theirs together."""
        asked = [answer for answer in answers if isinstance(answer, Investigate)]
        reasons = [answer.reason for answer in asked]
        rest: list[Intervention] = [answer for answer in answers if not isinstance(answer, Investigate)]
        if self.watch is None or not self.stepper.processes.any(bool(reasons)):
            return rest
        rest += [answer for answer in self._record(leave=0) if not isinstance(answer, Investigate)]
        answer = self.watch.investigate(self, reasons[0] if reasons else "another process saw something")
        otherwise = next((ask.otherwise for ask in asked if ask.otherwise is not None), None)
        rest.append(otherwise if answer is CONTINUE and otherwise is not None else answer)
        self.telemetry.start_clock()
        self.telemetry.start_peak()
        return rest

    def _rewind(self, rewind: Rewind) -> None:
        """Back to a good state; what was measured and saved since is measured and saved again."""
        since = self.state.global_step
        go_back(self, rewind)
        for observer in self.observers:
            if isinstance(observer, EarlyStopping):
                observer.go_back_to(self.state.global_step)
        self.amend(
            f"back from step {since} to step {self.state.global_step}: {rewind.reason}",
            {"from_step": since, "to_step": self.state.global_step, "changes": rewind.changes.model_dump(mode="json")},
        )
        assert self.watch is not None, "only the guard lets a run go back"
        self.watch.went_back(self)
        if self.plan.save_points.value and self.state.global_step:
            self._save()  # a run that is killed now goes on with the repair
        self.telemetry.start_clock()
        self.telemetry.start_peak()

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
        answer = intervention(found)
        if isinstance(answer, Stop) and self.watch is not None:
            return Investigate(answer.reason, otherwise=answer)  # it may be put right
        return answer

    def _record(self, *, leave: int) -> list[Intervention]:
        """Read measured steps, write them down, ask the observers."""
        answers = []
        for reading in self.telemetry.ready(leave=leave):
            self.state.train_seconds += reading.seconds
            self.state.had_gradient |= any(norm != 0.0 for norm in reading.grad_norms)
            for index, learner in enumerate(self.stepper.learners):
                loss, norm = reading.losses[index], reading.grad_norms[index]
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
                    update_ratio=None if reading.update_ratios[index] < 0 else reading.update_ratios[index],
                )
                if self.stepper.processes.is_main:
                    self.run_dir.append_metric(record)
                answers += [observer.on_step(record) or CONTINUE for observer in (self.memory, *self.observers)]
                if self.watch is not None:
                    measured = Measured(
                        int(reading.without_gradient[index]), reading.unmoved[index], int(reading.fed[index])
                    )
                    answers.append(self.watch.on_step(record, measured) or CONTINUE)
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
            if self.watch is not None:
                answers.append(self.watch.on_eval(self, record) or CONTINUE)
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

    def note(self, message: str) -> None:
        """A line on the screen and in the records."""
        self.notify(message)
        self._tell("notice", message)

    def _tell(self, kind: str, message: str, detail: dict[str, Any] | None = None) -> None:
        if self.stepper.processes.is_main:
            event = RunEvent.model_validate(
                {"kind": kind, "step": self.state.global_step, "message": message, "detail": detail or {}}
            )
            self.run_dir.append_event(event)


def _is_broken(answers: Sequence[Intervention]) -> bool:
    """The guard says so."""
    return any(isinstance(answer, Rewind) or (isinstance(answer, Stop) and answer.by_guard) for answer in answers)


def _ending(answers: Sequence[Intervention]) -> Ending | None:
    for answer in answers:
        if isinstance(answer, Stop):
            return Ending(answer.reason, is_failure=answer.is_failure, by_guard=answer.by_guard)
    return None


def _was_updating(error: BaseException) -> bool:
    """Whether it was raised by the update itself, which may have changed some weights or moments already."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code is Stepper.update.__code__ for frame, _ in frames)
