"""How to read the curve, epoch by epoch, in words; a run of one epoch by its quarters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trimtab.diagnose.trace import Floats, Trace
from trimtab.records import Judgement
from trimtab.report.views.curve import HEALTHY_GAP
from trimtab.report.views.view import Drawn, View

EDGE_SHARE = 0.1
"""Of an epoch's steps: the first and last loss are medians over so many, at least 3 and at most 50 (guess)."""
SHARP = 0.6
"""Of the whole fall within one epoch of several: "sharp" (guess)."""
LITTLE = 0.1
"""Of the whole fall within one epoch: "diminishing returns" (guess)."""
STILL = 0.01
"""Of the loss: less is no change (guess); nor is what is within `ERRORS` standard errors, unless it is more than `MUCH`
of the loss."""
MUCH = 0.1
ERRORS = 3
MEDIAN_ERROR = 1.25
"""Of a median, in standard errors of a mean (normal noise)."""
LEAST_POINTS = 8
"""For noise to be told from a curve's own bend (guess)."""
RISEN = 0.03
"""Above the best evaluation: it is worse, and not by chance (guess; the judgement of the curve has statistics)."""
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
    """The first stretch that overfits; empty where none does."""


@dataclass(frozen=True)
class _Stretch:
    """An epoch or a quarter, measured. Levels are medians, so that no single batch says them."""

    label: str
    steps: tuple[int, int]
    first: float
    last: float
    error: float
    """Standard error of `last`."""
    evaluations: tuple[tuple[int, float], ...]
    """(step, loss) of those within, until the next one begins."""

    @property
    def fall(self) -> float:
        return self.first - self.last

    @property
    def eval_loss(self) -> float | None:
        return self.evaluations[-1][1] if self.evaluations else None

    @property
    def gap(self) -> float | None:
        gap = None if self.eval_loss is None else self.eval_loss - self.last
        return gap if gap is not None and math.isfinite(gap) else None


def read_curve(trace: Trace, judgement: Judgement | None = None) -> CurveReading:
    """
    Args:
        judgement: Of the whole curve: what is healthy is said of healthy ones alone.
    """
    stretches = _measured(trace)
    if not stretches:
        return CurveReading(epochs=(), sentences=(), overfits_from="")
    is_healthy = judgement in (None, Judgement.HEALTHY)
    over = _overfitting(trace, stretches)
    views = tuple(
        EpochView(
            label=one.label,
            first_step=one.steps[0],
            last_step=one.steps[1],
            first_loss=_or_none(one.first),
            last_loss=_or_none(one.last),
            fall=_or_none(one.fall),
            eval_loss=one.eval_loss,
            gap=one.gap,
            words="; ".join(_words(stretches, number, trace, over, is_healthy=is_healthy)),
        )
        for number, one in enumerate(stretches)
    )
    return CurveReading(
        epochs=views,
        sentences=tuple(_sentences(stretches, trace, over, is_healthy=is_healthy)),
        overfits_from=over.label if over is not None else "",
    )


# ── stretches ────────────────────────────────────────────────────────────────────────────────────────────────────


def _measured(trace: Trace) -> list[_Stretch]:
    parts = [(label, part) for label, part in _parts(trace) if len(part)]
    noise = _noise(trace.loss)
    found: list[_Stretch] = []
    for number, (label, part) in enumerate(parts):
        first, last, error = _edges(trace.loss[part], noise)
        if found and math.isfinite(found[-1].last):
            first = found[-1].last  # where the one before ended
        begins = -math.inf if number == 0 else int(trace.step[part[0]])
        ends = math.inf if number == len(parts) - 1 else int(trace.step[parts[number + 1][1][0]])
        inside = (trace.eval_step >= begins) & (trace.eval_step < ends) & np.isfinite(trace.eval_loss)
        evaluations = zip(trace.eval_step[inside].tolist(), trace.eval_loss[inside].tolist(), strict=True)
        steps = int(trace.step[part[0]]), int(trace.step[part[-1]])
        found.append(_Stretch(label, steps, first, last, error, tuple(evaluations)))
    return found


