"""A search from its first trial to its winner.

all trials → the first rung: one in three stays, and where there is room the leader is tried again with another seed,
and values beyond the edge of the grid where the best lies on it → the next rung … → one is left, or all steps done

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
from trimtab.search.space import Params, Space, Value
from trimtab.search.stops import stops_of
from trimtab.search.trials import Maker, Trial, company

MOST_BEYOND = 1
"""Values beyond the edge that are tried for a key; where the best lies there too, the next ones are told."""


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
    """Standard deviation of a loss from seed to seed at that step; NaN where nothing was repeated there."""
    ties: list[str]
    """Those that chance does not tell from the best."""
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
        more = yield from self._advance(self._more(stops[0], alive), stops[0])
        alive, stay = [*alive, *more], self.expected
        for step, following in itertools.zip_longest(stops, stops[1:]):
            compared, stay = alive, self._staying(stay)  # what was added makes no more of them
            alive = self._compared(alive, step, stay if following is not None else None)
            is_decided = len(alive) == 1 and self.settings.strategy == "prefix"
            if following is None or is_decided:
                return self._found(step, compared)
            alive = yield from self._advance(alive, following)
            if not alive:  # those who led are lost; whoever came furthest of the others leads
                break
        return self._found_among_those_who_left()

    def _staying(self, count: int) -> int:
        return staying(count, self.settings.reduction_factor)

    def _compared(self, alive: list[Trial], step: int, count: int | None) -> list[Trial]:
        """The `count` that go on; None: all, at the last stop. Where one goes on, it is the cheapest of those that
        tie."""
        places = self._ranked(step, alive)
        if count is None:
            return alive
        own = [place for place in places if self._is_own(place.trial)]
        best = self._best(own)
        kept = {best.name} if count == 1 and best is not None else {place.trial for place in own[:count]}
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
        alive = yield from self._advance([self._new(one) for one in fan.params], fan.steps)
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
        best = self._best(self._places(step, alive))
        if best is None:
            return []
        repeats = range(1, self.settings.repeats + 1)
        more = [self._new(best.params, repeats=best.number, again=again) for again in repeats]
        if self.settings.strategy == "exact":
            return more
        for key, values in self._beyond(best).items():
            more += [self._new({**best.params, key: value}) for value in values[:MOST_BEYOND]]
        return more

    def _beyond(self, best: Trial) -> dict[str, tuple[Value, ...]]:
        """Keys whose best value lies on the edge of what was tried → values beyond it that make a config."""
        tried = {axis.key: {trial.params.get(axis.key) for trial in self.trials.values()} for axis in self.space.axes}
        found = {}
        for key, values in self.space.on_the_edge(best.params, tried).items():
            if possible := tuple(value for value in values if self._is_possible({**best.params, key: value})):
                found[key] = possible
        return found

    def _is_possible(self, params: Params) -> bool:
        try:
            self.maker.trial(len(self.trials), params)
        except ConfigError:
            return False
        return True

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
        return f"its loss, {place.loss:.4f}, is {place.behind:.3g} ± {place.error:.2g} behind the best"

    def _found(self, step: int, compared: Sequence[Trial]) -> Found:
        places = self._places(step, compared)
        best = self._best(places)
        ties = [place.trial for place in places if place.is_tied and self._is_own(place.trial)]
        beyond = self._beyond(best) if best is not None else {}
        cost = sum(self.steps_done.values())
        return Found(best, step, places, self._noise(step), ties, beyond, cost)
