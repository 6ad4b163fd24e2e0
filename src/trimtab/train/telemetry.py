"""What each step measured, read without waiting for the device.

Asking a GPU for a number makes the program wait until everything queued before it is done. So a step's numbers are
copied aside asynchronously and read when the next step has been queued: one step late, and for free.
"""

from __future__ import annotations

import ctypes
import gc
import re
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch
from torch import nn


@dataclass(frozen=True)
class Reading:
    """A step's raw numbers, on the host."""

    step: int
    losses: list[float]
    grad_norms: list[float]
    without_gradient: list[float]
    """Of each learner: tensors with no gradient; -1 where they are not counted (see step.Row)."""
    unmoved: list[float]
    update_ratios: list[float]
    fed: list[float]
    target_tokens: int
    tokens: int
    seconds: float
    memory_bytes: int


class Aside:
    """A small tensor on its way to the host, which nothing waits for until it is read."""

    def __init__(self, tensor: torch.Tensor, device: torch.device) -> None:
        self._tensor = tensor
        self._event: torch.cuda.Event | None = None
        if device.type == "cuda":
            self._tensor = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._tensor.copy_(tensor, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    @property
    def waits(self) -> bool:
        """Whether reading it may wait for the device."""
        return self._event is not None

    def read(self) -> torch.Tensor:
        if self._event is not None:
            self._event.synchronize()
        return self._tensor


class Telemetry:
    """Takes what steps measured (step.Row) in, gives `Reading`s out."""

    def __init__(self, device: torch.device, *, held_bytes: int = 0) -> None:
        """`held_bytes`: of the tensors that this process holds already, the model's. On a CPU whatever else it has
        resident now is not the run's."""
        self._device = device
        self._besides_bytes = resident_bytes() - held_bytes
        self._waiting: deque[tuple[int, Aside, int, int, float]] = deque()
        self._last = time.perf_counter()
        self.peak_memory_bytes = 0
        self._knows_peak = False
        self._restart_peak()  # loading, and the checks before the run, are not the run's

    def start_clock(self) -> None:
        """What happened since the last step (an evaluation, a save) is not the next step's time."""
        self._last = time.perf_counter()

    def start_peak(self) -> None:
        """From here on `memory_bytes` is the peak of what follows: an evaluation is not the next step's."""
        self.peak_memory_bytes = max(self.peak_memory_bytes, self._memory())
        self._restart_peak()

    def _restart_peak(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            self._knows_peak = restart_resident_peak()

    def give_back(self) -> None:
        """Memory that was freed to the device, so that the next peak is the next step's own."""
        release_memory(self._device)
        self.start_peak()

    def peak_tensor_bytes(self, device_peak_bytes: int) -> tuple[int, str]:
        """The most bytes of tensors this run had at one time, and how that is known where it is not counted."""
        if self._device.type == "cuda":
            return device_peak_bytes, ""
        grown = max(0, self.peak_memory_bytes - self._besides_bytes)
        return grown, "; measured is what the process grew by since before the model"

    def push(self, step: int, measured_RK: torch.Tensor, *, target_tokens: int, tokens: int) -> None:
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        self._waiting.append((step, Aside(measured_RK, self._device), target_tokens, tokens, seconds))

    def ready(self, *, leave: int) -> list[Reading]:
        """All readings but the newest `leave` (1 in the loop; 0 where the numbers are needed now)."""
        readings = []
        while len(self._waiting) > leave:
            step, aside, target_tokens, tokens, seconds = self._waiting.popleft()
            measured_RK = aside.read()
            if aside.waits and not self._waiting:  # nothing was queued behind it: the wait was this step's own
                now = time.perf_counter()
                seconds, self._last = seconds + now - self._last, now
            losses, norms, without_gradient, unmoved, update_ratios, fed = measured_RK.tolist()
            reading = Reading(
                step=step,
                losses=losses,
                grad_norms=norms,
                without_gradient=without_gradient,
                unmoved=unmoved,
                update_ratios=update_ratios,
                fed=fed,
                target_tokens=target_tokens,
                tokens=tokens,
                seconds=seconds,
                memory_bytes=self._memory(),
            )
            readings.append(reading)
        return readings

    def _memory(self) -> int:
        """Peak bytes the device allocated since `start_peak`, or this process's resident ones on a CPU."""
        if self._device.type == "cuda":
            now = torch.cuda.max_memory_allocated(self._device)
        else:
            now = resident_peak_bytes() if self._knows_peak else resident_bytes()
        self.peak_memory_bytes = max(self.peak_memory_bytes, now)
        return now


def tensor_bytes(model: nn.Module) -> int:
    """Of its parameters and buffers, each storage once."""
    storages = [tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


def release_memory(device: torch.device) -> None:
    """What Python and the allocators keep for later, back to the device."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def resident_bytes() -> int:
    """What this process has in memory now."""
    return int(psutil.Process().memory_info().rss)


def restart_resident_peak() -> bool:
    """Whether the kernel lets a process forget its peak (Linux: proc(5), clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return resident_peak_bytes() > 0
    except OSError:
        return False


def resident_peak_bytes() -> int:
    """The most that this process has had resident; 0 where the kernel does not say."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii", errors="ignore"))
    return int(found[1]) * 1024 if found else 0
