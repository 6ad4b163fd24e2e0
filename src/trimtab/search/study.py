"""A search from its first trial to its winner.

all trials → the first rung: one in three stays, and the leader is tried again from another seed → the next rung … →
one is left, or all steps are done; where its learning rate lies on the edge of the grid, the next one there is tried

It decides and does not train: it asks for jobs and is told outcomes, by an engine or by whoever keeps a loop of their
own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from trimtab.config.search import SearchConfig
from trimtab.errors import ConfigError
from trimtab.search.job import Job, Outcome
from trimtab.search.ranking import Place, RowLosses, ranked, seed_noise, staying, winner
from trimtab.search.space import RATE, Params, Space, Value, between
from trimtab.search.stops import stops_of
from trimtab.search.trials import Maker, Trial, company

MOST_BEYOND = 1
"""Learning rates beyond the edge that are tried; where the best lies there too, the next ones are told."""


@dataclass(frozen=True)
class Fan:
    """A wave whose trials show where to search, no more: none of them goes on."""

    params: Sequence[Params]
    steps: int


Wave = Sequence[Params] | Fan
Outcomes = Iterable[Outcome]
Deciding = Generator[list[Job], Outcomes, "Found"]
"""Asks for jobs, is sent the outcomes of all their trials, in any order, and comes to what was found."""


class Engine(Protocol):
    def run(self, jobs: Sequence[Job]) -> Outcomes:
        """Of every trial of every job, as soon as it is known, in any order."""

    def close(self) -> None: ...


class Watcher(Protocol):
    """Told what happens; writes it down, or shows it."""

    def came(self, trial: Trial) -> None: ...

    def measured(self, trial: Trial, outcome: Outcome) -> None: ...

    def ranked(self, step: int, places: Sequence[Place], noise: float) -> None: ...

    def left(self, trial: Trial, step: int, why: str, *, is_lost: bool = False) -> None: ...


@dataclass
class Found:
    """What a search came to."""

    best: Trial | None
    """None where every trial was lost."""
    step: int
    places: list[Place]
    """Of those who were compared last, best first; the best is one of them."""
    noise: float
    """Standard deviation of a loss from seed to seed at that step, or at the last one before where something was
    repeated; NaN where nothing was."""
    ties: list[str]
    """Those that chance does not tell from the best."""
    is_early: bool
    """Decided before trials had done all their steps."""
    beyond: dict[str, tuple[Value, ...]]
    """Keys whose best value lies on the edge, and what to try there."""
    adapter_steps: int
    """What it cost, in steps of one adapter."""


@dataclass
class Study:
    space: Space
    settings: SearchConfig
    maker: Maker
    watcher: Watcher
    most_at_once: Callable[[Trial], int]
    """Trials that a device holds in the company of this one."""
    expected: int
    """Trials in all, as far as they are known before; what the number of stops is by."""
    devices: int = 1
    """That train at the same time."""
    trials: dict[str, Trial] = field(default_factory=dict)
    steps_done: dict[str, int] = field(default_factory=dict)
    known: dict[int, dict[str, RowLosses]] = field(default_factory=dict)
    """Step → trial → its measurement."""
    lost: set[str] = field(default_factory=set)
    of_fan: set[str] = field(default_factory=set)
    """They show where to search, and are no part of the space."""
    best_of_fan: Trial | None = None
    """None before one was tried, or where all of it was lost."""

    def run(self, waves: Iterable[Wave], engine: Engine) -> Found:
        """To the end, as `decide` says.

        Raises:
            ConfigError: values make no config.
        """
        deciding = self.decide(waves)
        try:
            jobs = next(deciding)
            while True:
                jobs = deciding.send(engine.run(jobs))
        except StopIteration as ended:
            found: Found = ended.value
            return found

    def decide(self, waves: Iterable[Wave]) -> Deciding:
        """`waves`: the first trials, then, asked for once those were measured, more. A grid is one wave."""
        alive: list[Trial] = []
        stops: list[int] = []
        for wave in waves:
            if isinstance(wave, Fan):
                self.best_of_fan = yield from self._fan(wave)
                continue
            new = [self._new(one) for one in wave]
            stops = stops or self._stops(self.expected, max(trial.plan.warmup_steps.value for trial in new))
            came = yield from self._advance(new, stops[0])
            so_far = sum(self._is_own(name) for name in self.known.get(stops[0], {}))
            alive = self._compared([*alive, *came], stops[0], self._staying(so_far) if len(stops) > 1 else None)
        if not stops:
            return self._found(0, [])
        again = yield from self._advance(self._repeats(stops[0], alive), stops[0])
        alive, stay = [*alive, *again], self.expected
        for step, following in itertools.zip_longest(stops, stops[1:]):
            compared, stay = alive, self._staying(stay)  # what was added makes no more of them
            alive = self._compared(alive, step, stay if following is not None else None)
            is_decided = len(alive) == 1 and self.settings.strategy == "prefix"
            if following is None or is_decided:
                more = yield from self._advance(self._more_rates(step, compared), step)
                if more:
                    compared = [*compared, *more]
                    self._compared([*alive, *more], step, 1 if following is not None else None)
                return self._found(step, compared)
            alive = yield from self._advance(alive, following)
            if not alive:  # those who led are lost; whoever came furthest of the others leads
                break
        return self._found_among_those_who_left()

    def _staying(self, count: int) -> int:
        return staying(count, self.settings.reduction_factor)

    def _compared(self, alive: list[Trial], step: int, count: int | None) -> list[Trial]:
        """The `count` that go on; None: all, at the last stop."""
        places = self._ranked(step, alive)
        if count is None:
            return alive
        kept = [place.trial for place in places if self._is_own(place.trial)][:count]
        for trial in alive:
            if trial.name not in kept:
                why = "another seed of a trial" if trial.repeats is not None else self._why(places, trial)
                self.watcher.left(trial, step, why)
        return [trial for trial in alive if trial.name in kept]

    def _found_among_those_who_left(self) -> Found:
        for step in sorted(self.known, reverse=True):
            left = [self.trials[name] for name in self.known[step] if name not in self.lost]
            if left:
                return self._found(step, left)
        return self._found(0, [])

    def best_so_far(self) -> Trial | None:
        """Of those that came to the first stop."""
        if not self.known:
            return None
        at = self.known[min(self.known)]
        places = ranked([rows for name, rows in at.items() if self._is_own(name)])
        return self.trials[places[0].trial] if places else None

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────

    def _fan(self, fan: Fan) -> Generator[list[Job], Outcomes, Trial | None]:
        """The best of it."""
        tried = [self._new(one) for one in fan.params]
        self.of_fan |= {trial.name for trial in tried}
        alive = yield from self._advance(tried, fan.steps)
        places = self._ranked(fan.steps, alive)
        for trial in alive:
            self.watcher.left(trial, fan.steps, "the fan shows where to search, no more")
        return self.trials[places[0].trial] if places else None

    def _stops(self, trials: int, warmup: int) -> list[int]:
        steps = self.settings.steps
        assert steps != "auto", "it was decided before"
        return stops_of(self.settings, steps=steps, trials=trials, warmup_steps=warmup)

    def _new(self, params: Params, *, repeats: int | None = None, again: int = 1) -> Trial:
        trial = self.maker.trial(len(self.trials), params, repeats=repeats, again=again)
        self.trials[trial.name] = trial
        self.watcher.came(trial)
        return trial

    def _advance(self, trials: Sequence[Trial], until: int) -> Generator[list[Job], Outcomes, list[Trial]]:
        """Those who are not lost on the way."""
        if not trials:
            return []
        for outcome in (yield self._jobs(trials, until)):
            trial = self.trials[outcome.trial]
            self.steps_done[trial.name] = outcome.step
            self.watcher.measured(trial, outcome)
            if outcome.measured is None:
                self.lost.add(trial.name)
                self.watcher.left(trial, outcome.step, outcome.lost, is_lost=True)
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
            fewest = math.ceil(len(together) / max(1, self.most_at_once(together[0])))
            count = max(fewest, min(self.devices, len(together)))
            size = math.ceil(len(together) / count)
            jobs += [Job(tuple(together[at : at + size]), until) for at in range(0, len(together), size)]
        return jobs

    def _ranked(self, step: int, alive: Sequence[Trial]) -> list[Place]:
        """Of these; told are all that came as far, those who left before too, by what is known of the noise now."""
        self.watcher.ranked(step, self._places(step, list(self.trials.values())), self._noise(step))
        return self._places(step, alive)

    def _places(self, step: int, trials: Sequence[Trial]) -> list[Place]:
        """Of those among them who came as far."""
        known = self.known.get(step, {})
        return ranked([known[trial.name] for trial in trials if trial.name in known], self._noise(step))

    def _noise(self, step: int) -> float:
        """Between seeds, of trials that came as far as this; where none was repeated so far, as at the rung before."""
        for earlier in sorted((one for one in self.known if one <= step), reverse=True):
            if not math.isnan(noise := self._noise_at(earlier)):
                return noise
        return math.nan

    def _noise_at(self, step: int) -> float:
        at = self.known.get(step, {})
        groups: dict[int, list[float]] = {}
        for trial in self.trials.values():
            if trial.name in at:
                groups.setdefault(trial.number if trial.repeats is None else trial.repeats, []).append(
                    at[trial.name].loss
                )
        return seed_noise(list(groups.values()))

    def _repeats(self, step: int, alive: Sequence[Trial]) -> list[Trial]:
        """The leader from other seeds."""
        best = self._best(step, alive)
        repeats = range(1, self.settings.repeats + 1) if best is not None else ()
        return [self._new(best.params, repeats=best.number, again=again) for again in repeats if best is not None]

    def _more_rates(self, step: int, compared: Sequence[Trial]) -> list[Trial]:
        """Where the best lies on the edge of the learning rates, the next one there; and, where asked for, those
        between it and its neighbours. Not before the last rung: first steps favour high rates. A rank beyond the edge
        is told, not tried: it has its price."""
        best = self._best(step, compared) if self.settings.strategy == "prefix" else None
        if best is None:
            return []
        values = self._beyond(step, best).get(RATE, ())[:MOST_BEYOND]
        if self.settings.finer and RATE in best.params:
            values = *values, *between(best.learning_rate, {trial.learning_rate for trial in self._of_space()})
        return [self._new({**best.params, RATE: value}) for value in values]

    def _beyond(self, step: int, best: Trial) -> dict[str, tuple[Value, ...]]:
        """Keys whose best value lies on the edge of what was tried → values beyond it that make a config. Not where a
        trial with another value was as good when they last met: nothing says that the best is beyond, then."""
        tied = [other for other in self._of_space() if other is not best and self._is_tied(other, best, step)]
        tried = {axis.key: {trial.params.get(axis.key) for trial in self._of_space()} for axis in self.space.axes}
        found = {}
        for key, values in self.space.on_the_edge(best.params, tried).items():
            if any(trial.params.get(key) != best.params[key] for trial in tied):
                continue
            if possible := tuple(value for value in values if self._is_possible({**best.params, key: value})):
                found[key] = possible
        return found

    def _is_tied(self, one: Trial, other: Trial, until: int) -> bool:
        """By the last step, up to this one, to which both came."""
        met = [step for step, at in self.known.items() if step <= until and one.name in at and other.name in at]
        return bool(met) and all(place.is_tied for place in self._places(max(met), [one, other]))

    def _of_space(self) -> list[Trial]:
        return [trial for trial in self.trials.values() if trial.name not in self.of_fan]

    def _is_possible(self, params: Params) -> bool:
        try:
            self.maker.trial(len(self.trials), params)
        except ConfigError:
            return False
        return True

    def _best(self, step: int, trials: Sequence[Trial]) -> Trial | None:
        """Of those that are no repeats: a lucky seed is no better configuration. Before all steps are done the lowest
        loss, tie or not: a smaller rank that ties at step 20 is behind at the end (docs/log.md, 22 November 2026)."""
        own = {trial.name: trial for trial in trials if self._is_own(trial.name)}
        places = self._places(step, list(own.values()))
        if self._is_early(step):
            return own[places[0].trial] if places else None
        ranks = {name: trial.r for name, trial in own.items()}
        rates = {name: trial.learning_rate for name, trial in own.items()}
        name = winner(places, ranks, rates)
        return None if name is None else own[name]

    def _is_early(self, step: int) -> bool:
        """Trials have not done all their steps."""
        steps = self.settings.steps
        assert steps != "auto", "it was decided before"
        return step < steps

    def _is_own(self, name: str) -> bool:
        """Not the repeat of another."""
        return self.trials[name].repeats is None

    def _why(self, places: Sequence[Place], trial: Trial) -> str:
        place = next(place for place in places if place.trial == trial.name)
        return f"its loss, {place.loss:.4f}, is {place.behind:.3g} ± {place.error:.2g} behind the best"

    def _found(self, step: int, compared: Sequence[Trial]) -> Found:
        places = self._places(step, compared)
        best = self._best(step, compared)
        ties = [place.trial for place in places if place.is_tied and self._is_own(place.trial)]
        beyond = self._beyond(step, best) if best is not None else {}
        cost = sum(self.steps_done.values())
        return Found(best, step, places, self._noise(step), ties, self._is_early(step), beyond, cost)
