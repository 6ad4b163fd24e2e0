"""What holds of every step of a sound run, exactly. A violation needs no statistics, and none of this makes the device
wait: what is not known on the host is read a step late.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from trimtab.data.collate import FINGERPRINTS, Batch, fingerprint, targets_of
from trimtab.data.order import Order, Rows, micro_batches, rows_of
from trimtab.guard.isolation import Isolation
from trimtab.guard.look import Look
from trimtab.guard.own_gradient import OwnGradient
from trimtab.guard.own_loss import OwnLoss
from trimtab.plan.schedule import schedule
from trimtab.records import StepRecord
from trimtab.records.diagnosis import Violation
from trimtab.train.learner import Learner
from trimtab.train.observer import Measured
from trimtab.train.optimizer import build_optimizer
from trimtab.train.run import order_of

if TYPE_CHECKING:
    from trimtab.train.loop import Loop

SCALER_STEPS = 20
"""fp16's loss scale starts at 2^16 and is halved at each overflow: so many in a row leave nothing to halve."""
LOST_UNDER_SCALER = 3
"""Losses in a row that are no numbers, from which on it is not one bad batch (guess)."""
SWALLOWED = 0.2
"""Share of elements with a gradient that a step leaves as they were, from which on updates are lost: measured 44 to
99 % in bf16, 0 % in float32 (docs/log.md)."""
STILL = 0.99
"""Share of the few elements that are looked at in every step, from which on nothing moves."""
LEAST_RATE = 0.1
"""Of the peak learning rate, below which an element that does not move says nothing: float32 swallows 6e-8 at 1."""
MOVES_AWAY = 4
"""Times as many updates, after which an adapter's B lies clearly further from zero (guess)."""
ENOUGH_MOVED = 1e-5
"""Sum of the rates applied so far: an adapter's B that moved less may still be zero in half precision, and then its A
gets no gradient."""
CONTENT_EVERY = 10
"""Steps between two comparisons of what was fed with what is stored; the first ones are all compared."""
CONTENT_FIRST = 5
LOOK_EVERY, LOOK_SHARE = 10, 0.003
"""Steps between two looks by tiny forwards; more, where they take a larger share of the time."""
GRADIENT_SHARE = 0.003
"""Of the time, for looking at the gradient of a step's own targets: at every step where that is enough."""
TIMES_PACED = 3
STEPS_LOOKED_THROUGH = 100_000
"""For the step that rows belong to, once they are not the planned ones: a second's work."""
SAME_ON_A_GPU = 1e-2
"""Relative: kernels that add in any order differ by as much in bf16; dropout in an evaluation differs by more (3.14
against 3.27 and 3.30 where it was measured, huggingface/peft#2438). A guess between."""
NEAR = 1e-6
"""Relative: two learning rates that differ by rounding are equal."""


