"""The last lines of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trimtab.records import CauseFound, Comparison, RemedyKind, RemedyNote, Repair, RuledOut, RunDir, Status, Verdict
from trimtab.records.verdict import FirstSteps, Movement
from trimtab.report.ending import ending_lines

STEPS = Comparison(predicted=100, measured=100, unit="steps")
MEMORY = Comparison(predicted=3.1 * 2**30, measured=3.0 * 2**30, unit="bytes of tensors")
TIME = Comparison(predicted=125.0, measured=118.0, unit="s")

CAUSE = CauseFound(
    rule="lr-too-high",
    confidence=0.9,
    step=50,
    evidence=("held-out loss is 3.520, the base's 2.810",),
    ruled_out=(RuledOut(cause="bad-example", why="the peers are damaged too"),),
    remedies=(
        RemedyNote(
            remedy="lower-learning-rate",
            kind=RemedyKind.SAFE,
            text="Learn more slowly.",
            setting="training.learning_rate=3e-05",
        ),
        RemedyNote(remedy="lengthen-warmup", kind=RemedyKind.OPT_IN, text="Warm up."),
    ),
)


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


def test_a_confirmed_cause_is_told_with_what_it_is_not_and_what_to_do() -> None:
    said = lines(
        status=Status.FAILED, reason="stopped by the guard", causes=(CAUSE,), reproduce="trimtab train again.yaml"
    )
    order = ["why: lr-too-high (90%, since step 50)", "seen: held-out loss is 3.520", "not bad-example: the peers",
             "1. Learn more slowly. [training.learning_rate=3e-05] (the guard may do it)", "2. Warm up.",
             "more: trimtab explain lr-too-high", "to see it again: trimtab train again.yaml"]  # fmt: skip
    places = [said.index(part) for part in order]
    assert places == sorted(places)


def test_where_nothing_is_certain_the_likeliest_are_told_and_what_would_settle_them() -> None:
    unsure = CAUSE.model_copy(update={"confidence": 0.35, "settled_by": "try other rates", "ruled_out": ()})
    said = lines(status=Status.FAILED, reason="it failed", causes=(unsure,))
    assert "not certain" in said
    assert "lr-too-high (35%): held-out loss is 3.520" in said
    assert "to settle it: try other rates" in said
    assert "lr-too-high" not in lines(causes=(unsure,)), "a healthy run is not bothered with suspicions"


def test_each_repair_is_told_in_two_lines() -> None:
    repair = Repair(
        number=1,
        step=60,
        back_to_step=40,
        cause="lr-too-high",
        remedy="lower-learning-rate",
        changed={"training.learning_rate": [1e-1, 3e-3]},
        before=3.52,
        after=2.35,
        unrepaired=3.5,
        kept=True,
        sentence="-",
    )
    said = lines(status=Status.REPAIRED, repairs=(repair, repair.model_copy(update={"number": 2, "kept": False})))
    assert (
        "repair 1 at step 60: back to step 40, training.learning_rate 0.1 → 0.003 "
        "(lower-learning-rate for lr-too-high)\n"
        "  held-out loss 3.520 before, 2.350 after, 3.500 without it: kept\n"
    ) in said
    assert "3.500 without it: undone" in said
    assert "try it: " in said


def test_a_refused_run_has_no_steps_to_tell_of() -> None:
    said = lines(status=Status.FAILED, reason="refused", predicted_vs_measured={}, causes=(CAUSE,))
    assert "steps in" not in said
    assert "weights:" not in said


def test_control_characters_of_a_row_are_written_out() -> None:
    told = CAUSE.model_copy(update={"evidence": ("it reads: \x1b[31mred",)})
    assert "\x1b" not in lines(status=Status.FAILED, reason="it failed", causes=(told,))


@pytest.mark.parametrize(
    ("changes", "exit_status"),
    [
        ({"status": Status.HEALTHY}, 0),
        ({"status": Status.REPAIRED}, 0),
        ({"status": Status.FAILED}, 1),
        ({"status": Status.FAILED, "stopped_by_guard": True}, 3),
        ({"status": Status.STOPPED}, 130),
    ],
)
def test_the_exit_status_says_who_stopped_it(changes: dict[str, Any], exit_status: int) -> None:
    assert Verdict.model_validate({"reason": "-"} | changes).exit_status == exit_status


def test_a_verdict_of_before_the_guard_is_still_read() -> None:
    old = '{"format": 1, "status": "failed", "reason": "-", "causes": [], "repairs": [], "base_eval_loss": "nan"}'
    verdict = Verdict.model_validate_json(old)
    assert (verdict.causes, verdict.repairs, verdict.diagnosis, verdict.exit_status) == ((), (), None, 1)
