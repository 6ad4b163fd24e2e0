from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.labs import same

from trimtab.guard.lab import BASE, NOW
from trimtab.guard.probe import CannotProbe


def test_losses_in_one_forward_are_those_of_each_alone(tiny) -> None:  # type: ignore[no-untyped-def]
    for data in ({}, {"packing": "off"}):
        lab = tiny(2, data=data).lab()
        rows = np.arange(20)
        assert lab.losses(lab.train, rows) == pytest.approx(lab.losses_alone(lab.train, rows), rel=1e-5)


def test_a_row_without_a_number_is_not_blamed_on_its_neighbours(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(1)
    lab = run.lab()
    row = 7
    rare = next(
        t for t in lab.train.example(row).input_ids if sum(t in lab.train.example(r).input_ids for r in range(9)) < 4
    )
    holders = [r for r in range(16) if rare in lab.train.example(r).input_ids]
    with torch.no_grad():
        run.model.get_input_embeddings().weight[int(rare)] = math.inf
    losses = lab.losses(lab.train, range(16))
    # the head is tied to the embedding: an infinite logit spoils every row unless nothing predicts there
    assert {r for r, loss in enumerate(losses) if math.isfinite(loss)}.isdisjoint(holders)
    assert losses == pytest.approx(lab.losses_alone(lab.train, np.arange(16)), nan_ok=True, rel=1e-5)


def test_the_base_is_the_start_or_the_adapter_switched_off(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(8)
    with_start, without = run.lab(), run.lab(snapshots=run.snapshots[1:])
    assert with_start.held_out_at(BASE) == pytest.approx(without.held_out_at(BASE), rel=1e-6)
    assert with_start.held_out_at(BASE) != pytest.approx(with_start.held_out_at(NOW), rel=1e-3)


def test_without_its_start_a_full_run_has_no_base(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(8, adapter="none")
    with pytest.raises(CannotProbe):
        run.lab(snapshots=run.snapshots[1:]).held_out_at(BASE)


def test_steps_from_a_snapshot_are_those_that_the_run_made(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(8)
    tried = run.lab().try_steps(3, since=run.snapshots[1])
    assert tried.losses == [run.history[step][0] for step in (6, 7, 8)]
    assert tried.grad_norms == [run.history[step][1] for step in (6, 7, 8)]


def test_a_state_within_another_goes_back_to_what_the_run_was(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(6)
    lab, before = run.lab(), run.everything()
    with lab.apart():
        with lab.at(run.snapshots[0]):
            lab.train_here(2, first=0)
        assert same(before, run.everything())
        now = lab.held_out_at(NOW)
        lab.try_steps(2, since=None)
        assert now == lab.held_out()
    assert same(before, run.everything())


def test_what_was_measured_now_is_measured_again_in_the_next_incident(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(5)
    lab = run.lab()
    with lab.apart():
        before = lab.held_out_at(NOW)
    run.advance(2)
    with lab.apart():
        assert lab.held_out_at(NOW) != before


def test_a_trial_that_has_lost_its_loss_ends(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(5)
    tried = run.lab().try_steps(30, since=run.snapshots[0], learning_rate=lambda done: 1e30)
    assert tried.lost
    assert len(tried.losses) < 30
    assert all(map(math.isnan, tried.held_out))


def test_rows_that_the_run_leaves_out_are_left_out(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(5)
    rows = run.order.rows(5).tolist()
    run.state.changes = run.state.changes.model_copy(update={"left_out": rows})
    assert run.lab().try_steps(1, since=None).losses == []
