"""The verdict: final weights against the base."""

from __future__ import annotations

import math

import pytest

from trimtab.records import EvalRecord, Status, StepRecord
from trimtab.train.judge import judge

NAN = math.nan


def _evals(*losses: float) -> list[EvalRecord]:
    return [EvalRecord(step=n, epoch=n, loss=loss, target_tokens=1, seconds=1) for n, loss in enumerate(losses)]


def _steps(*losses: float) -> list[StepRecord]:
    return [
        StepRecord(
            step=n,
            epoch=n,
            loss=loss,
            grad_norm=1,
            learning_rate=1,
            target_tokens=1,
            tokens=1,
            seconds=1,
            memory_bytes=1,
        )
        for n, loss in enumerate(losses, start=1)
    ]


@pytest.mark.parametrize(
    ("losses", "best_is_final", "status"),
    [
        ((3.0, 2.0, 2.5), True, Status.HEALTHY),
        ((3.0, 2.0, 2.5), False, Status.HEALTHY),
        ((3.0, 2.0, 3.5), True, Status.HEALTHY),
        ((3.0, 2.0, 3.5), False, Status.FAILED),
        ((3.0, 2.0, NAN), True, Status.HEALTHY),
        ((3.0, 2.0, NAN), False, Status.FAILED),
        ((3.0, NAN, NAN), True, Status.FAILED),
        ((3.0, 6.0, 4.0), True, Status.FAILED),
        ((3.0, 3.0, 3.0), True, Status.FAILED),
        ((NAN, 2.0, 1.0), True, Status.HEALTHY),
    ],
)
def test_the_final_weights_must_beat_the_base(losses: tuple[float, ...], best_is_final: bool, status: Status) -> None:
    assert judge(_steps(1.0), _evals(*losses), best_is_final=best_is_final, why_it_ended="done")[0] is status


def test_without_validation_only_numbers_can_be_asked_for() -> None:
    assert judge(_steps(2.0, 9.0), [], best_is_final=True, why_it_ended="done")[0] is Status.HEALTHY
    assert judge(_steps(2.0, math.inf), [], best_is_final=True, why_it_ended="done")[0] is Status.FAILED


def test_steps_that_were_no_number_are_said() -> None:
    reason = judge(_steps(2.0, NAN, NAN), _evals(3.0, 2.0), best_is_final=True, why_it_ended="done")[1]
    assert "not a number in 2 steps, first in step 2" in reason
