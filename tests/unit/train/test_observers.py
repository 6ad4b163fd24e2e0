"""Early stopping, signals and trackers, each alone."""

from __future__ import annotations

import math
import os
import signal
from pathlib import Path

import pytest

from trimtab.errors import ConfigError
from trimtab.records import EvalRecord
from trimtab.train.interrupt import Interrupt
from trimtab.train.observer import EarlyStopping, Stop
from trimtab.train.trackers import tracker_names


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


def test_a_tracker_that_is_not_installed_is_named_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else find(name, *a))
    with pytest.raises(ConfigError, match="wandb"):
        tracker_names(["tensorboard", "wandb"])
    assert "wandb" not in tracker_names("all")
    assert tracker_names("none") == []


def test_what_tensorboard_shows_is_what_was_measured(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from trimtab.records import RunDir, StepRecord
    from trimtab.train.trackers import Trackers

    trackers = Trackers(["tensorboard"], RunDir(tmp_path), "run", {}, every=2, first_step=0, notify=print)
    for step in range(1, 6):
        trackers.on_step(
            StepRecord(
                step=step,
                epoch=0.1,
                loss=step / 2,
                grad_norm=1.0,
                learning_rate=1e-4,
                target_tokens=5,
                tokens=9,
                seconds=0.5,
                memory_bytes=1,
            )
        )
    trackers.on_eval(EvalRecord(step=5, epoch=0.1, loss=0.25, target_tokens=5, seconds=0.1))
    trackers.close()
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in shown.Scalars("train/loss")] == [(2, 1.0), (4, 2.0)]
    assert [(e.step, e.value) for e in shown.Scalars("eval/loss")] == [(5, 0.25)]
