"""A run in the middle of which every probe was made ends with the very weights of one that was left alone."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
from support.labs import SmallRun, same, small_run
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.guard.lab import Lab
from trimtab.guard.probe import CannotProbe, Probe
from trimtab.guard.probes import PROBES
from trimtab.train.step import Stepper

BUDGET = 6.0
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"adapter": {"r": 4, "lora_dropout": 0.1}},
    "qlora": {"adapter": {"r": 4, "lora_dropout": 0.1}, "model": {"load_in_4bit": True}},
    "some layers, checkpointing": {
        "adapter": {"r": 4, "target_modules": ["q_proj", "v_proj"]},
        "training": {"gradient_checkpointing": True},
    },
    "full, padded": {"adapter": "none", "data": {"packing": "off"}},
    "fp16": {"adapter": {"r": 4, "lora_dropout": 0.1}, "precision": "fp16"},
    "gpt2": {"adapter": {"r": 4}, "llama": False},
}


def run_of(world: TinyWorld, folder: Path, kind: str) -> SmallRun:
    wanted = dict(KINDS[kind])
    config = sections(world, folder / "run", num_train_epochs=6, adam_beta2=0.99)
    precision = wanted.pop("precision", None)
    if not wanted.pop("llama", True):
        config["model"]["name_or_path"] = str(world.gpt2)
    for section, values in wanted.items():
        config[section] = {**config[section], **values} if isinstance(values, dict) else values
    return small_run(config, folder, precision=precision, every=3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_probe_leaves_no_trace(world: TinyWorld, tmp_path: Path, kind: str) -> None:
    alone = run_of(world, tmp_path / "alone", kind).advance(10)
    probed = run_of(world, tmp_path / "probed", kind).advance(7)
    lab, before = probed.lab(), probed.everything()
    refused = set()
    for probe in PROBES:
        try:
            result = probe.run(lab, probed.suspect(good=probed.snapshots[-1]), BUDGET)
        except CannotProbe:
            refused.add(probe.name)
        else:
            assert result.probe == probe.name
            assert result.values, probe.name
        after = probed.everything()
        assert same(before, after), (probe.name, [key for key in before if not same(before[key], after[key])])
    # 7 steps are too few for an order; answers here are short; and the budget is too small for two of them
    assert refused <= {"order", "memorisation", "capacity", "clip", "optimizer-swap", "learning-rate-search"}, refused
    probed.advance(3)
    assert same(alone.weights(), probed.weights())
    assert alone.history == probed.history


@pytest.mark.parametrize(("kind", "fails_at"), [("lora", 1), ("full, padded", 2), ("fp16", 1)])
def test_a_probe_that_breaks_off_leaves_no_trace(
    world: TinyWorld, tmp_path: Path, kind: str, fails_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(world, tmp_path, kind).advance(4)
    lab, before = run.lab(), run.everything()
    update = Stepper.update
    calls = [0]

    def failing(self: Stepper, learner: Any, *, updates_done: int) -> torch.Tensor:
        calls[0] += 1
        measured = update(self, learner, updates_done=updates_done)
        if calls[0] >= fails_at:
            raise RuntimeError("the device has fallen off the bus")
        return measured

    monkeypatch.setattr(Stepper, "update", failing)
    for probe in PROBES:
        calls[0] = 0
        with contextlib.suppress(CannotProbe):
            probe.run(lab, run.suspect(), BUDGET)
        assert same(before, run.everything()), probe.name


def test_a_probe_that_is_interrupted_between_unscaling_and_updating_leaves_no_trace(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = run_of(world, tmp_path / "alone", "fp16").advance(6)
    run = run_of(world, tmp_path / "run", "fp16").advance(4)

    class Interrupted(Probe):
        name = "interrupted"
        default_steps = 1.0

        def measure(self, lab: Lab, suspect: Any, budget_steps: float) -> Any:
            batches, targets = lab.batches(suspect.rows)
            for batch in batches:
                lab.stepper.scaler.scale(lab.stepper.model(batch).sum() / targets).backward()
            lab.stepper.scaler.unscale_(lab.learner.optimizer)
            raise KeyboardInterrupt

    before = run.everything()
    with pytest.raises(KeyboardInterrupt):
        Interrupted().run(run.lab(), run.suspect())
    assert same(before, run.everything())
    run.advance(2)
    assert same(alone.weights(), run.weights())
