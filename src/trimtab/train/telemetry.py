"""What each step measured, read without waiting for the device.

Asking a GPU for a number makes the program wait until everything queued before it is done. So a step's numbers are
copied aside asynchronously and read when the next step has been queued: one step late, and for free.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

import psutil
import torch


@dataclass(frozen=True)
class Reading:
    """A step's raw numbers, on the host."""

    step: int
    losses: list[float]
    grad_norms: list[float]
    target_tokens: int
    tokens: int
    seconds: float
    memory_bytes: int


class Telemetry:
    """Takes [2, K] tensors (loss, gradient norm) in, gives `Reading`s out."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._waiting: deque[tuple[int, torch.Tensor, torch.cuda.Event | None, int, int, float]] = deque()
        self._last = time.perf_counter()
        self._process = psutil.Process()
        self.peak_memory_bytes = 0

    def start_clock(self) -> None:
        """What happened since the last step (an evaluation, a save) is not the next step's time."""
        self._last = time.perf_counter()

    def push(self, step: int, measured_2K: torch.Tensor, *, target_tokens: int, tokens: int) -> None:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        event = None
        if self._device.type == "cuda":
            aside = torch.empty(measured_2K.shape, dtype=measured_2K.dtype, pin_memory=True)
            aside.copy_(measured_2K, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
            measured_2K = aside
        self._waiting.append((step, measured_2K, event, target_tokens, tokens, seconds))

    def ready(self, *, leave: int) -> list[Reading]:
        """All readings but the newest `leave` (1 in the loop; 0 where the numbers are needed now)."""
        readings = []
        while len(self._waiting) > leave:
            step, measured_2K, event, target_tokens, tokens, seconds = self._waiting.popleft()
            if event is not None:
                event.synchronize()
                if not self._waiting:  # nothing was queued behind it: the wait was this step's own
                    now = time.perf_counter()
                    seconds, self._last = seconds + now - self._last, now
            losses, norms = measured_2K.tolist()
            readings.append(Reading(step, losses, norms, target_tokens, tokens, seconds, self._memory()))
        return readings

    def _memory(self) -> int:
        """Peak bytes the device allocated, or this process's resident bytes now on a CPU."""
        if self._device.type == "cuda":
            now = torch.cuda.max_memory_allocated(self._device)
        else:
            now = self._process.memory_info().rss
        self.peak_memory_bytes = max(self.peak_memory_bytes, now)
        return now
