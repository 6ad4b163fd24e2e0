"""Experiments on a copy of a run's state, by the run's own step. Whatever is tried here, the run goes on from exactly
where it was: weights, moments, scaler, random state and mode are put back, to the last bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from trimtab.data.collate import Batch
from trimtab.data.order import Rows
from trimtab.data.store import TokenStore
from trimtab.guard.states import BASE, FORWARD_SHARE, NOW, State, States, Where, is_lost
from trimtab.guard.together import Trained, train_together, why_in_turn
from trimtab.train.learner import Learner
from trimtab.train.snapshot import Snapshot
from trimtab.train.step import Stepper

__all__ = ["BASE", "FORWARD_SHARE", "NOW", "Gradients", "Lab", "State", "Tried", "Where", "shortened"]

T = TypeVar("T")

RATES_LOOKED_AT = 1000
"""Of a schedule's steps: its highest rate is found between them to a thousandth."""


@dataclass(frozen=True)
class Tried:
    """Some training steps on a copy."""

    losses: list[float]
    """Of each step, before its update."""
    grad_norms: list[float]
    held_out: list[float]
    """Each held-out example's mean loss afterwards, in nats."""
    lost: bool = False
    """The loss was no number any more, and the trial was ended early."""


@dataclass(frozen=True)
class Gradients:
    """One step up to its update, which was not made."""

    loss: float
    norm: float
    """Before clipping."""
    of: dict[str, torch.Tensor | None]
    """By name of what learns; None where there is none."""


