"""Overfitting that the last evaluation contradicts is taken back."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.records.diagnosis import CauseFound, Diagnosis, Repair
from trimtab.train.run import _withdraw_overfitting
from trimtab.train.state import RunState


def state(cause: str, *, best_step: int) -> RunState:
    found = CauseFound(rule=cause, confidence=0.85, step=80, evidence=("it rose",))
    repair: dict[str, Any] = {"number": 1, "step": 80, "back_to_step": 80, "cause": cause, "kept": True}
    made = RunState()
    made.global_step, made.best_step = 100, best_step
    made.diagnoses = [Diagnosis(step=80, causes=(found,), sentence="it overfits")]
    made.repairs = [Repair(**repair, remedy="restore-best-checkpoint", sentence="the best weights end it")]
    return made


@pytest.mark.parametrize(
    ("cause", "best_step", "stays"), [("overfit", 100, False), ("overfit", 60, True), ("lr-too-high", 100, True)]
)
def test_only_what_the_last_evaluation_contradicts(cause: str, best_step: int, stays: bool) -> None:
    judged = state(cause, best_step=best_step)
    _withdraw_overfitting(judged)
    assert bool(judged.diagnoses) is stays
    assert judged.repairs[0].kept is stays
    assert judged.repairs[0].sentence.startswith("the best weights end it")
