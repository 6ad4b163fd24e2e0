"""Laws 1, 3 and 4 where memory is short: a halved micro batch is the same run, is recorded, and outlives a kill."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import curve, largest_difference, losses, relative, same_bits, sections, straight, tensors, train
from support.strict import strict
from support.tiny import TinyWorld

from trimtab.data.collate import Batch
from trimtab.model.target_loss import TargetLoss
from trimtab.records import EvalRecord, RunDir, RunEvent, Status, StepRecord
from trimtab.train.checkpoint import STATE_FILE
from trimtab.train.first_steps import MemoryWatch
from trimtab.train.observer import CONTINUE, HalveMicroBatch, Intervention
from trimtab.train.state import RunState

pytestmark = pytest.mark.usefixtures("straight_to_the_loop")

SHORT = {"max_steps": 4, "eval_steps": 2, "save_strategy": "no"}
"""Step 2 is looked up, so what it measured is read before step 3."""


class HalveAt:
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, record: StepRecord) -> Intervention:
        return HalveMicroBatch("a test") if record.step == self.step else CONTINUE

    def on_eval(self, record: EvalRecord) -> Intervention:
        return CONTINUE


class SignalAt(HalveAt):
    def on_step(self, record: StepRecord) -> Intervention:
        if record.step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)
        return CONTINUE


def whole(world: TinyWorld, run: Path, **changes: Any) -> dict[str, Any]:
    """8 examples a step: 4 × 2 where nothing else is said."""
    cut = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "per_device_eval_batch_size": 8}
    made = sections(world, run, **(cut | {"eval_steps": 5, "save_steps": 5} | changes))
    return {**made, "guard": {"mode": "off"}}  # its own forwards would be counted as the run's


@pytest.fixture(scope="module")
def halved(world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `whole`, halved after step 2."""
    folder = tmp_path_factory.mktemp("halved") / "run"
    with straight():
        train(whole(world, folder), observers=[HalveAt(2)])
    return folder


@pytest.fixture(scope="module")
def halved_early(world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `halved`, of the short run; carried out before step 3."""
    folder = tmp_path_factory.mktemp("halved") / "short"
    with straight():
        train(whole(world, folder, **SHORT), observers=[HalveAt(2)])
    return folder


def evaluations(run: Path) -> list[float]:
    return [record.loss for record in RunDir(run).read_metrics()[1]]


def amendments(run: Path) -> list[RunEvent]:
    return [event for event in RunDir(run).read_events() if event.kind == "amendment"]


@pytest.mark.parametrize("packing", ["auto", "off"])
def test_halving_the_micro_batch_changes_nothing_but_rounding(world: TinyWorld, tmp_path: Path, packing: str) -> None:
    plain, halved = (whole(world, tmp_path / name) for name in ("plain", "halved"))
    for config in (plain, halved):
        config["data"]["packing"] = packing
    train(plain)
    train(halved, observers=[HalveAt(2)])
    assert relative(losses(tmp_path / "halved"), losses(tmp_path / "plain")) < 1e-4
    assert largest_difference(tensors(tmp_path / "halved/final"), tensors(tmp_path / "plain/final")) < 1e-4
    assert not same_bits(tmp_path / "halved" / "final", tmp_path / "plain" / "final"), "nothing was halved"
    [event] = amendments(tmp_path / "halved")
    assert event.message.startswith("amendment 1: micro batches of 2 × 4 instead of 4 × 2")
    assert event.detail == {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    assert [step.target_tokens for step in RunDir(tmp_path / "halved").read_metrics()[0]] == [
        step.target_tokens for step in RunDir(tmp_path / "plain").read_metrics()[0]
    ]


def test_a_resumed_run_goes_on_with_the_halved_micro_batch(world: TinyWorld, tmp_path: Path, halved: Path) -> None:
    cut = whole(world, tmp_path / "cut")
    assert train(cut, observers=[HalveAt(2), SignalAt(6)]).verdict.status is Status.STOPPED
    state = RunState.model_validate_json((RunDir(tmp_path / "cut").checkpoints()[-1][1] / STATE_FILE).read_text())
    assert state.micro_batch_size == 2
    train(cut, resume=True)
    assert same_bits(halved / "final", tmp_path / "cut" / "final")
    assert curve(halved) == curve(tmp_path / "cut")
    uncut, resumed = (RunDir(folder).read_verdict() for folder in (halved, tmp_path / "cut"))
    assert uncut.first_steps == resumed.first_steps is not None


def test_a_run_that_needs_more_than_the_device_has_is_halved_and_then_stopped(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_devices(monkeypatch, 2**20)
    verdict = train(strict(whole(world, tmp_path / "run"))).verdict
    assert verdict.status is Status.FAILED
    assert "one example already" in verdict.reason
    assert "90% of the 1.0 MiB" in verdict.reason
    messages = [event.message for event in amendments(tmp_path / "run")]
    assert [message.split(" instead of ")[0] for message in messages[:2]] == [
        "amendment 1: micro batches of 2 × 4",
        "amendment 2: micro batches of 1 × 8",
    ]
    assert messages[2].startswith("amendment 3: 3 steps instead of")
    assert [step.step for step in RunDir(tmp_path / "run").read_metrics()[0]] == [1, 2, 3]


def test_a_run_that_fits_is_not_touched(world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_devices(monkeypatch, 2**50)
    train(strict(whole(world, tmp_path / "run", max_steps=3)))
    assert amendments(tmp_path / "run") == []


def small_devices(monkeypatch: pytest.MonkeyPatch, memory_bytes: int) -> None:
    def watch(device: Any, **options: Any) -> MemoryWatch:
        return MemoryWatch(device.model_copy(update={"memory_bytes": memory_bytes}), **options)

    monkeypatch.setattr("trimtab.train.run.MemoryWatch", watch)


def runs_out_of_memory(monkeypatch: pytest.MonkeyPatch, *, above: int, from_call: int = 0) -> None:
    """Every forward for training with more than `above` examples fails as CUDA's would, from the given call on."""
    forward, calls = TargetLoss.forward, [0]

    def limited(self: TargetLoss, batch: Batch) -> torch.Tensor:
        is_real = self.training and type(batch.input_ids_BT) is torch.Tensor  # not the rehearsal's
        calls[0] += is_real
        if is_real and calls[0] > from_call and len(batch.segment_lengths or ()) > above:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, batch)

    monkeypatch.setattr(TargetLoss, "forward", limited)


