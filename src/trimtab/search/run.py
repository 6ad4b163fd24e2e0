"""A search from its config to its leaderboard, and to the run of its winner."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from trimtab import preflight
from trimtab.config import LoadedConfig, RunConfig, dump_yaml, load_config, with_absolute_paths
from trimtab.config.search import SearchConfig
from trimtab.errors import DataError, OutputError, ResumeError
from trimtab.model.device import describe, find_device
from trimtab.model.load import weights_identity
from trimtab.records import Plan, RunDir
from trimtab.records.search import Leaderboard
from trimtab.search.capacity import capacity
from trimtab.search.ledger import Ledger, steps_of
from trimtab.search.local import Local
from trimtab.search.onward import begin_run
from trimtab.search.orders import fanned, rates_first
from trimtab.search.remembered import Remembered
from trimtab.search.sampling import OptunaStudy
from trimtab.search.space import Params, Space
from trimtab.search.study import Found, Study, Watcher
from trimtab.search.trials import Maker, Trial
from trimtab.train.assemble import load_model
from trimtab.train.inputs import prepare_inputs
from trimtab.train.member_state import MemberState

IDENTITY = "search.json"
PROBED = 9
"""At once, to know what that saves."""
TRIALS = 16
"""That a sampler draws where nobody says how many."""
FREE = frozenset({"training.output_dir", "data.cache_dir", "data.workers", "search.engine", "search.max_cohort"})
"""Keys that may differ when a search goes on: they do not change what is found."""
CONSTANT = ("constant", "constant_with_warmup")


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
    loaded = load_config(path, overrides)
    for notice in loaded.notices:
        notify(notice)
    config, settings = loaded.config, loaded.config.search
    space = Space.parse(settings.space)
    if settings.sampler == "grid" and settings.first != "fan":
        space.grid()  # said now if it has none
    folder = Path(config.training.output_dir)
    device = find_device(use_cpu=config.training.use_cpu)
    tokenizer, data = prepare_inputs(config, notify)
    if data.validation is None or not len(data.validation):
        raise DataError("A search compares trials on validation data; give data.validation a file or a share.")
    described = describe(device, 1)
    base, lines = preflight.plan_for(loaded, data, described, here=device)
    for line in lines:
        notify(line)
    if not (resume and (folder / IDENTITY).exists()):
        load = cache(lambda: load_model(config, base, device))
        report = preflight.run_all(preflight.evidence(loaded, base, data, tokenizer, load), accepted)
        for finding in report.findings:
            notify(f"{finding.severity.value} [{finding.rule}] {finding.evidence}")
        preflight.refuse_if_blocked(report, RunDir(folder))
    _claim(folder, loaded, base, data.fingerprint, resume=resume)
    exact = settings.steps if settings.strategy == "exact" else None
    maker = Maker(path, overrides, base, described, notify, exact_steps=exact)
    local = Local(maker, device, folder / "trials", settings.rows, on_tick)
    engine = Remembered(local, folder / "trials")
    most = capacity(base, settings).trials
    notes = _notes(config, base)
    if settings.max_cohort == "auto" and most > 1:
        count = min(most, PROBED)
        gain = local.probe(maker.trial(0, {}), count)
        if gain.is_worth_it(count):
            notify(f"{count} trials together are {gain.of(count):.2f} times as quick as in turn ({gain})")
        else:
            most = 1
            notes.append(
                f"trials train in turn: {count} together would be {gain.of(count):.2f} times as quick ({gain})"
            )
            notify(notes[-1])
    kept = OptunaStudy.open(settings, space, folder)
    ledger = Ledger(folder, maker, (kept, *viewers), notes=tuple(notes))
    ledger.begin()
    study = Study(space, settings, maker, engine, ledger, lambda trial: most)
    try:
        found = study.run(_waves(settings, study, kept, most))
    finally:
        engine.close()
    kept.over(found)
    board = ledger.over(found)
    return _concluded(found, board, folder, engine, maker, device, notify)


def _waves(settings: SearchConfig, study: Study, kept: OptunaStudy, most: int) -> Iterable[list[Params]]:
    """What is tried, and in which order."""
    if settings.sampler != "grid":
        return _drawn(kept, settings, study, most)
    if settings.first == "learning-rate":
        return rates_first(study)
    return fanned(study) if settings.first == "fan" else [study.space.grid()]


def _drawn(kept: OptunaStudy, settings: SearchConfig, study: Study, most: int) -> Iterator[list[Params]]:
    """Waves that a sampler draws, each knowing how those before it did."""
    left = TRIALS if settings.n_trials == "auto" else settings.n_trials
    while left:
        count = min(left, most)
        yield kept.propose(count, list(study.trials))
        left -= count


def _concluded(
    found: Found,
    board: Leaderboard,
    folder: Path,
    engine: Remembered,
    maker: Maker,
    device: torch.device,
    notify: Callable[[str], None],
) -> Searched:
    best = found.best
    if best is None:
        return Searched(board, folder, None, None)
    for_full = best.config.model_copy(
        update={"training": best.config.training.model_copy(update={"output_dir": str(folder / "best")})}
    )
    written = folder / "best.yaml"
    RunDir(folder).write_text(written, dump_yaml(with_absolute_paths(for_full)))
    if maker.exact_steps is not None:
        return Searched(board, folder, written, None)
    state = folder / "trials" / best.name / "state"
    onward = RunDir(folder / "best")
    if not onward.holds_a_run():
        tokenizer, data = maker.inputs(best.config)
        outcome = next(iter(engine.run([_last_job(best, found.step)])))
        kept = MemberState.load(state)
        steps = [record.model_copy(update={"trial": ""}) for record in steps_of(best, outcome, maker)]
        begin_run(for_full, best.plan, data, tokenizer, kept, steps, device, notify)
    return Searched(board, folder, written, onward)


def _last_job(best: Trial, step: int) -> Any:
    from trimtab.search.job import Job

    return Job((best,), step)


def _claim(folder: Path, loaded: LoadedConfig, base: Plan, fingerprint: str, *, resume: bool) -> None:
    """Make the folder this search's, or see that it is."""
    config = with_absolute_paths(loaded.config)
    now = {
        "config": {key: value for key, value in config.flat().items() if key not in FREE},
        "data": fingerprint,
        "base": weights_identity(config.model),
        "steps": base.total_steps.value,
    }
    text = json.dumps(now, indent=1, default=str, sort_keys=True)
    path = folder / IDENTITY
    if RunDir(folder).holds_a_run() and not path.exists():
        raise OutputError(f"training.output_dir: {folder} holds a run, not a search. Choose another folder.")
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        if not resume:
            raise OutputError(
                f"training.output_dir: {folder} holds a search already. Go on with it: --resume. Or choose another "
                "folder."
            )
        if lines := _differences(before, json.loads(text)):
            raise ResumeError(
                f"{folder} holds another search. Since it was started this changed:\n"
                + "\n".join(f"  {line}" for line in lines)
                + "\nUndo the change, or start anew under another training.output_dir."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    RunDir(folder).write_text(folder / "config.yaml", dump_yaml(config, loaded.origins))
    RunDir(folder).write_json(folder / "plan.json", base)
    RunDir(folder).write_text(path, text)


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    keys = sorted(before["config"].keys() | now["config"].keys())
    lines = [
        f"{key}: {before['config'].get(key)!r} → {now['config'].get(key)!r}"
        for key in keys
        if before["config"].get(key) != now["config"].get(key)
    ]
    if before["data"] != now["data"]:
        lines.append("the prepared data is not the same (rows, tokenizer, template or length)")
    if before["base"] != now["base"]:
        lines.append("the base's weights or config are not those it was started with")
    return lines


def _notes(config: RunConfig, base: Plan) -> list[str]:
    if base.lr_scheduler_type.value in CONSTANT and config.search.strategy == "prefix":
        return [
            f"lr_scheduler_type is {base.lr_scheduler_type.value}: what is best after {config.search.steps} steps at a "
            "constant rate is often not what is best at the end (measured: half of such searches missed it). A "
            "schedule that decays can be judged early."
        ]
    return []
