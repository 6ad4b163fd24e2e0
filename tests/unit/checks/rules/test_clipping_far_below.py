"""clipping-far-below: when it speaks, and when it must not."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.clipping_far_below import ClippingFarBelow
from trimtab.records import Severity


@pytest.mark.parametrize("norm", [1e-12, 1e-9, 9e-5])
def test_it_fires(world: TinyWorld, tmp_path: Path, norm: float) -> None:
    found = judge(ClippingFarBelow(), sections(world, tmp_path / "run", max_grad_norm=norm), tmp_path)
    assert isinstance(found, Bad)
    assert f"{norm:g}" in found.value


@pytest.mark.parametrize(("norm", "severity"), [(1e-9, None), (1e-7, None), (1e-5, Severity.WARNS)])
def test_what_can_learn_nothing_is_refused(
    world: TinyWorld, tmp_path: Path, norm: float, severity: Severity | None
) -> None:
    found = judge(ClippingFarBelow(), sections(world, tmp_path / "run", max_grad_norm=norm), tmp_path)
    assert isinstance(found, Bad)
    assert found.severity is severity  # None: the rule's own, which blocks


@pytest.mark.parametrize("norm", [1e-3, 0.3, 1.0])
def test_it_is_silent(world: TinyWorld, tmp_path: Path, norm: float) -> None:
    assert isinstance(judge(ClippingFarBelow(), sections(world, tmp_path / "run", max_grad_norm=norm), tmp_path), Good)


def test_without_clipping_another_rule_speaks(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "run", max_grad_norm=0.0)
    assert isinstance(judge(ClippingFarBelow(), config, tmp_path), NotApplicable)
