"""A search from its config to its leaderboard, and to the run of its winner.

opened → how many at once, and whether that saves anything → waves of trials → the study → best.yaml, and the run that
goes on with the winner's state
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trimtab.config import dump_yaml, with_absolute_paths
from trimtab.config.search import SearchConfig
from trimtab.records import RunDir
from trimtab.records.search import Leaderboard
from trimtab.search.capacity import capacity
from trimtab.search.gain import Gain
from trimtab.search.hparams import HParams
from trimtab.search.job import Job
from trimtab.search.ledger import Ledger, steps_of
from trimtab.search.local import Local
from trimtab.search.onward import begin_run
from trimtab.search.opened import Opened, opened
from trimtab.search.orders import fanned, rates_first
from trimtab.search.planned import DRAWN
from trimtab.search.ray_engine import RayEngine
from trimtab.search.remembered import Remembered
from trimtab.search.sampling import OptunaStudy
from trimtab.search.space import Params
from trimtab.search.study import Engine, Found, Study, Watcher, Wave
from trimtab.search.trials import STATE, TRIALS, Trial
from trimtab.train.member_state import MemberState
from trimtab.train.trackers import tracker_names

PROBED = 9
"""At once, to know what that saves."""


class Machine(Engine, Protocol):
    """An engine that can be timed."""

    @property
    def devices(self) -> int:
        """That train at the same time."""

    def probe(self, trial: Trial, count: int) -> Gain:
        """A step of one such trial and of `count` at once; nothing is kept of them."""


@dataclass(frozen=True)
class Searched:
    leaderboard: Leaderboard
    folder: Path
    best: Path | None
    """The config of the best, to be trained in full; None where every trial was lost."""
    onward: RunDir | None
    """The run that begins with the winner's own steps, to be gone on with; None where it is to start afresh."""


def search(
    path: Path,
    overrides: Sequence[str],
    *,
    resume: bool,
    accepted: Collection[str],
    viewers: Sequence[Watcher],
    notify: Callable[[str], None],
    on_tick: Callable[[Sequence[str], int], None],
) -> Searched:
    """
    Raises:
        UserError: the request is wrong; nothing was started.
        Blocked: the checks refuse the config.
    """
    begun = opened(path, overrides, resume=resume, accepted=accepted, notify=notify)
    settings, maker, folder = begun.settings, begun.maker, begun.folder
    machine = _machine(begun, on_tick, notify)
    engine = Remembered(machine, folder / TRIALS)
    try:
        most, notes = _at_once(begun, machine, notify)
        kept = OptunaStudy.open(settings, begun.space, folder)
        to_board = [HParams(folder)] if "tensorboard" in tracker_names(begun.report_to) else []
        ledger = Ledger(folder, maker, (kept, *to_board, *viewers), notes=(*begun.notes, *notes))
        ledger.begin()
        study = Study(begun.space, settings, maker, ledger, lambda trial: most, machine.devices)
        found = study.run(waves(settings, study, kept, most), engine)
        kept.over(found)
        for watcher in to_board:
            watcher.close()
        board = ledger.over(found)
        return _concluded(found, board, engine, begun, notify)
    finally:
        engine.close()


def waves(settings: SearchConfig, study: Study, kept: OptunaStudy, most: int) -> Iterable[Wave]:
    """What is tried, and in which order."""
    if settings.sampler != "grid":
        return _drawn(kept, settings, study, most)
    if settings.first == "learning-rate":
        return rates_first(study)
    return fanned(study) if settings.first == "fan" else [study.space.grid()]


def _machine(begun: Opened, on_tick: Callable[[Sequence[str], int], None], notify: Callable[[str], None]) -> Machine:
    settings, trials = begun.settings, begun.folder / TRIALS
    if settings.engine == "ray":
        return RayEngine(begun.maker, trials, settings.rows, use_cpu=begun.device.type == "cpu", notify=notify)
    return Local(begun.maker, begun.device, trials, settings.rows, on_tick, notify)


def _at_once(begun: Opened, machine: Machine, notify: Callable[[str], None]) -> tuple[int, list[str]]:
    """Trials that train together, and what there is to say of that."""
    most = capacity(begun.base, begun.settings).trials
    if begun.settings.max_cohort != "auto" or most == 1:
        return most, []
    count = min(most, PROBED)
    gain = machine.probe(begun.maker.trial(0, {}), count)
    if gain.is_worth_it(count):
        notify(f"{count} trials together are {gain.of(count):.2f} times as quick as in turn ({gain})")
        return most, []
    note = f"trials train in turn: {count} together would be {gain.of(count):.2f} times as quick ({gain})"
    notify(note)
    return 1, [note]


def _drawn(kept: OptunaStudy, settings: SearchConfig, study: Study, most: int) -> Iterator[list[Params]]:
    """Waves that a sampler draws, each knowing how those before it did."""
    left = DRAWN if settings.n_trials == "auto" else settings.n_trials
    while left:
        count = min(left, most)
        yield kept.propose(count, list(study.trials))
        left -= count


def _concluded(
    found: Found, board: Leaderboard, engine: Engine, begun: Opened, notify: Callable[[str], None]
) -> Searched:
    best, folder, maker = found.best, begun.folder, begun.maker
    if best is None:
        return Searched(board, folder, None, None)
    for_full = best.config.model_copy(
        update={"training": best.config.training.model_copy(update={"output_dir": str(folder / "best")})}
    )
    written = folder / "best.yaml"
    RunDir(folder).write_text(written, dump_yaml(with_absolute_paths(for_full)))
    if maker.exact_steps is not None:
        return Searched(board, folder, written, None)
    onward = RunDir(folder / "best")
    if not onward.holds_a_run():
        tokenizer, data = maker.inputs(best.config)
        [outcome] = engine.run([Job((best,), found.step)])
        engine.close()  # the run loads a base of its own
        kept = MemberState.load(folder / TRIALS / best.name / STATE)
        steps = [record.model_copy(update={"trial": ""}) for record in steps_of(best, outcome, maker)]
        begin_run(for_full, best.plan, data, tokenizer, kept, steps, begun.device, notify)
    return Searched(board, folder, written, onward)
