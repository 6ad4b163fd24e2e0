from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, Cause, Layer, Weight
from trimtab.diagnose.remedies import RESTORE_PLANNED_ROWS, RESUME_WHOLE
from trimtab.diagnose.remedy import Remedy
from trimtab.records.diagnosis import Violation

RESUMED = 0.35
"""What a jump in a resumed run is worth, where nobody says at which step it was resumed (guess)."""


class ResumeStateLost(Cause):
    """
    What it is:
        A resumed run does not go on where it was: weights, optimizer, schedule or the place in the data are not what
        was saved.

    How it shows:
        A jump, or a drop that is too good, where the run was resumed; later it stands still when new rows come.

    What proves it:
        After a resume, steps are made of other rows than the plan's, or the learning rate is not the plan's; or tensors
        of the adapter are zero again, as at the start, after steps that moved them.

    Source:
        huggingface/accelerate#4071, #2823; paiml/entrenar#294 (40 % of the run wasted); tloen/alpaca-lora#72 (0.82 to
        8.7); huggingface/transformers#23099, #27749, #33336.
    """

    name: ClassVar[str] = "resume-state-lost"
    layer: ClassVar[Layer] = "invariant"
    invariants: ClassVar[tuple[str, ...]] = ("rows", "gradient-everywhere")
    shows_as: ClassVar[Mapping[str, float]] = {
        "spike": 0.05,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "data-order": "the rows are those of another step of the plan, or were the plan's before the resume",
        "schedule-wrong": "what differs is where the run went on, not the plan's curve",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        RESTORE_PLANNED_ROWS,
        RESUME_WHOLE,
    )

    def prove(self, case: Case) -> Weight | None:
        if lost := _lost_adapter(case):
            said = f"{lost.detail['zero']} tensors of the adapter are zero again, as at the start"
            return self.proven(EXACT, said, step=lost.step)
        if back := _lost_place(case):
            said = f"step {back.step} was made of the rows of step {back.detail['of_step']}"
            return self.proven(EXACT, said, step=back.step)
        if not case.trace.restarts:
            return None
        for broken in case.violations:
            if broken.invariant == "rows" and broken.detail.get("what", "rows") == "rows":
                return self.proven(EXACT, f"after a resume {broken.sentence}", step=broken.step)
        if case.saw("spike", "divergence"):
            return Weight(RESUMED, ("the loss jumps in a run that was resumed",))
        return None

    def refuted(self, case: Case) -> str | None:
        if case.trace.restarts or _lost_adapter(case) or _lost_place(case):
            return None
        return "the run was not resumed"


def _lost_place(case: Case) -> Violation | None:
    """The rows of another of the plan's steps: the order is right, and its place in it is not."""
    broken = case.broke("rows")
    return broken if broken is not None and broken.detail.get("of_step") is not None else None


def _lost_adapter(case: Case) -> Violation | None:
    broken = case.broke("gradient-everywhere")
    return broken if broken is not None and broken.detail.get("zero") else None
