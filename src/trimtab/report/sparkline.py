"""A series of numbers as one line of block characters."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

BLOCKS = "▁▂▃▄▅▆▇█"
NOT_A_NUMBER = "×"
STANDS_OUT = 3.0
"""Times half of what a character's values usually range over; further from their mean, the extreme one is drawn
(guess: the ends of ten normal values lie 1.5 standard deviations out, so this is about 5)."""
LEAST_RANGE = 0.01
"""Of the largest value: less is not stretched, or the last digits of a flat line would look like mountains."""
DECADES = 3
"""What lies further below the largest value is drawn as the lowest: a single 0 must not flatten all others."""
MOST_SPANS = 512
"""More than a terminal is wide, so that a character still stands for several once they have been merged."""


@dataclass(frozen=True)
class Span:
    """Some values that follow each other."""

    first: int
    """The step of the first."""
    count: int
    """Of finite values."""
    mean: float
    low: float
    high: float
    is_broken: bool
    """One of them was not finite."""

    @property
    def half_range(self) -> float:
        return self.high / 2 - self.low / 2  # halved first: the difference of two floats may be none

    @property
    def extreme(self) -> float:
        """The value farthest from the mean; of two the higher, which rounding must not decide."""
        above, below = self.high / 2 - self.mean / 2, self.mean / 2 - self.low / 2
        return self.high if above >= 0.99 * below else self.low


class Series:
    """A series of any length in bounded memory: neighbours merge as it grows."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._length = 1
        """Values of a full span."""
        self._in_last = 0

    def push(self, step: int, value: float) -> None:
        """Add what `step` measured. A step that was there before begins again: what came after it is forgotten, as far
        as it has not merged with what came before."""
        while self._spans and self._spans[-1].first >= step:
            self._spans.pop()
            self._in_last = self._length
        new = _span_of(step, value)
        if self._spans and self._in_last < self._length:
            self._spans[-1] = _merged([self._spans[-1], new])
            self._in_last += 1
            return
        if len(self._spans) == MOST_SPANS:
            self._spans = [_merged(self._spans[n : n + 2]) for n in range(0, MOST_SPANS, 2)]
            self._length *= 2
        self._spans.append(new)
        self._in_last = 1

    def drawn(self, width: int) -> str:
        """At most `width` characters."""
        return _drawn(self._spans, width)


def sparkline(values: Iterable[float], width: int) -> str:
    """A character for each value; where there are more than `width`, for as many neighbours each.

    A character shows the mean of its values, or one of them that stands out of it: spikes are seen at any width. Values
    that are not finite show as ×. The lowest of what is shown is ▁, the highest █, unless they are all but equal.
    Heights are logarithms where no value is negative: after steep first steps a loss is still seen to fall.

    >>> sparkline([8, 4, 2, float("nan"), 1], 10)
    '█▆▃×▁'
    """
    return _drawn([_span_of(place, value) for place, value in enumerate(values)], width)


def _span_of(step: int, value: float) -> Span:
    if not math.isfinite(value):
        return Span(step, 0, 0.0, math.inf, -math.inf, is_broken=True)
    return Span(step, 1, value, value, value, is_broken=False)


def _merged(spans: Sequence[Span]) -> Span:
    count = sum(span.count for span in spans)
    low, high = min(span.low for span in spans), max(span.high for span in spans)
    mean = sum(span.mean * (span.count / count) for span in spans) if count else 0.0
    # Rounding may lead out of them: a flat line is to stay flat.
    mean = min(max(mean, low), high) if count else 0.0
    return Span(spans[0].first, count, mean, low, high, any(span.is_broken for span in spans))


def _drawn(spans: Sequence[Span], width: int) -> str:
    count = min(width, len(spans))
    if count <= 0:
        return ""
    ends = [place * len(spans) // count for place in range(count + 1)]
    shown = [_merged(spans[start:end]) for start, end in itertools.pairwise(ends)]
    sound = [span for span in shown if not span.is_broken]
    if not sound:
        return NOT_A_NUMBER * count
    usual = statistics.median(span.half_range for span in sound)
    blocks = iter(_heights([_told(span, usual) for span in sound]))
    return "".join(NOT_A_NUMBER if span.is_broken else BLOCKS[next(blocks)] for span in shown)


def _told(span: Span, usual: float) -> float:
    extreme = span.extreme
    return extreme if abs(extreme / 2 - span.mean / 2) > STANDS_OUT / 2 * usual else span.mean


def _heights(values: Sequence[float]) -> list[int]:
    """From 0 to 7."""
    low, high = min(values), max(values)
    if low >= 0 and high > 0:
        floor = high * 10.0**-DECADES
        places = [math.log(max(value, floor) / high) if floor > 0 else 0.0 for value in values]
        least = math.log1p(LEAST_RANGE)
    else:
        places = [value / 2 for value in values]
        least = LEAST_RANGE / 2 * max(abs(low), abs(high))
    lowest = min(places)
    whole = max(max(places) - lowest, least)
    return [min(len(BLOCKS) - 1, int((place - lowest) / whole * len(BLOCKS))) if whole > 0 else 0 for place in places]
