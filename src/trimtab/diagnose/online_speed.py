"""Tokens per second, against those of the first steps."""

from __future__ import annotations

from dataclasses import dataclass, field

from trimtab.diagnose.online_level import Window

SETTLING = 8
"""Steps before the first that is measured: kernels are chosen, caches warm up (guess)."""


@dataclass
class Speed:
    """Medians: one step beside a save or another process's work is no news."""

    first: Window = field(default_factory=lambda: Window(64))
    last: Window = field(default_factory=lambda: Window(32))
    seen: int = 0

    def push(self, tokens: int, seconds: float) -> float:
        """The last steps' speed as a share of the first ones'; 1 until both are known."""
        self.seen += 1
        if self.seen <= SETTLING or seconds <= 0:
            return 1.0
        speed = tokens / seconds
        if len(self.first) < self.first.size:
            self.first.push(speed)
            return 1.0
        self.last.push(speed)
        return self.last.median / self.first.median if len(self.last) == self.last.size and self.first.median else 1.0

    def copy(self) -> Speed:
        return Speed(self.first.copy(), self.last.copy(), self.seen)
