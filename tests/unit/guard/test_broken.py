"""Each fault is asked about once, and once more after the run went back."""

from __future__ import annotations

from typing import Any

from trimtab.guard.broken import Broken
from trimtab.records.diagnosis import Violation


def broke(invariant: str, step: int = 1, **detail: Any) -> Violation:
    return Violation(invariant=invariant, step=step, sentence=f"{invariant} in step {step}", detail=detail)


def test_a_fault_that_lasts_waits_once_and_is_asked_about_once() -> None:
    broken = Broken()
    for step in range(1, 50):
        broken.add([broke("rows", step, what="rows")])
    assert [violation.step for violation in broken.waiting] == [1]
    broken.looked_into(broken.waiting[:], goes_on=True)
    broken.add([broke("rows", 50, what="rows")])
    assert not broken.waiting
    assert broken.knows("rows")
    assert not broken.knows("targets")


def test_one_way_to_break_does_not_hide_another() -> None:
    broken = Broken()
    broken.add([broke("loss-is-the-targets", what="trained")])
    broken.looked_into(broken.waiting[:], goes_on=True)
    broken.add([broke("loss-is-the-targets", what="evaluated"), broke("rows", what="rows", repeats=True)])
    assert len(broken.waiting) == 2


def test_what_a_run_lives_with_is_no_news_after_it_went_back_and_all_else_is() -> None:
    broken = Broken()
    broken.add([broke("evaluation-repeats")])
    broken.looked_into(broken.waiting[:], goes_on=True)
    broken.add([broke("finite-loss")])
    broken.looked_into(broken.waiting[:], goes_on=False)
    broken.went_back()
    broken.add([broke("evaluation-repeats"), broke("finite-loss")])
    assert [violation.invariant for violation in broken.waiting] == ["finite-loss"]
