"""What samplers draw depends on what was measured, and on nothing else; Optuna keeps every trial."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest

from trimtab.config.search import SearchConfig
from trimtab.errors import ConfigError
from trimtab.search.job import Outcome
from trimtab.search.ranking import RowLosses
from trimtab.search.sampling import OptunaStudy, wave_of
from trimtab.search.space import Params, Space

RATE, RANK = "training.learning_rate", "adapter.r"
RAW = {RATE: {"low": 1e-5, "high": 1e-1, "log": True}, RANK: [4, 8, 16]}


def opened(folder: Path, sampler: str, *, is_resumed: bool = False, **settings: Any) -> OptunaStudy:
    made = SearchConfig(space=RAW, sampler=sampler, **settings)  # type: ignore[arg-type]
    return OptunaStudy.open(made, Space.parse(RAW), folder, is_resumed=is_resumed)


def tell(study: OptunaStudy, number: int, params: Params) -> float:
    """Best at 1e-3."""
    trial: Any = SimpleNamespace(name=f"trial-{number}", params=params, repeats=None)
    loss = 1 + math.log10(float(params[RATE] or 0) / 1e-3) ** 2
    study.came(trial)
    study.measured(trial, Outcome(trial.name, 10, RowLosses(trial.name, 10, [loss, loss], [1, 1])))
    return loss


def searched(folder: Path, sampler: str, waves: int, *, stops_after: int | None = None) -> list[Params]:
    study, drawn = opened(folder, sampler), []
    for wave in range(waves):
        if wave == stops_after:  # killed: all is told again from the outcomes on disk, in the same order
            study = opened(folder, sampler, is_resumed=True)
            for number, params in enumerate(drawn):
                tell(study, number, params)
        for params in study.propose(4, 4):
            tell(study, len(drawn), params)
            drawn.append(params)
    return drawn


@pytest.mark.parametrize("sampler", ["gp", "qmc"])
def test_what_a_sampler_needs_is_said(sampler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install scipy"):
        searched(tmp_path / "run", sampler, 1)


@pytest.mark.parametrize("sampler", ["random", "tpe", "qmc"])
def test_gone_on_with_it_draws_what_it_would_have_drawn(sampler: str, tmp_path: Path) -> None:
    if sampler == "qmc":
        pytest.importorskip("scipy")
    whole = searched(tmp_path / "whole", sampler, 4)
    assert searched(tmp_path / "stopped", sampler, 4, stops_after=2) == whole
    assert len({str(params) for params in whole}) == len(whole), "nothing is drawn twice"


def test_tpe_learns_from_the_waves_before(tmp_path: Path) -> None:
    def far(params: Params) -> float:
        return abs(math.log10(float(params[RATE] or 0) / 1e-3))

    drawn = searched(tmp_path / "tpe", "tpe", 8)
    first, last = drawn[:8], drawn[-8:]
    assert sum(map(far, last)) < 0.6 * sum(map(far, first))


def test_optuna_holds_every_trial_and_its_fate(tmp_path: Path) -> None:
    study = opened(tmp_path / "run", "random")
    for number, params in enumerate(study.propose(3, 3)):
        tell(study, number, params)
    trials: Any = [SimpleNamespace(name=f"trial-{number}", params={}, repeats=None) for number in range(3)]
    study.left(trials[0], 10, "worse")
    study.left(trials[1], 10, "no number", is_lost=True)
    place: Any = SimpleNamespace(trial="trial-2", loss=1.5)
    study.over(SimpleNamespace(places=[place]))  # type: ignore[arg-type]
    stored = optuna.load_study(study_name="run", storage=f"sqlite:///{tmp_path / 'run' / 'study.db'}").trials
    assert [trial.state.name for trial in stored] == ["PRUNED", "FAIL", "COMPLETE"]
    assert stored[2].value == 1.5
    assert all(set(trial.params) == {RATE, RANK} for trial in stored)
    assert [trial.user_attrs["trial"] for trial in stored] == ["trial-0", "trial-1", "trial-2"]


def test_a_study_of_that_name_in_a_storage_of_ones_own_is_not_taken_over(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'studies.db'}"
    opened(tmp_path / "run", "random", storage=storage)
    opened(tmp_path / "run", "random", storage=storage, is_resumed=True)
    with pytest.raises(ConfigError, match="study_name"):
        opened(tmp_path / "run", "random", storage=storage)
    opened(tmp_path / "run", "random", storage=storage, study_name="another")


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (4, 1), (16, 4), (32, 8), (500, 8)])
def test_waves_leave_room_to_learn(count: int, expected: int) -> None:
    assert wave_of(count) == expected
