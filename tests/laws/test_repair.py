"""A run that goes wrong is put right: from before the damage, by one change, and ends as the run without the fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import sabotage
from support.runs import sections, straight, tensors, train
from support.tiny import TinyWorld

from trimtab.records import RunDir, Status

pytestmark = pytest.mark.usefixtures("straight_to_the_loop")


def config(world: TinyWorld, run: Path, mode: str = "repair", **training: Any) -> dict[str, Any]:
    made = sections(world, run, num_train_epochs=6, learning_rate=2e-3, **training)
    made["guard"] = {"mode": mode}
    return made


@pytest.fixture(scope="module")
def clean(world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `config` comes to without a fault."""
    folder = tmp_path_factory.mktemp("whole")
    with straight():
        train(config(world, folder / "clean"))
    return tensors(folder / "clean" / "final")


FAULTS: dict[str, tuple[Callable[[Any], None], str, str]] = {
    "a frozen half": (sabotage.freeze_b, "adapter-not-trainable", "unfreeze-adapter"),
    "an optimizer of other tensors": (sabotage.stale_optimizer, "stale-optimizer-params", "rebuild-optimizer"),
    "a rate that is not the plan's": (sabotage.hundredfold_rate, "schedule-wrong", "restore-schedule"),
    "a weight that is no number": (sabotage.lose_a_weight, "nondeterministic-or-hardware", "go-back"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_loop_is_found_and_undone(
    fault: str, world: TinyWorld, tmp_path: Path, clean: dict[str, Any]
) -> None:
    harm, cause, remedy = FAULTS[fault]
    with sabotage.at_step(12, harm):
        result = train(config(world, tmp_path / "harmed"))
    verdict = result.verdict
    assert verdict.status is Status.REPAIRED, verdict.reason
    assert result.exit_status == 0
    assert verdict.causes[0].rule == cause
    assert 13 <= verdict.causes[0].step <= 15
    (repair,) = verdict.repairs
    assert (repair.remedy, repair.kept) == (remedy, True)
    assert repair.back_to_step <= 12
    repaired = tensors(tmp_path / "harmed" / "final")
    assert all(clean[name].equal(repaired[name]) for name in clean)
    kinds = [event.kind for event in RunDir(tmp_path / "harmed").read_events()]
    assert kinds.index("diagnosis") < kinds.index("amendment") < kinds.index("repair")


def test_bf16_weights_are_made_whole_again(world: TinyWorld, tmp_path: Path) -> None:
    with sabotage.at_step(0, sabotage.keep_in_bf16):
        verdict = train(config(world, tmp_path / "harmed")).verdict
    assert verdict.causes[0].rule == "bf16-update-lost"
    assert verdict.status is Status.REPAIRED
    assert all(str(tensor.dtype) == "torch.float32" for tensor in tensors(tmp_path / "harmed" / "final").values())


def test_a_forward_that_overflows_in_half_precision_goes_on_in_fp32(world: TinyWorld, tmp_path: Path) -> None:
    """No state has a loss then, the base neither: which of them is good shows in fp32 alone."""
    with sabotage.at_step(12, sabotage.overflow_in_half):
        verdict = train(config(world, tmp_path / "harmed", bf16=True)).verdict
    assert verdict.causes[0].rule == "fp16-overflow"
    assert verdict.status is Status.REPAIRED, verdict.reason
    (repair,) = verdict.repairs
    assert (repair.remedy, repair.kept) == ("use-fp32", True)
    assert 0 < repair.back_to_step <= 12


def test_watching_tells_and_changes_nothing(world: TinyWorld, tmp_path: Path) -> None:
    with sabotage.at_step(12, sabotage.stale_optimizer):
        result = train(config(world, tmp_path / "watched", mode="watch"))
    assert result.exit_status == 3
    assert result.verdict.stopped_by_guard
    assert result.verdict.causes[0].rule == "stale-optimizer-params"
    assert not result.verdict.repairs
    assert "guard.mode is watch" in result.verdict.reason


def test_a_fault_that_comes_again_stops_the_run(world: TinyWorld, tmp_path: Path) -> None:
    whole = sabotage.Loop._step

    def always(self: Any, *args: Any, **options: Any) -> Any:
        if self.state.global_step >= 12:
            sabotage.lose_a_weight(self)
        return whole(self, *args, **options)

    sabotage.Loop._step = always  # type: ignore[method-assign]
    try:
        result = train(config(world, tmp_path / "harmed"))
    finally:
        sabotage.Loop._step = whole  # type: ignore[method-assign]
    assert result.exit_status == 3
    assert result.verdict.status is Status.FAILED
    assert not any(repair.kept for repair in result.verdict.repairs)


def test_without_a_guard_nothing_is_noticed(world: TinyWorld, tmp_path: Path) -> None:
    with sabotage.at_step(12, sabotage.freeze_b):
        result = train(config(world, tmp_path / "alone", mode="off"))
    assert not result.verdict.causes
    assert not [event for event in RunDir(tmp_path / "alone").read_events() if event.kind == "diagnosis"]


def test_attention_that_sees_ahead_stops_the_run(world: TinyWorld, tmp_path: Path) -> None:
    from torch.nn import functional

    original = functional.scaled_dot_product_attention

    def forget_the_mask(loop: Any) -> None:
        functional.scaled_dot_product_attention = lambda *args, **options: original(
            *args, **{**options, "is_causal": False, "attn_mask": None}
        )

    try:
        with sabotage.at_step(7, forget_the_mask):
            result = train(config(world, tmp_path / "harmed"))
    finally:
        functional.scaled_dot_product_attention = original
    assert result.exit_status == 3
    assert result.verdict.causes[0].rule == "kernel-or-mask-fault"
    assert result.verdict.causes[0].step <= 18


def test_a_lost_place_in_the_data_is_found_again(world: TinyWorld, tmp_path: Path, clean: dict[str, Any]) -> None:
    def replay(loop: Any) -> None:
        right = loop.order

        class Replayed(type(right)):  # type: ignore[misc]
            def rows(self, step: int) -> Any:
                return right.rows(step % 3)

        loop.order = Replayed(**vars(right))

    with sabotage.at_step(12, replay):
        verdict = train(config(world, tmp_path / "harmed")).verdict
    assert verdict.status is Status.REPAIRED, verdict.reason
    assert verdict.causes[0].rule == "resume-state-lost"
    repaired = tensors(tmp_path / "harmed" / "final")
    assert all(clean[name].equal(repaired[name]) for name in clean)


def test_rows_in_the_files_order_are_told_where_another_was_planned(world: TinyWorld, tmp_path: Path) -> None:
    from trimtab.data.order import Order

    def rows(self: Order, step: int) -> Any:
        start = step % self.steps_per_epoch * self.effective_batch_size
        return np.arange(self.examples)[start : start + self.effective_batch_size]

    planned = Order.rows
    Order.rows = rows  # type: ignore[method-assign]
    try:
        verdict = train(config(world, tmp_path / "harmed")).verdict
    finally:
        Order.rows = planned  # type: ignore[method-assign]
    assert verdict.causes[0].rule == "data-order"
    assert verdict.causes[0].step <= 2
    assert not verdict.stopped_by_guard, "it learns from all its rows, in another order"

    asked = config(world, tmp_path / "asked")
    asked["training"]["train_sampling_strategy"] = "sequential"
    assert train(asked).verdict.status is Status.HEALTHY


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda saved: {name.replace("lora_B", "lora_B.inner"): p for name, p in saved.items()}, "are not in its file"),
        (lambda saved: {name: p * 0.0 for name, p in saved.items()}, "are others than trained"),
    ],
)
def test_weights_that_are_saved_as_others_fail_the_run(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any, said: str
) -> None:
    from trimtab.train import checkpoint

    whole = checkpoint.save_weights
    monkeypatch.setattr(
        checkpoint, "save_weights", lambda model, saved, *rest, **options: whole(model, change(saved), *rest, **options)
    )
    made = config(world, tmp_path / "run", load_best_model_at_end=False)
    made["training"]["num_train_epochs"] = 1  # what is saved at its end is what is looked at
    result = train(made)
    assert result.verdict.status is Status.FAILED
    assert said in result.verdict.reason
    assert result.verdict.causes[0].rule == "save-load-merge-mismatch"


