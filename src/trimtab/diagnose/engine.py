"""From a case to a diagnosis: causes compete, experiments are asked for, the cheapest that the leading ones need first.

One cause is named once its confidence is at least 0.8 and every look-alike of it is refuted. Otherwise the three
likeliest are told, each with the experiment that would settle it: a wrong repair is worse than none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import CERTAIN, EXACT, WARNED, Cause, Weight
from trimtab.diagnose.causes import BY_NAME, CAUSES
from trimtab.diagnose.experiments import BY_COST, would_settle
from trimtab.diagnose.trace import Trace
from trimtab.records import Finding, Severity
from trimtab.records.diagnosis import CauseFound, Diagnosis, ProbeResult, RuledOut

Ask = Callable[[str], ProbeResult | None]
"""Makes an experiment; None where it cannot be made here, or failed."""

UNSETTLED = 0.75
"""What a proof is worth while a look-alike is not refuted."""
TOLD = 3
"""Causes that are told where none is certain."""
LEADING = 8
"""Candidates whose experiments are asked for: about as many look-alikes as a symptom has."""
PLAUSIBLE = 0.15
"""Below it a cause's experiments come after all others': a guess."""
CLEARER = 0.05
"""By how much the confidence of one of two causes that exclude each other must be higher to win: what an exact fact has
over an experiment."""


@dataclass(frozen=True)
class Candidate:
    """A cause that something speaks for."""

    cause: Cause
    weight: Weight
    confidence: float
    """The weight's; held down while a look-alike is not refuted."""
    ruled_out: dict[str, str]
    """Look-alike → why it is out."""
    open: tuple[str, ...]
    """Look-alikes that nothing refutes yet."""

    @property
    def is_certain(self) -> bool:
        return self.confidence >= CERTAIN


def diagnose(case: Case, *, probe: Ask | None = None, budget_steps: float = math.inf) -> Diagnosis:
    """Why the run of `case` goes wrong, as far as can be told.

    Args:
        probe: Makes experiments on a copy of the run's state; None for records alone.
        budget_steps: No further experiment is asked for once those made cost this many training steps.
    """
    tried = set(case.probes)
    spent = 0.0
    ranked = rank(case)
    while probe is not None and spent < budget_steps and not _is_settled(ranked):
        name = next_probe(ranked, tried)
        if name is None:
            break
        tried.add(name)
        result = probe(name)
        if result is None:
            continue
        spent += max(0.0, result.cost_steps)
        case = replace(case, probes={**case.probes, name: result})
        ranked = rank(case)
    return _told(case, ranked)


def rank(case: Case) -> list[Candidate]:
    """Every cause that something speaks for, the likeliest first; of equals the earliest in the data's way."""
    weights = {cause.name: weight for cause in CAUSES if (weight := cause.weigh(case)) is not None}
    candidates = [_candidate(case, BY_NAME[name], weights) for name in weights]
    return sorted(candidates, key=lambda candidate: -candidate.confidence)


def next_probe(ranked: Sequence[Candidate], tried: set[str]) -> str | None:
    """What decides about a cause that the checks warned of; then the cheapest experiment that a leading candidate
    needs, the hardly plausible ones last; None where all of them were made."""
    leading = ranked[:LEADING]
    for candidate in leading:
        decisive = candidate.cause.decisive
        if candidate.weight.is_warned and decisive in candidate.weight.needs and decisive not in tried:
            return decisive
    for candidates in ([one for one in leading if one.confidence >= PLAUSIBLE], leading):
        wanted = {name for candidate in candidates for name in _wanted(candidate)}
        for name in BY_COST:
            if name in wanted and name not in tried:
                return name
    return None


def causes_of(findings: Iterable[Finding]) -> tuple[CauseFound, ...]:
    """The causes that the checks' findings speak for, those that block first, then the earliest in the data's way (rows
    that were dropped for want of targets leave too few): what a refused run says of itself. Mere notes are left out."""
    told = [finding for finding in findings if finding.cause and finding.severity is not Severity.NOTES]
    case = Case(step=0, trace=Trace(source="checks"), findings=tuple(told))
    found = []
    for name in dict.fromkeys(finding.cause for finding in told):
        of_it = [finding for finding in told if finding.cause == name]
        blocks = any(finding.blocks for finding in of_it)
        cause = BY_NAME[name]
        found.append(
            CauseFound(
                rule=name,
                confidence=EXACT if blocks else WARNED,
                step=0,
                evidence=tuple(f"{finding.rule}: {finding.value}. {finding.evidence}" for finding in of_it),
                ruled_out=tuple(RuledOut(cause=alike, why=why) for alike, why in cause.told_apart.items() if blocks),
                remedies=tuple(remedy.note(case) for remedy in cause.remedies),
            )
        )
    flow = list(BY_NAME)
    return tuple(sorted(found, key=lambda cause: (-cause.confidence, flow.index(cause.rule))))


