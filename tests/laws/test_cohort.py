"""Law 5, a cohort is its members: an adapter trained among others equals itself trained alone, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cohorts import MIXED, Pieces, Trial, train_by_peft, train_together

pytestmark = pytest.mark.usefixtures("one_thread")

Learnt = dict[str, torch.Tensor]
KINDS = ["fp32", "bf16", "nf4", "nf4-bf16"]


def equal(one: Learnt, other: Learnt) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def unlike(
    together: dict[str, Learnt], trials: Sequence[Trial] = MIXED, kind: str = "fp32", **options: Any
) -> list[str]:
    """The trials that differ from what they are alone."""
    return [
        trial.name
        for trial in trials
        if not equal(together[trial.name], train_together([trial], kind, **options)[trial.name])
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"checkpointing": True}, {"own_data": True}, {"packing": False}], ids=str)
def test_each_member_is_what_it_is_alone(kind: str, options: dict[str, Any]) -> None:
    assert not unlike(train_together(MIXED, kind, **options), kind=kind, **options)


@given(st.permutations(MIXED), st.integers(1, len(MIXED)))
@settings(max_examples=10, deadline=None)
def test_whoever_else_is_there_and_in_whatever_order(trials: list[Trial], count: int) -> None:
    some = trials[:count]
    alone = _alone()
    together = train_together(some, steps=4)
    assert all(equal(together[trial.name], alone[trial.name]) for trial in some)


def _alone(known: dict[str, Learnt] = {}) -> dict[str, Learnt]:  # noqa: B006 - made once
    for trial in MIXED:
        if trial.name not in known:
            known |= train_together([trial], steps=4)
    return known


@pytest.mark.parametrize("kind", ["fp32", "nf4-bf16"])
def test_those_that_stay_do_not_notice_who_leaves(kind: str) -> None:
    together = train_together(MIXED, kind, leave={3: [MIXED[0], MIXED[3]], 6: [MIXED[2]]})
    assert not unlike(together, [MIXED[1], MIXED[4]], kind)
    for trial, step in ((MIXED[0], 3), (MIXED[3], 3), (MIXED[2], 6)):
        assert equal(together[trial.name], train_together([trial], kind, steps=step)[trial.name])


def test_a_trial_that_is_lost_takes_nobody_with_it() -> None:
    lost = Trial(4, learning_rate=1e30, seed=9)
    together = train_together([*MIXED, lost])
    assert max(float(tensor.abs().max()) for tensor in together[lost.name].values()) > 1e20
    assert not unlike({name: learnt for name, learnt in together.items() if name != lost.name})


def _one_norm(pieces: Pieces) -> None:
    own = pieces.optimizer._norms
    pieces.optimizer._norms = lambda gradients: own(gradients).norm().expand(len(MIXED))  # type: ignore[method-assign]


def _one_stream(pieces: Pieces) -> None:
    slots = pieces.bank.slots
    slots.generators = [slots.generators[0]] * slots.count


def _all_tokens(pieces: Pieces) -> None:
    pieces.divides_by_all = True


@pytest.mark.parametrize("spoil", [_one_norm, _one_stream, _all_tokens])
def test_what_is_shared_by_mistake_is_noticed(spoil: Any) -> None:
    """The law can fail: a clip norm, a dropout stream or a divisor for all of them."""
    assert unlike(train_together(MIXED, spoil=spoil))


@pytest.mark.parametrize("kind", ["fp32", "bf16"])
def test_it_is_pefts_adapter_up_to_pefts_own_rounding(kind: str) -> None:
    """As far from peft as peft is from itself when its rows come one by one."""
    trials = [trial for trial in MIXED if not trial.lora_dropout]
    together = train_together(trials, kind)
    for trial in trials:
        whole, parts = train_by_peft(trial, kind), train_by_peft(trial, kind, one_by_one=True)
        assert whole.keys() == together[trial.name].keys()
        floor = _distance(whole, parts)
        assert floor > 0
        assert _distance(whole, together[trial.name]) <= 4 * floor


def test_dropout_draws_what_peft_draws() -> None:
    trial = Trial(8, 0.3, seed=5)
    assert _distance(train_by_peft(trial), train_together([trial])[trial.name]) < 1e-4


def _distance(one: Learnt, other: Learnt) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)
