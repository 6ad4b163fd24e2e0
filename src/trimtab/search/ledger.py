"""What happens in a search, written down: trials, curves, how they stand. Written anew from the outcomes when a search
goes on, so that nothing stands there twice."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trimtab.plan.schedule import schedule
from trimtab.records import EvalRecord, RunDir, StepRecord
from trimtab.records.search import Leaderboard, PlaceRecord, TrialRecord, TrialState
from trimtab.search.job import Outcome
from trimtab.search.ranking import Place
from trimtab.search.study import Found, Watcher
from trimtab.search.trials import STATE, TRIALS, Maker, Trial
from trimtab.train.run import order_of

NO_VIEWER: tuple[Watcher, ...] = ()


@dataclass
class Ledger:
    """Into the search's folder: trials.jsonl, metrics.jsonl, leaderboard.json. `viewers` are told the same."""

    folder: Path
    maker: Maker
    viewers: Sequence[Watcher] = NO_VIEWER
    records: dict[str, TrialRecord] = field(default_factory=dict)
    places: dict[str, PlaceRecord] = field(default_factory=dict)
    """Of each trial the last."""
    seed_noise: float = math.nan
    base_loss: float = math.nan
    notes: tuple[str, ...] = ()
    started: float = field(default_factory=time.monotonic)
    _written: dict[str, int] = field(default_factory=dict)
    """Trial → steps whose records are written."""

    @property
    def trials_file(self) -> Path:
        return self.folder / "trials.jsonl"

    @property
    def leaderboard_file(self) -> Path:
        return self.folder / "leaderboard.json"

    def begin(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (self.trials_file, RunDir(self.folder).metrics, self.leaderboard_file):
            path.unlink(missing_ok=True)

    # ── told by the study ────────────────────────────────────────────────────────────────────────────────────

    def came(self, trial: Trial) -> None:
        repeats = None if trial.repeats is None else f"trial-{trial.repeats}"
        self._put(TrialRecord(trial=trial.name, params=trial.params, repeats=repeats))
        for viewer in self.viewers:
            viewer.came(trial)

    def measured(self, trial: Trial, outcome: Outcome) -> None:
        self._write_steps(trial, outcome)
        before = self.records[trial.name]
        update = {
            "state": TrialState.TRAINING,
            "step": outcome.step,
            "tokens": outcome.tokens,
            "seconds": before.seconds + outcome.seconds,
        }
        if outcome.measured is not None:
            loss = outcome.measured.loss
            if not math.isnan(outcome.base_loss):
                self.base_loss = outcome.base_loss
            update["losses"] = {**before.losses, outcome.step: loss}
            RunDir(self.folder).append_metric(
                EvalRecord(
                    trial=trial.name,
                    step=outcome.step,
                    epoch=outcome.step / trial.plan.steps_per_epoch.value,
                    loss=loss,
                    target_tokens=sum(outcome.measured.targets),
                    seconds=0.0,
                )
            )
        self._put(before.model_copy(update=update))
        for viewer in self.viewers:
            viewer.measured(trial, outcome)

    def ranked(self, step: int, places: Sequence[Place], noise: float) -> None:
        self.seed_noise = self.seed_noise if math.isnan(noise) else noise
        for place in places:
            self.places[place.trial] = PlaceRecord(
                trial=place.trial,
                params=self.records[place.trial].params,
                step=step,
                loss=place.loss,
                behind=place.behind,
                error=place.error,
                is_tied=place.is_tied,
            )
        self._write_leaderboard(None)
        for viewer in self.viewers:
            viewer.ranked(step, places, noise)

    def left(self, trial: Trial, step: int, why: str, *, is_lost: bool = False) -> None:
        record = self.records[trial.name]
        state = TrialState.LOST if is_lost else TrialState.LEFT
        self._put(record.model_copy(update={"state": state, "reason": why}))
        shutil.rmtree(self.folder / TRIALS / trial.name / STATE, ignore_errors=True)  # its adapter stays
        for viewer in self.viewers:
            viewer.left(trial, step, why, is_lost=is_lost)

    def over(self, found: Found) -> Leaderboard:
        """The search has ended."""
        for record in list(self.records.values()):
            if record.state is TrialState.TRAINING:
                self._put(record.model_copy(update={"state": TrialState.DONE}))
        return self._write_leaderboard(found)

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────

    def _put(self, record: TrialRecord) -> None:
        self.records[record.trial] = record
        with self.trials_file.open("a", encoding="utf-8") as file:
            file.write(record.model_dump_json() + "\n")

    def _write_leaderboard(self, found: Found | None) -> Leaderboard:
        standing = sorted(self.places.values(), key=lambda place: (-place.step, _last(place.loss)))
        best = found.best if found is not None else None
        board = Leaderboard(
            is_over=found is not None,
            best=best.name if best is not None else (standing[0].trial if standing and found is None else None),
            best_params=best.params if best is not None else {},
            ties=tuple(found.ties) if found is not None else (),
            is_early=found is not None and found.is_early,
            places=tuple(standing),
            lost=tuple(name for name, record in self.records.items() if record.state is TrialState.LOST),
            seed_noise=self.seed_noise,
            base_loss=self.base_loss,
            beyond={key: list(values) for key, values in found.beyond.items()} if found is not None else {},
            steps=found.step if found is not None else max((place.step for place in standing), default=0),
            adapter_steps=sum(record.step for record in self.records.values()),
            seconds=time.monotonic() - self.started,
            notes=self.notes,
        )
        RunDir(self.folder).write_json(self.leaderboard_file, board)
        return board

    def _write_steps(self, trial: Trial, outcome: Outcome) -> None:
        run_dir, done = RunDir(self.folder), self._written.get(trial.name, 0)
        for record in steps_of(trial, outcome, self.maker)[done:]:
            run_dir.append_metric(record)
        self._written[trial.name] = len(outcome.losses)


def steps_of(trial: Trial, outcome: Outcome, maker: Maker) -> list[StepRecord]:
    """The records of a trial's steps, as `train` writes them."""
    _, data = maker.inputs(trial.config)
    plan, order = trial.plan, order_of(trial.config, trial.plan)
    rate = schedule(
        plan.lr_scheduler_type.value,
        warmup_steps=plan.warmup_steps.value,
        total_steps=plan.total_steps.value,
        options=plan.lr_scheduler_kwargs.value,
    )
    seconds = outcome.seconds / max(1, len(outcome.losses))
    records = []
    for done, (loss, norm) in enumerate(zip(outcome.losses, outcome.grad_norms, strict=True)):
        rows = order.rows(done)
        records.append(
            StepRecord(
                trial=trial.name,
                step=done + 1,
                epoch=order.epoch(done + 1),
                loss=loss,
                grad_norm=norm,
                learning_rate=trial.learning_rate * rate(done),
                target_tokens=int(data.train.target_counts[rows].sum()),
                tokens=int(data.train.lengths[rows].sum()),
                seconds=seconds,
                memory_bytes=0,
            )
        )
    return records


def _last(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf
