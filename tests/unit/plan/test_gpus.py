"""GPUs by name, and by description."""

from __future__ import annotations

import pytest

from trimtab.errors import ConfigError
from trimtab.plan.gpus import GPUS, find_gpu, with_data_sheet
from trimtab.records import Device


@pytest.mark.parametrize("name", list(GPUS))
def test_every_gpu_is_found_by_its_name(name: str) -> None:
    assert find_gpu(name) == find_gpu(name.lower()) == find_gpu(f"NVIDIA {name}") == GPUS[name]


@pytest.mark.parametrize(("asked", "gib", "tflops"), [("mine=24,80", 24, 80), ("my card=7.5,12.25", 7.5, 12.25)])
def test_any_other_is_described(asked: str, gib: float, tflops: float) -> None:
    gpu = find_gpu(asked)
    assert gpu.memory_bytes == gib * 2**30
    assert gpu.tflops == tflops


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("H1000", "Did you mean H100?"),
        ("a100", "Did you mean A100-"),
        ("mine=24", "NAME=GiB,TFLOPS"),
        ("mine=a,b", "NAME=GiB,TFLOPS"),
        ("mine=0,80", "above 0"),
        ("mine=1.2.3,80", "above 0"),
        ("", "not one of T4"),
    ],
)
def test_a_wrong_one_is_answered(asked: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told.replace("?", r"\?")):
        find_gpu(asked)


@pytest.mark.parametrize(
    ("name", "gib", "known"),
    [
        ("NVIDIA H200", 139.8, "H200"),
        ("NVIDIA H100 80GB HBM3", 79.1, "H100"),
        ("NVIDIA A100-SXM4-40GB", 39.4, "A100-40"),
        ("NVIDIA A100-SXM4-80GB", 79.2, "A100-80"),
        ("Tesla T4", 14.6, "T4"),
        ("NVIDIA GeForce RTX 3090", 23.7, "RTX-3090"),
        ("NVIDIA GeForce RTX 4090", 23.6, "RTX-4090"),
        ("NVIDIA L4", 22.0, "L4"),
        ("NVIDIA L40S", 44.4, None),
        ("AMD Instinct MI300X", 191.7, None),
    ],
)
def test_a_gpu_at_hand_gets_its_data_sheet(name: str, gib: float, known: str | None) -> None:
    here = Device(kind="cuda", name=name, memory_bytes=int(gib * 2**30), native_bf16=True)
    found = with_data_sheet(here)
    assert found.tflops == (GPUS[known].tflops if known else None)
    assert found.memory_bytes == here.memory_bytes
