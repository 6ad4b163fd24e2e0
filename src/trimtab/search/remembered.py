"""Outcomes on disk: what was run once is not run again. A search that goes on decides as it did, from the same numbers,
until it comes to what is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab.records.search import OutcomeRecord
from trimtab.search.job import Job, Outcome
from trimtab.search.ranking import RowLosses
from trimtab.search.study import Engine
from trimtab.search.trials import STATE


@dataclass
class Remembered:
    """An engine whose outcomes are kept in `folder`/TRIAL/outcome-STEP.json."""

    engine: Engine
    folder: Path

    def run(self, jobs: Sequence[Job]) -> Iterable[Outcome]:
        left: list[Job] = []
        for job in jobs:
            known = {trial.name: found for trial in job.trials if (found := self._read(trial.name, job.until))}
            yield from known.values()
            missing = tuple(trial for trial in job.trials if trial.name not in known)
            if missing:
                left.append(Job(missing, job.until))
        until = {trial.name: job.until for job in left for trial in job.trials}
        for outcome in self.engine.run(left):
            self.keep(outcome, until[outcome.trial])
            yield outcome

    def again(self, job: Job) -> Iterable[Outcome]:
        """Trained, whatever is known."""
        return self.engine.run([job])

    def close(self) -> None:
        self.engine.close()

    def _path(self, trial: str, until: int) -> Path:
        return self.folder / trial / f"outcome-{until}.json"

    def keep(self, outcome: Outcome, until: int) -> None:
        path = self._path(outcome.trial, until)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = outcome.measured
        record = OutcomeRecord(
            trial=outcome.trial,
            step=outcome.step,
            sums=None if rows is None else list(rows.sums),
            targets=None if rows is None else list(rows.targets),
            losses=outcome.losses,
            grad_norms=outcome.grad_norms,
            tokens=outcome.tokens,
            seconds=outcome.seconds,
            base_loss=outcome.base_loss,
            lost=outcome.lost,
        )
        aside = path.with_suffix(".tmp")
        aside.write_text(record.model_dump_json(), encoding="utf-8")
        aside.replace(path)

    def _read(self, trial: str, until: int) -> Outcome | None:
        """None where it is missing or torn."""
        try:
            kept = OutcomeRecord.model_validate_json(self._path(trial, until).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        rows = None
        if kept.sums is not None and kept.targets is not None:
            rows = RowLosses(trial, kept.step, kept.sums, kept.targets)
        state = self.folder / trial / STATE
        return Outcome(
            trial,
            kept.step,
            rows,
            kept.losses,
            kept.grad_norms,
            kept.tokens,
            kept.seconds,
            kept.base_loss,
            kept.lost,
            state if state.exists() else None,
        )