def test_out_of_memory_in_the_first_step_is_the_run_with_smaller_micro_batches(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(whole(world, tmp_path / "small", per_device_train_batch_size=1, gradient_accumulation_steps=8))
    runs_out_of_memory(monkeypatch, above=1)
    train(whole(world, tmp_path / "large"))
    assert same_bits(tmp_path / "small" / "final", tmp_path / "large" / "final")
    assert losses(tmp_path / "small") == losses(tmp_path / "large")
    for mine, other in zip(evaluations(tmp_path / "small"), evaluations(tmp_path / "large"), strict=True):
        assert mine == pytest.approx(other, rel=1e-6), "evaluation batches were halved too: rounding, no more"
    first, second = amendments(tmp_path / "large")
    assert "memory ran out in step 1 (CUDA out of memory. Tried to allocate 2.00 GiB.)" in first.message
    assert "1 × 8 instead of 2 × 4" in second.message


def test_out_of_memory_between_two_micro_batches_of_a_later_step_drops_what_was_half_done(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, halved_early: Path
) -> None:
    runs_out_of_memory(monkeypatch, above=2, from_call=5)  # two calls a step: the second one of step 3
    train(whole(world, tmp_path / "forced", **SHORT))
    assert "memory ran out in step 3" in amendments(tmp_path / "forced")[0].message
    assert same_bits(halved_early / "final", tmp_path / "forced" / "final")


def test_out_of_memory_with_one_example_is_the_users_to_solve(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trimtab.errors import TrimtabError

    runs_out_of_memory(monkeypatch, above=0)
    with pytest.raises(TrimtabError, match="memory ran out"):
        train(whole(world, tmp_path / "run"))
    assert len(amendments(tmp_path / "run")) == 2


def test_out_of_memory_in_the_update_itself_is_not_repeated(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some weights may have moved already: the same step again would be another run."""
    from trimtab.errors import TrimtabError
    from trimtab.train.learner import Learner

    def fails(self: Learner, updates_done: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Learner, "set_learning_rate", fails)
    with pytest.raises(TrimtabError, match="memory ran out"):
        train(whole(world, tmp_path / "run"))
    assert amendments(tmp_path / "run") == []


@pytest.mark.parametrize("fault", ["halving stays in one process", "gradients are kept"])
def test_the_tests_above_can_fail(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, halved: Path, halved_early: Path
) -> None:
    """The two laws, broken on purpose."""
    if fault == "gradients are kept":
        zero_grad = torch.optim.AdamW.zero_grad
        monkeypatch.setattr(
            torch.optim.AdamW,
            "zero_grad",
            lambda self, set_to_none=True: None if _called_by("_step") else zero_grad(self, set_to_none),
        )
        runs_out_of_memory(monkeypatch, above=2, from_call=5)
        train(whole(world, tmp_path / "wrong", **SHORT))
    else:
        wrong = whole(world, tmp_path / "wrong")
        train(wrong, observers=[HalveAt(2), SignalAt(6)])
        path = RunDir(tmp_path / "wrong").checkpoints()[-1][1] / STATE_FILE
        monkeypatch.setattr(RunState, "model_validate_json", _forgetting(RunState.model_validate_json))
        assert path.exists()
        train(wrong, resume=True)
    right = halved_early if fault == "gradients are kept" else halved
    assert not same_bits(right / "final", tmp_path / "wrong" / "final")


def _called_by(name: str) -> bool:
    import sys

    return sys._getframe(2).f_code.co_name == name


def _forgetting(read: Any) -> Any:
    return lambda text: read(text).model_copy(update={"micro_batch_size": None})
