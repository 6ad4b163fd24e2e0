"""Overfitting that the last evaluation contradicts is taken back; what it does not, ends with the best weights."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from trimtab.records.diagnosis import CauseFound, Diagnosis, Sighting
from trimtab.train.run import _restore_best, _withdraw_overfitting
from trimtab.train.state import RunState


def state(*causes: str, best_step: int, symptom: str = "eval-rising") -> RunState:
    found = tuple(CauseFound(rule=cause, confidence=0.85, step=80, evidence=("it rose",)) for cause in causes)
    seen = Sighting(symptom=symptom, step=80, value="0.4", limit="0.3", sentence="it rose")
    made = RunState()
    made.global_step, made.best_step = 100, best_step
    made.diagnoses = [Diagnosis(step=80, causes=found, symptoms=(seen,), sentence="it overfits")]
    made.changes = made.changes.model_copy(update={"ends_with_best": causes[0]})
    return made


@pytest.mark.parametrize(
    ("causes", "symptom", "best_step", "stays"),
    [
        (("overfit",), "eval-rising", 100, False),
        (("bad-example", "overfit"), "eval-rising", 100, False),
        (("overfit",), "eval-rising", 60, True),
        (("overfit",), "divergence", 100, True),
        (("lr-too-high",), "eval-rising", 100, True),
    ],
)
def test_only_what_the_last_evaluation_contradicts(
    causes: tuple[str, ...], symptom: str, best_step: int, stays: bool
) -> None:
    judged = state(*causes, best_step=best_step, symptom=symptom)
    _withdraw_overfitting(judged)
    assert bool(judged.diagnoses) is stays


@pytest.mark.parametrize(("best_step", "repaired"), [(100, False), (60, True)])
def test_the_best_weights_end_a_run_only_where_the_last_are_worse(best_step: int, repaired: bool) -> None:
    judged = state("overfit", best_step=best_step)
    told: list[str] = []
    loop: Any = SimpleNamespace(state=judged, amend=lambda sentence, detail: told.append(sentence))
    _withdraw_overfitting(judged)
    _restore_best(loop)
    assert bool(judged.repairs) is repaired
    assert bool(told) is repaired
