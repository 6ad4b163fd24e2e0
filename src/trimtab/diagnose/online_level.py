"""The level of a noisy loss, its noise, and how far the last steps have left it: a few floats a step."""

from __future__ import annotations

import bisect
import copy
import math
from collections import deque
from dataclasses import dataclass, field

TO_SIGMA = 1.4826
"""From a median absolute deviation to a standard deviation, for normal noise."""
LEVEL_STEPS = 24
NOISE_STEPS = 64
GUESSED_NOISE = 6.0
"""bench/gates.py: 0.7 to 2.3 with answers of a few words, 7 to 9 with long ones, 27 with chats of all lengths, where
rows differ more than tokens do. Too much makes the first steps deaf, too little makes them nervous."""
TRUSTED_FROM = 8
"""Differences that are worth as much as the guess (guess)."""
PATIENCE = 64
"""Steps that wait at most: what stays so long is the level (guess)."""


class Window:
    """The last `size` values, kept sorted too: their median costs a look, a new value an insertion."""

    __slots__ = ("_ordered", "_values", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._values: deque[float] = deque()
        self._ordered: list[float] = []

    def __len__(self) -> int:
        return len(self._ordered)

    def push(self, value: float) -> None:
        if len(self._values) == self.size:
            oldest = self._values.popleft()
            del self._ordered[bisect.bisect_left(self._ordered, oldest)]
        self._values.append(value)
        bisect.insort(self._ordered, value)

    @property
    def median(self) -> float:
        ordered, half = self._ordered, len(self._ordered) // 2
        return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2

    @property
    def least(self) -> float:
        return self._ordered[0]

    def copy(self) -> Window:
        other = Window(self.size)
        other._values, other._ordered = self._values.copy(), self._ordered.copy()
        return other


@dataclass
class Rise:
    """Page's cumulative sum, one-sided: how much a series stands above what it is held against, in standard
    deviations added up, less an allowance a step. Source: Page, Continuous inspection schemes (Biometrika 1954).

    One step counts at most `most`, so that one bad batch alone never reaches a limit of more than that.
    """

    allowance: float
    most: float
    total: float = 0.0
    since: int = 0
    """The step at which it last left zero."""

    def add(self, step: int, z: float) -> None:
        if self.total == 0.0:
            self.since = step
        self.total = max(0.0, self.total + min(z, self.most) - self.allowance)


QUICK, QUICK_LIMIT = (1.25, 4.0), 6.0
"""Allowance and most of a step. Three steps far beyond the noise reach the limit, or four of 3 standard deviations."""
PATIENT, PATIENT_LIMIT = (0.75, 3.0), 14.0
"""For what rises less and stays. Both calibrated by bench/gates.py, on runs that it did not report on."""


@dataclass
class Excess:
    """A quick sum and a patient one, of the same deviations."""

    quick: Rise = field(default_factory=lambda: Rise(*QUICK))
    patient: Rise = field(default_factory=lambda: Rise(*PATIENT))

    def add(self, step: int, z: float) -> None:
        self.quick.add(step, z)
        self.patient.add(step, z)

    @property
    def share(self) -> float:
        """Of its limit that the sum has reached."""
        return max(self.quick.total / QUICK_LIMIT, self.patient.total / PATIENT_LIMIT)

    @property
    def since(self) -> int:
        """The step at which the longer of the two began; only where there is an excess."""
        return self.patient.since

    @property
    def is_above(self) -> bool:
        return self.patient.total > 0.0

    def copy(self) -> Excess:
        return Excess(copy.copy(self.quick), copy.copy(self.patient))


@dataclass
class Level:
    """What the loss of a healthy next step would be.

    The level is the median of the last losses. The noise is the median absolute difference of neighbours, which a
    falling loss does not enlarge, in units of 1/√targets: a mean over four times the target tokens has half the noise.
    Steps that stand above the level wait until the loss has come back before they count towards it, so damage does not
    become the level that it is held against.
    """

    noise: float | None = None
    """Standard deviation of one target token's share of a step's loss, in nats, from elsewhere; else it is guessed."""
    losses: Window = field(default_factory=lambda: Window(LEVEL_STEPS))
    differences: Window = field(default_factory=lambda: Window(NOISE_STEPS))
    waiting: list[tuple[float, float]] = field(default_factory=list)
    """(loss, 1 / target tokens)."""
    last: tuple[float, float] | None = None
    """The last that counted."""
    height: float = math.nan
    """The level itself; NaN before the first step."""
    sigma: float = GUESSED_NOISE
    """The noise of one target token's share."""

    def __post_init__(self) -> None:
        self.sigma = self.noise or GUESSED_NOISE

    def z(self, loss: float, per_target: float, against: float | None = None) -> float:
        """How far `loss`, a mean over 1 / `per_target` targets, is above the level (or above `against`), in standard
        deviations."""
        height = self.height if against is None else against
        return 0.0 if math.isnan(height) else (loss - height) / (self.sigma * math.sqrt(per_target))

    def push(self, loss: float, per_target: float, *, is_above: bool) -> None:
        self.waiting.append((loss, per_target))
        if not is_above or len(self.waiting) > PATIENCE:
            self.accept()

    def accept(self) -> None:
        """What waits is as it should be."""
        for loss, per_target in self.waiting:
            self.losses.push(loss)
            if self.last is not None:
                before, before_per_target = self.last
                self.differences.push(abs(loss - before) / math.sqrt(per_target + before_per_target))
            self.last = (loss, per_target)
        self.waiting.clear()
        if len(self.losses):
            self.height = self.losses.median
        if seen := len(self.differences):
            known = seen / (seen + TRUSTED_FROM)
            measured = max(TO_SIGMA * self.differences.median, 1e-6)
            self.sigma = measured**known * (self.noise or GUESSED_NOISE) ** (1 - known)

    def copy(self) -> Level:
        other = copy.copy(self)
        other.losses, other.differences = self.losses.copy(), self.differences.copy()
        other.waiting = self.waiting.copy()
        return other
