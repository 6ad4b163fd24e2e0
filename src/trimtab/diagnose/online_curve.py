"""How a run's loss gets on over many steps: blocks of them, each with its median."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from statistics import median

from trimtab.diagnose.online_level import Window
from trimtab.diagnose.online_sighting import sighting
from trimtab.records import StepRecord
from trimtab.records.diagnosis import Sighting

BLOCK = 16
BLOCKS = 64
"""At most about so many in a run: longer runs have longer blocks."""
START = 5
"""Steps whose losses are the start's, where the base's is not known."""
ERRORS = 3.0
"""Standard errors by which a block must be below the start for the loss to have fallen."""
MEDIAN_ERROR = 1.25
"""Of a median, in standard errors of a mean (normal noise)."""
SLOW = 0.03
"""Share of the loss that a quarter of the run should take off it (guess)."""
IDLE_RATE = 0.01
IDLE_SHARE = 0.2
"""A learning rate below this share of its peak, with this share of the steps to come: a schedule that ended early."""
FLIPS = 0.9
"""Share of 64 steps whose loss goes the other way than the one before: chance gives 2/3, with a variance of
(16n - 29)/90 of the count (the turning point test), and 0.9 once in a hundred thousand times."""


@dataclass
class Curve:
    """Tells each of its symptoms once."""

    total_steps: int
    warmup_steps: int
    base_loss: float | None
    start: float | None = None
    has_fallen: bool = False
    lowest: float = math.inf
    """Of the blocks."""
    first_losses: list[float] = field(default_factory=list)
    block: list[float] = field(default_factory=list)
    peak_rate: float = 0.0
    root_targets: Window = field(default_factory=lambda: Window(64))
    flips: int = 0
    turns: int = 0
    """Steps in a row that were looked at for flips, and how many of them turned."""
    last: tuple[float, float] | None = None
    told: frozenset[str] = frozenset()

    def push(self, record: StepRecord, sigma: float) -> list[Sighting]:
        """`sigma` is the noise of one target token's share of the loss."""
        loss, rate = record.loss, record.learning_rate
        self.peak_rate = max(self.peak_rate, rate)
        self.root_targets.push(math.sqrt(max(1, record.target_tokens)))
        if self.start is None:
            self.first_losses.append(loss)
            if len(self.first_losses) == START:
                self.start = self.base_loss if self.base_loss is not None else median(self.first_losses)
        if self.last is not None:
            before, earlier = self.last
            self.turns += 1
            self.flips += (loss - before) * (before - earlier) < 0
        self.last = (loss, loss if self.last is None else self.last[0])
        self.block.append(loss)
        if len(self.block) < max(BLOCK, self.total_steps // BLOCKS):
            return []
        level, count = median(self.block), len(self.block)
        self.block = []
        return self._after_block(record, level, sigma / self.root_targets.median / math.sqrt(count))

    def _after_block(self, record: StepRecord, level: float, error: float) -> list[Sighting]:
        assert self.start is not None, "a block is longer than the start"
        self.lowest = min(self.lowest, level)
        fallen = self.start - self.lowest
        of_start = math.hypot(MEDIAN_ERROR * error, error * math.sqrt(BLOCK / START) if self.base_loss is None else 0.0)
        self.has_fallen |= fallen > ERRORS * of_start
        done = record.step / max(1, self.total_steps)
        seen: list[Sighting] = []
        warm = record.step >= self.warmup_steps + 2 * BLOCK and done >= 0.1
        # A run of which noise hides whether it fell is not called flat.
        if warm and not self.has_fallen and abs(fallen) + 2 * of_start < SLOW * self.start:
            self._tell(seen, "flat-from-the-start", record, f"loss {level:.3g}", f"below {self.start:.3g}",
                       f"the loss is {level:.3g} and began at {self.start:.3g}: no fall beyond chance")  # fmt: skip
        elif warm and done >= 0.25 and fallen + 2 * of_start < SLOW * self.start:
            self._tell(seen, "slow", record, f"loss {level:.3g}", f"{(1 - SLOW) * self.start:.3g}",
                       f"a quarter of the steps took {fallen / self.start:.1%} off the loss")  # fmt: skip
        if (
            done <= 1 - IDLE_SHARE
            and record.step > self.warmup_steps
            and record.learning_rate < IDLE_RATE * self.peak_rate
        ):
            self._tell(seen, "stalled-later", record, f"learning rate {record.learning_rate:.3g}",
                       f"{IDLE_RATE:.0%} of its peak, {self.peak_rate:.3g}",
                       f"the learning rate is at its end with {1 - done:.0%} of the steps to come")  # fmt: skip
        if self.turns >= 4 * BLOCK:
            if self.flips > FLIPS * self.turns:
                self._tell(seen, "oscillating", record, f"{self.flips} of {self.turns} steps", f"{FLIPS:.0%}",
                           "the loss goes up and down by turns, more than chance does")  # fmt: skip
            self.flips = self.turns = 0
        return seen

    def _tell(self, seen: list[Sighting], symptom: str, record: StepRecord, value: str, limit: str, said: str) -> None:
        if symptom not in self.told:
            self.told |= {symptom}
            seen.append(sighting(symptom, record.step, value, limit, said))

    def copy(self) -> Curve:
        other = copy.copy(self)
        other.first_losses, other.block = self.first_losses.copy(), self.block.copy()
        other.root_targets = self.root_targets.copy()
        return other