def test_a_damage_that_every_example_overlooks_is_gone_back_behind(
    world: TinyWorld, tmp_path: Path, clean: dict[str, Any]
) -> None:
    """The newest state looks good, for its weights are; its second moments are not."""

    def spoil(loop: Any) -> None:
        for entry in loop.stepper.learners[0].optimizer.state.values():
            entry["exp_avg_sq"].fill_(float("nan"))

    with sabotage.at_step(15, spoil):
        verdict = train(config(world, tmp_path / "harmed")).verdict
    assert verdict.status is Status.REPAIRED, verdict.reason
    assert verdict.causes[0].rule in ("nondeterministic-or-hardware", "optimizer-state-fault")
    repaired = tensors(tmp_path / "harmed" / "final")
    assert all(clean[name].equal(repaired[name]) for name in clean)


def test_memory_that_runs_out_is_named_and_is_no_try_of_another_repair(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs out while the repair of a lost weight is on trial: both are recorded, each as what it was."""
    import torch

    from trimtab.model.target_loss import TargetLoss

    forward, is_short = TargetLoss.forward, [False]

    def limited(self: Any, batch: Any) -> Any:
        if is_short[0] and torch.is_grad_enabled() and len(batch.segment_lengths or ()) > 1 and batch.tokens > 20:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, batch)

    def spoil(loop: Any) -> None:
        sabotage.lose_a_weight(loop)
        is_short[0] = True

    monkeypatch.setattr(TargetLoss, "forward", limited)
    with sabotage.at_step(12, spoil):
        verdict = train(config(world, tmp_path / "run")).verdict
    assert verdict.status is Status.REPAIRED, verdict.reason
    remedies = {repair.remedy: repair for repair in verdict.repairs}
    assert [repair.number for repair in verdict.repairs] == list(range(1, len(verdict.repairs) + 1))
    assert remedies["halve-micro-batch"].cause == "memory-longest-batch"
    assert all(repair.kept for repair in verdict.repairs)
    assert {"memory-longest-batch", "nondeterministic-or-hardware"} <= {cause.rule for cause in verdict.causes}


def test_rows_that_come_again_and_again_are_no_order(world: TinyWorld, tmp_path: Path) -> None:
    """A sampler that is stuck learns a batch by heart; held-out examples may not show it."""
    from trimtab.data.order import Order

    planned = Order.rows
    Order.rows = lambda self, step: planned(self, min(step, 3))  # type: ignore[method-assign]
    try:
        result = train(config(world, tmp_path / "harmed"))
    finally:
        Order.rows = planned  # type: ignore[method-assign]
    assert result.exit_status == 3
    assert result.verdict.stopped_by_guard
    assert result.verdict.causes[0].step <= 7
