"""What stages hand to each other: plain, frozen, serialisable. No torch here."""

from trimtab.records.decision import Decision
from trimtab.records.device import Device
from trimtab.records.diagnosis import (
    CauseFound,
    Diagnosis,
    Judgement,
    ProbeResult,
    RemedyKind,
    RemedyNote,
    Repair,
    RuledOut,
    Sighting,
    Violation,
)
from trimtab.records.estimate import Alternative, CostEstimate, MemoryEstimate
from trimtab.records.event import RunEvent
from trimtab.records.finding import CheckReport, Finding, NotLooked, Passed, Severity
from trimtab.records.metrics import EvalRecord, StepRecord
from trimtab.records.plan import Plan
from trimtab.records.run_dir import RunDir
from trimtab.records.samples import Memorisation, RecitedRow, Sample, Samples
from trimtab.records.shown_row import ShownRow, ShownRows, ShownToken, TokenKind
from trimtab.records.verdict import Comparison, Status, Verdict

__all__ = [
    "Alternative",
    "CauseFound",
    "CheckReport",
    "Comparison",
    "CostEstimate",
    "Decision",
    "Device",
    "Diagnosis",
    "EvalRecord",
    "Finding",
    "Judgement",
    "Memorisation",
    "MemoryEstimate",
    "NotLooked",
    "Passed",
    "Plan",
    "ProbeResult",
    "RecitedRow",
    "RemedyKind",
    "RemedyNote",
    "Repair",
    "RuledOut",
    "RunDir",
    "RunEvent",
    "Sample",
    "Samples",
    "Severity",
    "ShownRow",
    "ShownRows",
    "ShownToken",
    "Sighting",
    "Status",
    "StepRecord",
    "TokenKind",
    "Verdict",
    "Violation",
]
