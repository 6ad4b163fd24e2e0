"""The statistics behind the judgement of the first steps, and what is said of it."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.data.order import Order
from trimtab.plan.horizon import steps_per_epoch
from trimtab.plan.schedule import schedule
from trimtab.records import Device, StepRecord
from trimtab.records.verdict import FirstSteps, Movement
from trimtab.train.first_steps import (
    EXAMPLES,
    MemoryWatch,
    finding,
    intervention,
    judge_first_steps,
    judged_rows,
    judged_step,
    one_sided,
    t_tail,
)
from trimtab.train.observer import CONTINUE, HalveMicroBatch, Stop

CONSTANT = schedule("constant", warmup_steps=0, total_steps=100)
LONG_WARMUP = schedule("linear", warmup_steps=1000, total_steps=2000)
NAN = math.nan


def judge(before: list[float], after: list[float], **changes: object) -> FirstSteps:
    given = {"step": 10, "vocabulary": 1000, "had_gradient": True, "schedule": CONSTANT, "total_steps": 100} | changes
    return judge_first_steps(before, after, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("t", "degrees", "tail"),
    # Fisher and Yates' table: upper 5 %, 2.5 % and 0.1 % points
    [
        (6.3138, 1, 0.05),
        (2.9200, 2, 0.05),
        (3.1824, 3, 0.025),
        (2.0150, 5, 0.05),
        (4.1437, 10, 0.001),
        (1.6955, 31, 0.05),
        (0.0, 7, 0.5),
        (-2.0150, 5, 0.95),
    ],
)
def test_the_tail_is_students(t: float, degrees: int, tail: float) -> None:
    assert t_tail(t, degrees) == pytest.approx(tail, rel=2e-3)


@pytest.mark.parametrize("degrees", range(1, 33))
def test_the_tail_is_the_integral_of_the_density(degrees: int) -> None:
    norm = math.gamma((degrees + 1) / 2) / (math.sqrt(degrees * math.pi) * math.gamma(degrees / 2))
    x = np.linspace(0, 2.5, 20_001)
    y = norm * (1 + x**2 / degrees) ** (-(degrees + 1) / 2)
    within = float(((y[1:] + y[:-1]) / 2).sum() * (x[1] - x[0]))
    assert t_tail(2.5, degrees) == pytest.approx(0.5 - within, abs=1e-7)


def test_noise_is_accused_as_rarely_as_is_said() -> None:
    """10,000 sets of differences without any change: 5 % seem to rise at the 5 % level."""
    draw = np.random.default_rng(0)
    rises = sum(one_sided(draw.normal(0, 1, 12).tolist())[0] < 0.05 for _ in range(10_000))
    assert 420 < rises < 580


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=32))
def test_falling_and_rising_share_what_there_is(differences: list[float]) -> None:
    rising, falling = one_sided(differences)
    assert 0 <= rising <= 1
    assert rising + falling == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("before", "after", "changes", "movement"),
    [
        ([3.0, 2.5, 2.0, 4.0, 3.5, 3.0], [2.8, 2.2, 1.9, 3.7, 3.3, 2.7], {}, Movement.FALLING),
        ([3.0, 2.5, 2.0, 4.0, 3.5, 3.0], [3.3, 2.9, 2.3, 4.4, 3.8, 3.35], {}, Movement.RISING),
        ([3.0, 2.5, 2.0, 4.0, 3.5, 3.0], [3.01, 2.51, 2.01, 4.012, 3.51, 3.01], {}, Movement.UNDECIDED),
        # hardly: a millionth of a nat a step, however sure; unless the run is long or has hardly begun
        ([3.0, 2.5, 2.0, 4.0], [2.99999, 2.49999, 1.99999, 3.999991], {}, Movement.UNMOVED),
        ([3.0, 2.5, 2.0, 4.0], [2.99999, 2.49999, 1.99999, 3.999991], {"total_steps": 10_000}, Movement.FALLING),
        ([3.0, 2.5, 2.0, 4.0], [2.99999, 2.49999, 1.99999, 3.999991], {"schedule": LONG_WARMUP}, Movement.FALLING),
        ([3.0, 2.5, 2.0, 4.0, 3.5, 3.0], [2.0, 3.5, 2.5, 3.0, 4.5, 2.4], {}, Movement.UNDECIDED),
        ([3.0, 2.5, 2.0, 4.0], [3.3, 2.8, 2.3, 4.3], {}, Movement.UNDECIDED),
        ([3.0], [2.0], {}, Movement.UNDECIDED),
        ([3.0, 2.5, 2.0], [3.0, 2.5, 2.0], {}, Movement.UNMOVED),
        ([3.0, 2.5, 2.0], [3.0, 2.5, 2.0], {"schedule": LONG_WARMUP}, Movement.UNDECIDED),
        ([3.0, 2.5, 2.0], [3.0, 2.5, 2.0], {"had_gradient": False}, Movement.UNTRAINED),
        ([3.0, 2.5, 2.0], [NAN, NAN, NAN], {}, Movement.RUINED),
        ([3.0, 2.5, 2.0], [math.inf, NAN, math.inf], {}, Movement.RUINED),
        ([3.0, 2.5, 2.0], [2.0, NAN, 1.9], {}, Movement.RISING),
        ([3.0, NAN, 2.0], [2.0, NAN, 1.9], {}, Movement.UNDECIDED),
        ([3.0, 2.5, 2.0, 4.0, 3.5, 3.0], [12.0, 11, 13, 12, 11, 12], {}, Movement.RUINED),
        ([7.0, 7.5, 7.2, 7.0, 7.5, 7.1], [12.0, 11, 13, 12, 11, 12], {}, Movement.RISING),  # never better than guessing
        ([NAN, NAN, NAN], [NAN, NAN, NAN], {}, Movement.UNDECIDED),  # the base is broken, not the run
    ],
)
def test_what_is_made_of_two_measurements(
    before: list[float], after: list[float], changes: dict[str, object], movement: Movement
) -> None:
    assert judge(before, after, **changes).movement is movement


def test_only_what_dooms_a_run_stops_it() -> None:
    stops = {
        movement: intervention(finding(judge([3.0], [2.0]).model_copy(update={"movement": movement}), accepted=()))
        for movement in Movement
    }
    assert {movement for movement, answer in stops.items() if isinstance(answer, Stop)} == {
        Movement.RUINED,
        Movement.UNTRAINED,
    }
    for answer in stops.values():
        if isinstance(answer, Stop):
            assert answer.is_failure


@pytest.mark.parametrize("accepted", [("nothing-trained-at-step-10",), ("all",)])
def test_what_is_let_pass_is_told_and_does_not_stop(accepted: tuple[str, ...]) -> None:
    found = finding(judge([3.0, 2.0], [3.0, 2.0], had_gradient=False), accepted=accepted)
    assert found is not None
    assert found.accepted
    assert intervention(found) is CONTINUE


def test_a_long_warmup_is_given_as_the_reason_for_no_news() -> None:
    before = [random.Random(1).gauss(3, 1) for _ in range(20)]
    after = [loss + random.Random(2 + i).gauss(0, 1e-6) for i, loss in enumerate(before)]
    assert "full updates" in judge(before, after, schedule=LONG_WARMUP).sentence
    assert "full updates" not in judge(before, after).sentence


def test_records_survive_being_written() -> None:
    written = judge([3.0, NAN], [NAN, NAN])
    read = FirstSteps.model_validate_json(written.model_dump_json())
    assert math.isnan(read.loss_after)
    assert read.sentence == written.sentence


@given(examples=st.integers(1, 300), batch=st.integers(1, 40), total=st.integers(1, 30), seed=st.integers(0, 2**32 - 1))
def test_the_examples_are_some_of_the_first_steps(examples: int, batch: int, total: int, seed: int) -> None:
    order = Order(examples, batch, steps_per_epoch(examples, batch, drop_last=False), seed)
    rows = judged_rows(order, total)
    trained_on = np.concatenate([order.rows(step) for step in range(judged_step(total))])
    assert len(set(rows)) == len(rows) == min(EXAMPLES, len(set(trained_on)))
    assert set(rows) <= set(trained_on)
    assert (rows == judged_rows(order, total)).all()


def record(step: int, memory_bytes: int) -> StepRecord:
    return StepRecord(
        step=step, epoch=0, loss=1, grad_norm=1, learning_rate=1, target_tokens=1, tokens=1, seconds=1,
        memory_bytes=memory_bytes,
    )  # fmt: skip


def test_the_memory_is_looked_at_until_a_step_fits_and_again_after_a_cut() -> None:
    device = Device(kind="cuda", name="a GPU", memory_bytes=1000, native_bf16=True)
    watch = MemoryWatch(device)
    assert isinstance(watch.on_step(record(1, 901)), HalveMicroBatch)
    assert not watch.is_proven
    assert watch.on_step(record(2, 900)) is CONTINUE
    assert watch.is_proven
    assert watch.on_step(record(3, 2000)) is CONTINUE
    watch.is_proven = False
    assert isinstance(watch.on_step(record(4, 2000)), HalveMicroBatch)


def test_memory_that_was_let_pass_is_not_looked_at() -> None:
    device = Device(kind="cuda", name="a GPU", memory_bytes=1000, native_bf16=True)
    assert MemoryWatch(device, accepted=["memory-over-limit"]).on_step(record(1, 5000)) is CONTINUE
