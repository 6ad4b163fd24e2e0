"""The states of a run, and losses measured in them. Whatever is done in one is undone, to the last bit."""

from __future__ import annotations

import contextlib
import enum
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from trimtab.config import RunConfig
from trimtab.data.collate import Batch, Layout, collate
from trimtab.data.order import Order, Rows, evenly
from trimtab.data.prepare import PreparedData
from trimtab.data.store import Example, TokenStore
from trimtab.guard.apart import Kept, keep, restore
from trimtab.guard.look import unwrapped
from trimtab.guard.measure import losses_in
from trimtab.guard.probe import CannotProbe, Suspect
from trimtab.model.core import Head
from trimtab.records import Plan
from trimtab.train.evaluate import evaluating, losses_of_each
from trimtab.train.feed import Feed
from trimtab.train.learner import Learner
from trimtab.train.snapshot import Snapshot, put_back, reshard
from trimtab.train.state import RunState
from trimtab.train.step import Stepper

CHANGE_THE_BASE = ("pissa", "olora", "corda")
"""Ways of PEFT to begin an adapter (`init_lora_weights`) that subtract it from the base."""
FORWARD_SHARE = 1 / 3
"""Of a training step's time that its forward alone takes: the backward is twice the arithmetic."""
LOST_IN_A_ROW = 2
"""Steps without a finite loss after which a trial is not gone on with. One may be a bad batch, or fp16's scaler."""


class State(enum.Enum):
    """A state that is no snapshot."""

    NOW = "now"
    BASE = "base"
    """The model before training: the first snapshot, or the adapter switched off."""


NOW, BASE = State.NOW, State.BASE
Where = Snapshot | State


