"""Optuna's part in a search: it chooses the trials, unless they are a grid, and keeps them all in its storage, where
its dashboard and its other tools find them.

    optuna-dashboard sqlite:///RUN/study.db
"""

from __future__ import annotations

import importlib.util
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

NAME = "trial"
"""The user attribute that holds our name of it."""


def wave_of(count: int) -> int:
    """Trials that a sampler draws at once: it knows of none of them yet. So that it learns in a search of `count`."""
    return max(1, min(8, math.ceil(count / 4)))


def sampler_of(settings: SearchConfig, *, seed: int, begins_with: int) -> optuna.samplers.BaseSampler:
    """`begins_with`: trials before it learns from them.

    Raises:
        ConfigError: it needs a package that is not installed.
    """
    if settings.sampler in ("gp", "qmc") and importlib.util.find_spec("scipy") is None:
        raise ConfigError([f"search.sampler: {settings.sampler} needs scipy: pip install scipy; or take tpe."])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if settings.sampler == "tpe":
            # Trials of one wave are asked for before any of them is measured.
            return optuna.samplers.TPESampler(
                seed=seed, constant_liar=True, multivariate=True, n_startup_trials=begins_with
            )
        if settings.sampler == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=begins_with)
        if settings.sampler == "qmc":
            return optuna.samplers.QMCSampler(seed=settings.seed)
        return optuna.samplers.RandomSampler(seed=seed)


def distribution_of(axis: Axis) -> BaseDistribution:
    if axis.choices:
        return CategoricalDistribution(axis.choices)
    if axis.is_whole:
        return IntDistribution(int(axis.low), int(axis.high), log=axis.log, step=int(axis.step or 1))
    return FloatDistribution(axis.low, axis.high, log=axis.log, step=axis.step)


@dataclass
class OptunaStudy:
    """A Watcher too: what happens to trials is told to Optuna. It keeps them; who is drawn next depends on nothing but
    what was measured, so that a search that goes on draws what it would have drawn."""

    study: optuna.Study
    space: Space
    settings: SearchConfig
    _numbers: dict[str, int] = field(default_factory=dict)
    """Our name → Optuna's number."""
    _came: list[Trial] = field(default_factory=list)
    """But for repeats."""
    _first: dict[str, float] = field(default_factory=dict)
    """Trial → loss at its first stop: what all that came as far are compared by."""

    @classmethod
    def open(cls, settings: SearchConfig, space: Space, folder: Path, *, is_resumed: bool) -> OptunaStudy:
        """
        Raises:
            ConfigError: the storage cannot be used, or holds another study of that name.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        folder.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{(folder / 'study.db').absolute()}" if settings.storage == "auto" else settings.storage
        name = settings.study_name or folder.name
        try:
            storage: Any = optuna.storages.RDBStorage(url) if "://" in url else url
            if settings.storage != "auto" and not is_resumed and name in optuna.get_all_study_names(storage):
                raise ConfigError(
                    [f"search.study_name: {url} holds a study {name} already; give this one another search.study_name."]
                )
            if settings.storage == "auto" and not is_resumed and name in optuna.get_all_study_names(storage):
                optuna.delete_study(study_name=name, storage=storage)  # of a search that was refused before it began
            study = optuna.create_study(storage=storage, study_name=name, direction="minimize", load_if_exists=True)
        except Exception as error:  # SQLAlchemy's and drivers' own, of many kinds
            if isinstance(error, ConfigError):
                raise
            said = str(error).splitlines()[0]
            raise ConfigError([f"search.storage: {url} cannot be used: {type(error).__name__}: {said}"]) from None
        made = cls(study, space, settings)
        made._numbers = {t.user_attrs[NAME]: t.number for t in study.get_trials(deepcopy=False) if NAME in t.user_attrs}
        return made

    def propose(self, count: int, begins_with: int) -> list[Params]:
        """So many more, by what is known of those before.

        Raises:
            ConfigError: the sampler needs a package that is not installed.
        """
        drawn = len(self._came)
        sampler = sampler_of(self.settings, seed=(self.settings.seed + drawn) % 2**32, begins_with=begins_with)
        learning = optuna.create_study(sampler=sampler, direction="minimize")
        worst = max(self._first.values(), default=0.0)
        distributions = {axis.key: distribution_of(axis) for axis in self.space.axes}
        for trial in self._came:
            _, params = self._fitting(trial)
            for axis in self.space.axes:  # a key that does not count under its condition has some value
                if axis.when and axis.key not in trial.params:
                    params[axis.key] = axis.choices[0] if axis.choices else axis.low
            if params.keys() != distributions.keys() or self.settings.sampler == "qmc":
                continue  # beyond an edge: no sampler would draw it
            value = self._first.get(trial.name, worst)  # a trial that was lost is as bad as the worst
            learning.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
        found: list[Params] = []
        # A quasi-random sequence is told from its start.
        for _ in range(drawn if self.settings.sampler == "qmc" else 0):
            learning.ask(distributions)
        while len(found) < count:
            found.append(self.space.counting(dict(learning.ask(distributions).params)))
        return found

    # ── told by the study ────────────────────────────────────────────────────────────────────────────────────

    def came(self, trial: Trial) -> None:
        if trial.repeats is None:
            self._came.append(trial)
        if trial.name in self._numbers:
            return
        self._numbers[trial.name] = self._put(trial)

    def measured(self, trial: Trial, outcome: Outcome) -> None:
        if outcome.measured is None:
            return
        self._first.setdefault(trial.name, outcome.measured.loss)
        if self._is_finished(trial):
            return
        stored = self.study._storage
        frozen = stored.get_trial(self._id(trial))
        if outcome.step not in frozen.intermediate_values:
            stored.set_trial_intermediate_value(self._id(trial), outcome.step, outcome.measured.loss)

    def ranked(self, step: int, places: Sequence[Place], noise: float) -> None:
        """Places are not Optuna's."""

    def left(self, trial: Trial, step: int, why: str, *, is_lost: bool = False) -> None:
        if self._is_finished(trial):
            return
        state = TrialState.FAIL if is_lost else TrialState.PRUNED
        self.study.tell(self._numbers[trial.name], state=state)

    def over(self, found: Found) -> None:
        """Those who came to the end are complete."""
        for place in found.places:
            number = self._numbers[place.trial]
            state = self.study.get_trials(deepcopy=False)[number].state
            if not state.is_finished() and math.isfinite(place.loss):
                self.study.tell(number, place.loss)

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────

    def _put(self, trial: Trial) -> int:
        """Into the storage; its number there. A value that its axis does not have (beyond the edge) stands in the
        attribute `params` alone: a storage takes no category that was not there before."""
        fits, params = self._fitting(trial)
        attributes: dict[str, Any] = {NAME: trial.name, "params": dict(trial.params)}
        if trial.repeats is not None:
            attributes["repeats"] = f"trial-{trial.repeats}"
        self.study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING, params=params, distributions=fits, user_attrs=attributes
            )
        )
        return self.study.get_trials(deepcopy=False)[-1].number

    def _fitting(self, trial: Trial) -> tuple[dict[str, BaseDistribution], dict[str, Any]]:
        """Its values that the space's axes have: (distributions, values)."""
        fits = {key: made for key, value in trial.params.items() if (made := self._holding(key, value)) is not None}
        return fits, {key: trial.params[key] for key in fits}

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