def _wanted(candidate: Candidate) -> set[str]:
    """What would prove it; once it is proven, what would refute its look-alikes."""
    if candidate.weight.confidence < CERTAIN:
        return set(candidate.weight.needs)
    return {name for alike in candidate.open for name in BY_NAME[alike].probes}


def _candidate(case: Case, cause: Cause, weights: dict[str, Weight]) -> Candidate:
    weight = weights[cause.name]
    ruled_out, still_open = {}, []
    for alike in cause.look_alikes:
        why = BY_NAME[alike].refuted(case) or weight.refutes.get(alike)
        if why is None or _contradicts(cause, weight, alike, weights.get(alike)):
            still_open.append(alike)
        else:
            ruled_out[alike] = why
    held_down = weight.confidence >= CERTAIN and still_open
    confidence = UNSETTLED if held_down else weight.confidence
    return Candidate(cause, weight, confidence, ruled_out, tuple(still_open))


def _contradicts(cause: Cause, weight: Weight, alike: str, other: Weight | None) -> bool:
    """Both are proven, each says that the other is out, and neither proof is the clearer one."""
    if other is None or other.confidence < CERTAIN or weight.confidence < CERTAIN:
        return False
    return weight.confidence < other.confidence + CLEARER and cause.name in BY_NAME[alike].told_apart


def _is_settled(ranked: Sequence[Candidate]) -> bool:
    return not ranked or ranked[0].is_certain


def _told(case: Case, ranked: Sequence[Candidate]) -> Diagnosis:
    is_settled = bool(ranked) and ranked[0].is_certain
    found = tuple(_found(case, candidate) for candidate in ranked[:TOLD])
    looks_ill = bool(case.sightings or case.violations)
    return Diagnosis(
        step=case.step,
        symptoms=case.sightings,
        violations=case.violations,
        causes=found,
        probes=tuple(case.probes.values()),
        abstains=not is_settled and bool(looks_ill or found),
        sentence=_sentence(case, found, is_settled=is_settled),
    )


def _found(case: Case, candidate: Candidate) -> CauseFound:
    cause, weight = candidate.cause, candidate.weight
    return CauseFound(
        rule=cause.name,
        confidence=round(candidate.confidence, 3),
        step=_step(case, candidate),
        evidence=weight.evidence,
        ruled_out=tuple(RuledOut(cause=alike, why=why) for alike, why in candidate.ruled_out.items()),
        remedies=tuple(remedy.note(case) for remedy in cause.remedies),
        settled_by="" if candidate.is_certain else _settled_by(case, candidate),
    )


def _step(case: Case, candidate: Candidate) -> int:
    if candidate.weight.step is not None:
        return candidate.weight.step
    if candidate.cause.layer == "check":
        return 0
    steps = [broken.step for broken in case.violations] + [seen.step for seen in case.sightings]
    return min(steps, default=case.step)


def _settled_by(case: Case, candidate: Candidate) -> str:
    """The experiment that would tell this cause from the others, of those that were not made."""
    asked = [candidate.cause]
    if candidate.weight.confidence >= CERTAIN:
        asked = [BY_NAME[alike] for alike in candidate.open]
    names = [name for cause in asked for name in (cause.decisive, *cause.probes) if name and name not in case.probes]
    return would_settle(names, asked[0].layer)


def _sentence(case: Case, found: Sequence[CauseFound], *, is_settled: bool) -> str:
    if is_settled:
        return f"{found[0].rule}: {found[0].evidence[0]}"
    if found:
        names = ", ".join(f"{cause.rule} ({cause.confidence:.0%})" for cause in found)
        best = next((cause.settled_by for cause in found if cause.settled_by), "")
        return f"not certain: {names}" + (f". To settle it: {best}" if best else "")
    if case.violations or case.sightings:
        seen = [*(violation.invariant for violation in case.violations), *(s.symptom for s in case.sightings)]
        tried = " and ".join(case.probes) or "no experiment"
        return f"{', '.join(dict.fromkeys(seen))} was seen, and no cause of it was found ({tried})"
    return "no fault was found"
