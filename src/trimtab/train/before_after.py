"""What a run's model says, and what it knows by heart: before the first step, and with the final weights. For the
reader alone: nothing of it reaches the training, and a model that cannot do it is trained all the same.

What was measured before the first step waits in the run's folder, so that a run that is resumed compares with it. An
adapter that is switched off would not do for it: some change the base that they lie on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from trimtab.config.report import ReportConfig
from trimtab.data.order import Order
from trimtab.data.prepare import PreparedData
from trimtab.records import Memorisation, Plan, RunDir, Samples
from trimtab.train.answers import first_answers, last_answers
from trimtab.train.by_heart import first_recital, last_recital
from trimtab.train.speaker import Speaker
from trimtab.train.telemetry import release_memory

R = TypeVar("R", bound=BaseModel)


@dataclass(frozen=True)
class Before:
    """What was measured before the first step; None where it was not asked for, or could not be."""

    samples: Samples | None = None
    memorisation: Memorisation | None = None

    def write(self, run_dir: RunDir) -> None:
        """Into the folder of a run that begins; what an earlier beginning left there goes."""
        for path, record in ((run_dir.samples, self.samples), (run_dir.memorised, self.memorisation)):
            if record is None:
                path.unlink(missing_ok=True)
            else:
                run_dir.write_json(path, record)


@dataclass(frozen=True)
class BeforeAfter:
    """Who speaks, and of what. One process does it."""

    asked: ReportConfig
    speaker: Speaker
    plan: Plan
    data: PreparedData
    order: Order
    notify: Callable[[str], None]

    def before(self) -> Before:
        """Before the first step."""
        samples = memorisation = None
        if self.asked.samples:
            samples = self._tried(
                "samples.json", lambda: first_answers(self.speaker, self.data.validation, self.asked, self.notify)
            )
        if self.asked.recited:
            memorisation = self._tried(
                "memorised.json",
                lambda: first_recital(self.speaker, self.data, self.plan, self.order, self.asked.recited),
            )
        if self.asked.samples or self.asked.recited:
            release_memory(self.speaker.device)
        return Before(samples, memorisation)

    def after(self, run_dir: RunDir, step: int) -> None:
        """With the final weights, those of `step`: complete in its folder what the run began with."""
        samples = _read(run_dir.samples, Samples) if self.asked.samples else None
        if samples is not None:
            answered = self._tried(
                "samples.json",
                lambda: last_answers(self.speaker, self.data.validation, samples, step, self.notify),
            )
            if answered is not None:
                run_dir.write_json(run_dir.samples, answered)
        begun = _read(run_dir.memorised, Memorisation) if self.asked.recited else None
        if begun is not None:
            recited = self._tried(
                "memorised.json", lambda: last_recital(self.speaker, self.data, begun, step, self.notify)
            )
            if recited is not None:
                run_dir.write_json(run_dir.memorised, recited)

    def _tried(self, what: str, make: Callable[[], R | None]) -> R | None:
        """None, and a line that says so, where it fails: whatever a model's own code raises is no reason not to
        train."""
        try:
            with self.speaker.undisturbed():
                return make()
        except Exception as error:
            said = (str(error).strip().splitlines() or [""])[0]
            self.notify(f"{what} is left out, and the run goes on: {type(error).__name__}: {said}")
            return None


def _read(path: Path, kind: type[R]) -> R | None:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
