"""States to go back to: the start, the newest, and fewer the older they are; within their room."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from trimtab.guard.ring import RECENT, Ring
from trimtab.train.snapshot import Snapshot
from trimtab.train.state import RunState


def snapshot(step: int, numbers: int = 2) -> Snapshot:
    weights: dict[str, Any] = {"w": torch.zeros(numbers)}
    return Snapshot(RunState(global_step=step), weights, {}, {})


def kept_after(steps: int, room_bytes: int = 1 << 30, numbers: int = 2) -> list[int]:
    ring = Ring(room_bytes=room_bytes)
    for step in range(steps):
        if ring.is_due(step) and ring.has_room(numbers * 4):
            ring.keep(snapshot(step, numbers))
    return [kept.step for kept in ring.snapshots]


@given(st.integers(1, 3000))
def test_the_start_and_the_newest_stay(steps: int) -> None:
    kept = kept_after(steps)
    assert kept == sorted(set(kept))
    assert kept[0] == 0
    assert steps - kept[-1] <= 10
    assert len(kept) <= 1 + RECENT + steps.bit_length()


@given(st.integers(60, 3000), st.data())
def test_no_step_is_far_from_a_state_before_it(steps: int, data: st.DataObject) -> None:
    """Going back costs at most as many steps again as have passed since, and ten."""
    kept = kept_after(steps)
    step = data.draw(st.integers(0, steps - 1))
    nearest = max(at for at in kept if at <= step)
    assert step - nearest <= 2 * (steps - step) + 20


@given(st.integers(1, 500), st.integers(0, 400))
def test_memory_is_kept_within_its_room(steps: int, room_bytes: int) -> None:
    kept = kept_after(steps, room_bytes, numbers=10)
    assert 40 * len(kept) <= max(80, room_bytes)
    assert bool(kept) == (room_bytes >= 40)
    if room_bytes >= 80:
        assert kept[0] == 0


def test_what_came_after_is_forgotten() -> None:
    ring = Ring(room_bytes=1 << 20)
    for step in (0, 5, 10, 15):
        ring.keep(snapshot(step))
    ring.go_back_to(10)
    assert [kept.step for kept in ring.snapshots] == [0, 5, 10]
