"""How a search decides, over trials whose losses are a formula."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from trimtab.config.search import SearchConfig
from trimtab.search.job import Job, Outcome
from trimtab.search.orders import fanned, rates_first
from trimtab.search.planned import count_of
from trimtab.search.ranking import Place, RowLosses
from trimtab.search.space import Params, Space
from trimtab.search.study import Study
from trimtab.search.trials import Trial

RATE, RANK = "training.learning_rate", "adapter.r"
GRID = {RATE: [1e-4, 2e-4, 5e-4], RANK: [4, 8, 16]}


@dataclass
class Formula:
    """Maker, engine and watcher: a trial's loss at a step is `loss(params, step)`, plus what its seed makes."""

    loss: Callable[[Params, int], float]
    seed_noise: float = 0.0
    most: int = 100
    ran: list[Job] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    """Which repeats were made."""

    def trial(self, number: int, params: Params, *, repeats: int | None = None, again: int = 1) -> Any:
        def decided(value: Any) -> Any:
            return SimpleNamespace(value=value)

        if repeats is not None:
            self.again.append(again)

        plan = SimpleNamespace(
            warmup_steps=decided(3),
            learning_rate=decided(params.get(RATE, 1e-4)),
            max_length=decided(64),
            per_device_train_batch_size=decided(1),
            gradient_accumulation_steps=decided(1),
            precision=decided("fp32"),
            gradient_checkpointing=decided(False),
        )
        adapter = SimpleNamespace(
            r=params.get(RANK, 8),
            target_modules="all-linear",
            exclude_modules=None,
            layers_to_transform=None,
            layers_pattern=None,
        )
        part = SimpleNamespace(model_dump_json=lambda: "{}")
        config: Any = SimpleNamespace(
            adapter=adapter, model=part, data=part, training=SimpleNamespace(data_seed_or_seed=0)
        )
        return Trial(number, params, config, plan, repeats)  # type: ignore[arg-type]

    def run(self, jobs: Sequence[Job]) -> Iterable[Outcome]:
        for job in jobs:
            self.ran.append(job)
            assert len(job.trials) <= self.most
            for trial in job.trials:
                loss = self.loss(trial.params, job.until)
                if not math.isfinite(loss):
                    yield Outcome(trial.name, min(4, job.until), None, lost="the loss was no number")
                    continue
                noise = self.seed_noise if trial.repeats is not None else 0.0
                rows = np.random.default_rng(trial.number).normal(0, 0.002, 50) + loss + noise
                yield Outcome(trial.name, job.until, RowLosses(trial.name, job.until, rows.tolist(), [1] * 50))

    def close(self) -> None: ...

    def came(self, trial: Trial) -> None:
        self.told.append(("came", trial.name))

    def measured(self, trial: Trial, outcome: Outcome) -> None:
        self.told.append(("measured", trial.name))

    def ranked(self, step: int, places: Sequence[Place], noise: float) -> None:
        self.told.append(("ranked", str(step)))

    def left(self, trial: Trial, step: int, why: str, *, is_lost: bool = False) -> None:
        self.told.append(("left", trial.name))


def study(formula: Formula, raw: dict[str, Any] | None = None, **settings: Any) -> Study:
    space = Space.parse(raw or GRID)
    made: Any = formula
    decided = SearchConfig(space=raw or GRID, **{"steps": 100, **settings})
    return Study(space, decided, made, made, lambda trial: formula.most, count_of(decided, space))


def bowl(params: Params, step: int) -> float:
    """Best at 2e-4 and r 8."""
    rate, rank = float(params[RATE] or 0), float(params[RANK] or 0)  # type: ignore[arg-type]
    return 1 + abs(math.log(rate / 2e-4)) + 0.3 * abs(math.log2(rank / 8)) + 1 / step


def test_nine_become_three_become_one() -> None:
    formula = Formula(bowl)
    found = (made := study(formula, repeats=0)).run([made.space.grid()], formula)
    assert found.best is not None
    assert found.best.params == {RATE: 2e-4, RANK: 8}
    assert [(len(job.trials), job.until) for job in formula.ran] == [(9, 10), (3, 20)]
    assert found.adapter_steps == 9 * 10 + 3 * 10
    assert found.step == 20


def test_a_search_costs_a_seventh_of_its_grid_besides_the_winners_own_steps() -> None:
    """Nine cells of 100 steps; the repeat for the noise counts."""
    formula = Formula(bowl)
    found = (made := study(formula)).run([made.space.grid()], formula)
    assert found.best is not None
    assert found.adapter_steps - made.steps_done[found.best.name] == 110 <= 900 / 7