def _parts(trace: Trace) -> list[tuple[str, NDArray[np.int64]]]:
    """(label, indices of its points): epochs where there are two and more, else quarters."""
    count = len(trace.step)
    if not count:
        return []
    if np.isfinite(trace.epoch).all() and float(trace.epoch[-1]) > 1 + 1e-6:
        # a step that ends epoch 1 is told as epoch 1.0
        epoch = np.maximum(np.ceil(trace.epoch - 1e-6).astype(int), 1)
        last = int(epoch[-1])
        each = math.ceil(last / MOST_EPOCHS)
        found = []
        for first in range(1, last + 1, each):
            end = min(first + each - 1, last)
            label = f"epoch {first}" if first == end else f"epochs {first}–{end}"
            found.append((label, np.flatnonzero((epoch >= first) & (epoch <= end))))
        return found
    parts = np.array_split(np.arange(count), PARTS) if count >= 2 * PARTS else [np.arange(count)]
    return [(_of_steps(int(trace.step[part[0]]), int(trace.step[part[-1]])), part) for part in parts]


def _of_steps(first: int, last: int) -> str:
    return f"step {first:,}" if first == last else f"steps {first:,}–{last:,}"


def _noise(losses: Floats) -> float:
    """Of a single loss, in nats: by second differences, which a trend leaves alone (their standard deviation is √6 of
    the noise's; the median of normal noise's size is 0.6745 of it). Of few points nothing is said: 0."""
    finite = losses[np.isfinite(losses)]
    if len(finite) < LEAST_POINTS:
        return 0.0
    return float(np.median(np.abs(np.diff(finite, 2)))) / (0.6745 * math.sqrt(6))


def _edges(losses: Floats, noise: float) -> tuple[float, float, float]:
    """First and last level, and the standard error of the last one."""
    finite = losses[np.isfinite(losses)]
    if not len(finite):
        return math.nan, math.nan, math.nan
    few = int(min(max(3, EDGE_SHARE * len(finite)), 50))
    first = float(finite[0]) if len(finite) < 10 else float(np.median(finite[:few]))
    end = finite[-few:]
    return first, float(np.median(end)), max(noise, _noise(losses)) * MEDIAN_ERROR / math.sqrt(len(end))


# ── what they say ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Overfitting:
    label: str
    """Of the first stretch after the best evaluation."""
    best_step: int
    best_loss: float


def _overfitting(trace: Trace, stretches: Sequence[_Stretch]) -> _Overfitting | None:
    """The evaluation has left its best behind for good, above a training loss that is lower than it ever was."""
    measured = [(step, loss) for one in stretches for step, loss in one.evaluations]
    if trace.base_eval_loss is not None and math.isfinite(trace.base_eval_loss):
        measured.insert(0, (0, trace.base_eval_loss))
    last = stretches[-1]
    if len(measured) < 2 or last.gap is None:
        return None
    best_step, best = min(measured, key=lambda one: one[1])
    since = [one for one in stretches if any(step > best_step for step, _ in one.evaluations)]
    is_worse = measured[-1][1] > best * (1 + RISEN)
    before = next((one.last for one in reversed(stretches) if one.steps[0] <= best_step), stretches[0].first)
    has_learnt_since = last.last < min(best, before) - _still(stretches, len(stretches) - 1, at_most=math.inf)
    if not (is_worse and has_learnt_since and last.gap > HEALTHY_GAP[1] and since):
        return None
    return _Overfitting(since[0].label, best_step, best)


def _still(stretches: Sequence[_Stretch], number: int, *, at_most: float = MUCH) -> float:
    """The least change of a stretch that is one."""
    one, before = stretches[number], stretches[max(0, number - 1)]
    noise = ERRORS * math.hypot(one.error, before.error)
    level = abs(one.last)
    return max(STILL * level, min(noise, at_most * level))


