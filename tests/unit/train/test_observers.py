"""Early stopping and signals, each alone."""

from __future__ import annotations

import math
import os
import signal

import pytest

from trimtab.records import EvalRecord
from trimtab.train.interrupt import Interrupt
from trimtab.train.observer import EarlyStopping, Stop


def stops_at(losses: list[float], patience: int, threshold: float = 0.0) -> int | None:
    """The number of the evaluation (the base's is 0) at which it stops."""
    stopping = EarlyStopping(patience, threshold)
    for number, loss in enumerate(losses):
        record = EvalRecord(step=number, epoch=0.0, loss=loss, target_tokens=1, seconds=0.0)
        if isinstance(stopping.on_eval(record), Stop):
            return number
    return None


@pytest.mark.parametrize(
    ("losses", "patience", "stop"),
    [
        ([5, 4, 3, 2], 1, None),
        ([5, 4, 4.1], 1, 2),
        ([5, 4, 4.1, 4.2], 2, 3),
        ([5, 4, 4.1, 3.9, 4.0, 4.0], 2, 5),
        ([5, 6, 7], 2, 2),
        ([5, 4, 4], 1, 2),
        ([5, 4, math.nan, math.nan], 2, 3),
    ],
)
def test_it_stops_after_so_many_evaluations_without_a_better_one(
    losses: list[float], patience: int, stop: int | None
) -> None:
    assert stops_at(losses, patience) == stop


def test_less_than_the_threshold_is_no_improvement() -> None:
    assert stops_at([5, 4.95, 4.91, 4.85], 2, threshold=0.1) == 2
    assert stops_at([5, 4.8, 4.6, 4.4], 1, threshold=0.1) is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_request_and_afterwards_signals_are_what_they_were(number: int) -> None:
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), number)
        assert interrupt.requested == signal.Signals(number).name
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_does_not_wait() -> None:
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.requested == "SIGINT"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
