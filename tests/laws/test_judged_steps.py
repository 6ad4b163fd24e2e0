"""What `train` judges after its tenth step: it disturbs nothing, accuses no healthy run, and stops only the doomed."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import curve, event_kinds, same_bits, sections, train
from support.strict import strict
from support.tiny import TinyWorld

from trimtab.model.target_loss import TargetLoss
from trimtab.records import EvalRecord, RunDir, Status, StepRecord
from trimtab.records.verdict import FirstSteps, Movement
from trimtab.train.first_steps import RUINED, UNTRAINED
from trimtab.train.loop import Loop
from trimtab.train.observer import CONTINUE, Intervention

pytestmark = pytest.mark.usefixtures("straight_to_the_loop")


def judged(run: Path) -> FirstSteps:
    verdict = RunDir(run).read_verdict()
    assert verdict is not None
    assert verdict.first_steps is not None
    return verdict.first_steps


@pytest.mark.parametrize("kind", ["lora", "qlora", "full"])
def test_judging_changes_nothing_bit_for_bit(
    world: TinyWorld, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("judged", "left alone"):
        if name == "left alone":
            monkeypatch.setattr(Loop, "_judged_losses", lambda self: [])
        config = sections(world, tmp_path / name, max_steps=14, eval_strategy="no", save_strategy="no")
        config["adapter"] = "none" if kind == "full" else {"r": 4, "lora_dropout": 0.1}
        config["model"]["load_in_4bit"] = kind == "qlora"
        train(config)
    assert judged(tmp_path / "judged").step == 10
    assert RunDir(tmp_path / "left alone").read_verdict().first_steps is None
    assert same_bits(tmp_path / "judged" / "final", tmp_path / "left alone" / "final")
    assert curve(tmp_path / "judged") == curve(tmp_path / "left alone")


def test_a_healthy_run_is_seen_to_learn(world: TinyWorld, tmp_path: Path) -> None:
    verdict = train(sections(world, tmp_path / "run", max_steps=12)).verdict
    assert verdict.first_steps.movement is Movement.FALLING
    assert verdict.first_steps.loss_after < verdict.first_steps.loss_before
    assert not any("step-10" in finding.rule for finding in verdict.findings)
    assert event_kinds(tmp_path / "run").count("judged") == 1


def test_a_run_of_fewer_steps_is_judged_after_its_last(world: TinyWorld, tmp_path: Path) -> None:
    train(sections(world, tmp_path / "run", max_steps=4))
    assert judged(tmp_path / "run").step == 4


def test_a_run_that_is_destroyed_is_stopped(world: TinyWorld, tmp_path: Path) -> None:
    """A base that was trained a little first: on random weights there is nothing to destroy."""
    base = trained_base(world, tmp_path)
    config = sections(world, tmp_path / "run", learning_rate=0.9, num_train_epochs=6, warmup_steps=0, adam_beta2=0.99)
    config["model"]["name_or_path"] = str(base)
    config["adapter"] = "none"
    config["guard"] = {"mode": "off"}  # it would be put right
    verdict = train(strict(config)).verdict
    assert verdict.first_steps.movement is Movement.RUINED, verdict.first_steps
    assert verdict.status is Status.FAILED
    assert verdict.findings[-1].rule == RUINED
    steps, _ = RunDir(tmp_path / "run").read_metrics()
    assert steps[-1].step == 10


def trained_base(world: TinyWorld, folder: Path) -> Path:
    config = sections(world, folder / "base", num_train_epochs=6, learning_rate=0.003)
    config["adapter"] = "none"
    assert train(config).verdict.status is Status.HEALTHY
    return folder / "base" / "final"


def test_a_run_without_gradients_is_stopped(world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = TargetLoss.forward
    monkeypatch.setattr(TargetLoss, "forward", lambda self, batch: _without_gradient(forward(self, batch)))
    config = strict(sections(world, tmp_path / "run", num_train_epochs=4))
    verdict = train(config | {"guard": {"mode": "off"}}).verdict
    assert verdict.status is Status.FAILED
    assert verdict.first_steps.movement is Movement.UNTRAINED
    assert verdict.findings[-1].rule == UNTRAINED
    assert len(RunDir(tmp_path / "run").read_metrics()[0]) == 10


def _without_gradient(loss: torch.Tensor) -> torch.Tensor:
    return loss.detach() + loss * 0.0 if loss.requires_grad else loss


def test_what_is_let_pass_by_name_does_not_stop(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = TargetLoss.forward
    monkeypatch.setattr(TargetLoss, "forward", lambda self, batch: _without_gradient(forward(self, batch)))
    config = sections(world, tmp_path / "run", max_steps=12)  # checks.ignore: all
    verdict = train(config | {"guard": {"mode": "off"}}).verdict
    assert len(RunDir(tmp_path / "run").read_metrics()[0]) == 12
    assert verdict.first_steps.movement is Movement.UNTRAINED
    assert verdict.accepted == ("all",)
    assert verdict.findings[-1].rule == UNTRAINED
    assert verdict.findings[-1].accepted


class SignalAt:
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, record: StepRecord) -> Intervention:
        if record.step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)
        return CONTINUE

    def on_eval(self, record: EvalRecord) -> Intervention:
        return CONTINUE


def test_a_run_that_is_resumed_before_it_is_judged_is_judged_the_same(world: TinyWorld, tmp_path: Path) -> None:
    train(sections(world, tmp_path / "straight", max_steps=14, save_steps=5))
    cut = sections(world, tmp_path / "cut", max_steps=14, save_steps=5)
    train(cut, observers=[SignalAt(6)])
    assert RunDir(tmp_path / "cut").read_verdict().first_steps is None
    train(cut, resume=True)
    assert judged(tmp_path / "cut") == judged(tmp_path / "straight")
    assert same_bits(tmp_path / "cut" / "final", tmp_path / "straight" / "final")


def test_a_run_that_was_condemned_is_condemned_when_it_is_resumed(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill may fall between the judgement, which the checkpoint holds, and the stop."""
    config = strict(sections(world, tmp_path / "run", max_steps=14, save_steps=5))
    train(config, observers=[SignalAt(11)])
    path = RunDir(tmp_path / "run").checkpoint(10)
    monkeypatch.setattr("trimtab.train.checkpoint.RunState.model_validate_json", _condemned)
    assert path.exists()
    assert train(config, resume=True).verdict.status is Status.FAILED


def _condemned(text: str) -> Any:
    from trimtab.train.state import RunState

    state = RunState.model_validate(json.loads(text))
    state.first_steps = state.first_steps.model_copy(update={"movement": Movement.UNTRAINED})
    return state


def test_batches_of_one_are_the_same_whatever_the_layout(world: TinyWorld, tmp_path: Path) -> None:
    for packing in ("auto", "off"):
        config = sections(world, tmp_path / packing, max_steps=1, eval_strategy="no", save_strategy="no")
        config["data"]["packing"] = packing
        train(config)
    packed, padded = judged(tmp_path / "auto"), judged(tmp_path / "off")
    assert abs(packed.loss_before - padded.loss_before) < 1e-5
