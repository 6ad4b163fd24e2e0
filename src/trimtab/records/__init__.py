"""What stages hand to each other: plain, frozen, serialisable. No torch here."""

from trimtab.records.decision import Decision
from trimtab.records.device import Device
from trimtab.records.event import RunEvent
from trimtab.records.metrics import EvalRecord, StepRecord
from trimtab.records.plan import Plan
from trimtab.records.run_dir import RunDir
from trimtab.records.verdict import Comparison, Status, Verdict

__all__ = [
    "Comparison",
    "Decision",
    "Device",
    "EvalRecord",
    "Plan",
    "RunDir",
    "RunEvent",
    "Status",
    "StepRecord",
    "Verdict",
]