def test_a_rate_beyond_the_edge_is_tried_at_the_last_rung() -> None:
    formula = Formula(lambda params, step: bowl(params, step) + float(params[RATE] or 0))  # type: ignore[arg-type]
    raw = {RATE: [2e-4, 4e-4, 8e-4], RANK: [8, 16, 32]}
    found = (made := study(formula, raw)).run([made.space.grid()], formula)
    assert [(len(job.trials), job.until) for job in formula.ran] == [(9, 10), (1, 10), (3, 20), (1, 20)]
    assert found.step == 20


def test_exact_is_every_cell_to_the_end() -> None:
    formula = Formula(bowl)
    found = (made := study(formula, repeats=0, strategy="exact", steps=100)).run([made.space.grid()], formula)
    assert [(len(job.trials), job.until) for job in formula.ran] == [(9, 100)]
    assert found.adapter_steps == 900
    assert len(found.places) == 9


def test_the_leader_is_tried_again_with_another_seed_and_noise_makes_ties() -> None:
    formula = Formula(lambda params, step: bowl(params, step) / 10, seed_noise=0.2)
    found = (made := study(formula, strategy="exact")).run([made.space.grid()], formula)
    assert any(trial.repeats is not None for trial in made.trials.values())
    assert found.noise == pytest.approx(0.2 / math.sqrt(2), rel=0.1)
    assert len(found.ties) > 1
    assert found.best is not None
    assert found.best.params[RANK] == 4, "the cheapest of the ties"


def test_the_best_on_the_edge_is_looked_beyond() -> None:
    """Best at 2e-3: 5e-4 leads, 1.25e-3 is tried, and wins."""
    formula = Formula(lambda params, step: 1 + abs(math.log(float(params[RATE] or 0) / 2e-3)))  # type: ignore[arg-type]
    raw = {RATE: [1e-4, 2e-4, 5e-4]}
    found = (made := study(formula, raw, repeats=0)).run([made.space.grid()], formula)
    assert found.best is not None
    assert found.best.params[RATE] == pytest.approx(1.25e-3)


def test_finer_rates_are_tried_where_asked_for() -> None:
    """Best at 3e-4: 2e-4 leads, and between it and 5e-4 is better."""
    formula = Formula(lambda params, step: 1 + abs(math.log(float(params[RATE] or 0) / 3e-4)))  # type: ignore[arg-type]
    raw = {RATE: [1e-4, 2e-4, 5e-4]}
    found = (made := study(formula, raw, finer=True)).run([made.space.grid()], formula)
    assert found.best is not None
    assert found.best.learning_rate == pytest.approx(math.sqrt(2e-4 * 5e-4), rel=1e-4)
    assert 1.41421e-4 in [trial.learning_rate for trial in made.trials.values()]


def test_values_beyond_are_told_of_what_was_tried() -> None:
    """1.25e-3 won, and lies on the edge now: 3.1e-3 is next. Had it lost, 5e-4 would lie on no edge."""
    raw = {RATE: [1e-4, 2e-4, 5e-4]}
    won = Formula(lambda params, step: 1 + abs(math.log(float(params[RATE] or 0) / 2e-3)))  # type: ignore[arg-type]
    found = (made := study(won, raw, repeats=0)).run([made.space.grid()], won)
    assert found.beyond == {RATE: (pytest.approx(3.125e-3), pytest.approx(7.8125e-3))}
    lost = Formula(lambda params, step: 1 + abs(math.log(float(params[RATE] or 0) / 5e-4)))  # type: ignore[arg-type]
    found = (made := study(lost, raw, repeats=0)).run([made.space.grid()], lost)
    assert not found.beyond


@pytest.mark.parametrize(("steps", "rank"), [(100, 8), (10, 4)], ids=["early", "when all steps are done"])
def test_of_ranks_that_rows_do_not_tell_apart_the_cheapest_is_best_at_the_end_and_none_is_beyond(
    steps: int, rank: int
) -> None:
    """Until then the lowest loss."""

    def loss(params: Params, step: int) -> float:
        return (1.0 if params[RATE] == 2e-4 else 2.0) - (6e-4 if params[RANK] == 8 else 0.0)

    formula = Formula(loss)
    found = (made := study(formula, repeats=0, steps=steps)).run([made.space.grid()], formula)
    assert found.best is not None
    assert found.best.params == {RATE: 2e-4, RANK: rank}
    assert found.is_early == (steps == 100)
    assert len(made.trials) == 9
    assert not found.beyond


def test_a_tie_at_the_first_rung_hides_no_edge_at_the_last() -> None:
    """The two higher rates are alike at 10; at 20 the highest leads."""

    def loss(params: Params, step: int) -> float:
        rate = float(params[RATE] or 0)  # type: ignore[arg-type]
        return (1.0 if rate > 1e-4 else 1.5) if step <= 10 else 2 - 1e3 * rate

    formula, raw = Formula(loss), {RATE: [1e-4, 2e-4, 5e-4]}
    found = (made := study(formula, raw, repeats=0, reduction_factor=2)).run([made.space.grid()], formula)
    assert [trial.learning_rate for trial in formula.ran[1].trials] == [2e-4, 5e-4]
    assert found.best is not None
    assert found.best.learning_rate == 1.25e-3


