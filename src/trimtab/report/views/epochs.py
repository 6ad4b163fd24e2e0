"""How to read the curve, epoch by epoch, in words; a run of one epoch by its quarters."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from trimtab.diagnose.trace import Floats, Trace
from trimtab.report.views.curve import HEALTHY_GAP
from trimtab.report.views.view import Drawn, View

EDGE_SHARE = 0.1
"""Of an epoch's steps: the first and last loss are medians over so many, at least 3 and at most 50 (guess)."""
SHARP = 0.5
"""Of the whole fall within one epoch: "sharp" (guess)."""
LITTLE = 0.1
"""Of the whole fall within one epoch: "diminishing returns" (guess)."""
STILL = 0.01
"""Of the loss: less is no change (guess); nor is what is within `ERRORS` standard errors."""
MEDIAN_ERROR = 1.25
"""Of a median, in standard errors of a mean (normal noise). The median step between neighbours is 0.95 standard
deviations, so that it stands for the noise whatever the trend."""
ERRORS = 3
GROWN = 0.05
"""Nats by which a gap has grown (guess)."""
PARTS = 4
"""Of a run of a single epoch."""
MOST_EPOCHS = 12
"""More are told together, some epochs a line."""


class EpochView(View):
    """One epoch, or another stretch of a run."""

    label: str
    """"epoch 2", "epochs 5-8", "steps 1-40"."""
    first_step: int
    last_step: int
    first_loss: Drawn
    last_loss: Drawn
    fall: Drawn
    """Of the training loss, in nats; negative where it rose."""
    eval_loss: Drawn
    """The last evaluation within it."""
    gap: Drawn
    """Validation above training at its end."""
    words: str


class CurveReading(View):
    """The curve in words."""

    epochs: tuple[EpochView, ...]
    sentences: tuple[str, ...]
    """The whole: how far it fell, what the gap did."""
    overfits_from: str
    """The first epoch that overfits; empty where none does."""


def read_curve(trace: Trace) -> CurveReading:
    stretches = [part for part in _stretches(trace) if len(part[1])]
    if not stretches:
        return CurveReading(epochs=(), sentences=(), overfits_from="")
    starts, lasts, errors = zip(*(_edges(trace.loss[part], _noise(trace.loss)) for _, part in stretches), strict=True)
    firsts = [
        starts[0],
        *(last if math.isfinite(last) else start for last, start in zip(lasts, starts[1:], strict=False)),
    ]
    measured = [_evaluation(trace, stretches, number) for number in range(len(stretches))]
    gaps = [loss - last if loss is not None else None for loss, last in zip(measured, lasts, strict=True)]
    whole = firsts[0] - _lowest(lasts)
    falls = [first - last for first, last in zip(firsts, lasts, strict=True)]
    views: list[EpochView] = []
    overfits_from = ""
    best = trace.base_eval_loss if trace.base_eval_loss is not None else math.inf
    for number, (label, part) in enumerate(stretches):
        fall = falls[number]
        before = next((gap for gap in reversed(gaps[:number]) if gap is not None), None)
        noise = ERRORS * math.hypot(errors[number], errors[max(0, number - 1)])
        still = max(STILL * abs(lasts[number]), noise)
        words = [_pace(falls[: number + 1], whole, still=still)]
        loss, gap = measured[number], gaps[number]
        if loss is not None and gap is not None:
            said, is_over = _gap_words(gap, before, loss, best, has_fallen=fall > still, noise=noise)
            words += [said] if said else []
            if is_over and not overfits_from:
                overfits_from = label
                words.append(f"overfitting from {label}")
            best = min(best, loss)
        views.append(
            EpochView(
                label=label,
                first_step=int(trace.step[part[0]]),
                last_step=int(trace.step[part[-1]]),
                first_loss=_or_none(firsts[number]),
                last_loss=_or_none(lasts[number]),
                fall=_or_none(fall),
                eval_loss=loss,
                gap=gap,
                words="; ".join(word for word in words if word),
            )
        )
    return CurveReading(
        epochs=tuple(views), sentences=tuple(_sentences(views, overfits_from)), overfits_from=overfits_from
    )