def _words(
    stretches: Sequence[_Stretch], number: int, trace: Trace, over: _Overfitting | None, *, is_healthy: bool
) -> Iterator[str]:
    until, one = stretches[: number + 1], stretches[number]
    lowest = min((stretch.last for stretch in stretches if math.isfinite(stretch.last)), default=math.nan)
    yield _pace(until, len(stretches), stretches[0].first - lowest)
    noise = ERRORS * math.hypot(one.error, stretches[max(0, number - 1)].error)
    if said := _gap_words(until, trace, noise=noise, healthy=is_healthy):
        yield said
    if over is not None and over.label == one.label:
        yield f"overfitting from {one.label}"


def _pace(until: Sequence[_Stretch], count: int, whole: float) -> str:
    one, number = until[-1], len(until) - 1
    if not math.isfinite(one.fall):
        return "no finite loss"
    if one.last == 0:
        return "the loss is exactly zero, which no learning comes to"
    still = _still(until, number)
    if one.fall < -still:
        return f"the training loss rose by {_figure(-one.fall)}"
    if one.fall <= still:
        return "it stands still" if number else "no fall yet"
    earlier = [stretch.fall for stretch in until[:-1] if math.isfinite(stretch.fall)]
    if count > 1 and one.fall >= SHARP * whole and not (earlier and one.fall < 1.5 * max(earlier)):
        return "a sharp fall" if number else "sharp initial fall"
    if number and one.fall < LITTLE * whole:
        return "diminishing returns"
    if not earlier or abs(one.fall - earlier[-1]) <= MUCH * abs(earlier[-1]):
        return "a steady fall"
    return "slower" if one.fall < earlier[-1] else "faster than before"


def _gap_words(until: Sequence[_Stretch], trace: Trace, *, noise: float, healthy: bool) -> str:
    one = until[-1]
    if one.gap is None or one.eval_loss is None:
        return ""
    low, high = HEALTHY_GAP
    earlier = [loss for stretch in until[:-1] for _, loss in stretch.evaluations]
    base = trace.base_eval_loss
    best = min([*earlier, *([base] if base is not None and math.isfinite(base) else [])], default=math.inf)
    before = next((stretch.gap for stretch in reversed(until[:-1]) if stretch.gap is not None), None)
    if before is not None and one.gap > max(low, before + max(GROWN, noise)):
        still_falls = ", and validation still falls" if one.gap > high and one.eval_loss < best * (1 - STILL) else ""
        return f"the gap grew from {before:.2f} to {one.gap:.2f}{still_falls}"
    if one.eval_loss > best * (1 + STILL):
        return f"validation rose to {_figure(one.eval_loss)} from {_figure(best)}"
    if one.gap > high:
        return f"the gap is wide ({one.gap:.2f})"
    if one.gap < -low - noise:
        return f"validation lies {-one.gap:.2f} below training: other rows, or dropout"
    return f"a healthy gap ({one.gap:.2f})" if one.gap >= low and healthy else ""


def _sentences(
    stretches: Sequence[_Stretch], trace: Trace, over: _Overfitting | None, *, is_healthy: bool
) -> Iterator[str]:
    first, last = stretches[0].first, stretches[-1].last
    if math.isfinite(first) and math.isfinite(last):
        yield f"Training loss went from {_figure(first)} to {_figure(last)}."
    gap = stretches[-1].gap
    if gap is not None and last < first and is_healthy:
        low, high = HEALTHY_GAP
        step = stretches[-1].evaluations[-1][0]
        said = (
            f"more than the usual {low} to {high}"
            if gap > high
            else f"the usual {low} to {high}"
            if gap >= low
            else "as good on rows it has not seen"
        )
        yield f"At step {step:,} validation lies {gap + 0.0:+.2f} nats from training: {said}."
    if over is not None:
        where = f"step {over.best_step:,}" if over.best_step else "step 0, which is the base alone"
        yield f"It overfits from {over.label} on: the best evaluation was at {where} ({_figure(over.best_loss)})."


def _figure(value: float) -> str:
    return f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.2e}"


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
