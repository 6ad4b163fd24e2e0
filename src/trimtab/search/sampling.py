"""Optuna's part in a search: it chooses the trials, unless they are a grid, and keeps them all in its storage, where
its dashboard and its other tools find them.

    optuna-dashboard sqlite:///RUN/study.db
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from trimtab.config.search import SearchConfig
from trimtab.errors import ConfigError
from trimtab.search.job import Outcome
from trimtab.search.ranking import Place
from trimtab.search.space import Axis, Params, Space
from trimtab.search.study import Found
from trimtab.search.trials import Trial

HEARTBEAT_SECONDS = 60
"""After which a trial of a machine that died counts as failed in the storage."""
NAME = "trial"
"""The user attribute that holds our name of it."""


def sampler_of(settings: SearchConfig) -> optuna.samplers.BaseSampler | None:
    """None for a grid: all of it is tried."""
    made: dict[str, Any] = {
        "random": lambda: optuna.samplers.RandomSampler(seed=settings.seed),
        # Trials of one wave are asked for before any of them is measured.
        "tpe": lambda: optuna.samplers.TPESampler(seed=settings.seed, constant_liar=True, multivariate=True),
        "gp": lambda: optuna.samplers.GPSampler(seed=settings.seed),
        "cmaes": lambda: optuna.samplers.CmaEsSampler(seed=settings.seed),
        "qmc": lambda: optuna.samplers.QMCSampler(seed=settings.seed),
    }
    if settings.sampler == "grid":
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            sampler: optuna.samplers.BaseSampler = made[settings.sampler]()
        except ImportError as error:
            raise ConfigError([f"search.sampler: {settings.sampler} needs another package: {error}"]) from None
    return sampler


def distribution_of(axis: Axis) -> BaseDistribution:
    if axis.choices:
        return CategoricalDistribution(axis.choices)
    if axis.is_whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=int(axis.step or 1))
    return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)


@dataclass
class OptunaStudy:
    """A Watcher too: what happens to trials is told to Optuna."""

    study: optuna.Study
    space: Space
    _asked: list[optuna.Trial] = field(default_factory=list)
    """Not yet ours by name."""
    _numbers: dict[str, int] = field(default_factory=dict)
    """Our name → Optuna's number."""
    _last: dict[str, float] = field(default_factory=dict)

    @classmethod
    def open(cls, settings: SearchConfig, space: Space, folder: Path) -> OptunaStudy:
        """
        Raises:
            ConfigError: the storage cannot be used.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        url = f"sqlite:///{folder / 'study.db'}" if settings.storage == "auto" else settings.storage
        name = settings.study_name or folder.name
        try:
            storage: Any = url
            if "://" in url:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of the heartbeat
                    storage = optuna.storages.RDBStorage(url, heartbeat_interval=HEARTBEAT_SECONDS)
            study = optuna.create_study(
                storage=storage,
                sampler=sampler_of(settings),
                study_name=name,
                direction="minimize",
                load_if_exists=True,
            )
        except Exception as error:  # SQLAlchemy's and drivers' own, of many kinds
            if isinstance(error, ConfigError):
                raise
            said = str(error).splitlines()[0]
            raise ConfigError([f"search.storage: {url} cannot be used: {type(error).__name__}: {said}"]) from None
        made = cls(study, space)
        made._numbers = {t.user_attrs[NAME]: t.number for t in study.get_trials(deepcopy=False) if NAME in t.user_attrs}
        return made

    def propose(self, count: int, known: Sequence[str]) -> list[Params]:
        """So many more, after the trials that are `known` by name. Those that the storage holds already, from before
        the search was stopped, come first."""
        stored = self.study.get_trials(deepcopy=False)
        before = [t for t in stored if NAME in t.user_attrs and t.user_attrs[NAME] not in known]
        before = [t for t in before if t.user_attrs.get("is_proposed")]
        found = [self.space.counting(dict(t.params)) for t in before[:count]]
        distributions = {axis.key: distribution_of(axis) for axis in self.space.axes}
        while len(found) < count:
            trial = self.study.ask(distributions)
            trial.set_user_attr("is_proposed", True)
            self._asked.append(trial)
            found.append(self.space.counting(dict(trial.params)))
        return found

    # ── told by the study ────────────────────────────────────────────────────────────────────────────────────

    def came(self, trial: Trial) -> None:
        if trial.name in self._numbers:
            return
        asked = next((one for one in self._asked if self.space.counting(dict(one.params)) == trial.params), None)
        if asked is not None and trial.repeats is None:
            self._asked.remove(asked)
        else:
            asked = self._enqueued(trial)
        asked.set_user_attr(NAME, trial.name)
        if trial.repeats is not None:
            asked.set_user_attr("repeats", f"trial-{trial.repeats}")
        self._numbers[trial.name] = asked.number

    def measured(self, trial: Trial, outcome: Outcome) -> None:
        if outcome.measured is None or self._is_finished(trial):
            return
        self._last[trial.name] = outcome.measured.loss
        stored = self.study._storage
        frozen = stored.get_trial(self._id(trial))
        if outcome.step not in frozen.intermediate_values:
            stored.set_trial_intermediate_value(self._id(trial), outcome.step, outcome.measured.loss)

    def ranked(self, step: int, places: Sequence[Place], noise: float) -> None:
        """Places are not Optuna's."""

    def left(self, trial: Trial, step: int, why: str) -> None:
        if self._is_finished(trial):
            return
        if trial.name in self._last:
            self.study.tell(self._numbers[trial.name], state=TrialState.PRUNED)
        else:
            self.study.tell(self._numbers[trial.name], state=TrialState.FAIL)

    def over(self, found: Found) -> None:
        """Those who came to the end are complete."""
        for place in found.places:
            number = self._numbers[place.trial]
            state = self.study.get_trials(deepcopy=False)[number].state
            if not state.is_finished() and math.isfinite(place.loss):
                self.study.tell(number, place.loss)

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────

    def _enqueued(self, trial: Trial) -> optuna.Trial:
        """One that Optuna did not choose: a cell of a grid, a repeat, a value beyond the edge. A value that its axis
        does not have stands in the attribute `params` alone: a storage takes no category that was not there before."""
        fits = {key: made for key, value in trial.params.items() if (made := self._holding(key, value)) is not None}
        params = {key: trial.params[key] for key in fits}
        attributes = {"params": dict(trial.params)}
        self.study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING, params=params, distributions=fits, user_attrs=attributes
            )
        )
        return optuna.Trial(self.study, self.study.get_trials(deepcopy=False)[-1]._trial_id)

    def _holding(self, key: str, value: Any) -> BaseDistribution | None:
        axis = self.space.axis(key)
        if axis is None or (axis.choices and value not in axis.choices):
            return None
        made = distribution_of(axis)
        return made if made._contains(made.to_internal_repr(value)) else None

    def _id(self, trial: Trial) -> int:
        found: int = self.study.get_trials(deepcopy=False)[self._numbers[trial.name]]._trial_id
        return found

    def _is_finished(self, trial: Trial) -> bool:
        return self.study.get_trials(deepcopy=False)[self._numbers[trial.name]].state.is_finished()
