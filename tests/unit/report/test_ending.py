"""The last lines of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trimtab.records import Comparison, RunDir, Status, Verdict
from trimtab.records.verdict import FirstSteps, Movement
from trimtab.report.ending import ending_lines

STEPS = Comparison(predicted=100, measured=100, unit="steps")
MEMORY = Comparison(predicted=3.1 * 2**30, measured=3.0 * 2**30, unit="bytes of tensors")
TIME = Comparison(predicted=125.0, measured=118.0, unit="s")


def lines(**changes: Any) -> str:
    given = {"status": Status.HEALTHY, "reason": "it learnt", "predicted_vs_measured": {"steps": STEPS}}
    verdict = Verdict.model_validate(given | changes)
    return "\n".join(ending_lines(verdict, RunDir(Path("runs/one")), resume_command="trimtab train one.yaml --resume"))


def test_what_was_predicted_stands_beside_what_was_measured() -> None:
    said = lines(predicted_vs_measured={"steps": STEPS, "peak_memory": MEMORY, "train_seconds": TIME})
    assert "100 of 100 planned steps" in said
    assert "predicted 3.10 GiB, measured 3.00 GiB (bytes of tensors)" in said
    assert "predicted 2:05, measured 1:58" in said


@pytest.mark.parametrize("name", ["peak_memory", "train_seconds"])
def test_what_was_not_predicted_is_not_made_up(name: str) -> None:
    assert "predicted" not in lines()
    unknown = Comparison(predicted=None, measured=1.0, unit="s")
    assert "predicted" not in lines(predicted_vs_measured={"steps": STEPS, name: unknown})


def test_the_first_steps_and_what_was_let_pass_are_told() -> None:
    judged = FirstSteps(
        movement=Movement.RISING,
        step=10,
        examples=32,
        loss_before=2.0,
        loss_after=3.0,
        standard_error=0.1,
        p_falling=1.0,
        p_rising=0.0,
        sentence="the loss is rising: 2.000 → 3.000",
    )
    said = lines(first_steps=judged, accepted=("too-few-examples",))
    assert "after step 10: the loss is rising: 2.000 → 3.000" in said
    assert "let pass by name: too-few-examples" in said


def test_a_run_that_was_stopped_says_how_to_go_on() -> None:
    said = lines(status=Status.STOPPED, reason="stopped by SIGTERM")
    assert "trimtab train one.yaml --resume" in said
