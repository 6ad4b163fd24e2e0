"""Runs that probes are made on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import demo_base
from support.labs import SmallRun, small_run
from support.runs import sections
from support.tiny import TinyWorld

MakeRun = Callable[..., SmallRun]


@pytest.fixture
def tiny(world: TinyWorld, tmp_path: Path) -> MakeRun:
    """tiny(steps, precision=…, adapter=…, data=…, **training): a run of the random Llama after so many steps."""

    def make(steps: int, *, precision: str | None = None, around: Any = None, **changes: Any) -> SmallRun:
        adapter, data = changes.pop("adapter", {"r": 4}), changes.pop("data", {})
        config = sections(world, tmp_path / "run", **{"num_train_epochs": 6, "adam_beta2": 0.99, **changes})
        config["adapter"] = adapter
        config["data"] |= data
        run = small_run(config, tmp_path, precision=precision)
        if around is not None:
            around(run)
        return run.advance(steps)

    return make


@pytest.fixture
def demo(tmp_path: Path) -> MakeRun:
    """demo(steps, rows=…, **training): a run of the pretrained demo base on questions and answers."""

    def make(steps: int, rows: list[demo_base.Pair] | None = None, around: Any = None, **training: Any) -> SmallRun:
        pairs = demo_base.pairs(432)
        config = demo_base.config(tmp_path, pairs[:400] if rows is None else rows)
        config["data"]["validation"] = str(demo_base.write_pairs(tmp_path / "held_out.jsonl", pairs[400:]))
        config["training"] |= {"learning_rate": 2e-3, "num_train_epochs": 8, **training}
        config["adapter"] = {"r": 16}
        run = small_run(config, tmp_path)
        if around is not None:
            around(run)
        return run.advance(steps)

    return make
