"""Law 6: a healthy run under guard is the run without one, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.runs import curve, same_bits, sections, train
from support.tiny import TinyWorld

from trimtab.records import RunDir

pytestmark = pytest.mark.usefixtures("straight_to_the_loop")

SHAPES: dict[str, dict[str, Any]] = {
    "lora with dropout": {"adapter": {"r": 4, "lora_dropout": 0.1}},
    "full fine-tuning": {"adapter": "none", "training": {"learning_rate": 1e-3}},
    "one example a step": {
        "training": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 1, "max_steps": 60}
    },
    "padded": {"data": {"packing": False}},
    "sgd without clipping": {"training": {"optim": "sgd", "max_grad_norm": 0.0, "learning_rate": 0.3}},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_guarded_run_is_the_run(shape: str, world: TinyWorld, tmp_path: Path) -> None:
    for mode in ("off", "repair"):
        config = sections(world, tmp_path / mode, num_train_epochs=6, learning_rate=1e-3, eval_steps=10)
        config["guard"] = {"mode": mode}
        for section, values in SHAPES[shape].items():
            config[section] = {**config[section], **values} if isinstance(values, dict) else values
        train(config)
    assert same_bits(tmp_path / "off" / "final", tmp_path / "repair" / "final")
    assert curve(tmp_path / "off") == curve(tmp_path / "repair")
    events = RunDir(tmp_path / "repair").read_events()
    assert not [event for event in events if event.kind in ("diagnosis", "repair", "probe")]
    assert not [event for event in events if event.kind == "amendment"]
