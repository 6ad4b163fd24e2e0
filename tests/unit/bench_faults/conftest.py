"""The benchmark is no part of the package: it is imported from the repository's root."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.rows import chat, sentence
from support.tiny import TinyWorld

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

STEPS = 14


@pytest.fixture
def tiny_site(world: TinyWorld, tmp_path: Path, one_thread: None) -> Callable[[], tuple[Any, Any]]:
    """Makes the same small run again: a random Llama, 56 rows, fourteen steps of four."""
    import random

    from bench.faults.injector import Site
    from bench.faults.subjects import Rows

    def make() -> tuple[Any, Any]:
        draw = random.Random(1)
        rows = [chat(sentence(draw, 5), sentence(draw, draw.randint(3, 9))) for _ in range(72)]
        config: dict[str, Any] = {
            "model": {"name_or_path": str(world.llama)},
            "data": {"max_length": 128, "workers": 1},
            "adapter": {"r": 4},
            "training": {
                "max_steps": STEPS,
                "per_device_train_batch_size": 4,
                "gradient_accumulation_steps": 1,
                "learning_rate": 0.01,
                "warmup_steps": 1,
                "eval_strategy": "steps",
                "eval_steps": 5,
                "save_strategy": "no",
                "load_best_model_at_end": False,
                "report_to": "none",
                "use_cpu": True,
            },
        }
        folder = tmp_path / "site"
        folder.mkdir(exist_ok=True)
        return Site(folder, rows[:56], rows[56:64], config, STEPS), Rows(rows[:56], rows[56:64], rows[64:])

    return make