class Invariants:
    """Knows how the run was wired when it began; see diagnose.case.INVARIANTS for what is held."""

    def __init__(self, loop: Loop) -> None:
        learner = loop.stepper.learners[0]
        self._plan, self._learner = loop.plan, learner
        self._order = order_of(loop.config, loop.plan)
        self._schedule = schedule(
            loop.plan.lr_scheduler_type.value,
            warmup_steps=loop.plan.warmup_steps.value,
            total_steps=loop.plan.total_steps.value,
            options=loop.plan.lr_scheduler_kwargs.value,
        )
        model = loop.stepper.model
        self._trainable = dict(learner.parameters)
        self._dtypes = {name: parameter.dtype for name, parameter in self._trainable.items()}
        self._flags = [(name, p, p.requires_grad) for name, p in model.named_parameters()]
        self._is_adapter = loop.config.adapter is not None
        self._is_sparse = _is_sparse(model)
        self._loop = loop
        self._expected: dict[int, tuple[int, list[torch.Tensor], Rows]] = {}
        """Step (from 1) → the fingerprint that its rows have, the targets that it was fed with, its rows."""
        self._since = loop.state.global_step
        self._usual_without: int | None = None
        self._overflows = 0
        self._moved = False
        self._rates = 0.0
        self._lost_in_a_row = 0
        self._isolation = Isolation(loop.feed, loop.vocabulary, is_sparse=self._is_sparse)
        self._own_loss = OwnLoss(model, loop.feed, loop.vocabulary, is_sparse=self._is_sparse)
        self._own_gradient = OwnGradient(loop.stepper)
        self._knows_other_rows = False
        self._had: tuple[int, NDArray[np.bool_]] | None = None
        """Once the rows are others than planned: the epoch, and which of its rows were had."""
        self._look_every, self._gradient_every = LOOK_EVERY, 1
        self._times_paced, self._look_seconds = 0, math.inf
        self._step_seconds: deque[float] = deque(maxlen=LOOK_EVERY)

    def at_start(self) -> Iterator[Violation]:
        """Before the first step: an adapter of which a part is frozen, a model that sees what it must not,
        a loss that is another."""
        yield from self.look_now(self._since)
        frozen = [name for name, _, trains in self._flags if not trains and ".lora_" in name]
        if frozen:
            yield Violation(
                invariant="trainables-unchanged",
                step=self._since,
                sentence=f"{len(frozen)} tensors of the adapter are frozen, {frozen[0]} first",
                detail={"frozen": frozen[:20], "count": len(frozen)},
            )

    def after_step(self, loop: Loop, rows: Rows, batches: Sequence[Batch]) -> Iterator[Violation]:
        """What the host knows of the step that was just queued, which is counted already."""
        done = loop.state.global_step - 1
        learner = loop.stepper.learners[0]
        yield from self._wiring(learner, done)
        yield from self._rate(learner, loop, done)
        yield from self._fed(loop, rows, batches, done)
        yield from self._seen()
        yield from self._own_gradient.read(loop.stepper)
        self._own_gradient.stepped(loop.stepper, done + 1, int(loop.train.target_counts[rows].sum()))
        if (done + 1) % self._look_every == 0:
            self._look(done + 1)

    def before_step(self, done: int) -> None:
        """The step after `done` updates is about to be queued."""
        if self._own_gradient.can_look and done % self._gradient_every == 0:
            self._own_gradient.arm(self._loop.stepper.scaler)

    def look_now(self, step: int) -> Iterator[Violation]:
        """What tiny forwards show, without waiting for their turn: of an evaluation too."""
        if self._look_by(self._isolation, self._own_loss, step=step):
            yield from self._seen()

    def _seen(self) -> Iterator[Violation]:
        for look in (self._isolation, self._own_loss):
            yield from look.read(self._loop.stepper)

    def _look(self, step: int) -> None:
        """In its turn. The loss is looked at in its gradient, if it can be."""
        looks = (self._isolation,) if self._own_gradient.can_look else (self._isolation, self._own_loss)
        started = time.perf_counter()
        if not self._look_by(*looks, step=step):
            return
        self._look_seconds = min(self._look_seconds, time.perf_counter() - started)
        self._times_paced += 1
        if self._times_paced == TIMES_PACED:
            self._pace()

    def _look_by(self, *looks: Look, step: int) -> bool:
        """False if memory ran out, in any process: that is the loop's to mend."""
        stepper, ran_out = self._loop.stepper, False
        try:
            for look in looks:
                look.look(stepper, step)
        except torch.OutOfMemoryError:
            ran_out = True
        if not stepper.processes.any(ran_out):
            return True
        for look in looks:
            look.forget()
        return False

    def _pace(self) -> None:
        """On a GPU launches limit what is looked at, not its tokens: what it costs is measured, and it comes as often
        as that allows. The cheapest of a few times counts: what else the machine did must not blind a run."""
        usual = median(self._step_seconds)
        paces = LOOK_EVERY, 1
        if usual > 0:
            looks = math.ceil(self._look_seconds / (LOOK_SHARE * usual))
            own = self._own_gradient.seconds if math.isfinite(self._own_gradient.seconds) else 0.0
            paces = max(LOOK_EVERY, looks), max(1, math.ceil(own / (GRADIENT_SHARE * usual)))
        self._look_every, self._gradient_every = self._loop.stepper.processes.from_main(paces)

    def _wiring(self, learner: Learner, done: int) -> Iterator[Violation]:
        held = [p for group in learner.optimizer.param_groups for p in group["params"]]
        trained = self._trainable.values()
        if len(held) != len(trained) or {id(p) for p in held} != {id(p) for p in trained}:
            strangers = sum(id(p) not in {id(q) for q in trained} for p in held)
            yield Violation(
                invariant="optimizer-holds-trainables",
                step=done + 1,
                sentence=f"the optimizer holds {len(held)} tensors; {strangers} of them are none of the "
                f"{len(trained)} that are trained",
                detail={"held": len(held), "strangers": strangers, "trained": len(trained)},
            )
        changed = [name for name, p, trains in self._flags if p.requires_grad is not trains]
        if changed:
            frozen = [name for name, p, trains in self._flags if trains and not p.requires_grad]
            yield Violation(
                invariant="trainables-unchanged",
                step=done + 1,
                sentence=f"{len(changed)} tensors changed whether they are trained, {changed[0]} first",
                detail={"changed": changed[:20], "frozen": frozen[:20], "count": len(changed)},
            )
        recast = [name for name, p in self._trainable.items() if p.dtype != self._dtypes[name]]
        if recast:
            dtype = str(self._trainable[recast[0]].dtype).removeprefix("torch.")
            yield Violation(
                invariant="weights-move",
                step=done + 1,
                sentence=f"{len(recast)} trained tensors became {dtype}, in which small updates are lost",
                detail={"dtype": dtype, "count": len(recast), "recast": True},
            )

    def _rate(self, learner: Learner, loop: Loop, done: int) -> Iterator[Violation]:
        planned = self.planned_rate(loop, done)
        for group in learner.optimizer.param_groups:
            if not math.isclose(group["lr"], planned, rel_tol=NEAR, abs_tol=1e-30):
                yield Violation(
                    invariant="learning-rate",
                    step=done + 1,
                    sentence=f"the learning rate was {group['lr']:.4g}, the plan says {planned:.4g}",
                    detail={"applied": group["lr"], "planned": planned},
                )
                return

    def planned_rate(self, loop: Loop, done: int) -> float:
        """As the plan and the run's own repairs have it, worked out afresh."""
        changes = loop.state.changes
        rate = float(self._plan.learning_rate.value) * self._schedule(done) * changes.learning_rate_scale
        if changes.warms_up_again is not None:
            since, steps = changes.warms_up_again
            rate *= min(1.0, (done - since + 1) / (steps + 1)) if done >= since else 1.0
        return rate

    def _fed(self, loop: Loop, rows: Rows, batches: Sequence[Batch], done: int) -> Iterator[Violation]:
        planned = rows_of(self._order, done)
        left_out = loop.state.changes.left_out
        planned = planned[~np.isin(planned, left_out)] if left_out else planned
        if len(rows) != len(planned) or not (rows == planned).all():
            yield Violation(
                invariant="rows",
                step=done + 1,
                sentence=f"the step was made of other rows than planned (row {_first(rows)} first, planned: "
                f"{_first(planned)})",
                detail={
                    "what": "rows",
                    "repeats": self._repeats(rows, len(planned), done),
                    "seen": rows[:8].tolist(),
                    "planned": planned[:8].tolist(),
                    "of_step": None if self._knows_other_rows else self._step_of(rows, loop),
                },
            )
            self._knows_other_rows = True
            planned = rows  # what was made of them is another question
        processes = loop.stepper.processes
        share = planned[processes.index :: processes.count]
        targets = sum(batch.target_tokens for batch in batches)
        expected = int(loop.train.target_counts[share].sum())
        if targets == 0 and expected:
            yield Violation(
                invariant="targets",
                step=done + 1,
                sentence=f"the batch had no target token; its rows have {expected}",
                detail={"seen": 0, "planned": expected},
            )
        elif targets != expected:
            yield Violation(
                invariant="rows",
                step=done + 1,
                sentence=f"the batch had {targets} target tokens; its rows have {expected}",
                detail={"what": "targets", "seen": targets, "planned": expected},
            )
        shares = micro_batches(
            planned, micro_batch_size=loop.micro_batch_size, process=processes.index, processes=processes.count
        )
        yield from self._borders(loop, shares, batches, done)
        if done - self._since < CONTENT_FIRST or done % CONTENT_EVERY == 0:
            marks = [fingerprint([loop.train.example(int(row)) for row in part]) for part in shares if len(part)]
            self._expected[done + 1] = sum(marks) % FINGERPRINTS, [batch.target_ids_N for batch in batches], planned

    def _repeats(self, rows: Rows, planned: int, done: int) -> bool:
        """Whether the step is no other order of the epoch's rows: more or fewer than planned, or some again."""
        epoch, position = divmod(done, self._order.steps_per_epoch)
        if self._had is None or self._had[0] != epoch:
            had = np.zeros(self._order.examples, dtype=bool)
            for step in range(done - position, done) if self._had is None else ():
                had[self._loop.order.rows(step)] = True
            self._had = epoch, had
        had = self._had[1]
        again = bool(had[rows].any()) or len(np.unique(rows)) < len(rows)
        had[rows] = True
        return again or len(rows) != planned

    def _step_of(self, rows: Rows, loop: Loop) -> int | None:
        """The step (from 1) of which these are the planned rows; None where they are of none."""
        left_out = loop.state.changes.left_out
        for done in range(min(loop.plan.total_steps.value, STEPS_LOOKED_THROUGH)):
            planned = rows_of(self._order, done)
            planned = planned[~np.isin(planned, left_out)] if left_out else planned
            if len(planned) == len(rows) and (planned == rows).all():
                return done + 1
        return None

    def _borders(self, loop: Loop, shares: Sequence[Rows], batches: Sequence[Batch], done: int) -> Iterator[Violation]:
        """Where attention is cut at the borders that a batch names, these are its examples' own."""
        for part, batch in zip(shares, batches, strict=False):
            lengths = tuple(loop.train.lengths[part].tolist())
            if batch.segment_lengths is None or not lengths or batch.segment_lengths == lengths:
                continue
            yield Violation(
                invariant="sees-only-its-past",
                step=done + 1,
                sentence=f"attention is cut into {len(batch.segment_lengths)} pieces of {sum(batch.segment_lengths)} "
                f"tokens; the batch has {len(lengths)} examples",
                detail={"what": "borders", "seen": batch.segment_lengths[:8], "planned": lengths[:8]},
            )
            return

    def on_step(self, record: StepRecord, measured: Measured) -> Iterator[Violation]:
        """What the step's numbers say, a step late."""
        self._step_seconds.append(record.seconds)
        uses_scaler = self._loop.stepper.scaler.is_enabled()  # a repair may have changed the precision
        self._lost_in_a_row = 0 if math.isfinite(record.loss) else self._lost_in_a_row + 1
        # fp16's scaler leaves the update of such a step out.
        if self._lost_in_a_row >= (LOST_UNDER_SCALER if uses_scaler else 1):
            yield Violation(
                invariant="finite-loss",
                step=record.step,
                sentence=f"the loss of step {record.step} is {record.loss}",
                detail={"loss": str(record.loss), "grad_norm": str(record.grad_norm)},
            )
        self._overflows = 0 if math.isfinite(record.grad_norm) else self._overflows + 1
        if self._overflows and (not uses_scaler or self._overflows >= SCALER_STEPS):
            yield Violation(
                invariant="finite-gradient",
                step=record.step,
                sentence=f"the gradient's norm of step {record.step} is {record.grad_norm}",
                detail={"loss": str(record.loss), "in_a_row": self._overflows},
            )
        yield from self._gradients(record, measured)
        yield from self._movement(record, measured)
        fed = self._expected.pop(record.step, None)
        if fed is not None and fed[0] != measured.fed:
            is_shifted = self._are_planned(*fed[1:])
            how = "the right targets, at other places" if is_shifted else "other targets, or at other places"
            yield Violation(
                invariant="rows",
                step=record.step,
                sentence=f"what the step predicted is not what its rows say: {how}",
                detail={"what": "shifted" if is_shifted else "content"},
            )

    def _are_planned(self, targets: Sequence[torch.Tensor], rows: Rows) -> bool:
        """Whether the step was to predict the tokens that its rows say, in their order. (Of one process; the device is
        waited for: the run is broken.)"""
        if self._loop.stepper.processes.count > 1:
            return False
        planned = [targets_of(self._loop.train.example(int(row))) for row in rows]
        return bool(np.array_equal(np.concatenate(planned), torch.cat(list(targets)).cpu().numpy()))

    def _gradients(self, record: StepRecord, measured: Measured) -> Iterator[Violation]:
        if record.grad_norm == 0.0 and record.loss != 0.0:
            yield Violation(
                invariant="gradient-not-zero",
                step=record.step,
                sentence=f"the gradient of step {record.step} is exactly zero at a loss of {record.loss:.3f}",
                detail={"loss": record.loss},
            )
            return
        without = measured.without_gradient
        # An adapter's A gets none until its B has moved; of experts, some get none in any step.
        if without < 0 or self._is_sparse or not math.isfinite(record.grad_norm):
            return
        usual = self._usual_without
        self._rates += record.learning_rate
        has_moved = self._moved and self._rates > ENOUGH_MOVED and not self._loop.stepper.scaler.is_enabled()
        if usual is not None and without > usual:
            yield self._without(record.step, without, usual)
        elif self._is_adapter and has_moved and without > 0:
            yield self._without(record.step, without, 0)
        self._usual_without = without if usual is None else min(usual, without)
        self._moved = self._moved or record.learning_rate > 0.0

    def _without(self, step: int, count: int, usual: int) -> Violation:
        # An A gets no gradient while its B is zero. Once all had one, a B that is no further from zero than the updates
        # since then take it (AdamW's first are as large as the rate) was set back to it.
        updates = self._loop.state.global_step - step + 1
        reach = 2.0 * updates * self._learner.learning_rate(step - 1)
        could_tell = self._usual_without == 0 and step - self._since > MOVES_AWAY * updates
        whole = {name: p for name, p in self._trainable.items() if could_tell and not hasattr(p, "full_tensor")}
        zero = [name for name, p in whole.items() if ".lora_B" in name and bool(p.abs().max() <= reach)]
        return Violation(
            invariant="gradient-everywhere",
            step=step,
            sentence=f"{count} of {len(self._trainable)} trained tensors got no gradient in step {step}"
            + (f" ({usual} before)" if usual else ""),
            detail={"count": count, "usual": usual, "trained": len(self._trainable), "zero": len(zero)},
        )

    def _movement(self, record: StepRecord, measured: Measured) -> Iterator[Violation]:
        peak = float(self._plan.learning_rate.value)
        # In float32 a norm's elements, which are about 1, may be swallowed late in a schedule; never all elements.
        is_narrow = any(p.element_size() < 4 for p in self._trainable.values())
        most = SWALLOWED if is_narrow and self._learner.watches_movement(record.step - 1) else STILL
        if measured.unmoved <= most or record.learning_rate < LEAST_RATE * peak or not self._moved:
            return
        dtypes = sorted({str(p.dtype).removeprefix("torch.") for p in self._trainable.values()})
        yield Violation(
            invariant="weights-move",
            step=record.step,
            sentence=f"step {record.step} left {measured.unmoved:.0%} of the weights that have a gradient as they were",
            detail={"share": measured.unmoved, "dtype": dtypes[0]},
        )

    def go_back_to(self, step: int) -> None:
        self._expected.clear()
        self._overflows = 0
        self._since = step
        self._moved = step > 1
        self._usual_without = None
        self._rates = 0.0
        self._lost_in_a_row = 0
        self._knows_other_rows, self._had = False, None
        for look in (self._isolation, self._own_loss, self._own_gradient):
            look.forget()

    def restore(self, loop: Loop) -> None:
        """Make the wiring what it was when the run began: what is trained, in which dtype, by a new optimizer at the
        planned learning rate, on the planned rows."""
        loop.order = Order(**vars(self._order))
        learner = loop.stepper.learners[0]
        for _, parameter, trains in self._flags:
            parameter.requires_grad_(trains)
        for name, parameter in self._trainable.items():
            if parameter.dtype != self._dtypes[name]:
                parameter.data = parameter.data.to(self._dtypes[name])
        learner.parameters.clear()
        learner.parameters.update(self._trainable)
        learner.optimizer = build_optimizer(self._plan.optim.value, self._trainable, loop.config.training)
        learner.schedule, learner.peak_learning_rate = self._schedule, float(self._plan.learning_rate.value)


def _first(rows: Rows) -> int | str:
    return int(rows[0]) if len(rows) else "none"


def _is_sparse(model: nn.Module) -> bool:
    """Whether only some experts compute at each token."""
    configs: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    return next((_names_experts(config.to_dict()) for config in configs if hasattr(config, "to_dict")), False)


def _names_experts(settings: dict[Any, Any]) -> bool:
    return any(
        ("expert" in str(key) and bool(value)) or (isinstance(value, dict) and _names_experts(value))
        for key, value in settings.items()
    )


def same_evaluation(first: Sequence[float], second: Sequence[float], device: torch.device) -> bool:
    """Whether two evaluations of the same weights are equal: to the last bit on a CPU, up to rounding elsewhere."""
    if device.type == "cpu":
        return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(first, second, strict=True))
    return bool(np.allclose(first, second, rtol=SAME_ON_A_GPU, atol=1e-6, equal_nan=True))
