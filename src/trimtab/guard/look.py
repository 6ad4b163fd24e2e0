"""What a few tiny forwards show of every step, looked at now and then, and read without making the device wait."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from trimtab.data.collate import Batch, collate
from trimtab.data.store import Example
from trimtab.records.diagnosis import Violation
from trimtab.train.feed import Feed
from trimtab.train.step import Stepper
from trimtab.train.telemetry import Aside

BEFORE, SEEN, AHEAD = 6, 4, 2
"""Tokens of the example before; of the one that is predicted; of the latter's end, which no target may see."""
EXPERTS_ROUNDING = 2e-2
"""A mixture of experts groups the tokens of all examples, which moves roundings and, rarely, a choice (guess)."""


@dataclass(frozen=True)
class Tiny:
    """Two examples; 1 where the tokens before the second one, or at its end, are others."""

    before: int = 0
    ahead: int = 0

    def examples(self, vocabulary: int) -> list[Example]:
        def drawn(seed: int, count: int) -> np.ndarray:
            return np.random.default_rng(seed).integers(0, vocabulary, count).astype(np.int32)

        first = drawn(10 + self.before, BEFORE)
        second = np.concatenate([drawn(20, SEEN), drawn(30 + self.ahead, AHEAD)])
        is_target = (np.arange(SEEN + AHEAD) > 0) & (np.arange(SEEN + AHEAD) < SEEN)
        return [Example(first, np.zeros(BEFORE, dtype=bool)), Example(second, is_target)]


class Look(ABC):
    """One thing that is looked at. What a look measured stays on the device until it is read."""

    rounding: ClassVar[dict[torch.dtype, float]]
    """Of two losses that must be equal, relative, by the type that is computed in."""
    half_rounding: ClassVar[float]
    """In bf16 and fp16."""

    def __init__(self, feed: Feed, vocabulary: int, *, is_sparse: bool) -> None:
        self._feed, self._vocabulary, self._is_sparse = feed, vocabulary, is_sparse
        self._waiting: tuple[int, Aside] | None = None

    def look(self, stepper: Stepper, step: int) -> None:
        """`step` counts updates done."""
        measured = self._measure(stepper)
        self._waiting = None if measured is None else (step, Aside(measured, self._feed.device))

    def read(self, stepper: Stepper) -> list[Violation]:
        """What the last look saw, once."""
        if self._waiting is None:
            return []
        (step, aside), self._waiting = self._waiting, None
        return self._judge(stepper, step, aside.read().tolist())

    def forget(self) -> None:
        self._waiting = None

    @abstractmethod
    def _measure(self, stepper: Stepper) -> torch.Tensor | None:
        """Losses, on the device; None where this model cannot be looked at."""

    @abstractmethod
    def _judge(self, stepper: Stepper, step: int, losses: list[float]) -> list[Violation]: ...

    def _batch(self, tiny: Tiny) -> Batch:
        feed = self._feed
        return collate(tiny.examples(self._vocabulary), feed.layout, pad_id=feed.pad_id).to(feed.device)

    def _allowed(self, stepper: Stepper, loss: float) -> float:
        """How far from `loss` is rounding."""
        by_type = self.rounding.get(stepper.precision.compute, self.half_rounding)
        return (EXPERTS_ROUNDING if self._is_sparse else by_type) * max(1.0, abs(loss))


def has_experts(model: nn.Module) -> bool:
    """Whether only some experts compute at each token."""
    configs: list[Any] = [getattr(module, "config", None) for module in model.modules()]
    return next((_names_experts(config.to_dict()) for config in configs if hasattr(config, "to_dict")), False)


def _names_experts(settings: dict[Any, Any]) -> bool:
    return any(
        ("expert" in str(key) and bool(value)) or (isinstance(value, dict) and _names_experts(value))
        for key, value in settings.items()
    )


def unwrapped(stepper: Stepper) -> Any:
    """The TargetLoss within: DDP waits for a backward after each forward that has a graph."""
    return getattr(stepper.model, "module", stepper.model)


def is_sharded(model: nn.Module) -> bool:
    """By FSDP: its parts cannot be called by themselves."""
    return any(hasattr(p, "full_tensor") for p in model.parameters())
