"""A search from its config to its leaderboard, and to the run of its winner.

opened → how many at once, and whether that saves anything → waves of trials → the study → best.yaml, and the run that
goes on with the winner's state
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from trimtab.config import dump_yaml
from trimtab.config.search import SearchConfig
from trimtab.records import RunDir
from trimtab.records.search import Leaderboard
from trimtab.records.whole_folder import faults
from trimtab.search.capacity import capacity
from trimtab.search.gain import Gain
from trimtab.search.hparams import HParams
from trimtab.search.job import Job
from trimtab.search.ledger import Ledger, steps_of
from trimtab.search.local import Local
from trimtab.search.onward import begin_run
from trimtab.search.opened import Opened, opened
from trimtab.search.orders import fanned, rates_first
from trimtab.search.ray_engine import RayEngine
from trimtab.search.remembered import Remembered
from trimtab.search.sampling import OptunaStudy, sampler_of, wave_of
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
    settings, folder = begun.settings, begun.folder
    machine = _machine(begun, on_tick, notify)
    engine = Remembered(machine, folder / TRIALS)
    if settings.sampler != "grid":
        sampler_of(settings, seed=0, begins_with=1)  # said now if it cannot be had
    kept = OptunaStudy.open(settings, begun.space, folder, is_resumed=begun.is_resumed)
    with begun.claimed():
        try:
            return _found_and_concluded(begun, machine, engine, kept, viewers, notify)
        finally:
            engine.close()


def _found_and_concluded(
    begun: Opened,
    machine: Machine,
    engine: Remembered,
    kept: OptunaStudy,
    viewers: Sequence[Watcher],
    notify: Callable[[str], None],
) -> Searched:
    settings, maker, folder = begun.settings, begun.maker, begun.folder
    most, notes = _at_once(begun, machine, notify)
    to_board = [HParams(folder)] if "tensorboard" in tracker_names(begun.loaded.config.training.report_to) else []
    ledger = Ledger(folder, maker, (kept, *to_board, *viewers), notes=(*begun.notes, *notes))
    ledger.begin()
    expected = begun.expected
    study = Study(begun.space, settings, maker, ledger, lambda trial: most, expected, machine.devices)
    found = study.run(waves(settings, study, kept), engine)
    kept.over(found)
    for watcher in to_board:
        watcher.close()
    board = ledger.over(found)
    return _concluded(found, board, engine, begun, notify)


def waves(settings: SearchConfig, study: Study, kept: OptunaStudy) -> Iterable[Wave]:
    """What is tried, and in which order."""
    if settings.sampler != "grid":
        return _drawn(kept, study.expected)
    if settings.first == "learning-rate":
        return rates_first(study)
    return fanned(study) if settings.first == "fan" else [study.space.grid()]


def _machine(begun: Opened, on_tick: Callable[[Sequence[str], int], None], notify: Callable[[str], None]) -> Machine:
    settings, trials = begun.settings, begun.folder / TRIALS
    if settings.engine == "ray":
        return RayEngine(
            begun.maker, trials, settings.rows, use_cpu=begun.loaded.config.training.use_cpu, notify=notify
        )
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


def _drawn(kept: OptunaStudy, left: int) -> Iterator[list[Params]]:
    """Waves that a sampler draws, each knowing how those before it did."""
    most = wave_of(left)
    while left:
        count = min(left, most)
        yield kept.propose(count, most)
        left -= count


def _concluded(
    found: Found, board: Leaderboard, engine: Remembered, begun: Opened, notify: Callable[[str], None]
) -> Searched:
    best, folder, maker = found.best, begun.folder, begun.maker
    if best is None:
        return Searched(board, folder, None, None)
    in_full = maker.config_in_full(best)
    for_full = in_full.model_copy(
        update={"training": in_full.training.model_copy(update={"output_dir": str(folder / "best")})}
    )
    written = folder / "best.yaml"
    RunDir(folder).write_text(written, dump_yaml(for_full))
    if maker.is_exact:
        return Searched(board, folder, written, None)
    onward = RunDir(folder / "best")
    if not _has_begun(onward):
        shutil.rmtree(onward.path, ignore_errors=True)
        state = folder / TRIALS / best.name / STATE
        job = Job((best,), found.step)
        # One that had left before those who led were lost has no state any more: it is trained again.
        whole = state.exists() and not faults(state) and MemberState.step_in(state) == found.step
        [outcome] = engine.run([job]) if whole else engine.again(job)
        engine.close()  # the run loads a base of its own
        tokenizer, data = maker.inputs(best.config)
        steps = [record.model_copy(update={"trial": ""}) for record in steps_of(best, outcome, maker)]
        begin_run(for_full, best.plan, data, tokenizer, MemberState.load(state), steps, begun.device, notify)
    return Searched(board, folder, written, onward)


def _has_begun(run_dir: RunDir) -> bool:
    """Its first checkpoint is whole, or it has ended."""
    return any(not faults(path) for path in run_dir.path.glob("checkpoint-*")) or run_dir.verdict.exists()
