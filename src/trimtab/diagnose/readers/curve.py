"""Collects what a log says, value by value, into columns of numbers. Every reader fills one; it makes the trace."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from trimtab.diagnose.readers.quantities import Meaning
from trimtab.diagnose.readers.step_order import is_out_of_order, last_of_each, not_replaced
from trimtab.diagnose.trace import Floats, Trace
from trimtab.diagnose.wording import counted

TRAIN = ("step", "loss", "grad_norm", "learning_rate", "epoch", "target_tokens", "seconds", "memory_bytes")
EVAL = ("step", "loss", "epoch", "accuracy")
NAN = math.nan
BIGGEST_STEP = float(1 << 53)
"""Beyond it a float64 does not count; no run has so many."""


def _columns(names: tuple[str, ...]) -> dict[str, array[float]]:
    return {name: array("d") for name in names}


@dataclass
class Curve:
    """N training points in eight columns of float64 and a byte each, M evaluations in four: 66 bytes a point."""

    source: str
    planned_steps: int | None = None
    planned_epochs: float | None = None
    warmup_steps: int | None = None
    max_grad_norm: float | None = None
    base_eval_loss: float | None = None
    memory_limit_bytes: float | None = None
    vocabulary: int | None = None
    is_averaged: bool = False
    restarts: int = 0
    remarks: list[str] = field(default_factory=list)
    generation: int = 0
    """Goes up when a better name for a quantity turns up: what was planned for a line's shape is out of date."""
    _train: dict[str, array[float]] = field(default_factory=lambda: _columns(TRAIN))
    _eval: dict[str, array[float]] = field(default_factory=lambda: _columns(EVAL))
    _accuracy: dict[str, array[float]] = field(default_factory=lambda: _columns(("step", "accuracy")))
    _lost: bytearray = field(default_factory=bytearray)
    """Bit 0: the loss was not a number; bit 1: the gradient norm."""
    _chosen: dict[str, tuple[int, str]] = field(default_factory=dict)
    _waiting: dict[str, float] = field(default_factory=dict)
    """Values of a step whose loss has not been read yet."""
    _waiting_step: float = NAN
    others: set[str] = field(default_factory=set)
    """Some names of numbers that nothing here uses."""
    has_rewards: bool = False
    ended_by: str = ""
    _offset: float = 0.0
    """For counters that start again with each epoch."""
    _raw_step: float = -math.inf
    _raw_epoch: float = NAN
    _first_raw: float = NAN
    _climbs: bool = False
    """The step went forward when it was last told."""
    _back: list[tuple[int, int, float]] = field(default_factory=list)
    """Training points and evaluations until then, and the step that was gone back to."""
    _guessed: list[tuple[int, int, float]] = field(default_factory=list)
    """The same, and the offset that was added from there on because the loss went on as it was."""

    @property
    def points(self) -> int:
        return len(self._lost)

    @property
    def evaluations(self) -> int:
        return len(self._eval["step"])

    @property
    def last_step(self) -> float:
        return self._train["step"][-1] if self._lost else 0.0

    def accepts(self, meaning: Meaning) -> bool:
        """Whether values of this name are kept. A better name than the one so far drops what was kept under that."""
        if meaning.quantity not in ("loss", "eval_loss", "grad_norm", "learning_rate"):
            return True
        chosen = self._chosen.get(meaning.quantity)
        if chosen is None or meaning.rank < chosen[0]:
            self._chosen[meaning.quantity] = (meaning.rank, meaning.name)
            if chosen is not None:
                self._forget(meaning.quantity)
                self.generation += 1
            return True
        return chosen[1] == meaning.name

    def log(self, values: Mapping[str, float]) -> None:
        """One entry: quantity → number, non-finite ones included. What it has no loss for waits for one of its step."""
        get = values.get
        step = get("step")
        loss, eval_loss = get("loss"), get("eval_loss")
        if step is None:
            step = self._next_step(is_training=loss is not None)
        else:
            step = self._counted(step, get("epoch"), loss)
        if loss is None:
            if eval_loss is None:
                self._wait(step, values)
                return
        else:
            self._point(step, loss, values)
        if eval_loss is not None:
            self._evaluation(step, eval_loss, get("epoch", NAN), get("accuracy", NAN))
        elif (accuracy := get("accuracy")) is not None:
            self._accuracy["step"].append(step)
            self._accuracy["accuracy"].append(accuracy)

    def merge(self, series: Mapping[str, tuple[Floats, Floats]]) -> None:
        """Whole series by their steps, as TensorBoard keeps them: quantity → (steps, values)."""
        if "loss" in series:
            steps, losses = series["loss"]
            others = {name: _aligned(steps, *series[name]) for name in TRAIN[2:] if name in series}
            for name in TRAIN:
                column = steps if name == "step" else losses if name == "loss" else others.get(name)
                filled = np.full(len(steps), NAN) if column is None else column
                self._train[name].frombytes(np.ascontiguousarray(filled, dtype=np.float64).tobytes())
            norms = series.get("grad_norm")
            lost_norm = np.zeros(len(steps), dtype=bool)
            if norms is not None:
                lost_norm = np.isin(steps, norms[0][~np.isfinite(norms[1])])
            self._lost.extend((~np.isfinite(losses) | (lost_norm.astype(np.uint8) << 1)).astype(np.uint8).tobytes())
        if "eval_loss" in series:
            steps, losses = series["eval_loss"]
            found = {
                "step": steps,
                "loss": losses,
                "epoch": _aligned(steps, *series["epoch"]) if "epoch" in series else np.full(len(steps), NAN),
                "accuracy": _aligned(steps, *series["accuracy"]) if "accuracy" in series else np.full(len(steps), NAN),
            }
            for name in EVAL:
                self._eval[name].frombytes(np.ascontiguousarray(found[name], dtype=np.float64).tobytes())

    def stretch_evaluations(self) -> float | None:
        """Where evaluations at regular steps end long before training does, they are counted in other steps: put them
        on the training points' count. Returns: by what their steps were multiplied; None where they fit as they are."""
        self._settle()
        if not self._lost:
            return None
        steps = np.asarray([step for step in self._eval["step"] if step != self.last_step])  # one at the end has no own
        if len(steps) < 3:
            return None
        gaps = np.diff(steps)
        usual = float(np.median(gaps))
        is_regular = usual > 0 and float(np.mean(np.abs(gaps - usual) <= 0.01 * usual)) > 0.8  # a last one comes soon
        if not is_regular or self.last_step <= steps[-1] + 2 * usual:
            return None
        factor = round(self.last_step / (steps[-1] + usual / 2))
        for at in range(len(steps)):
            self._eval["step"][at] *= factor
        return float(factor)

    def trace(self) -> Trace:
        """All of it by step, with what it does not tell. An evaluation at step 0 is the base's own."""
        self._settle()
        train = {name: np.frombuffer(column, dtype=np.float64).copy() for name, column in self._train.items()}
        evals = {name: np.frombuffer(column, dtype=np.float64).copy() for name, column in self._eval.items()}
        lost = np.frombuffer(bytes(self._lost), dtype=np.uint8)
        if len(train["step"]) and not (np.diff(train["step"]) >= 0).all():
            order = np.argsort(train["step"], kind="stable")
            train, lost = {name: column[order] for name, column in train.items()}, lost[order]
        order = np.argsort(evals["step"], kind="stable")
        evals = {name: column[order] for name, column in evals.items()}
        before = int(np.searchsorted(evals["step"], 0, side="right"))
        base = float(evals["loss"][before - 1]) if before else self.base_eval_loss
        evals = {name: column[before:] for name, column in evals.items()}
        trace = Trace(
            source=self.source,
            step=train["step"].astype(np.int64),
            loss=_finite_or_nan(train["loss"]),
            grad_norm=_finite_or_nan(train["grad_norm"]),
            learning_rate=train["learning_rate"],
            epoch=train["epoch"],
            target_tokens=train["target_tokens"],
            seconds=train["seconds"],
            memory_bytes=train["memory_bytes"],
            lost=(lost & 1).astype(bool),
            lost_norm=(lost & 2).astype(bool),
            eval_step=evals["step"].astype(np.int64),
            eval_loss=_finite_or_nan(evals["loss"]),
            eval_epoch=evals["epoch"],
            eval_accuracy=evals["accuracy"],
            accuracy_step=np.asarray(self._accuracy["step"], dtype=np.int64),
            accuracy=np.asarray(self._accuracy["accuracy"], dtype=np.float64),
            base_eval_loss=base,
            max_grad_norm=self.max_grad_norm,
            warmup_steps=self.warmup_steps,
            planned_steps=self.planned_steps,
            planned_epochs=self.planned_epochs,
            memory_limit_bytes=self.memory_limit_bytes,
            vocabulary=self.vocabulary,
            is_averaged=self.is_averaged,
            restarts=self.restarts,
            has_rewards=self.has_rewards,
            ended_by=self.ended_by,
            remarks=tuple(self.remarks),
        )
        return replace(trace, missing=_missing(trace))

    def _next_step(self, *, is_training: bool) -> float:
        if is_training:
            return self.last_step + 1
        return self.last_step if self._lost else float(self.evaluations + 1)

    def _counted(self, raw: float, epoch: float | None, loss: float | None) -> float:
        """The step in one count over the whole run. Where the counter goes back with the loss going on as it was, the
        tool counts within epochs; else the run was started again, and what it measures anew replaces what was there."""
        if not abs(raw) <= BIGGEST_STEP:
            return self._next_step(is_training=loss is not None)
        step = raw + self._offset
        if loss is None:
            return step
        if raw < self._raw_step:
            next_epoch = epoch is not None and epoch > self._raw_epoch and epoch.is_integer()
            if next_epoch or self._goes_on(raw, loss):
                before, self._offset = self._offset, self.last_step + (1 if raw == 0 else 0)
                step = raw + self._offset
                if not next_epoch:
                    self._guessed.append((len(self._lost), self.evaluations, self._offset - before))
            else:
                self.restarts += 1
                self._back.append((len(self._lost), self.evaluations, step))
                self._waiting.clear()
        if math.isnan(self._first_raw):
            self._first_raw = raw
        self._climbs = raw > self._raw_step > -math.inf
        self._raw_step = raw
        if epoch is not None:
            self._raw_epoch = epoch
        return step

    def _goes_on(self, raw: float, loss: float) -> bool:
        if raw > self._first_raw or not self._climbs or not self._lost:
            return False  # to the middle: from a checkpoint; or it is no counter
        first, last = self._train["loss"][0], float(np.nanmedian(self._train["loss"][-5:]))
        return abs(loss - last) < abs(loss - first)

    def _settle(self) -> None:
        """Where the step went back: what was measured anew replaces what was there. Where it did so all the time, the
        entries are merely out of order."""
        times = len(self._back)
        if not times:
            return
        before = self.points
        steps = np.frombuffer(self._train["step"]).copy(), np.frombuffer(self._eval["step"]).copy()
        if is_out_of_order(times, before):
            for *starts, offset in self._guessed:  # where the steps mean nothing, neither did that guess
                for own, start in zip(steps, starts, strict=True):
                    own[start:] -= offset
            orders = (last_of_each(steps[0]), last_of_each(steps[1]))
            self.remarks.append(f"the entries are not in the order of their steps ({times:,} times back): sorted")
        else:
            orders = (
                not_replaced(steps[0], [(points, step) for points, _, step in self._back]),
                not_replaced(steps[1], [(evaluations, step) for _, evaluations, step in self._back]),
            )
        for columns, own, order in ((self._train, steps[0], orders[0]), (self._eval, steps[1], orders[1])):
            for name, column in columns.items():
                kept = (own if name == "step" else np.frombuffer(column).copy())[order]
                columns[name] = array("d", kept.tobytes())
        self._lost = bytearray(np.frombuffer(bytes(self._lost), dtype=np.uint8)[orders[0]].tobytes())
        self._back.clear()
        self._guessed.clear()
        if replaced := before - self.points:
            were = "was" if replaced == 1 else "were"
            why = f"because the step went back {counted(times, 'time')}"
            self.remarks.append(f"{counted(replaced, 'point')} {were} replaced {why}")

    def _point(self, step: float, loss: float, values: Mapping[str, float]) -> None:
        if self._waiting:
            if self._waiting_step == step:
                values = {**self._waiting, **values}
            self._waiting = {}
        get = values.get
        norm = get("grad_norm")
        train = self._train
        if self._lost and train["step"][-1] == step:  # written again: the later counts
            for column in train.values():
                column.pop()
            self._lost.pop()
        train["step"].append(step)
        train["loss"].append(loss)
        train["grad_norm"].append(NAN if norm is None else norm)
        for name in TRAIN[3:]:
            train[name].append(get(name, NAN))
        is_norm_lost = norm is not None and not math.isfinite(norm)
        self._lost.append((not math.isfinite(loss)) | (is_norm_lost << 1))

    def _wait(self, step: float, values: Mapping[str, float]) -> None:
        if self._lost and self._train["step"][-1] == step:
            for name in TRAIN[2:]:
                if name in values and math.isnan(self._train[name][-1]):
                    self._train[name][-1] = values[name]
                    if name == "grad_norm" and not math.isfinite(values[name]):
                        self._lost[-1] |= 2
            return
        if self._waiting_step != step:
            self._waiting = {}
        self._waiting_step = step
        self._waiting.update(values)
        if (accuracy := values.get("accuracy")) is not None:
            self._accuracy["step"].append(step)
            self._accuracy["accuracy"].append(accuracy)

    def _evaluation(self, step: float, loss: float, epoch: float, accuracy: float) -> None:
        evals = self._eval
        if self.evaluations and evals["step"][-1] == step and not math.isnan(accuracy) and loss == evals["loss"][-1]:
            evals["accuracy"][-1] = accuracy
            return
        evals["step"].append(step)
        evals["loss"].append(loss)
        evals["epoch"].append(epoch)
        evals["accuracy"].append(accuracy)

    def _forget(self, quantity: str) -> None:
        if quantity == "loss":
            for column in self._train.values():
                del column[:]
            self._lost.clear()
            self._raw_step, self._offset, self.restarts = -math.inf, 0.0, 0
            self._first_raw, self._climbs = NAN, False
            self._back.clear()
            self._guessed.clear()
        elif quantity == "eval_loss":
            for column in self._eval.values():
                del column[:]
        elif self._lost:
            self._train[quantity] = array("d", [NAN]) * len(self._lost)


def _aligned(steps: Floats, at: Floats, values: Floats) -> Floats:
    """`values`, known at the steps `at` in rising order, at `steps`; NaN where there is none."""
    if not len(at):
        return np.full(len(steps), NAN)
    found = np.minimum(np.searchsorted(at, steps), len(at) - 1)
    return np.where(at[found] == steps, values[found], NAN)


def _finite_or_nan(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, NAN)


def _missing(trace: Trace) -> tuple[str, ...]:
    def none(values: Floats) -> bool:
        return not np.isfinite(values).any()

    absent = {
        "training losses": not len(trace.step),
        "evaluations": not len(trace.eval_step),
        "gradient norms": none(trace.grad_norm) and not trace.lost_norm.any(),
        "learning rates": none(trace.learning_rate),
        "epochs": none(trace.epoch) and none(trace.eval_epoch),
        "the base's own loss": trace.base_eval_loss is None,
        "target tokens": none(trace.target_tokens),
    }
    return tuple(name for name, is_absent in absent.items() if is_absent)
