"""Law 6 in other people's loops: a healthy run is not changed by being watched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.trainer_runs import make_model, rows, trainer

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
@pytest.mark.parametrize(
    "settings",
    [
        {"gradient_accumulation_steps": 3},
        {"eval_strategy": "steps", "eval_steps": 4, "eval_on_start": True},
        {"max_grad_norm": 0.0, "logging_steps": 5},
        {"bf16": True},
    ],
    ids=["accumulated", "evaluated", "not clipped", "bf16"],
)
def test_a_watched_trainers_run_is_the_run(tmp_path: Path, settings: dict[str, Any], lora: bool) -> None:
    held_out = rows(8) if "eval_steps" in settings else None
    ends = []
    for watched in (False, True):
        model = make_model(lora=lora, dropout=0.1)
        made = trainer(tmp_path / f"run-{watched}", model=model, held_out=held_out, watched=watched, **settings)
        made.train()
        logged = [{k: v for k, v in line.items() if "_per_second" not in k and "runtime" not in k}
                  for line in made.state.log_history]  # fmt: skip
        ends.append((logged, {name: p.detach().clone() for name, p in model.named_parameters()}, torch.get_rng_state()))
    (logged, weights, state), (logged_too, weights_too, state_too) = ends
    assert logged == logged_too
    assert all(torch.equal(weights[name], weights_too[name]) for name in weights)
    assert torch.equal(state, state_too)


def test_the_trainer_is_left_as_it_was(tmp_path: Path) -> None:
    made = trainer(tmp_path / "run")
    before = set(vars(made)), set(vars(made.accelerator))
    made.train()
    assert "training_step" not in vars(made)
    assert "clip_grad_norm_" not in vars(made.accelerator)
    assert before[0] <= set(vars(made))