def test_noise_of_the_first_rung_counts_at_the_last() -> None:
    formula = Formula(bowl, seed_noise=0.5)
    found = (made := study(formula)).run([made.space.grid()], formula)
    assert found.step == 20
    assert found.noise == pytest.approx(0.5 / math.sqrt(2), rel=0.1)
    assert found.places[1].error > found.noise


def test_a_winner_among_ties_at_the_end_was_not_sent_away() -> None:
    """A rate beyond the edge comes at the last step, when one is left of all."""

    def loss(params: Params, step: int) -> float:
        return math.nan if params[RATE] != 5e-4 and step > 10 else 1.0

    formula = Formula(loss)
    found = (made := study(formula, {RATE: [1e-4, 2e-4, 5e-4]}, repeats=0, steps=15)).run([made.space.grid()], formula)
    assert found.best is not None
    assert ("left", found.best.name) not in formula.told


def test_repeats_are_of_seeds_of_their_own() -> None:
    formula = Formula(bowl)
    (made := study(formula, repeats=3)).run([made.space.grid()], formula)
    assert formula.again == [1, 2, 3]


def test_waves_of_one_have_the_rungs_of_all() -> None:
    formula = Formula(bowl)
    found = (made := study(formula, repeats=0)).run([[one] for one in made.space.grid()], formula)
    assert {job.until for job in formula.ran} == {10, 20}
    assert found.best is not None
    assert found.best.params == {RATE: 2e-4, RANK: 8}


def test_where_those_who_led_are_lost_the_best_of_the_others_is_found() -> None:
    formula = Formula(lambda params, step: math.nan if step > 10 and params[RATE] == 2e-4 else bowl(params, step))
    found = (made := study(formula, repeats=0)).run([made.space.grid()], formula)
    assert found.best is not None
    assert found.best.params[RATE] == 1e-4
    assert found.step == 10


def test_lost_trials_leave_and_the_others_go_on() -> None:
    formula = Formula(lambda params, step: math.inf if params[RATE] == 5e-4 else bowl(params, step))
    found = (made := study(formula, repeats=0)).run([made.space.grid()], formula)
    assert made.lost == {trial.name for trial in made.trials.values() if trial.params[RATE] == 5e-4}
    assert found.best is not None
    assert found.best.params == {RATE: 2e-4, RANK: 8}


def test_all_lost_is_no_best() -> None:
    formula = Formula(lambda params, step: math.nan)
    found = (made := study(formula)).run([made.space.grid()], formula)
    assert found.best is None
    assert not found.places
    assert len(made.lost) == 9


def test_cohorts_are_cut_as_equal_as_can_be() -> None:
    formula = Formula(bowl, most=4)
    (made := study(formula, repeats=0)).run([made.space.grid()], formula)
    assert [len(job.trials) for job in formula.ran if job.until == 10] == [3, 3, 3]


def test_later_waves_are_held_against_all_that_came() -> None:
    grid = Space.parse(GRID).grid()
    formula = Formula(bowl)
    found = study(formula, repeats=0).run([grid[:3], grid[3:6], grid[6:]], formula)
    assert found.best is not None
    assert found.best.params == {RATE: 2e-4, RANK: 8}
    assert [len(job.trials) for job in formula.ran if job.until == 10] == [3, 3, 3]


def test_rates_at_the_highest_rank_and_then_ranks() -> None:
    formula = Formula(bowl)
    made = study(formula, repeats=0)
    found = made.run(rates_first(made), formula)
    assert found.best is not None
    assert found.best.params == {RATE: 2e-4, RANK: 8}
    first, second = (job.trials for job in formula.ran[:2])
    assert [trial.params[RANK] for trial in first] == [16, 16, 16]
    assert {trial.params[RATE] for trial in second} == {2e-4}
    assert sorted(trial.params[RANK] for trial in second) == [4, 8]


def test_a_fan_finds_where_to_search() -> None:
    """The best rate, 2e-3, is ten times the plan's own: the grid comes to lie around it."""
    formula = Formula(lambda params, step: 1 + abs(math.log(float(params[RATE] or 0) / 2e-3)))  # type: ignore[arg-type]
    made = study(formula, repeats=0)
    made.maker.base = SimpleNamespace(
        learning_rate=SimpleNamespace(value=2e-4),
        warmup_steps=SimpleNamespace(value=3),
        total_steps=SimpleNamespace(value=200),
    )  # type: ignore[assignment]
    found = made.run(fanned(made), formula)
    assert [len(job.trials) for job in formula.ran][:2] == [9, 9]
    assert formula.ran[0].until == 24
    assert found.best is not None
    assert found.best.params[RATE] == pytest.approx(2e-3)
