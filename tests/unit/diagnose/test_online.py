"""The gates: what they see, what they leave alone, and that they can forget."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.diagnose.online import MARK_EVERY, Gates
from trimtab.records import EvalRecord, Sighting, StepRecord

STEPS = 400


def gates(**settings: object) -> Gates:
    given: dict[str, object] = {"total_steps": STEPS, "warmup_steps": 10, "max_grad_norm": 1.0, "vocabulary": 1000}
    return Gates(**(given | settings))  # type: ignore[arg-type]


def step(number: int, loss: float = 2.0, **more: object) -> StepRecord:
    values: dict[str, object] = {
        "step": number,
        "epoch": number / 100,
        "loss": loss,
        "grad_norm": 0.5,
        "learning_rate": 1e-3,
        "target_tokens": 400,
        "tokens": 1000,
        "seconds": 0.1,
        "memory_bytes": 10**9,
    }
    return StepRecord.model_validate(values | more)


def evaluation(number: int, loss: float) -> EvalRecord:
    return EvalRecord(step=number, epoch=number / 100, loss=loss, target_tokens=5000, seconds=1.0)


def healthy(seed: int, count: int, *, noise: float = 3.0, targets: int = 400) -> list[StepRecord]:
    """Falls from 3 to 2 as losses do, with the noise of its target tokens."""
    draw = random.Random(seed)
    records = []
    for number in range(1, count + 1):
        tokens = draw.randint(targets // 4, 2 * targets)
        loss = 2 + math.exp(-number / 40) + draw.gauss(0, noise / math.sqrt(tokens))
        records.append(step(number, loss, target_tokens=tokens))
    return records


def seen(watching: Gates, records: Iterable[StepRecord]) -> list[Sighting]:
    return [sighting for record in records for sighting in watching.on_step(record)]


def names(sightings: Iterable[Sighting]) -> set[str]:
    return {sighting.symptom for sighting in sightings}


@pytest.mark.parametrize("noise", [0.5, 3.0, 20.0])
def test_healthy_noise_is_left_alone(noise: float) -> None:
    alarms = 0
    for seed in range(10):
        watching = gates()
        for record in healthy(seed, STEPS, noise=noise):
            watching.on_step(record)
            if watching.gate() >= 1.0:
                alarms += 1
                watching.clear()
    assert alarms <= 10 * STEPS / 200


@pytest.mark.parametrize("onset", [15, 60, 300])
@pytest.mark.parametrize("rise", [1.0, 5.0, 50.0])
def test_a_lasting_rise_is_seen_within_some_steps(onset: int, rise: float) -> None:
    records = healthy(onset, STEPS)
    damaged = [r if r.step < onset else r.model_copy(update={"loss": r.loss + rise}) for r in records]
    watching = gates()
    told: list[Sighting] = []
    for record in damaged:
        told += watching.on_step(record)
        if watching.gate() >= 1.0 and record.step >= onset:
            break
    assert record.step <= onset + 9
    assert "divergence" in names(told)
    assert onset - 3 <= watching.damaged_since() <= onset


@given(st.floats(0.0, 1e30), st.integers(40, 200))
@settings(max_examples=40, deadline=None)
def test_one_bad_batch_alone_asks_for_no_experiment(height: float, at: int) -> None:
    watching = gates()
    flat = [step(number) for number in range(1, 220)]
    for record in flat:
        loss = record.loss + height if record.step == at else record.loss
        watching.on_step(record.model_copy(update={"loss": loss}))
        assert watching.gate() < 1.0


def test_a_spike_is_called_one_when_the_loss_is_back() -> None:
    watching = gates()
    assert not seen(watching, healthy(1, 100))
    assert not watching.on_step(step(101, 9.0))
    [spike] = watching.on_step(step(102, 2.1))
    assert (spike.symptom, spike.step) == ("spike", 101)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["loss", "grad_norm"])
def test_what_is_not_finite_is_told_once_and_averaged_nowhere(field: str, value: float) -> None:
    watching, other = gates(), gates()
    records = healthy(2, 100)
    seen(watching, records)
    seen(other, records)
    told = names(watching.on_step(step(101, **{field: value})))
    assert told == {"non-finite-loss" if field == "loss" else "non-finite-gradient"}
    assert watching.gate() == math.inf
    assert not watching.on_step(step(102, **{field: value}))
    watching.clear()
    for record in healthy(2, 130)[102:]:
        watching.on_step(record)
        other.on_step(record)
    assert watching.gate() * 1.25 == pytest.approx(other.gate())  # a cleared run is asked about less readily


def test_exact_zeros_are_told() -> None:
    watching = gates()
    assert names(watching.on_step(step(1, grad_norm=0.0))) == {"gradient-exactly-zero"}
    assert not watching.on_step(step(2, grad_norm=0.0))
    assert names(watching.on_step(step(3, loss=0.0))) == {"loss-at-zero"}


def test_memory_over_the_limit_is_told_at_the_first_step() -> None:
    assert names(gates(memory_limit_bytes=10**8).on_step(step(1))) == {"memory-over-limit"}
    assert not gates(memory_limit_bytes=10**10).on_step(step(1))


def test_steps_that_are_all_clipped_hard_are_told() -> None:
    assert "all-steps-clipped" in names(
        seen(gates(), (step(n, 3 - n / 100, grad_norm=20.0 + n % 7) for n in range(1, 120)))
    )
    assert not seen(gates(), (step(n, 3 - n / 100, grad_norm=1.5 + n % 2) for n in range(1, 120)))
    assert not seen(gates(max_grad_norm=0.0), (step(n, 3 - n / 100, grad_norm=20.0 + n % 7) for n in range(1, 120)))


def test_steps_that_take_twice_as_long_are_told() -> None:
    slow = [step(n, 3 - n / 300, seconds=0.1 if n < 150 else 0.3) for n in range(1, 250)]
    assert names(seen(gates(), slow)) == {"throughput-drop"}
    saving = [step(n, 3 - n / 300, seconds=0.1 if n % 10 else 3.0) for n in range(1, 250)]
    assert not seen(gates(), saving)


def test_a_flat_loss_is_told_and_one_that_noise_hides_is_not() -> None:
    draw = random.Random(3)
    flat = [step(n, 3.0 + draw.gauss(0, 0.05)) for n in range(1, STEPS + 1)]
    assert "flat-from-the-start" in names(seen(gates(), flat))
    noisy = [step(n, 3.0 + draw.gauss(0, 0.4)) for n in range(1, STEPS + 1)]
    assert "flat-from-the-start" not in names(seen(gates(), noisy))


def test_a_loss_that_hardly_falls_is_slow() -> None:
    draw = random.Random(4)
    slow = [step(n, 3.0 - 0.05 * min(1.0, n / 80) + draw.gauss(0, 0.01)) for n in range(1, STEPS + 1)]
    assert "slow" in names(seen(gates(), slow))


def test_a_schedule_that_ended_is_told() -> None:
    ended = [
        record.model_copy(update={"learning_rate": 1e-3 if record.step < 150 else 0.0}) for record in healthy(5, STEPS)
    ]
    assert names(seen(gates(), ended)) == {"stalled-later"}


def test_a_loss_that_turns_at_every_step_oscillates() -> None:
    swings = [step(n, 2.5 + 0.4 * (-1) ** n) for n in range(1, 200)]
    assert "oscillating" in names(seen(gates(), swings))


def test_the_base_is_held_against_the_run_and_not_against_harder_rows() -> None:
    draw = random.Random(6)
    worse = [step(n, 2.0 + min(0.6, 0.05 * n) + draw.gauss(0, 0.1)) for n in range(1, 40)]
    watching = gates(base_loss=2.0)
    assert "divergence" in names(seen(watching, worse))
    harder = gates(base_loss=1.0)
    seen(harder, healthy(6, 100))
    assert harder.gate() < 1.0


def test_a_rise_that_was_cleared_is_the_level() -> None:
    watching = gates()
    seen(watching, healthy(7, 100))
    higher = [record.model_copy(update={"loss": record.loss + 3}) for record in healthy(8, 250)[100:]]
    while watching.gate() < 1.0:
        watching.on_step(higher.pop(0))
    watching.clear()
    assert watching.gate() == 0.0
    again = 0
    for record in higher:
        watching.on_step(record)
        if watching.gate() >= 1.0:
            again += 1
            watching.clear()
    assert again <= 4  # until the level has come up
    assert watching.gate() < 1.0


# ── evaluations ──────────────────────────────────────────────────────────────────────────────────────────────────


def evaluated(losses: list[float], *, trained: float = 2.0) -> tuple[Gates, list[str]]:
    watching = gates()
    told = []
    for number, loss in enumerate(losses):
        told += [sighting.symptom for sighting in watching.on_eval(evaluation(number * 40, loss))]
        if number < len(losses) - 1:
            for at in range(number * 40 + 1, number * 40 + 41):
                watching.on_step(step(at, trained * (1 - 0.1 * number)))
    return watching, told


def test_falling_evaluations_say_nothing() -> None:
    watching, told = evaluated([3.0, 2.5, 2.2, 2.1, 2.05, 2.06, 2.04])
    assert told == []
    assert watching.gate() == 0.0


def test_evaluations_that_rise_twice_are_told_and_the_gap_with_them() -> None:
    _, told = evaluated([3.0, 2.5, 2.6, 2.7, 2.8])
    assert told.count("eval-rising") == 1
    assert "train-eval-gap-growing" in told


def test_rows_known_by_heart_are_told() -> None:
    _, told = evaluated([3.0, 2.5], trained=0.05)
    assert "memorised" in told


def test_an_evaluation_above_the_base_asks_for_an_experiment() -> None:
    watching, told = evaluated([3.0, 2.5, 3.3])
    assert watching.gate() >= 1.0
    watching.clear()
    assert watching.gate() == 0.0
    _, told = evaluated([3.0, 3.1, 3.1, 3.1, 3.1, 3.1, 3.1])
    assert "base-not-beaten" in told


def test_an_evaluation_that_is_no_number_is_told() -> None:
    watching, told = evaluated([3.0, math.nan])
    assert told == ["non-finite-loss"]
    assert watching.gate() == math.inf


# ── forgetting ───────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(0, 2**16), st.integers(1, 3 * MARK_EVERY), st.integers(1, 200))
@settings(max_examples=25, deadline=None)
def test_what_was_forgotten_was_never_seen(seed: int, back_to: int, damage: int) -> None:
    """A rewound gate goes on as one that never saw what came after."""
    records = healthy(seed, back_to + 300)
    never, rewound = gates(), gates()
    for record in records[:back_to]:
        for watching in (never, rewound):
            watching.on_step(record)
            if record.step % 50 == 0:
                watching.on_eval(evaluation(record.step, 2.5))
            if record.step == back_to // 2:
                watching.clear()
    for number in range(back_to + 1, back_to + 1 + damage):
        rewound.on_step(step(number, 5.0 if number % 7 else math.nan))
    rewound.on_eval(evaluation(back_to + damage, 9.0))
    rewound.rewind(back_to)
    for record in records[back_to:]:
        assert rewound.on_step(record) == never.on_step(record)
        assert rewound.gate() == never.gate()


def test_a_copy_goes_its_own_way() -> None:
    watching = gates()
    seen(watching, healthy(9, 150))
    other = watching.copy()
    gate = watching.gate()
    seen(other, [step(n, 9.0) for n in range(151, 160)])
    assert other.gate() > 1.0
    assert watching.gate() == gate
    other.rewind(100)
    assert watching.gate() == gate


def test_going_back_beyond_the_marks_starts_anew() -> None:
    watching = gates()
    seen(watching, [step(n) for n in range(1, 20 * MARK_EVERY)])
    watching.rewind(10)
    assert watching.gate() == 0.0
    assert not seen(watching, [step(n) for n in range(11, 40)])


def test_memory_does_not_grow_with_the_run() -> None:
    watching = gates()
    seen(watching, [step(n) for n in range(1, 30 * MARK_EVERY)])
    assert len(watching._entries) <= 17 * MARK_EVERY