@dataclass
class Lab(States):
    """What probes work with, made anew for each incident: what it measured once it does not measure again."""

    may_train_together: bool = True
    """Until memory has run out with several."""

    def gradients(
        self, batches: Sequence[Batch], *, step: int, target_tokens: int, stepper: Stepper | None = None
    ) -> Gradients:
        """The run's own step on these batches of this process, up to the update. The model is in the mode that it is
        in; the state is the one that it is in."""
        made = stepper or self.stepper
        listening = _listening(made.learners[0])
        trying = replace(made, learners=[listening])
        measured = trying.step(batches, updates_done=step, target_tokens=target_tokens)
        self.spent_steps += sum(batch.tokens for batch in batches) * made.processes.count / self.tokens_per_step
        loss, norm = measured[:2, 0].tolist()
        return Gradients(loss, norm, listening.heard)

    def batches(self, rows: Rows | Sequence[int], micro_batch_size: int | None = None) -> tuple[list[Batch], int]:
        """This process's batches of a step on these rows, and the target tokens of all processes."""
        chosen = np.asarray(rows, dtype=np.int64)
        made = self.feed.of_rows(self.train, chosen, micro_batch_size or self.micro_batch_size)
        return list(made), int(self.train.target_counts[chosen].sum())

    def try_steps(
        self,
        count: int,
        *,
        since: Snapshot | None,
        learning_rate_scale: float = 1.0,
        learning_rate: Callable[[int], float] | None = None,
        without: Collection[int] = (),
        max_grad_norm: float | None = None,
        stepper: Stepper | None = None,
        measure: bool = True,
        rows_of: Callable[[int], Rows] | None = None,
        held_out_rows: Rows | None = None,
    ) -> Tried:
        """Train `count` steps from `since` (None: from now) on the run's own rows from there on, and undo it.

        Args:
            learning_rate_scale: Times what the schedule says.
            learning_rate: Updates done → rate; instead of the schedule.
            without: Rows that are left out, besides those that the run leaves out.
            max_grad_norm: Instead of the run's.
            stepper: Another way to make the step: another precision, another optimizer.
            rows_of: Updates done → rows; instead of the run's own.
            held_out_rows: Measure these; by default all.
        """
        with self.at(since):
            first = self.state.global_step if since is None else since.step
            losses, norms, lost = self.train_here(
                count,
                first=first,
                learning_rate_scale=learning_rate_scale,
                learning_rate=learning_rate,
                without=without,
                max_grad_norm=max_grad_norm,
                stepper=stepper,
                rows_of=rows_of,
            )
            held_out = self._held_out_of(held_out_rows, lost=lost)
        return Tried(losses, norms, held_out if measure else [], lost)

    def _held_out_of(self, rows: Rows | None, *, lost: bool) -> list[float]:
        asked = self.held_out_rows if rows is None else rows
        return [float("nan")] * len(asked) if lost else self.held_out(asked)

    def try_rates(
        self,
        count: int,
        rates: Sequence[Callable[[int], float]],
        *,
        since: Snapshot | None,
        rows_of: Callable[[int], Rows] | None = None,
        held_out_rows: Rows | None = None,
    ) -> list[Tried]:
        """What `try_steps` makes of each of these learning rates. They are trained together, in less time, where the
        run and the memory allow it (guard/together.py), else in turn; what they are counted to cost is the same."""
        with self.at(since):
            first = self.state.global_step if since is None else since.step
            trained = self._trained_together(count, rates, first, self._rows(rows_of))
            if trained is not None:
                return [self._tried(one, held_out_rows) for one in trained]
        options: dict[str, Any] = {"since": since, "rows_of": rows_of, "held_out_rows": held_out_rows}
        return [self.try_steps(count, learning_rate=rate, **options) for rate in rates]

    def _trained_together(
        self, count: int, rates: Sequence[Callable[[int], float]], first: int, rows_of: Callable[[int], Rows]
    ) -> list[Trained] | None:
        if not self.may_train_together or why_in_turn(self):
            return None
        try:
            return train_together(self, count, rates, first=first, rows_of=rows_of)
        except torch.OutOfMemoryError:
            self.may_train_together = False
        # Not in the handler: the error holds the frames, and these the activations.
        if self.feed.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _tried(self, one: Trained, held_out_rows: Rows | None) -> Tried:
        """By the run's own adapter, with what the copy learnt."""
        with torch.no_grad():
            for name, tensor in (one.weights or {}).items():
                self.learner.parameters[name].copy_(tensor)
        lost = one.weights is None
        return Tried(one.losses, one.grad_norms, self._held_out_of(held_out_rows, lost=lost), lost)

    def train_here(
        self,
        count: int,
        *,
        first: int,
        learning_rate_scale: float = 1.0,
        learning_rate: Callable[[int], float] | None = None,
        without: Collection[int] = (),
        max_grad_norm: float | None = None,
        stepper: Stepper | None = None,
        rows_of: Callable[[int], Rows] | None = None,
    ) -> tuple[list[float], list[float], bool]:
        """`count` steps from update `first` on, with the weights as they are; not undone here. Returns losses, gradient
        norms, and whether the loss was lost. Arguments as in `try_steps`."""
        made = stepper or self.stepper
        learner = copy.copy(made.learners[0])
        if max_grad_norm is not None:
            learner.max_grad_norm = max_grad_norm
        scheduled = made.learners[0].learning_rate
        rate = learning_rate or (lambda done: scheduled(done) * learning_rate_scale)
        learner.schedule, learner.peak_learning_rate = rate, 1.0
        learner.learning_rate_scale, learner.warms_up_again = 1.0, None
        trying = replace(made, learners=[learner])
        trying.model.train()
        rows_at = self._rows(rows_of, without)
        losses: list[float] = []
        norms: list[float] = []
        for done in range(first, first + count):
            rows = rows_at(done)
            if not len(rows):
                continue
            batches, targets = self.batches(rows)
            loss, norm = trying.step(batches, updates_done=done, target_tokens=targets)[:2, 0].tolist()
            losses.append(loss)
            norms.append(norm)
            self.spent_steps += float(self.train.lengths[rows].sum()) / self.tokens_per_step
            if is_lost(losses):
                return losses, norms, True
        return losses, norms, False

    def _rows(self, rows_of: Callable[[int], Rows] | None, without: Collection[int] = ()) -> Callable[[int], Rows]:
        """Updates done → rows, the run's own by default, without those that are left out."""
        left_out = [*self.state.changes.left_out, *without]

        def rows_at(done: int) -> Rows:
            rows = (rows_of or self.order.rows)(done)
            return rows[~np.isin(rows, left_out)] if left_out else rows

        return rows_at

    # ── choosing ─────────────────────────────────────────────────────────────────────────────────────────────────

    def highest_rate_ahead(self, step: int) -> float:
        """The highest learning rate that the run will have from `step` updates on: the peak until it is reached, then
        what the schedule's decay has left of it."""
        last = max(step + 1, self.plan.total_steps.value)
        looked_at = sorted({step, *np.linspace(step, last - 1, RATES_LOOKED_AT).round().astype(int).tolist()})
        return max(self.learner.learning_rate(int(done)) for done in looked_at)

    def others(self, rows: Rows, count: int, *, step: int) -> Rows:
        """As many other training rows: those that come after `step`, each once, none left out by the run."""
        avoided = {*map(int, rows), *self.state.changes.left_out}
        found: list[int] = []
        for done in range(step + 1, step + 1 + self.order.steps_per_epoch):
            for row in map(int, self.order.rows(done)):
                if row not in avoided:
                    avoided.add(row)
                    found.append(row)
            if len(found) >= count:
                break
        return np.asarray(found[:count], dtype=np.int64)

    def agreed(self, value: T) -> T:
        """The main process's value, in all: what is decided by a measured number must be decided alike."""
        return self.stepper.processes.from_main(value)  # type: ignore[no-any-return]

    def name_of(self, row: int) -> str:
        """Of a training row: "train.jsonl:17"."""
        return self.train.place_name(int(row))

    def decoded(self, store: TokenStore, row: int, *, targets_only: bool = False, limit: int = 400) -> str:
        """An example as text."""
        example = store.example(int(row))
        ids = example.input_ids[np.asarray(example.is_target, dtype=bool)] if targets_only else example.input_ids
        return shortened(str(self.tokenizer.decode(ids.tolist())), limit)


def shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


class _Still(torch.optim.Optimizer):
    """Holds the parameters and does not update them."""

    def __init__(self, parameters: Collection[nn.Parameter]) -> None:
        super().__init__(list(parameters), {"lr": 0.0})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        return None


@dataclass
class _Listening(Learner):
    """Keeps the gradients that a step comes to, and lets nothing be updated."""

    heard: dict[str, torch.Tensor | None] = field(default_factory=dict)

    def clip(self) -> tuple[torch.Tensor, torch.Tensor]:
        self.heard = {
            name: p.grad.detach().clone() if p.grad is not None else None for name, p in self.parameters.items()
        }
        return super().clip()


def _listening(learner: Learner) -> _Listening:
    own = {each.name: getattr(learner, each.name) for each in fields(Learner)}
    return _Listening(**{**own, "optimizer": _Still(learner.parameters.values())})
