"""A verdict from records alone: the curve in a word, what is seen in it, and what it may come from."""

from __future__ import annotations

import shlex

import numpy as np

from trimtab.diagnose.case import Case
from trimtab.diagnose.engine import diagnose
from trimtab.diagnose.judgement import is_broken, judge
from trimtab.diagnose.readers import Reading
from trimtab.diagnose.symptoms import sight
from trimtab.diagnose.trace import Trace
from trimtab.diagnose.wording import counted
from trimtab.records import Finding, Verdict
from trimtab.records.diagnosis import CauseFound, Diagnosis, Judgement, Sighting
from trimtab.records.verdict import Status


def verdict_of(reading: Reading) -> tuple[Verdict, tuple[Sighting, ...], str]:
    """What the records say, what is seen in the curve, and why it is judged so. Where our own run has a verdict, what
    its guard found by experiment stands: that is more than a curve can tell; the curve's judgement is added."""
    trace = reading.trace
    sightings = sight(trace)
    judgement, why = judge(trace, sightings)
    recorded = reading.records.verdict if reading.records is not None else None
    findings = reading.records.findings if reading.records is not None else ()
    diagnosis = recorded.diagnosis if recorded is not None else None
    if diagnosis is None and (judgement is not Judgement.HEALTHY or _has_failed(recorded)):
        diagnosis = _diagnosis(reading, sightings, findings)
    command = f"trimtab diagnose {shlex.quote(reading.path)}"
    if recorded is not None:
        added = {
            "judgement": judgement,
            "diagnosis": diagnosis,
            "causes": recorded.causes or _causes(diagnosis),
            "reproduce": recorded.reproduce or command,
        }
        return recorded.model_copy(update=added), sightings, why
    best, best_step = _best(trace)
    seconds = trace.seconds[np.isfinite(trace.seconds)]
    memory = trace.memory_bytes[np.isfinite(trace.memory_bytes)]
    verdict = Verdict(
        status=Status.FAILED if is_broken(judgement, sightings) or trace.ended_by else Status.HEALTHY,
        reason=why,
        causes=_causes(diagnosis),
        diagnosis=diagnosis,
        judgement=judgement,
        reproduce=command,
        base_eval_loss=trace.base_eval_loss,
        best_eval_loss=best,
        best_step=best_step,
        train_seconds=float(seconds.sum()),
        peak_memory_bytes=int(memory.max()) if len(memory) else 0,
        findings=findings,
    )
    return verdict, sightings, why


def exit_status(verdict: Verdict, sightings: tuple[Sighting, ...]) -> int:
    """0 for a healthy curve, for one that is too short to judge, and for a spike: it has recovered, its weights are of
    use, and who needs more reads the judgement. 1 for what is broken. A run of ours that its guard put right is
    healthy; one that failed is not, whatever its curve looks like."""
    assert verdict.judgement is not None
    if verdict.status is Status.REPAIRED:
        return 0
    return int(verdict.status is Status.FAILED or is_broken(verdict.judgement, sightings))


def curve_in_a_line(reading: Reading) -> str:
    """What was read: "20 training points, steps 500 to 10,000, and 10 evaluations"."""
    trace = reading.trace
    parts = []
    if len(trace.step):
        parts.append(f"{counted(len(trace.step), 'training point')}, steps {trace.step[0]:,} to {trace.step[-1]:,}")
    if len(trace.eval_step):
        parts.append(counted(len(trace.eval_step), "evaluation"))
    return " and ".join(parts)


def _has_failed(recorded: Verdict | None) -> bool:
    return recorded is not None and recorded.status is Status.FAILED


def _diagnosis(reading: Reading, sightings: tuple[Sighting, ...], findings: tuple[Finding, ...]) -> Diagnosis:
    trace = reading.trace
    step = int(max([*trace.step[-1:], *trace.eval_step[-1:]], default=0))
    return diagnose(Case(step=step, trace=trace, setup=reading.setup, sightings=sightings, findings=findings))


def _causes(diagnosis: Diagnosis | None) -> tuple[CauseFound, ...]:
    return () if diagnosis is None else diagnosis.causes


def _best(trace: Trace) -> tuple[float | None, int | None]:
    finite = np.flatnonzero(np.isfinite(trace.eval_loss))
    if not len(finite):
        return None, None
    at = finite[int(np.argmin(trace.eval_loss[finite]))]
    return float(trace.eval_loss[at]), int(trace.eval_step[at])
