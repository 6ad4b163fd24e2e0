"""A step's numbers, read when the next step has been queued: asking a GPU for them at once would make it idle."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Waiting:
    """Numbers on their way to the host, and what the host knew of the step already."""

    known: Any
    numbers: torch.Tensor
    copied: torch.cuda.Event | None


@dataclass
class Late:
    """First in, first out."""

    waiting: deque[Waiting] = field(default_factory=deque)

    def push(self, known: Any, numbers: torch.Tensor) -> None:
        copied = None
        if numbers.device.type == "cuda":
            aside = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
            aside.copy_(numbers, non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
            numbers = aside
        self.waiting.append(Waiting(known, numbers, copied))

    def ready(self, *, leave: int) -> list[tuple[Any, list[float]]]:
        """All but the newest `leave`."""
        read = []
        while len(self.waiting) > leave:
            entry = self.waiting.popleft()
            if entry.copied is not None:
                entry.copied.synchronize()
            read.append((entry.known, entry.numbers.tolist()))
        return read
