"""Jobs on this machine's device, one after the other. A cohort stays on the device while the next job is of those who
stayed.

What a trial comes to does not depend on its company (law 5), so a job may be cut as the device needs it: where memory
runs out, into halves; where it was stopped in the middle, by how far its trials had come.
"""

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
from trimtab.errors import DataError, TrimtabError
from trimtab.records.whole_folder import faults
from trimtab.search.gain import Gain
from trimtab.search.job import Job, Outcome, why_lost
from trimtab.search.ranking import RowLosses
from trimtab.search.shared import Shared, entrant_of
from trimtab.search.trials import STATE, Maker, Trial, company
from trimtab.train.cohort import Cohort
from trimtab.train.member_state import MemberState

PROBE_STEPS = 3
SAVE_SECONDS = 60.0
"""What a kill may cost, at most; a save of several gigabytes comes later, so that it takes no more than"""
SAVE_SHARE = 0.05
"""of the time (guesses)."""


@dataclass
class Local:
    maker: Maker
    device: torch.device
    folder: Path
    rows: int
    """Validation rows to compare on, at most."""
    on_tick: Callable[[Sequence[str], int], None] = lambda names, step: None
    """Told after each step: who trained, and the job's step."""
    notify: Callable[[str], None] = lambda line: None
    save_seconds: float = SAVE_SECONDS
    """Between checkpoints in the middle of a job."""
    most: int | None = None
    """Trials that memory was seen to hold at once, once it has run out."""
    base_losses: dict[tuple[object, ...], float] = field(default_factory=dict)
    """Company → the base's own loss on the validation rows."""
    _shared: tuple[tuple[object, ...], Shared] | None = None
    _cohort: Cohort | None = None

    @property
    def devices(self) -> int:
        return 1

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """Of every trial of every job, as soon as it is known."""
        for job in jobs:
            yield from self._run(job)

    def probe(self, trial: Trial, count: int) -> Gain:
        """A step of one such trial and of `count` at once, timed; nothing is kept of them."""
        shared = self._shared_by(trial)
        tokens = float(shared.data.train.lengths.mean()) * trial.plan.effective_batch_size.value
        one, many = self._timed(shared, trial, 1), math.inf
        while math.isinf(many) and count > 1:
            try:
                many = self._timed(shared, trial, count)
            except torch.OutOfMemoryError:
                count = self.most = math.ceil(count / 2)
                self.notify(f"memory does not hold so many trials at once: {count} are tried")
        return Gain.measured(one=one, many=many if count > 1 else one, count=count, tokens=tokens)

    def _timed(self, shared: Shared, trial: Trial, count: int) -> float:
        """Seconds of a step of so many: the quicker of two, after one that warms up."""
        entrants = [entrant_of(f"{trial.name} in a probe ({k})", trial.config, trial.plan) for k in range(count)]
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
        for trials in self._parts(job):
            known: set[str] = set()
            try:
                for outcome in self._train(trials, job.until):
                    known.add(outcome.trial)
                    yield outcome
                continue
            except torch.OutOfMemoryError as error:
                said = str(error).splitlines()[0] if str(error) else "no memory left"
            # Not in the handler: the error holds the frames, and these the activations.
            self._drop_cohort()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            left = [trial for trial in trials if trial.name not in known]
            if len(left) == 1:
                raise TrimtabError(
                    f"memory ran out with one trial alone, {left[0].name} ({said}). Set "
                    "training.gradient_checkpointing=true, model.load_in_4bit=true or a smaller data.max_length; what "
                    "is finished is kept."
                )
            self.most = math.ceil(len(left) / 2)
            self.notify(f"memory ran out with {len(left)} trials at once ({said}); from here on at most {self.most}")
            yield from self._run(Job(tuple(left), job.until))

    def _parts(self, job: Job) -> list[Sequence[Trial]]:
        """Who can train together: those who are as far as each other, and no more than memory holds."""
        if self._stays(job.trials):
            return [job.trials]
        by_step: dict[int, list[Trial]] = {}
        for trial in job.trials:
            by_step.setdefault(self._step_on_disk(trial, job.until), []).append(trial)
        most = self.most or len(job.trials)
        return [group[at : at + most] for group in by_step.values() for at in range(0, len(group), most)]

    def _train(self, trials: Sequence[Trial], until: int) -> Iterator[Outcome]:
        shared = self._shared_by(trials[0])
        cohort = self._cohort_of(trials, shared, until)
        store, rows = self._held_out(shared)
        base = self._base_loss(trials[0], cohort, store, rows)
        seconds = dict.fromkeys(cohort.names, 0.0)
        due = time.monotonic() + self.save_seconds
        while running := [name for name in cohort.names if cohort.progress[name].steps < until]:
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
            if time.monotonic() > due:
                due = self._saved(cohort)
        targets = [int(store.target_counts[row]) for row in rows]
        sums = cohort.held_out(store, rows)
        for name in cohort.names:
            progress = cohort.progress[name]
            measured = RowLosses(name, progress.steps, sums[name], targets)
            if not measured.is_finite:
                yield self._lost(cohort, name, "its validation loss is no number", seconds[name])
                continue
            state = self._state(name)
            cohort.state_of(name).save(state)
            cohort.bank.save(cohort.names.index(name), self.folder / name / "adapter")
            kept = list(progress.losses), list(progress.grad_norms)
            yield Outcome(name, progress.steps, measured, *kept, progress.tokens, seconds[name], base, state=state)

    def _saved(self, cohort: Cohort) -> float:
        """Checkpoints of all; when the next are due."""
        started = time.monotonic()
        for name in cohort.names:
            cohort.state_of(name).save(self._state(name))
        now = time.monotonic()
        return now + max(self.save_seconds, (now - started) / SAVE_SHARE)

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

    def _stays(self, trials: Sequence[Trial]) -> bool:
        """These are on the device already."""
        return self._cohort is not None and {trial.name for trial in trials} <= set(self._cohort.names)

    def _cohort_of(self, trials: Sequence[Trial], shared: Shared, until: int) -> Cohort:
        """Those who are on the device already, if these are among them; else made from where each was."""
        wanted = {trial.name for trial in trials}
        if self._cohort is not None and self._stays(trials):
            if going := set(self._cohort.names) - wanted:
                self._cohort.leave(sorted(going))
            return self._cohort
        self._drop_cohort()
        entrants = [entrant_of(trial.name, trial.config, trial.plan) for trial in trials]
        self._cohort = shared.cohort(entrants, self._states(trials, until))
        return self._cohort

    def _states(self, trials: Sequence[Trial], until: int) -> Mapping[str, MemberState]:
        """Of those who were on the way to this step."""
        going = [trial.name for trial in trials if self._step_on_disk(trial, until)]
        return {name: MemberState.load(self._state(name)) for name in going}

    def _step_on_disk(self, trial: Trial, until: int) -> int:
        """Where it goes on from: 0 too where what is there is not whole, or lies behind `until`, as after an outcome
        that was lost."""
        folder = self._state(trial.name)
        if not folder.exists() or faults(folder):
            return 0
        step = MemberState.step_in(folder)
        return step if step <= until else 0

    def _state(self, name: str) -> Path:
        return self.folder / name / STATE

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
