"""A search from its first trial to its winner.

all trials → the first rung: one in three stays, and where there is room the leader is tried again with another seed,
and values beyond the edge of the grid where the best lies on it → the next rung … → one is left, or all steps done
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trimtab.config.search import SearchConfig
from trimtab.search.job import Job, Outcome
from trimtab.search.ranking import Place, RowLosses, ranked, rungs, seed_noise, staying, winner
from trimtab.search.space import Params, Space
from trimtab.search.trials import Maker, Trial, company

MOST_BEYOND = 2
"""Values beyond the edge that are tried for a key."""


class Engine(Protocol):
    def run(self, jobs: Sequence[Job]) -> Iterable[Outcome]:
        """Of every trial of every job, as soon as it is known, in any order."""

    def close(self) -> None: ...


class Watcher(Protocol):
    """Told what happens; writes it down, or shows it."""

    def came(self, trial: Trial) -> None: ...

    def measured(self, trial: Trial, outcome: Outcome) -> None: ...

    def ranked(self, step: int, places: Sequence[Place], noise: float) -> None: ...

    def left(self, trial: Trial, step: int, why: str) -> None: ...


@dataclass
class Found:
    """What a search came to."""

    best: Trial | None
    """None where every trial was lost."""
    step: int
    places: list[Place]
    """Of those who were compared last, best first."""
    noise: float
    """Standard deviation of a loss from seed to seed; NaN where nothing was repeated."""
    ties: list[str]
    """Those that chance does not tell from the best."""
    beyond: dict[str, tuple[object, ...]]
    """Keys whose best value lies on the edge, and what to try there."""
    adapter_steps: int
    """What it cost, in steps of one adapter."""


@dataclass
class Study:
    space: Space
    settings: SearchConfig
    maker: Maker
    engine: Engine
    watcher: Watcher
    most_at_once: Callable[[Trial], int]
    """Trials that a device holds in the company of this one."""
    trials: dict[str, Trial] = field(default_factory=dict)
    steps_done: dict[str, int] = field(default_factory=dict)
    known: dict[int, dict[str, RowLosses]] = field(default_factory=dict)
    """Step → trial → its measurement."""
    lost: set[str] = field(default_factory=set)

    def run(self, waves: Iterable[Sequence[Params]]) -> Found:
        """`waves`: the first trials, then, asked for once those were measured, more. A grid is one wave.

        Raises:
            ConfigError: values make no config.
        """
        alive: list[Trial] = []
        stops: list[int] = []
        for params in waves:
            new = [self._new(one) for one in params]
            stops = stops or self._stops(len(new), max(trial.plan.warmup_steps.value for trial in new))
            alive = self._compared([*alive, *self._advance(new, stops[0])], stops[0], leaves=len(stops) > 1)
        alive = [*alive, *self._advance(self._more(stops[0], alive), stops[0])]
        step = stops[0]
        for step, following in itertools.zip_longest(stops, stops[1:]):
            alive = self._compared(alive, step, leaves=following is not None)
            if not alive or following is None or (len(alive) == 1 and self.settings.strategy == "prefix"):
                break
            alive = self._advance(alive, following)
        return self._found(step, ranked([self.known[step][trial.name] for trial in alive], self._noise(step)))

    def _compared(self, alive: list[Trial], step: int, *, leaves: bool) -> list[Trial]:
        """Those who go on; at the last stop all."""
        places = self._ranked(step, alive)
        if not leaves:
            return alive
        came = [name for name in self.known.get(step, {}) if self._is_own(name)]
        own = [place for place in places if self._is_own(place.trial)]
        kept = {place.trial for place in own[: staying(len(came), self.settings.reduction_factor)]}
        for trial in alive:
            if trial.name not in kept:
                why = "another seed of a trial" if trial.repeats is not None else self._why(places, trial)
                self.watcher.left(trial, step, why)
        return [trial for trial in alive if trial.name in kept]

    def fan(self, params: Sequence[Params], steps: int) -> Trial | None:
        """The best of these after so many steps; none of them goes on."""
        alive = self._advance([self._new(one) for one in params], steps)
        places = self._ranked(steps, alive)
        for trial in alive:
            self.watcher.left(trial, steps, "the fan shows where to search, no more")
        return self.trials[places[0].trial] if places else None

    def best_so_far(self) -> Trial | None:
        """Of those that came to the first stop."""
        if not self.known:
            return None
        at = self.known[min(self.known)]
        places = ranked([rows for name, rows in at.items() if self._is_own(name)])
        return self.trials[places[0].trial] if places else None

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────

    def _stops(self, trials: int, warmup: int) -> list[int]:
        """Steps at which trials are compared."""
        steps, settings = self.settings.steps, self.settings
        if settings.strategy == "exact":
            return [steps]
        asked = None if settings.rungs == "auto" else settings.rungs
        made = rungs(
            steps=steps,
            warmup_steps=warmup,
            trials=trials,
            reduction_factor=settings.reduction_factor,
            asked=asked,
        )
        return [*made, steps]

    def _new(self, params: Params, *, repeats: int | None = None) -> Trial:
        trial = self.maker.trial(len(self.trials), params, repeats=repeats)
        self.trials[trial.name] = trial
        self.watcher.came(trial)
        return trial

    def _advance(self, trials: Sequence[Trial], until: int) -> list[Trial]:
        """Those who are not lost on the way."""
        for outcome in self.engine.run(self._jobs(trials, until)):
            trial = self.trials[outcome.trial]
            self.steps_done[trial.name] = outcome.step
            self.watcher.measured(trial, outcome)
            if outcome.measured is None:
                self.lost.add(trial.name)
                self.watcher.left(trial, outcome.step, outcome.lost)
            else:
                self.known.setdefault(until, {})[trial.name] = outcome.measured
        return [trial for trial in trials if trial.name not in self.lost]

    def _jobs(self, trials: Sequence[Trial], until: int) -> list[Job]:
        """Companies, each cut into cohorts that a device holds, as equal as can be."""
        companies: dict[tuple[object, ...], list[Trial]] = {}
        for trial in trials:
            companies.setdefault(company(trial), []).append(trial)
        jobs = []
        for together in companies.values():
            count = math.ceil(len(together) / max(1, self.most_at_once(together[0])))
            size = math.ceil(len(together) / count)
            jobs += [Job(tuple(together[at : at + size]), until) for at in range(0, len(together), size)]
        return jobs

    def _ranked(self, step: int, alive: Sequence[Trial]) -> list[Place]:
        measured = [self.known[step][trial.name] for trial in alive]
        places = ranked(measured, self._noise(step))
        self.watcher.ranked(step, places, self._noise(step))
        return places

    def _noise(self, step: int) -> float:
        """Between seeds, of trials that came as far as this."""
        at = self.known.get(step, {})
        groups: dict[int, list[float]] = {}
        for trial in self.trials.values():
            if trial.name in at:
                groups.setdefault(trial.number if trial.repeats is None else trial.repeats, []).append(
                    at[trial.name].loss
                )
        return seed_noise(list(groups.values()))

    def _more(self, step: int, alive: Sequence[Trial]) -> list[Trial]:
        """For the places that became free."""
        best = self._best(ranked([self.known[step][trial.name] for trial in alive], self._noise(step)))
        if best is None:
            return []
        more = [self._new(best.params, repeats=best.number) for _ in range(self.settings.repeats)]
        if self.settings.strategy == "exact":
            return more
        for key, values in self.space.on_the_edge(best.params).items():
            more += [self._new({**best.params, key: value}) for value in values[:MOST_BEYOND]]
        return more

    def _best(self, places: Sequence[Place]) -> Trial | None:
        own = [place for place in places if self._is_own(place.trial)]
        name = winner(
            own,
            {place.trial: self.trials[place.trial].r for place in own},
            {place.trial: self.trials[place.trial].learning_rate for place in own},
        )
        return None if name is None else self.trials[name]

    def _is_own(self, name: str) -> bool:
        """Not the repeat of another."""
        return self.trials[name].repeats is None

    def _why(self, places: Sequence[Place], trial: Trial) -> str:
        place = next(place for place in places if place.trial == trial.name)
        return f"{place.behind:.3g} nats behind the best ({place.loss:.4f}), ± {place.error:.2g}"

    def _found(self, step: int, places: list[Place]) -> Found:
        best = self._best(places)
        ties = [place.trial for place in places if place.is_tied and self._is_own(place.trial)]
        beyond = self.space.on_the_edge(best.params) if best is not None else {}
        cost = sum(self.steps_done.values())
        return Found(best, step, places, self._noise(step), ties, dict(beyond), cost)
