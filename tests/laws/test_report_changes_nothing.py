"""Law 6, of what a run measures for its reader alone: the run is the same to the last bit, with it and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.runs import curve, same_bits, sections, train
from support.tiny import TinyWorld

from trimtab.records import Memorisation, RunDir, Samples

pytestmark = pytest.mark.usefixtures("straight_to_the_loop")

SHAPES: dict[str, dict[str, Any]] = {
    "lora with dropout, checkpointed": {
        "adapter": {"r": 4, "lora_dropout": 0.1},
        "training": {"gradient_checkpointing": True},
    },
    "pissa, padded": {"adapter": {"r": 4, "init_lora_weights": "pissa"}, "data": {"packing": False}},
    "full fine-tuning in bf16": {"adapter": "none", "training": {"learning_rate": 1e-3, "bf16": True}},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_run_that_shows_what_it_says_is_the_run(shape: str, world: TinyWorld, tmp_path: Path) -> None:
    for name, report in (("silent", {"samples": 0, "recited": 0}), ("shown", {"samples": 3, "max_new_tokens": 8})):
        config = sections(world, tmp_path / name, eval_steps=3)
        config["report"] = report
        for section, values in SHAPES[shape].items():
            config[section] = {**config[section], **values} if isinstance(values, dict) else values
        train(config)
    silent, shown = RunDir(tmp_path / "silent"), RunDir(tmp_path / "shown")
    assert same_bits(silent.final, shown.final)
    assert curve(silent.path) == curve(shown.path)
    assert not silent.samples.exists() and not silent.memorised.exists()
    assert all(one.tuned is not None for one in Samples.model_validate_json(shown.samples.read_text()).samples)
    recited = Memorisation.model_validate_json(shown.memorised.read_text())
    assert all(one.tuned_tokens is not None for one in (*recited.train, *recited.validation))
    for event in shown.read_events():
        assert event.kind != "notice" or "left out" not in event.message
