"""What a process's memory is measured by on a CPU."""

from __future__ import annotations

import gc
import sys

import pytest
import torch
from torch import nn

from trimtab.train.step import Row
from trimtab.train.telemetry import (
    Telemetry,
    resident_bytes,
    resident_peak_bytes,
    restart_resident_peak,
    tensor_bytes,
)

CPU = torch.device("cpu")
MIB = 2**20
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its peak")


def spike(mib: int) -> None:
    """So many MiB, held and given back."""
    held = torch.ones(mib * MIB, dtype=torch.uint8)
    del held
    gc.collect()


def test_a_peak_is_seen_after_it_is_over_and_can_be_forgotten() -> None:
    if not restart_resident_peak():
        pytest.skip("this kernel does not let a process forget its peak")
    before = resident_bytes()
    spike(256)
    assert resident_peak_bytes() > before + 200 * MIB
    assert restart_resident_peak()
    assert resident_peak_bytes() < before + 100 * MIB


def test_what_the_run_grew_by_is_its_tensors() -> None:
    model = nn.Linear(4096, 4096, bias=False)
    telemetry = Telemetry(CPU, held_bytes=tensor_bytes(model))
    telemetry.start_peak()
    spike(256)
    telemetry.push(1, torch.zeros(len(Row), 1), target_tokens=1, tokens=1)
    [reading] = telemetry.ready(leave=0)
    grown, how = telemetry.peak_tensor_bytes(0)
    assert reading.memory_bytes == telemetry.peak_memory_bytes
    assert 0.8 < grown / (64 * MIB + 256 * MIB) < 1.3
    assert "grew" in how


def test_tied_weights_are_counted_once() -> None:
    one, other = nn.Linear(64, 64, bias=False), nn.Linear(64, 64, bias=False)
    both = nn.ModuleList([one, other])
    assert tensor_bytes(both) == 2 * 64 * 64 * 4
    other.weight = one.weight
    assert tensor_bytes(both) == 64 * 64 * 4


def test_memory_given_back_lowers_the_next_peak() -> None:
    telemetry = Telemetry(CPU)
    telemetry.start_peak()
    spike(256)
    telemetry.push(1, torch.zeros(len(Row), 1), target_tokens=1, tokens=1)
    [first] = telemetry.ready(leave=0)
    telemetry.give_back()
    telemetry.push(2, torch.zeros(len(Row), 1), target_tokens=1, tokens=1)
    [second] = telemetry.ready(leave=0)
    assert second.memory_bytes < first.memory_bytes - 100 * MIB
    assert telemetry.peak_memory_bytes >= first.memory_bytes
