"""A diagnosis on the terminal: the word, what was seen, why it may be so and what to do, what could not be known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from trimtab.records import CauseFound, Diagnosis, Verdict
from trimtab.records.diagnosis import Repair, Sighting
from trimtab.report.visible import visible

SHOWN_REMEDIES = 4
"""On a terminal; --json has all of them."""


def diagnosed_lines(
    verdict: Verdict,
    *,
    reason: str,
    read: str,
    sightings: Sequence[Sighting],
    remarks: Iterable[str],
    missing: Iterable[str],
) -> list[str]:
    """The first line is the curve in a word, and why.

    Args:
        read: What was read, as what, and how much of it there was.
        missing: What the log does not tell and a judgement would have used.
    """
    assert verdict.judgement is not None
    lines = [f"{verdict.judgement.value}: {visible(reason)}", f"read {visible(read)}"]
    if verdict.final_weights:  # only a run of ours has any
        lines.append(f"the run's own verdict: {verdict.status.value}: {visible(verdict.reason)}")
    lines += [f"note: {visible(remark)}" for remark in remarks]
    if sightings:
        lines += ["", "seen:", *(f"  {line}" for line in _seen(sightings))]
    if verdict.repairs:
        lines += ["", "repaired during the run:", *(f"  {line}" for line in _repairs(verdict.repairs))]
    if verdict.causes:
        lines += ["", *_causes(verdict.causes, verdict.diagnosis)]
    elif verdict.diagnosis is not None:
        lines += ["", visible(verdict.diagnosis.sentence)]
    absent = ", ".join(missing)
    if absent:
        lines += ["", f"not in this log, and so not judged: {absent}"]
    return lines


def _seen(sightings: Iterable[Sighting]) -> Iterator[str]:
    for seen in sightings:
        yield f"{seen.symptom} from step {seen.step:,}: {visible(seen.value)} (limit: {visible(seen.limit)})"


def _causes(causes: tuple[CauseFound, ...], diagnosis: Diagnosis | None) -> Iterator[str]:
    is_certain = diagnosis is not None and not diagnosis.abstains
    tried = "" if diagnosis is None or not diagnosis.probes else f", after {len(diagnosis.probes)} experiments"
    yield f"why{tried}:" if is_certain else f"why, the likeliest first (the records alone cannot settle it{tried}):"
    for number, cause in enumerate(causes, 1):
        yield f"  {number}. {cause.rule} ({cause.confidence:.0%})"
        yield from (f"     {visible(line)}" for line in cause.evidence)
        yield from (f"     not {out.cause}: {visible(out.why)}" for out in cause.ruled_out)
        for remedy in cause.remedies[:SHOWN_REMEDIES]:
            setting = f" ({remedy.setting})" if remedy.setting else ""
            yield f"     try: {visible(remedy.text)}{visible(setting)}"
        if cause.settled_by:
            yield f"     to settle it: {visible(cause.settled_by)}"


def _repairs(repairs: tuple[Repair, ...]) -> Iterator[str]:
    for repair in repairs:
        yield f"{repair.number}. at step {repair.step}: {visible(repair.sentence)}" + (
            " (undone)" if repair.kept is False else ""
        )
