"""Jobs on this machine's device, one after the other. A cohort stays on the device while the next job is of those who
stayed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from trimtab.data.order import Rows
from trimtab.data.store import TokenStore
from trimtab.errors import DataError
from trimtab.search.gain import Gain
from trimtab.search.job import Job, Outcome, why_lost
from trimtab.search.ranking import RowLosses
from trimtab.search.shared import Shared, entrant_of
from trimtab.search.trials import Maker, Trial, company
from trimtab.train.cohort import Cohort
from trimtab.train.member_state import MemberState

PROBE_STEPS = 3


@dataclass
class Local:
    maker: Maker
    device: torch.device
    folder: Path
    rows: int
    """Validation rows to compare on, at most."""
    on_tick: Callable[[Sequence[str], int], None] = lambda names, step: None
    """Told after each step: who trained, and the job's step."""
    base_losses: dict[tuple[object, ...], float] = field(default_factory=dict)
    """Company → the base's own loss on the validation rows."""
    _shared: tuple[tuple[object, ...], Shared] | None = None
    _cohort: Cohort | None = None

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Of every trial of every job, as soon as it is known."""
        for job in jobs:
            yield from self._run(job)

    def probe(self, trial: Trial, count: int) -> Gain:
        """A step of one such trial and of `count` at once, timed; nothing is kept of them."""
        shared = self._shared_by(trial)
        tokens = float(shared.data.train.lengths.mean()) * trial.plan.effective_batch_size.value
        one, many = (self._timed(shared, trial, size) for size in (1, count))
        return Gain.measured(one=one, many=many, count=count, tokens=tokens)

    def _timed(self, shared: Shared, trial: Trial, count: int) -> float:
        """Seconds of a step of so many: the quicker of two, after one that warms up."""
        entrants = [entrant_of(f"probe-{k}", trial.config, trial.plan) for k in range(count)]
        cohort = shared.cohort(entrants)
        took = []
        try:
            for _ in range(PROBE_STEPS):
                started = time.perf_counter()
                cohort.tick()
                cohort.read()  # waits for the device
                took.append(time.perf_counter() - started)
        finally:
            cohort.bank.remove()
        return min(took[1:])

    def close(self) -> None:
        """Give the device back."""
        self._drop_cohort()
        self._shared = None

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────

    def _run(self, job: Job) -> Iterator[Outcome]:
        shared = self._shared_by(job.trials[0])
        cohort = self._cohort_of(job.trials, shared)
        store, rows = self._held_out(shared)
        base = self._base_loss(job.trials[0], cohort, store, rows)
        seconds = dict.fromkeys(cohort.names, 0.0)
        while running := [name for name in cohort.names if cohort.progress[name].steps < job.until]:
            assert len(running) == len(cohort.names), "who trains together is as far as the others"
            started = time.perf_counter()
            cohort.tick()
            took = time.perf_counter() - started
            for name in running:
                seconds[name] += took / len(running)
            self.on_tick(running, cohort.progress[running[0]].steps)
            lost = {name: why for name in running if (why := why_lost(cohort.progress[name].losses, base))}
            for name, why in lost.items():
                yield self._lost(cohort, name, why, seconds[name])
            if lost:
                if len(lost) == len(cohort.names):
                    self._drop_cohort()
                    return
                cohort.leave(list(lost))
        targets = [int(store.target_counts[row]) for row in rows]
        sums = cohort.held_out(store, rows)
        for name in cohort.names:
            progress = cohort.progress[name]
            measured = RowLosses(name, progress.steps, sums[name], targets)
            if not measured.is_finite:
                yield self._lost(cohort, name, "its validation loss is no number", seconds[name])
                continue
            state = self.folder / name / "state"
            cohort.state_of(name).save(state)
            kept = list(progress.losses), list(progress.grad_norms)
            yield Outcome(name, progress.steps, measured, *kept, progress.tokens, seconds[name], state=state)

    def _lost(self, cohort: Cohort, name: str, why: str, seconds: float) -> Outcome:
        progress = cohort.progress[name]
        kept = list(progress.losses), list(progress.grad_norms)
        return Outcome(name, progress.steps, None, *kept, progress.tokens, seconds, lost=why)

    def _shared_by(self, trial: Trial) -> Shared:
        key = company(trial)
        if self._shared is None or self._shared[0] != key:
            self.close()
            tokenizer, data = self.maker.inputs(trial.config)
            self._shared = key, Shared.load(trial.config, trial.plan, data, tokenizer, self.device)
        return self._shared[1]

    def _cohort_of(self, trials: Sequence[Trial], shared: Shared) -> Cohort:
        """Those who are on the device already, if these are among them; else made from where each was."""
        wanted = {trial.name for trial in trials}
        if self._cohort is not None and wanted <= set(self._cohort.names):
            if going := set(self._cohort.names) - wanted:
                self._cohort.leave(sorted(going))
            return self._cohort
        self._drop_cohort()
        entrants = [entrant_of(trial.name, trial.config, trial.plan) for trial in trials]
        self._cohort = shared.cohort(entrants, self._states(trials))
        return self._cohort

    def _states(self, trials: Sequence[Trial]) -> Mapping[str, MemberState]:
        folders = {trial.name: self.folder / trial.name / "state" for trial in trials}
        return {name: MemberState.load(folder) for name, folder in folders.items() if folder.exists()}

    def _drop_cohort(self) -> None:
        if self._cohort is not None:
            self._cohort.bank.remove()
            self._cohort = None

    def _held_out(self, shared: Shared) -> tuple[TokenStore, Rows]:
        store = shared.data.validation
        if store is None or not len(store):
            raise DataError("A search compares trials on validation data; give data.validation a file or a share.")
        return store, np.linspace(0, len(store) - 1, min(self.rows, len(store))).astype(np.int64)

    def _base_loss(self, trial: Trial, cohort: Cohort, store: TokenStore, rows: Rows) -> float:
        key = company(trial)
        if key not in self.base_losses:
            sums = cohort.held_out_at_base(store, rows)
            self.base_losses[key] = math.fsum(sums) / int(store.target_counts[rows].sum())
        return self.base_losses[key]
