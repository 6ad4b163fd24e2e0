"""Trials that are trained together: K adapters over one frozen base, a step of each in one forward and backward.

    tick:  rows of each trial's own step → micro batches → the losses of all → backward → each one's own update

A trial's order, schedule, dropout and clipping are functions of its own seed and its own step, so that it is what it is
alone, whoever joins or leaves (law 5).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import torch
from torch import nn

from trimtab.data.collate import Batch, empty_batch
from trimtab.data.order import Rows
from trimtab.data.store import TokenStore
from trimtab.model.adapter_bank import AdapterBank, Member
from trimtab.model.cohort_loss import CohortLoss
from trimtab.model.core import Head
from trimtab.plan.schedule import Schedule
from trimtab.train.evaluate import evaluating
from trimtab.train.feed import Feed
from trimtab.train.member_state import MemberState, Progress
from trimtab.train.precision import Precision
from trimtab.train.stacked_adamw import Settings, StackedAdamW
from trimtab.train.step import micro_step_seed
from trimtab.train.telemetry import Aside


@dataclass(frozen=True)
class Entrant:
    """A trial as a cohort takes it."""

    member: Member
    settings: Settings
    schedule: Schedule
    peak_learning_rate: float
    rows_of: Callable[[int], Rows]
    """Updates done → rows."""

    @property
    def name(self) -> str:
        return self.member.trial


class Cohort:
    """Runs on one device. Trials are named by their members' names."""

    def __init__(
        self,
        base: nn.Module,
        head: Head,
        feed: Feed,
        train: TokenStore,
        precision: Precision,
        entrants: Sequence[Entrant],
        *,
        micro_batch_size: int,
        states: Mapping[str, MemberState] | None = None,
    ) -> None:
        """`states`: those of trials that go on, by name. The base may have an adapter on it: see AdapterBank."""
        self.feed, self.train, self.precision = feed, train, precision
        self.micro_batch_size = micro_batch_size
        self._entrants = {entrant.name: entrant for entrant in entrants}
        assert len(self._entrants) == len(entrants), "trials have names of their own"
        self.progress = {name: Progress() for name in self._entrants}
        self._waiting: tuple[list[str], Aside] | None = None
        self.bank = AdapterBank(base, [entrant.member for entrant in entrants])
        try:
            self.loss = CohortLoss(self.bank, head)
            uses_scale = precision.compute is torch.float16
            self.optimizer = StackedAdamW.of(self.bank, [one.settings for one in self.present], uses_scale=uses_scale)
            for name, state in (states or {}).items():
                self._restore(name, state)
        except BaseException:
            self.bank.remove()  # the base is not this cohort's alone
            raise

    @property
    def present(self) -> list[Entrant]:
        """Those who train, in the bank's order."""
        return [self._entrants[member.trial] for member in self.bank.members]

    @property
    def names(self) -> list[str]:
        return [member.trial for member in self.bank.members]

    def tick(self) -> None:
        """A step of each. Its numbers are read at the next."""
        present = self.present
        steps = [self.progress[one.name].steps for one in present]
        rows_K = [one.rows_of(step) for one, step in zip(present, steps, strict=True)]
        counts_K = [int(self.train.target_counts[rows].sum()) for rows in rows_K]
        divisors_K = torch.tensor([float(max(1, count)) for count in counts_K], device=self.feed.device)
        factors_K = (self.optimizer.scales / divisors_K).to(torch.float32)
        summed_K: torch.Tensor | None = None
        self.loss.train()
        for number, batches in enumerate(self._micro_batches(rows_K)):
            seeds = zip(present, steps, strict=True)
            self.bank.slots.begin([micro_step_seed(one.member.seed, step, number) for one, step in seeds])
            with self.precision.autocast():
                loss_K = self.loss(batches)
            (loss_K * factors_K).sum().backward()
            summed_K = loss_K.detach() if summed_K is None else summed_K + loss_K.detach()
        assert summed_K is not None
        rates = [one.peak_learning_rate * one.schedule(step) for one, step in zip(present, steps, strict=True)]
        norms_K = self.optimizer.update(rates)
        self.read()
        self._waiting = self.names, Aside(torch.stack([summed_K / divisors_K, norms_K.to(summed_K)]), self.feed.device)
        for one, rows in zip(present, rows_K, strict=True):
            self.progress[one.name].steps += 1
            self.progress[one.name].tokens += int(self.train.lengths[rows].sum())

    def read(self) -> None:
        """The numbers of the last tick, once they are there."""
        if self._waiting is None:
            return
        (names, aside), self._waiting = self._waiting, None
        losses, norms = aside.read().tolist()
        for name, loss, norm in zip(names, losses, norms, strict=True):
            self.progress[name].losses.append(loss)
            self.progress[name].grad_norms.append(norm)

    def held_out(self, store: TokenStore, rows: Rows) -> dict[str, list[float]]:
        """Of each trial, the summed loss of each of these rows in nats: the same rows for all, to be compared in
        pairs."""
        sums_NK = self._sums(store, rows)
        return {name: sums_NK[:, k].tolist() for k, name in enumerate(self.names)}

    def held_out_at_base(self, store: TokenStore, rows: Rows) -> list[float]:
        """The same with the adapters off."""
        slots = self.bank.slots
        slots.is_off = True
        try:
            return [float(value) for value in self._sums(store, rows)[:, 0]]
        finally:
            slots.is_off = False

    def leave(self, names: Sequence[str]) -> None:
        """These go; what they learnt is gone with them, unless it was saved."""
        going = set(names)
        assert going <= set(self.names), "only who is there can leave"
        self.read()
        staying = [k for k, name in enumerate(self.names) if name not in going]
        self.bank.keep(staying)
        self.optimizer.stand(self.bank, staying, [one.settings for one in self.present])

    def state_of(self, name: str) -> MemberState:
        """A copy of all that the trial needs to go on, here or elsewhere."""
        self.read()
        k = self.names.index(name)
        first, second, counts = self.optimizer.state_of(k)
        names = list(self.bank.tensors(k))
        weights = {key: tensor.to("cpu", copy=True) for key, tensor in self.bank.tensors(k).items()}
        of_first, of_second = dict(zip(names, first, strict=True)), dict(zip(names, second, strict=True))
        return MemberState(weights, of_first, of_second, counts, copy.deepcopy(self.progress[name]))

    def join(self, entrants: Sequence[Entrant], states: Mapping[str, MemberState] | None = None) -> None:
        """These begin, at their own step 0; or go on, by name, from where they were."""
        assert not {one.name for one in entrants} & set(self._entrants), "trials have names of their own"
        self.read()
        came_from = self.bank.join([entrant.member for entrant in entrants])
        self._entrants |= {entrant.name: entrant for entrant in entrants}
        self.progress |= {entrant.name: Progress() for entrant in entrants}
        self.optimizer.stand(self.bank, came_from, [one.settings for one in self.present])
        for name, state in (states or {}).items():
            self._restore(name, state)

    def _restore(self, name: str, state: MemberState) -> None:
        k = self.names.index(name)
        self.bank.assign(k, state.weights)
        names = list(self.bank.tensors(k))
        first, second = [state.first_moments[key] for key in names], [state.second_moments[key] for key in names]
        self.optimizer.restore(k, first, second, state.counts)
        self.progress[name] = copy.deepcopy(state.progress)

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────

    def _micro_batches(self, rows_K: Sequence[Rows]) -> list[Batch | list[Batch]]:
        """One batch for all where all train on the same rows, else one for each."""
        if all(np.array_equal(rows, rows_K[0]) for rows in rows_K):
            return list(self.feed.of_rows(self.train, rows_K[0], self.micro_batch_size))
        of_each = [list(self.feed.of_rows(self.train, rows, self.micro_batch_size)) for rows in rows_K]
        nothing = empty_batch([self.train.example(0)], self.feed.layout, pad_id=self.feed.pad_id).to(self.feed.device)
        return [list(batches) for batches in zip_longest(*of_each, fillvalue=nothing)]

    def _sums(self, store: TokenStore, rows: Rows) -> torch.Tensor:
        """[N, K] in float64, on the host. As many rows at once as in training: memory was found to hold those."""
        sums: list[torch.Tensor] = []
        with evaluating(self.loss), torch.no_grad():
            for first in range(0, len(rows), self.micro_batch_size):
                some = rows[first : first + self.micro_batch_size]
                (batch,) = self.feed.of_rows(store, some, self.micro_batch_size)
                with self.precision.autocast():
                    sums.append(self.loss.of_examples(batch, store.target_counts[some].tolist()))
        return torch.cat(sums).cpu().double()