def _stretches(trace: Trace) -> list[tuple[str, np.ndarray]]:
    """(label, indices of its points): epochs where there are two and more, else quarters."""
    count = len(trace.step)
    if not count:
        return []
    known = np.isfinite(trace.epoch)
    if known.all() and float(trace.epoch[-1]) > 1 + 1e-6:
        # a step that ends epoch 1 is told as epoch 1.0
        number = np.maximum(np.ceil(trace.epoch - 1e-6).astype(int), 1)
        last = int(number[-1])
        each = math.ceil(last / MOST_EPOCHS)
        found = []
        for first in range(1, last + 1, each):
            end = min(first + each - 1, last)
            label = f"epoch {first}" if first == end else f"epochs {first}–{end}"
            found.append((label, np.flatnonzero((number >= first) & (number <= end))))
        return found
    if count < 2 * PARTS:
        return [(f"steps {int(trace.step[0]):,}–{int(trace.step[-1]):,}", np.arange(count))]
    return [
        (f"steps {int(trace.step[part[0]]):,}–{int(trace.step[part[-1]]):,}", part)
        for part in np.array_split(np.arange(count), PARTS)
    ]


def _noise(losses: Floats) -> float:
    """Of a single loss, in nats."""
    finite = losses[np.isfinite(losses)]
    return float(np.median(np.abs(np.diff(finite)))) if len(finite) > 1 else 0.0


def _edges(losses: Floats, noise: float) -> tuple[float, float, float]:
    """First and last level, medians so that no single batch says it; and the standard error of the last one."""
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return math.nan, math.nan, math.nan
    few = int(min(max(3, EDGE_SHARE * len(finite)), 50))
    end = finite[-few:]
    first = float(finite[0]) if len(finite) < 10 else float(np.median(finite[:few]))
    return first, float(np.median(end)), max(noise, _noise(losses)) * MEDIAN_ERROR / math.sqrt(len(end))


def _evaluation(trace: Trace, stretches: list[tuple[str, np.ndarray]], number: int) -> float | None:
    first = int(trace.step[stretches[number][1][0]])
    is_last = number == len(stretches) - 1
    last = math.inf if is_last else int(trace.step[stretches[number + 1][1][0]])
    inside = np.flatnonzero((trace.eval_step >= first) & (trace.eval_step < last) & np.isfinite(trace.eval_loss))
    return float(trace.eval_loss[inside[-1]]) if len(inside) else None


def _pace(falls: list[float], whole: float, *, still: float) -> str:
    """The last of `falls`, in words. `still` is the least fall that is one."""
    *earlier, fall = falls
    if not math.isfinite(fall):
        return "no finite loss"
    if fall < -still:
        return f"the training loss rose by {-fall:.2f}"
    if fall <= still:
        return "it stands still" if earlier else "no fall yet"
    if fall >= SHARP * whole:
        return "a sharp fall" if earlier else "sharp initial fall"
    if earlier and fall < LITTLE * whole:
        return "diminishing returns"
    if not earlier:
        return "a steady fall"
    return "slower" if fall < earlier[-1] else "faster than before"


def _gap_words(
    gap: float, before: float | None, loss: float, best: float, *, has_fallen: bool, noise: float
) -> tuple[str, bool]:
    """What the gap says; whether it says overfitting: it grew beyond what is healthy, validation does not fall, and
    training is better than validation ever was."""
    low, high = HEALTHY_GAP
    falls, rises = loss < best * (1 - STILL), loss > best * (1 + STILL)
    if before is not None and gap > max(low, before + max(GROWN, noise)):
        said = f"the gap grew from {before:.2f} to {gap:.2f}"
        if gap > high and not falls and has_fallen and loss - gap < best:
            return said, True
        return f"{said}, and validation still falls" if gap > high and falls else said, False
    if rises:
        return f"validation rose to {loss:.3f} from {best:.3f}", False
    if gap > high:
        return f"the gap is wide ({gap:.2f})", False
    return (f"a healthy gap ({gap:.2f})" if gap >= low else ""), False


def _sentences(views: list[EpochView], overfits_from: str) -> Iterator[str]:
    first, last = views[0].first_loss, views[-1].last_loss
    if first is not None and last is not None:
        yield f"Training loss went from {first:.3f} to {last:.3f}."
    measured = [view for view in views if view.gap is not None]
    has_learnt = first is not None and last is not None and last < first
    if measured and has_learnt:
        gap = measured[-1].gap
        assert gap is not None
        low, high = HEALTHY_GAP
        verdict = (
            "more than the healthy 0.1 to 0.3: the run knows its own rows better than others"
            if gap > high
            else "healthy"
            if gap >= low
            else "as good on rows it has not seen"
        )
        yield f"At the end validation lies {gap:+.2f} nats from training: {verdict}."
    if overfits_from:
        yield f"It overfits from {overfits_from} on: the weights from before it are the ones to keep."


def _lowest(values: tuple[float, ...]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return min(finite) if finite else math.nan


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