@dataclass
class States:
    """A run's parts, and what can be measured of it in any of its states; each only once."""

    config: RunConfig
    plan: Plan
    data: PreparedData
    tokenizer: Any
    stepper: Stepper
    feed: Feed
    order: Order
    state: RunState
    snapshots: Sequence[Snapshot]
    """Oldest first; the first is the start, where it was kept."""
    held_out_store: TokenStore
    held_out_rows: Rows
    """Fixed for the whole run."""
    micro_batch_size: int
    history: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    """Raw loss and gradient norm of each step so far, by its number (from 1), as far as they were kept."""
    spent_steps: float = 0.0
    """What all experiments so far cost, in training steps."""
    _start_is_lost: bool | None = field(default=None, repr=False)
    _kept: Kept | None = field(default=None, repr=False)
    _known: dict[tuple[int, int], dict[int, float]] = field(default_factory=dict, repr=False)
    """(state, store) → row → loss."""

    @property
    def learner(self) -> Learner:
        return self.stepper.learners[0]

    @property
    def model(self) -> Any:
        """What answers and what is saved: the transformers or PEFT model within the wrapping."""
        return unwrapped(self.stepper).model

    @property
    def train(self) -> TokenStore:
        return self.data.train

    @property
    def start(self) -> Snapshot | None:
        """As it was kept; None where that is no start, or one whose weights are no numbers."""
        first = self.snapshots[0] if self.snapshots else None
        if first is None or first.step != 0:
            return None
        if self._start_is_lost is None:
            self._start_is_lost = self.stepper.processes.any(not first.is_finite)
        return None if self._start_is_lost else first

    @property
    def is_sharded(self) -> bool:
        return any(hasattr(p, "full_tensor") for p in self.learner.parameters.values())

    @property
    def tokens_per_step(self) -> float:
        return max(1.0, float(self.train.lengths.mean()) * self.plan.effective_batch_size.value)

    # ── states ───────────────────────────────────────────────────────────────────────────────────────────────────

    @contextlib.contextmanager
    def apart(self) -> Iterator[None]:
        """Whatever is done to the model, the optimizer and the random state within is undone. Within another, nothing
        is copied again, and what is put back is what the outermost found."""
        outermost = self._kept is None
        if outermost:
            self._kept = keep(self.stepper.model, self.learner, self.stepper.scaler, self.state)
        assert self._kept is not None
        try:
            yield
        finally:
            restore(self._kept, self.stepper.model, self.learner, self.stepper.scaler, finally_=outermost)
            if outermost:
                self._known.pop((id(NOW), id(self.train)), None)
                self._known.pop((id(NOW), id(self.held_out_store)), None)
                self._kept = None

    @contextlib.contextmanager
    def at(self, where: Where | None) -> Iterator[None]:
        """As `apart`, with the weights and moments of a snapshot, or as the base; None is now.

        Raises:
            CannotProbe: the base is asked for and cannot be had.
        """
        with self.apart():
            snapshot = self.start if where is BASE else where
            if isinstance(snapshot, Snapshot):
                reshard(self.stepper.model)
                put_back(snapshot, self.learner, self.stepper.scaler)
                yield
            elif where is BASE:
                with self._without_adapter():
                    yield
            else:
                yield

    @contextlib.contextmanager
    def _without_adapter(self) -> Iterator[None]:
        if not hasattr(self.model, "peft_config"):
            raise CannotProbe("the weights before training were not kept, so there is no base to compare with")
        if self.is_sharded:
            raise CannotProbe("the start was not kept, and a sharded adapter cannot be switched off")
        if any(str(config.init_lora_weights).startswith(CHANGE_THE_BASE) for config in self.model.peft_config.values()):
            raise CannotProbe("the start was not kept, and this adapter took its first weights out of the base's")
        with self.model.disable_adapter():
            yield

    def good(self, suspect: Suspect) -> Snapshot | None:
        """Where experiments with training start from: the good state, or the start; None (now) where neither was
        kept."""
        return suspect.good or self.start

    # ── measuring ────────────────────────────────────────────────────────────────────────────────────────────────

    def losses(self, store: TokenStore, rows: Rows | Sequence[int]) -> list[float]:
        """Mean loss of each example in nats, dropout off, with the weights as they are now. Several go through one
        forward; where a loss is no number, each of them alone, so that none is blamed for its neighbour."""
        chosen = np.asarray(rows, dtype=np.int64)
        feed = replace(self.feed, process=0, processes=1)

        def batch_of(places: Rows) -> Batch:
            (batch,) = feed.of_rows(store, chosen[places], len(places))
            return batch

        def alone(places: Rows) -> list[float]:
            return self.losses_alone(store, chosen[places])

        return self._grouped(store.lengths[chosen].astype(np.int64), batch_of, alone)

    def losses_of(self, examples: Sequence[Example]) -> list[float]:
        """As `losses`, of examples that are in no store."""

        def batch_of(places: Rows) -> Batch:
            return self._laid([examples[place] for place in places], self.feed.layout)

        def alone(places: Rows) -> list[float]:
            batches = [self._laid([examples[place]], self.feed.layout) for place in places]
            self.spend_forward(sum(batch.tokens for batch in batches))
            return losses_of_each(self.stepper.model, batches, precision=self.stepper.precision)

        lengths = np.asarray([len(example.input_ids) for example in examples], dtype=np.int64)
        return self._grouped(lengths, batch_of, alone)

    def _grouped(
        self, lengths: Rows, batch_of: Callable[[Rows], Batch], alone: Callable[[Rows], list[float]]
    ) -> list[float]:
        """Neighbours of like length go together."""
        if self.is_sharded:
            return alone(np.arange(len(lengths)))
        found = np.full(len(lengths), np.nan)
        by_length = np.argsort(-lengths, kind="stable")
        size = self._examples_at_once
        for start in range(0, len(lengths), size):
            places = by_length[start : start + size]
            losses = self._in_one_forward(batch_of(places), len(places))
            found[places] = losses if len(places) == 1 or np.isfinite(losses).all() else alone(places)
        return [float(loss) for loss in found]

    def _in_one_forward(self, batch: Batch, count: int) -> list[float]:
        self.spend_forward(batch.tokens)
        with evaluating(self.stepper.model), self.stepper.precision.autocast():
            return losses_in(self.model, self.head, batch, count)

    def losses_alone(self, store: TokenStore, rows: Rows) -> list[float]:
        """As `losses`, one example a forward, by the run's own evaluation."""
        if not len(rows):
            return []
        self.spend_forward(int(store.lengths[rows].sum()))
        return losses_of_each(self.stepper.model, self.feed.each(store, rows), precision=self.stepper.precision)

    def spend_forward(self, tokens: int) -> None:
        self.spent_steps += FORWARD_SHARE * tokens / self.tokens_per_step

    @property
    def _examples_at_once(self) -> int:
        """As many as the run's own evaluation takes; fewer where its micro batch was cut."""
        planned = self.plan.per_device_train_batch_size.value
        return max(1, self.plan.per_device_eval_batch_size.value * self.micro_batch_size // planned)

    @property
    def head(self) -> Head:
        return unwrapped(self.stepper).head  # type: ignore[no-any-return]

    def losses_as_it_is(self, store: TokenStore, rows: Rows) -> list[float]:
        """As `losses`, in the mode that the model is in: in training mode, with dropout."""
        found = []
        with torch.no_grad(), self.stepper.precision.autocast():
            for batch in self.feed.each(store, rows):
                self.spend_forward(batch.tokens)
                found.append(float(self.stepper.model(batch)[0]) / max(1, batch.target_tokens))
        return found

    def summed_loss(self, groups: Sequence[Sequence[Example]], layout: Layout) -> float:
        """In nats over all targets, each group in one forward, dropout off."""
        batches = [self._laid(group, layout) for group in groups]
        self.spend_forward(sum(batch.tokens for batch in batches))
        losses = losses_of_each(self.stepper.model, batches, precision=self.stepper.precision)
        return sum(loss * batch.target_tokens for loss, batch in zip(losses, batches, strict=True))

    def _laid(self, examples: Sequence[Example], layout: Layout) -> Batch:
        return collate(examples, layout, pad_id=self.feed.pad_id).to(self.feed.device)

    def losses_at(self, where: Where, store: TokenStore, rows: Rows | Sequence[int]) -> list[float]:
        """As `losses`, in another state; of each example only once."""
        known = self._known.setdefault((id(where), id(store)), {})
        missing = list(dict.fromkeys(int(row) for row in rows if int(row) not in known))
        if missing:
            with self.at(where):
                known.update(zip(missing, self.losses(store, missing), strict=True))
        return [known[int(row)] for row in rows]

    def held_out(self, rows: Rows | None = None) -> list[float]:
        """Of the fixed held-out examples, or of some of them, with the weights as they are now."""
        return self.losses(self.held_out_store, self.held_out_rows if rows is None else rows)

    def held_out_at(self, where: Where, rows: Rows | None = None) -> list[float]:
        return self.losses_at(where, self.held_out_store, self.held_out_rows if rows is None else rows)

    def some_held_out(self, most: float) -> Rows:
        """At most so many of the held-out examples, evenly, always the same."""
        return evenly(self.held_out_rows, int(most))

    def held_out_cost(self, rows: Rows) -> float:
        """Of one measurement, in steps."""
        return FORWARD_SHARE * float(self.held_out_store.lengths[rows].sum()) / self.tokens_per_step

    def affordable(self, budget_steps: float, *, forwards: float, store: TokenStore | None = None) -> int:
        """Examples that `budget_steps` can measure, each `forwards` times."""
        lengths = (self.train if store is None else store).lengths
        each = FORWARD_SHARE * forwards * float(lengths.mean()) / self.tokens_per_step
        return max(0, int(budget_steps / each))


def is_lost(losses: Sequence[float]) -> bool:
    """Whether a trial with these losses so far is not gone on with."""
    last = losses[-LOST_IN_A_ROW:]
    return len(last) == LOST_IN_A_ROW and not any(map(math.isfinite, last))
