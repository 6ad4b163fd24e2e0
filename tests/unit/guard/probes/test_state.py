"""Data or state: held-out, replay, row-bisection, learning-rate-search."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import demo_base

from trimtab.guard.lab import NOW
from trimtab.guard.probe import CannotProbe
from trimtab.guard.probes.held_out import HeldOut
from trimtab.guard.probes.learning_rate_search import GRID, ONE, LearningRateSearch, _search, _vertex
from trimtab.guard.probes.replay import Replay
from trimtab.guard.probes.row_bisection import RowBisection

GARBAGE = "#q8@!v ]w0~ %%z {1k} ^^j" * 3


def test_held_out_tells_a_run_that_learns_from_one_that_is_ruined(demo) -> None:  # type: ignore[no-untyped-def]
    learns = demo(12)
    values = HeldOut().run(learns.lab(), learns.suspect(good=learns.snapshots[0])).values
    assert values["better_than_base_p"] < 0.001
    assert values["rise"] < 0
    assert values["good"] == values["base"]
    with torch.no_grad():
        for parameter in learns.learner.parameters.values():
            parameter.normal_()
    values = HeldOut().run(learns.lab(), learns.suspect(good=learns.snapshots[-1])).values
    assert values["worse_than_base_p"] < 0.001
    assert values["worse_than_good_p"] < 0.001
    assert values["good_step"] == learns.snapshots[-1].step


def test_held_out_of_lost_weights_is_no_number_and_surely_worse(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(3)
    with torch.no_grad():
        next(iter(run.learner.parameters.values())).fill_(math.nan)
    values = HeldOut().run(run.lab(), run.suspect()).values
    assert math.isnan(values["now"])
    assert values["worse_than_base_p"] == 0.0
    assert values["rise"] == math.inf


def with_garbage(demo: Any, **training: Any) -> tuple[Any, int]:
    """A run with one garbage row, stepped past it: (run, the row)."""
    rows = demo_base.pairs(400)
    rows[123] = (rows[123][0], GARBAGE)
    run = demo(0, rows, **training)
    row = next(r for r in range(400) if run.seen.data.train.place_name(r).endswith(":124"))
    step = next(step for step in range(25) if row in run.order.rows(step))
    return run.advance(step + 1), row


def test_replay_tells_a_garbage_row_from_a_damaged_state(demo) -> None:  # type: ignore[no-untyped-def]
    run, row = with_garbage(demo)
    values = Replay().run(run.lab(), run.suspect()).values
    assert values["worst_row"] == row
    assert values["worst_row_name"] == "train.jsonl:124"
    assert values["worst_z"] > 6
    assert values["worst_text"]
    assert not values["state_damaged"]
    assert len(values["rows_now"]) == len(values["rows"]) == len(values["rows_base"])
    found = RowBisection().run(run.lab(), run.suspect()).values
    assert found["reproduces"]
    assert found["what"] == "outlier loss"
    assert found["rows"] == [row]
    assert found["names"] == ["train.jsonl:124"]
    assert "#q8@!v" in found["texts"][0]
    with torch.no_grad():
        for parameter in run.learner.parameters.values():
            parameter.normal_()
    assert Replay().run(run.lab(), run.suspect()).values["state_damaged"]


def test_a_healthy_step_has_no_row_to_name(demo) -> None:  # type: ignore[no-untyped-def]
    run = demo(4)
    values = Replay().run(run.lab(), run.suspect()).values
    assert not values["state_damaged"]
    assert values["worst_z"] < 6
    assert not values["non_finite_rows_base"]
    assert not RowBisection().run(run.lab(), run.suspect()).values["reproduces"]


def poisoned(run: Any, row: int, *, in_backward: bool) -> None:
    """Whatever reads this row's ids makes a hidden state, or its gradient, that is no number."""
    ids = torch.from_numpy(np.array(run.seen.data.train.example(row).input_ids)).long()
    layer = run.model.get_input_embeddings()

    def poison(module: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        flat = inputs[0].flatten()
        found = len(ids) <= len(flat) and bool((flat.unfold(0, len(ids), 1) == ids).all(1).any())
        if not found:
            return output
        if in_backward and output.requires_grad:
            output.register_hook(lambda gradient: gradient * math.inf)
        return output if in_backward else output * math.nan

    layer.register_forward_hook(poison)


@pytest.mark.parametrize("in_backward", [False, True])
def test_bisection_names_the_row_that_makes_a_step_no_number(tiny, in_backward: bool) -> None:  # type: ignore[no-untyped-def]
    run = tiny(5, adapter="none")
    row = int(run.order.rows(4)[3])
    poisoned(run, row, in_backward=in_backward)
    result = RowBisection().run(run.lab(), run.suspect(good=run.snapshots[0]))
    assert result.values["rows"] == [row]
    assert result.values["names"] == [run.seen.data.train.place_name(row)]
    assert result.values["what"] == ("non-finite gradient" if in_backward else "non-finite loss")
    assert result.values["names"][0] in result.sentence


def test_bisection_blames_no_row_for_weights_that_are_no_numbers(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(5)
    with torch.no_grad():
        next(iter(run.learner.parameters.values())).fill_(math.nan)
    assert not RowBisection().run(run.lab(), run.suspect(good=run.snapshots[0])).values["reproduces"]


@pytest.mark.parametrize(
    ("scale", "helps", "best"),
    [(1.0, "", (0.3, 3.0)), (100.0, "helps_lower", (0.003, 0.03)), (1 / 300, "helps_higher", (30.0, 1000.0))],
)
def test_the_search_finds_the_rate_from_before_the_damage(  # type: ignore[no-untyped-def]
    demo, scale: float, helps: str, best: tuple[float, float]
) -> None:
    """The known lesson: a rate that is 100 times too high is found 100 times too high, from the rolled-back state."""
    run = demo(6, learning_rate=2e-3 * scale, warmup_steps=0)
    values = LearningRateSearch().run(run.lab(), run.suspect(good=run.snapshots[0]), 16.0).values
    assert best[0] <= values["best_factor"] <= best[1], values
    assert {name for name in ("helps_higher", "helps_lower") if values[name]} == ({helps} if helps else set()), values
    assert values["since_step"] == 0
    assert values["learning_rate"] == pytest.approx(2e-3 * scale)
    assert 1.0 in values["factors"]
    assert len(values["factors"]) == len(values["changes"]) == len(values["errors"])


def test_a_search_without_the_means_says_so(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(3)
    with pytest.raises(CannotProbe, match="too few"):
        LearningRateSearch().run(run.lab(), run.suspect(), 1.0)


class Waves:
    """Answers a search by a function of the place."""

    def __init__(self, change: Callable[[int], float]) -> None:
        self.change, self.asked = change, []  # type: ignore[var-annotated]

    def __call__(self, places: Sequence[int]) -> list[float]:
        self.asked.append(list(places))
        return [self.change(at) for at in places]

    @property
    def looked(self) -> list[int]:
        return [at for places in self.asked for at in places]


@pytest.mark.parametrize("at", range(len(GRID)))
def test_the_search_climbs_to_any_best_rate(at: int) -> None:
    waves = Waves(lambda place: abs(place - at) - 20.0)
    _search(waves, 9)
    assert at in waves.looked
    assert len(waves.looked) == len(set(waves.looked)) <= 9


@pytest.mark.parametrize(("lowest", "at"), [(0.6, 1), (13.4, 13)])
def test_beside_the_grids_ends_it_looks_between_too(lowest: float, at: int) -> None:
    """The nearest decade is the grid's last; a place before it is better."""
    waves = Waves(lambda place: abs(place - lowest) - 20.0 if place != at else -30.0)
    _search(waves, 9)
    assert at in waves.looked


@given(st.integers(3, 12), st.lists(st.floats(-5.0, 5.0) | st.just(math.inf), min_size=len(GRID), max_size=len(GRID)))
def test_no_search_tries_more_than_it_may(trials: int, changes: list[float]) -> None:
    waves = Waves(lambda place: changes[place])
    _search(waves, trials)
    assert len(waves.looked) == len(set(waves.looked)) <= trials
    assert waves.asked[0] == [ONE, ONE + 2, ONE - 2]
    assert all(waves.asked)


def test_what_does_not_wait_for_an_answer_is_asked_at_once() -> None:
    waves = Waves(lambda place: abs(place - ONE) - 20.0)
    _search(waves, 8)
    assert [len(places) for places in waves.asked] == [3, 2]


def test_the_search_goes_down_where_everything_is_lost() -> None:
    # Ruined by chance more or less, down to a hundredth; there it helps.
    helps = {0: -0.1, 1: -0.2, 2: -0.5, 3: -0.9}
    waves = Waves(lambda place: helps.get(place, 3.0 + 0.1 * (ONE - place)))
    _search(waves, 7)
    assert 3 in waves.looked
    assert max(waves.looked) == ONE + 2
    waves = Waves(lambda place: math.inf)
    _search(waves, 5)
    assert min(GRID[place] for place in waves.looked) == 0.001


@given(best=st.floats(-4.0, 2.0), width=st.floats(0.1, 3.0))
def test_a_parabola_is_met_at_its_vertex(best: float, width: float) -> None:
    """Of the logarithm to the base ten of the factor."""
    factors = list(GRID[2:-2])
    changes = [width * (math.log10(factor) - best) ** 2 - 1.0 for factor in factors]
    found = math.log10(_vertex(factors, changes))
    nearest = min(factors, key=lambda factor: abs(math.log10(factor) - best))
    if nearest in (factors[0], factors[-1]):
        assert found == pytest.approx(math.log10(nearest))
    else:
        assert found == pytest.approx(best, abs=1e-6)


def test_beside_a_lost_rate_the_best_is_taken_as_it_is() -> None:
    assert _vertex([0.01, 0.1, 1.0], [-0.2, -0.5, math.inf]) == 0.1
    assert _vertex([0.1, 1.0], [-0.5, 0.3]) == 0.1


def test_measuring_now_is_done_once(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(3)
    lab = run.lab()
    with lab.apart():
        lab.held_out_at(NOW)
        spent = lab.spent_steps
        lab.held_out_at(NOW)
        assert lab.spent_steps == spent


def test_peers_are_others_and_not_left_out(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(3)
    lab = run.lab()
    run.state.changes = run.state.changes.model_copy(update={"left_out": [0, 1, 2]})
    suspect = dataclasses.replace(run.suspect())
    others = lab.others(suspect.rows, 16, step=suspect.step)
    assert len(set(others.tolist())) == len(others) == 16
    assert not set(others.tolist()) & {0, 1, 2, *suspect.rows.tolist()}
