from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.precision_unfit import PrecisionUnfit
from trimtab.records import Device, Severity

GIB = 2**30


def gpu(*, bf16: bool = True, memory_bytes: int = 24 * GIB) -> Device:
    return Device(kind="cuda", name="a GPU", memory_bytes=memory_bytes, native_bf16=bf16)


@pytest.mark.parametrize(
    ("training", "device", "severity", "said"),
    [
        ({"bf16": True}, {"bf16": False}, Severity.WARNS, "the run takes fp16"),
        ({"fp16": True}, {"bf16": True}, Severity.NOTES, "bf16 is as fast"),
        ({"bf16": False}, {"bf16": True}, Severity.NOTES, "twice the memory"),
        ({"fp16": False}, {"bf16": False}, Severity.NOTES, "twice the memory"),
    ],
)
def test_it_fires_on_a_gpu(
    world: TinyWorld, tmp_path: Path, training: Any, device: Any, severity: Severity, said: str
) -> None:
    found = judge(PrecisionUnfit(), sections(world, tmp_path / "run", **training), tmp_path, device=gpu(**device))
    assert isinstance(found, Bad)
    assert found.severity is severity
    assert said in found.evidence


@pytest.mark.parametrize("training", [{"fp16": True}, {"bf16": True}])
def test_it_fires_on_a_cpu_without_it_and_only_as_a_note(world: TinyWorld, tmp_path: Path, training: Any) -> None:
    cpu = Device(kind="cpu", name="a CPU", memory_bytes=GIB, native_bf16=False)
    found = judge(PrecisionUnfit(), sections(world, tmp_path / "run", **training), tmp_path, device=cpu)
    assert isinstance(found, Bad)
    assert found.severity is Severity.NOTES
    assert "fp32" in found.evidence


@pytest.mark.parametrize("bf16", [True, False])
def test_it_is_silent_where_the_plan_decides(world: TinyWorld, tmp_path: Path, bf16: bool) -> None:
    assert isinstance(judge(PrecisionUnfit(), sections(world, tmp_path / "run"), tmp_path, device=gpu(bf16=bf16)), Good)
    assert isinstance(judge(PrecisionUnfit(), sections(world, tmp_path / "run"), tmp_path), Good)
