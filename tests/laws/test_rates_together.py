"""Learning rates that are tried together come to what each comes to in turn, by the run's own step; and the run goes on
from exactly where it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.labs import SmallRun, same, small_run
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.guard import lab as lab_module
from trimtab.guard.lab import Lab, Tried
from trimtab.guard.together import why_in_turn
from trimtab.train.cohort import Cohort

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS: dict[str, dict[str, Any]] = {
    "fp32": {"adapter": {"r": 4, "lora_dropout": 0.1}},
    "nf4": {"adapter": {"r": 4, "lora_dropout": 0.1}, "model": {"load_in_4bit": True}},
    "fp16": {"adapter": {"r": 4}, "precision": "fp16"},
    "padded, decayed, unclipped": {"data": {"packing": "off"}, "training": {"weight_decay": 0.3, "max_grad_norm": 0.0}},
    "checkpointing, scales": {
        "adapter": {"r": 4, "lora_dropout": 0.1, "use_rslora": True, "alpha_pattern": {"q_proj": 3}},
        "training": {"gradient_checkpointing": True},
    },
    "gpt2": {"model": {"name_or_path": "gpt2"}},
}
ROUNDING = 3e-5
"""Relative, of losses: rows in another batch round otherwise, and AdamW makes more of it where gradients are nearly
nothing. Dropout from another seed differs by ten times as much."""
NEAR = dict.fromkeys(KINDS, ROUNDING) | {"fp16": 5e-3}
FACTORS = (0.5, 2.0)
STEPS = 4


def run_of(world: TinyWorld, folder: Path, kind: str = "fp32") -> SmallRun:
    wanted = dict(KINDS[kind])
    config = sections(world, folder / "run", num_train_epochs=6, adam_beta2=0.99)
    config["training"] |= {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    precision = wanted.pop("precision", None)
    for section, values in wanted.items():
        config[section] = {**config[section], **values}
    if config["model"]["name_or_path"] == "gpt2":
        config["model"]["name_or_path"] = str(world.gpt2)
    return small_run(config, folder, precision=precision, every=3)


def tried(lab: Lab, factors: tuple[float, ...] = FACTORS, *, since: Any = None, **options: Any) -> list[Tried]:
    rates: list[Callable[[int], float]] = [lambda done, f=factor: 2e-3 * f * (1 + done % 2) for factor in factors]  # type: ignore[misc]
    return lab.try_rates(STEPS, rates, since=since, held_out_rows=lab.some_held_out(5), **options)


def together_and_in_turn(run: SmallRun, **options: Any) -> tuple[list[Tried], list[Tried]]:
    """Both count the same cost."""
    together, in_turn = run.lab(), run.lab(may_train_together=False)
    assert why_in_turn(together) is None
    made = tried(together, **options), tried(in_turn, **options)
    assert together.spent_steps == pytest.approx(in_turn.spent_steps)
    return made


def alike(together: list[Tried], in_turn: list[Tried], near: float) -> None:
    assert len(together) == len(in_turn)
    for one, other in zip(together, in_turn, strict=True):
        assert one.lost == other.lost
        assert one.losses == pytest.approx(other.losses, rel=near, nan_ok=True)
        assert one.held_out == pytest.approx(other.held_out, rel=near, nan_ok=True)
        assert one.grad_norms == pytest.approx(other.grad_norms, rel=100 * near, nan_ok=True)


@pytest.mark.parametrize("kind", KINDS)
def test_together_is_in_turn(world: TinyWorld, tmp_path: Path, kind: str) -> None:
    """Across the end of an epoch, whose last step has fewer rows."""
    run = run_of(world, tmp_path, kind).advance(4)
    since = run.snapshots[-1]
    assert any(since.moments.values())
    alike(*together_and_in_turn(run, since=since), NEAR[kind])


def test_from_the_start_they_begin_without_moments(world: TinyWorld, tmp_path: Path) -> None:
    run = run_of(world, tmp_path).advance(2)
    alike(*together_and_in_turn(run, since=run.snapshots[0]), ROUNDING)


def test_rows_are_the_runs_less_those_left_out(world: TinyWorld, tmp_path: Path) -> None:
    """A whole step may be left out; its number passes all the same."""
    run = run_of(world, tmp_path).advance(3)
    left_out = [*run.order.rows(4).tolist(), int(run.order.rows(5)[0])]
    run.state.changes = run.state.changes.model_copy(update={"left_out": left_out})
    together, in_turn = together_and_in_turn(run, rows_of=lambda done: run.order.rows(done)[:6])
    assert [len(one.losses) for one in together] == [STEPS - 1] * len(FACTORS)
    alike(together, in_turn, ROUNDING)


@pytest.mark.parametrize("kind", ["nf4", "fp16", "checkpointing, scales"])
def test_the_run_goes_on_from_where_it_was(world: TinyWorld, tmp_path: Path, kind: str) -> None:
    alone, run = run_of(world, tmp_path / "alone", kind).advance(6), run_of(world, tmp_path / "run", kind).advance(4)
    lab = run.lab()
    before, modules = run.everything(), list(run.stepper.model.modules())
    loss = lab.losses_alone(lab.train, np.arange(4))
    for since in (run.snapshots[0], None):
        tried(lab, since=since)
        assert same(before, run.everything()), [key for key in before if not same(before[key], run.everything()[key])]
        assert all(one is other for one, other in zip(modules, run.stepper.model.modules(), strict=True))
        assert lab.losses_alone(lab.train, np.arange(4)) == loss
    assert lab.may_train_together
    assert why_in_turn(lab) is None
    run.advance(2)
    assert same(alone.weights(), run.weights())
    assert alone.history == run.history


def test_a_lost_rate_leaves_the_others_as_they_are(world: TinyWorld, tmp_path: Path) -> None:
    run = run_of(world, tmp_path).advance(1)
    with_lost = tried(run.lab(), (1.0, 1e30, 0.3), since=run.snapshots[0])
    assert [one.lost for one in with_lost] == [False, True, False]
    assert len(with_lost[1].losses) < STEPS
    assert all(map(math.isnan, with_lost[1].held_out))
    assert tried(run.lab(), (1.0, 0.3), since=run.snapshots[0]) == [with_lost[0], with_lost[2]]
    in_turn = tried(run.lab(may_train_together=False), (1.0, 1e30, 0.3), since=run.snapshots[0])
    alike(with_lost, in_turn, ROUNDING)


def test_where_all_are_lost_nobody_is_left(world: TinyWorld, tmp_path: Path) -> None:
    run = run_of(world, tmp_path).advance(1)
    before = run.everything()
    assert [one.lost for one in tried(run.lab(), (1e30, 1e31))] == [True, True]
    assert same(before, run.everything())


@pytest.mark.parametrize("kind", ["fp32", "fp16"])
def test_a_gradient_that_is_no_number_does_what_it_does_in_the_run(world: TinyWorld, tmp_path: Path, kind: str) -> None:
    """fp16's scaler leaves out the update; without one, the weights are lost."""
    run = run_of(world, tmp_path, kind).advance(4)
    calls = [0]

    def spoil(module: Any, inputs: Any, output: torch.Tensor) -> None:
        calls[0] += output.requires_grad
        if output.requires_grad and calls[0] == 1:
            output.register_hook(lambda gradient: gradient * math.inf)

    run.model.get_base_model().model.norm.register_forward_hook(spoil)
    made = []
    for may in (True, False):
        calls[0] = 0
        made.append(tried(run.lab(may_train_together=may), (1.0,)))
    assert made[0][0].lost == (kind == "fp32")
    assert not math.isfinite(made[0][0].grad_norms[0])
    assert math.isfinite(made[0][0].losses[0])
    alike(*made, NEAR[kind])


