"""All that Gates knows of a run, apart from its settings."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

from trimtab.diagnose.online_curve import Curve
from trimtab.diagnose.online_evals import Evaluations
from trimtab.diagnose.online_level import Excess, Level, Window
from trimtab.diagnose.online_speed import Speed

CLIPPED_STEPS = 64


@dataclass
class Gauges:
    """All that changes from step to step."""

    level: Level
    curve: Curve
    evals: Evaluations
    speed: Speed = field(default_factory=Speed)
    above_level: Excess = field(default_factory=Excess)
    above_base: Excess = field(default_factory=Excess)
    norms: Window = field(default_factory=lambda: Window(CLIPPED_STEPS))
    open: frozenset[str] = frozenset()
    """Symptoms that are told already and last."""
    spike: tuple[int, float, float] | None = None
    """Step, loss and level of a step far up; what follows says whether it was one."""
    base: float | None = None
    """What no healthy step should be above: the base's loss, or the first step's where its rows are harder."""
    step: int = 0
    caution: float = 1.0
    is_lost: bool = False
    """A loss or a gradient was not finite."""

    def copy(self) -> Gauges:
        other = copy.copy(self)
        for name in ("level", "curve", "evals", "speed", "above_level", "above_base", "norms"):
            setattr(other, name, getattr(self, name).copy())
        return other

    def begins(self, symptom: str, is_seen: bool) -> bool:
        """Whether it is seen now and was not before: told once, for as long as it lasts."""
        if is_seen == (symptom in self.open):
            return False
        self.open = self.open | {symptom} if is_seen else self.open - {symptom}
        return is_seen
