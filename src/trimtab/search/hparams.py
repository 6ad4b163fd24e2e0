"""A search for TensorBoard: a folder of each trial under tensorboard/, with its curves and, for the HParams tab, what
was chosen and how it did."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trimtab.records import RunDir
from trimtab.report.leaderboard import short
from trimtab.search.job import Outcome
from trimtab.search.ranking import Place
from trimtab.search.trials import Trial

LOSS = "eval/loss"


@dataclass
class HParams:
    """A Watcher. What an earlier session wrote is told again, and so written anew."""

    folder: Path
    _writers: dict[str, Any] = field(default_factory=dict)
    _written: dict[str, int] = field(default_factory=dict)
    """Trial → steps whose losses are written."""

    def __post_init__(self) -> None:
        shutil.rmtree(RunDir(self.folder).tensorboard, ignore_errors=True)

    def came(self, trial: Trial) -> None:
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        writer: Any = SummaryWriter(str(RunDir(self.folder).tensorboard / trial.name))
        chosen = {short(key): value for key, value in trial.params.items() if value is not None}
        seeds = {} if trial.repeats is None else {"repeats": f"trial-{trial.repeats}"}
        # As SummaryWriter.add_hparams does, which would make a folder more, named by the time.
        for summary in hparams({**chosen, **seeds}, {LOSS: None}):
            writer.file_writer.add_summary(summary)
        self._writers[trial.name] = writer

    def measured(self, trial: Trial, outcome: Outcome) -> None:
        writer = self._writers[trial.name]
        done = self._written.get(trial.name, 0)
        for step, loss in enumerate(outcome.losses[done:], done + 1):
            writer.add_scalar("train/loss", loss, step)
        self._written[trial.name] = len(outcome.losses)
        if outcome.measured is not None:
            writer.add_scalar(LOSS, outcome.measured.loss, outcome.step)
        writer.flush()

    def ranked(self, step: int, places: Sequence[Place], noise: float) -> None:
        """Places are no scalars."""

    def left(self, trial: Trial, step: int, why: str, *, is_lost: bool = False) -> None:
        self._writers[trial.name].close()

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()
