"""How long work takes on a device, as a roofline: an operation is bound by arithmetic, memory, or being started."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from trimtab.records import Device
from trimtab.rehearsal.recorder import Work


@dataclass(frozen=True)
class Speed:
    """Rates that are reached, not those of data sheets."""

    half_flops: float
    """Matrix arithmetic a second in bf16 or fp16."""
    single_flops: float
    """The same in fp32."""
    moved_bytes: float
    """Bytes a second, read and written."""
    start_seconds: float
    """To start one operation from Python."""
    overlaps: bool
    """Operations are queued on a device while it works on others."""
    words: str

    def seconds(self, work: Mapping[Work, int], *, scale: float = 1.0) -> float:
        """Of this much work; with `scale`, of as many operations on a micro batch so many times as large."""
        busy, operations = 0.0, 0
        for one, count in work.items():
            arithmetic = scale * one.flops / (self.half_flops if one.is_half else self.single_flops)
            moved = one.weight_bytes + scale * (one.moved_bytes - one.weight_bytes)
            busy += count * max(arithmetic, moved / self.moved_bytes)
            operations += count
        started = operations * self.start_seconds
        return max(busy, started) if self.overlaps else busy + started


GPU_ARITHMETIC_SHARE = 0.5
"""Of the data sheet's arithmetic in large products. Guess: reports of well-made training runs are at 0.4–0.6."""
GPU_BANDWIDTH_SHARE = 0.75  # guess: what copies reach
GPU_START_SECONDS = 8e-6  # guess: eager PyTorch from Python, 5–10 µs an operation
UNKNOWN_GPU = (100.0, 25.0, 600e9)
"""TFLOPS in half and single precision, bytes a second, where neither the name nor a measurement tells. Guess."""


def nominal_speed(device: Device, *, cores: int) -> Speed:
    """What choices between cuts are made by: the same each time, whatever else the machine is doing."""
    if device.kind == "cpu":
        return Speed(30e9 * cores, 30e9 * cores, 8e9, 2e-5, False, f"{cores} usual cores")  # guesses; ratios matter
    half, single, moved = UNKNOWN_GPU
    if device.tflops is not None:
        half, single = device.tflops, device.fp32_tflops or device.tflops / 4
        moved = device.bandwidth_bytes or moved
    return Speed(
        half_flops=GPU_ARITHMETIC_SHARE * half * 1e12,
        single_flops=GPU_ARITHMETIC_SHARE * single * 1e12,
        moved_bytes=GPU_BANDWIDTH_SHARE * moved,
        start_seconds=GPU_START_SECONDS,
        overlaps=True,
        words=f"{GPU_ARITHMETIC_SHARE:.0%} of {half:g} TFLOPS and {GPU_BANDWIDTH_SHARE:.0%} of {moved / 1e9:,.0f} GB/s",
    )


def measured_speed(device: torch.device, *, half: torch.dtype | None) -> Speed:
    """Of the device at hand, in about a tenth of a second: one product, one activation, one small operation."""
    single = _product_rate(device, torch.float32)
    rate = _product_rate(device, half) if half is not None else single
    start = _start_seconds(device)
    return Speed(
        half_flops=rate,
        single_flops=single,
        moved_bytes=_pointwise_rate(device),
        start_seconds=start,
        overlaps=device.type == "cuda",
        words=f"measured here: {rate / 1e9:,.0f} GFLOP/s, {start * 1e6:.0f} µs to start an operation",
    )


def _product_rate(device: torch.device, dtype: torch.dtype) -> float:
    rows, width = (512, 1024) if device.type == "cpu" else (4096, 4096)
    one = torch.ones(rows, width, device=device, dtype=dtype)
    other = torch.ones(width, width, device=device, dtype=dtype)
    return 2.0 * rows * width * width / _seconds(lambda: one @ other, device)


def _pointwise_rate(device: torch.device) -> float:
    """Bytes a second through an activation function: a copy is three times as quick on a CPU, and nothing like it is
    done in training."""
    numbers = 2**21 if device.type == "cpu" else 2**26
    source = torch.ones(numbers, device=device)
    return 2.0 * 4 * numbers / _seconds(lambda: torch.nn.functional.silu(source), device)


LAYERS_OF_PYTHON = 6.0
"""A training step's operation costs this many times a bare one: module calls, autograd's graph, its engine. Measured on
the tiny models of bench/rehearsal.py (docs/log.md)."""


def _start_seconds(device: torch.device) -> float:
    one = torch.ones(8, device=device)
    times = 100

    def many() -> None:
        for _ in range(times):
            one.add(1.0)

    return LAYERS_OF_PYTHON * _seconds(many, device) / times


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    """The quickest of a few: what is slower was disturbed."""
    best = float("inf")
    for _ in range(4):
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return best