def test_where_memory_does_not_hold_them_they_go_in_turn(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(world, tmp_path).advance(1)
    before, tick, ticks = run.everything(), Cohort.tick, [0]
    in_turn = tried(run.lab(may_train_together=False))

    def full(self: Cohort) -> None:
        ticks[0] += 1
        if ticks[0] == 3:
            raise torch.OutOfMemoryError
        tick(self)

    monkeypatch.setattr(Cohort, "tick", full)
    lab = run.lab()
    assert [tried(lab), tried(lab)] == [in_turn, in_turn]
    assert ticks[0] == 3, "it is not tried again"
    assert same(before, run.everything())


def test_what_breaks_off_in_the_middle_leaves_no_trace(
    world: TinyWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(world, tmp_path).advance(1)
    before = run.everything()

    def fail(self: Cohort) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Cohort, "read", fail)
    with pytest.raises(KeyboardInterrupt):
        tried(run.lab())
    assert same(before, run.everything())


def _nothing(run: SmallRun) -> None:
    pass


def _bf16(run: SmallRun) -> None:
    for parameter in run.learner.parameters.values():
        parameter.data = parameter.data.bfloat16()
    run.learner.optimizer.state.clear()


def _stale(run: SmallRun) -> None:
    for group in run.learner.optimizer.param_groups:
        group["params"] = [torch.nn.Parameter(p.detach().clone()) for p in group["params"]]


def _frozen(run: SmallRun) -> None:
    next(iter(run.learner.parameters.values())).requires_grad_(False)


def _listened_to(run: SmallRun) -> None:
    next(module for name, module in run.model.named_modules() if "lora_A" in name).register_forward_hook(print)


def _drops(run: SmallRun) -> None:
    for layer in run.model.get_base_model().model.layers:
        layer.self_attn.attention_dropout = 0.1


def _uneven(run: SmallRun) -> None:
    next(iter(run.learner.optimizer.state.values()))["step"] += 1


@pytest.mark.parametrize(
    ("because", "config", "harm"),
    [
        ("no frozen base", {"adapter": "none"}, _nothing),
        ("use_dora", {"adapter": {"r": 4, "use_dora": True}}, _nothing),
        ("PyTorch's AdamW", {"training": {"optim": "sgd"}}, _nothing),
        ("the head", {"adapter": {"r": 4, "target_modules": ["q_proj", "lm_head"]}}, _nothing),
        ("float32", {}, _bf16),
        ("does not hold what learns", {}, _stale),
        ("is not what learns", {}, _frozen),
        ("listens", {}, _listened_to),
        ("at random", {}, _drops),
        ("more updates", {}, _uneven),
    ],
)
def test_what_cannot_be_a_cohort_goes_in_turn(
    world: TinyWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    because: str,
    config: dict[str, Any],
    harm: Callable[[SmallRun], None],
) -> None:
    made = sections(world, tmp_path / "run", num_train_epochs=6)
    for section, values in config.items():
        made[section] = {**made[section], **values} if isinstance(values, dict) else values
    run = small_run(made, tmp_path, every=3).advance(2)
    harm(run)
    lab = run.lab()
    assert because in (why_in_turn(lab) or "")
    monkeypatch.setattr(lab_module, "train_together", None)
    rate: Callable[[int], float] = lambda done: 1e-3  # noqa: E731
    assert lab.try_rates(1, [rate, rate], since=None) == [lab.try_steps(1, since=None, learning_rate=rate)] * 2


def _switched_off(run: SmallRun) -> None:
    for module in run.model.modules():
        if hasattr(module, "_disable_adapters"):
            module._disable_adapters = True


def _drops_otherwise(run: SmallRun) -> None:
    next(module for name, module in run.model.named_modules() if name.endswith("lora_dropout.default")).p = 0.5


def _grows_otherwise(run: SmallRun) -> None:
    run.stepper.scaler.set_growth_interval(3)


@pytest.mark.parametrize(
    ("because", "kind", "harm"),
    [
        ("what a layer computes with", "fp32", _switched_off),
        ("dropout", "fp32", _drops_otherwise),
        ("grows otherwise", "fp16", _grows_otherwise),
    ],
)
def test_a_run_that_is_not_what_it_was_made_is_no_cohort(
    world: TinyWorld, tmp_path: Path, because: str, kind: str, harm: Callable[[SmallRun], None]
) -> None:
    run = run_of(world, tmp_path, kind)
    harm(run)
    assert because in (why_in_turn(run.lab()) or "")


def test_where_memory_was_cut_once_more_rows_are_not_asked_for(world: TinyWorld, tmp_path: Path) -> None:
    run = run_of(world, tmp_path)
    assert "memory" in (why_in_turn(run.lab(micro_batch_size=1)) or "")
