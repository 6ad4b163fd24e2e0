"""The verdict in one sentence, and what to do next."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from enum import StrEnum

from trimtab.diagnose.cause import CERTAIN
from trimtab.records import CauseFound, Judgement, RemedyNote, Status
from trimtab.report.views.material import Material
from trimtab.report.views.view import View

MOST_STEPS = 4


class Tone(StrEnum):
    """How a headline is meant."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    NEUTRAL = "neutral"


class Headline(View):
    """What a tired person reads first, and often alone."""

    word: str
    """"healthy", "repaired", "failed", "running", …"""
    tone: Tone
    sentence: str
    next: tuple[str, ...]
    """What to do, the likeliest first."""


def headline(material: Material) -> Headline:
    verdict = material.verdict
    if material.is_live:
        return Headline(word="running", tone=_live_tone(material), sentence=_so_far(material), next=())
    if not material.has_verdict:
        return _of_records(material)
    if is_refused(material):
        return _refusal(material)
    word = verdict.status.value
    tone = {
        Status.HEALTHY: Tone.GOOD,
        Status.REPAIRED: Tone.GOOD,
        Status.FAILED: Tone.BAD,
        Status.STOPPED: Tone.NEUTRAL,
    }
    sentence = verdict.reason[:1].upper() + verdict.reason[1:]
    certain = _certain(verdict.causes)
    if verdict.status is Status.FAILED and certain is not None and certain.rule not in sentence:
        sentence = f"{sentence}. Why: {certain.rule} ({certain.confidence:.0%})"
    if verdict.status is Status.HEALTHY and verdict.judgement is Judgement.OVERFITTING:
        sentence = f"{sentence}; after that it overfitted, and the best weights were kept"
    if verdict.repairs and (kept := [repair for repair in verdict.repairs if repair.kept]):
        sentence = f"{sentence}. Put right {_times(len(kept))}: {kept[0].sentence}"
    return Headline(word=word, tone=tone[verdict.status], sentence=_ended(sentence), next=tuple(_next(material)))


def _of_records(material: Material) -> Headline:
    """Of another tool's log, or of a run of ours that has no verdict: what the curve says."""
    judgement = material.verdict.judgement or Judgement.OTHER
    tones = {Judgement.HEALTHY: Tone.GOOD, Judgement.SPIKE: Tone.WARNING, Judgement.OTHER: Tone.NEUTRAL}
    sentence = material.why[:1].upper() + material.why[1:]
    steps = list(_remedies(material))
    word, tone = judgement.value, tones.get(judgement, Tone.BAD)
    if material.source == "run folder":
        last = int(material.trace.step[-1]) if len(material.trace.step) else 0
        planned = f" of {material.trace.planned_steps:,}" if material.trace.planned_steps else ""
        word, tone = "unfinished", Tone.BAD if tone is Tone.BAD else Tone.WARNING
        why = "its verdict cannot be read" if material.has_damaged_verdict else "killed, or the machine went away"
        sentence = f"It ended without a verdict after step {last:,}{planned} ({why}). {sentence}"
        if material.config and not material.has_damaged_verdict:
            config = shlex.quote(f"{material.path}/config.yaml")
            steps.insert(0, f"Go on where it stopped: trimtab train {config} --resume")
    return Headline(word=word, tone=tone, sentence=_ended(sentence), next=tuple(steps[:MOST_STEPS]))


def _refusal(material: Material) -> Headline:
    assert material.check is not None
    blocking = [finding for finding in material.check.findings if finding.blocks]
    seen = "; ".join(f"{finding.rule}: {finding.value} (limit: {finding.limit})" for finding in blocking)
    return Headline(
        word="refused",
        tone=Tone.BAD,
        sentence=_ended(f"Refused before the first step: {seen}"),
        next=tuple(f"{finding.fix[:1].upper()}{finding.fix[1:]}" for finding in blocking[:MOST_STEPS]),
    )


def _so_far(material: Material) -> str:
    trace = material.trace
    planned = f" of {trace.planned_steps:,}" if trace.planned_steps else ""
    step = int(trace.step[-1]) if len(trace.step) else 0
    said = f"Step {step:,}{planned}. {material.why[:1].upper() + material.why[1:]}" if step else "It has begun"
    return _ended(said)


def _live_tone(material: Material) -> Tone:
    judgement = material.verdict.judgement
    if judgement in (Judgement.EXPLODING_OR_NAN, Judgement.OVERFITTING):
        return Tone.WARNING
    return Tone.NEUTRAL


def _next(material: Material) -> Iterator[str]:
    verdict, path = material.verdict, shlex.quote(material.path)
    if verdict.status is Status.STOPPED:
        yield f"Go on: trimtab train {shlex.quote(f'{material.path}/config.yaml')} --resume"
        return
    if verdict.status is Status.FAILED:
        yield from list(_remedies(material))[:MOST_STEPS] or [f"Look closer: trimtab diagnose {path}"]
        return
    yield f"Try it: trimtab generate {path} --prompt '…'"
    if verdict.judgement is Judgement.OVERFITTING:
        yield "Train for fewer epochs, or on more rows: what came after the best evaluation was memory"
    yield f"Merge it into its base: trimtab export {path}"


def _remedies(material: Material) -> Iterator[str]:
    """Of a cause that is certain, all; where none is, the first of each, with its if. Nothing is advised where the loss
    itself means something else."""
    causes = material.verdict.causes
    if material.verdict.judgement is Judgement.OTHER and not material.has_verdict:
        return
    certain = _certain(causes)
    if certain is not None:
        yield from (_advice(note) for note in certain.remedies)
        return
    for cause in causes:
        yield from (f"If it is {cause.rule} ({cause.confidence:.0%}): {_advice(note)}" for note in cause.remedies[:1])


def _advice(note: RemedyNote) -> str:
    return f"{note.text}{f' ({note.setting})' if note.setting else ''}"


def _certain(causes: tuple[CauseFound, ...]) -> CauseFound | None:
    return next((cause for cause in causes if cause.confidence >= CERTAIN), None)


def is_refused(material: Material) -> bool:
    """The checks did not let it begin."""
    return material.check is not None and material.check.verdict == "blocked" and not len(material.trace.step)


def _times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count} times"


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith((".", "!", "?", "…")) else f"{sentence}."
