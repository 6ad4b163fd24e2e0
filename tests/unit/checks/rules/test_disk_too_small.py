from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.evidence import evidence, judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.disk_too_small import DiskTooSmall
from trimtab.checks.trainable import on_disk
from trimtab.records import Severity


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """A disk with so many bytes free."""
    usage = type("Usage", (), {"free": count})()
    monkeypatch.setattr("trimtab.checks.rules.disk_too_small.shutil.disk_usage", lambda path: usage)


def full(world: TinyWorld, folder: Path, **training: Any) -> dict[str, Any]:
    return sections(world, folder / "run" / "not" / "yet" / "there", **training) | {"adapter": "none"}


def test_it_fires_and_blocks_where_it_cannot_fit(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free(monkeypatch, 100_000)
    found = judge(DiskTooSmall(), full(world, tmp_path), tmp_path)
    assert isinstance(found, Bad)
    assert found.severity is Severity.BLOCKS
    assert "3 checkpoints" in found.evidence


def test_it_only_warns_where_it_may_just_fit(world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = on_disk(evidence(full(world, tmp_path), tmp_path))
    free(monkeypatch, (kept.least_bytes + kept.most_bytes) // 2)
    found = judge(DiskTooSmall(), full(world, tmp_path), tmp_path)
    assert isinstance(found, Bad)
    assert found.severity is Severity.WARNS


def test_it_is_silent_where_there_is_room(world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = on_disk(evidence(full(world, tmp_path), tmp_path))
    free(monkeypatch, kept.most_bytes)
    assert isinstance(judge(DiskTooSmall(), full(world, tmp_path), tmp_path), Good)
    free(monkeypatch, 2**30)
    assert isinstance(judge(DiskTooSmall(), sections(world, tmp_path / "run"), tmp_path), Good)


@pytest.mark.usefixtures("straight_to_the_loop")
@pytest.mark.parametrize("kind", ["lora", "full"])
@pytest.mark.parametrize("optim", ["adamw_torch", "sgd"])
def test_what_it_expects_is_what_a_run_leaves(world: TinyWorld, tmp_path: Path, kind: str, optim: str) -> None:
    from support.runs import train

    config = sections(world, tmp_path / "run", max_steps=8, eval_steps=2, save_steps=2, optim=optim)
    config["adapter"] = "none" if kind == "full" else {"r": 64}
    kept = on_disk(evidence(config, tmp_path))
    train(config)
    seen: set[int] = set()
    found = 0
    for path in (tmp_path / "run").rglob("*"):
        is_weight = path.suffix in (".safetensors", ".pt")
        if is_weight and path.stat().st_ino not in seen:
            seen.add(path.stat().st_ino)
            found += path.stat().st_size
    assert 0.99 * kept.least_bytes < found < 1.02 * kept.most_bytes + 100_000
