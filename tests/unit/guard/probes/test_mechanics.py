"""Whether a step reaches the weights, and whether its arithmetic is right."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from trimtab.data.collate import Layout
from trimtab.guard.probe import CannotProbe
from trimtab.guard.probes.capacity import Capacity
from trimtab.guard.probes.clip import Clip
from trimtab.guard.probes.equality import Equality
from trimtab.guard.probes.evaluation import Evaluation
from trimtab.guard.probes.one_batch import OneBatch
from trimtab.guard.probes.optimizer_swap import OptimizerSwap
from trimtab.guard.probes.precision import PrecisionReplay
from trimtab.guard.probes.rerun import Rerun
from trimtab.guard.probes.wiring import Wiring
from trimtab.train.step import Stepper


def freeze_b(run: Any) -> None:
    for name, parameter in run.model.named_parameters():
        if "lora_B" in name:
            parameter.requires_grad_(False)


def stale(run: Any) -> None:
    for group in run.learner.optimizer.param_groups:
        group["params"] = [torch.nn.Parameter(p.detach().clone()) for p in group["params"]]


def half(run: Any) -> None:
    for parameter in run.learner.parameters.values():
        parameter.data = parameter.data.bfloat16()


def read(probe: Any, run: Any, budget: float | None = None, **suspect: Any) -> dict[str, Any]:
    result: dict[str, Any] = probe.run(run.lab(), run.suspect(**suspect), budget).values
    return result


def test_a_healthy_run_is_wired_up(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(4)
    values = read(Wiring(), run)
    assert values["trainable"] == values["planned_trainable"] == values["with_gradient"] == values["moved_tensors"] > 0
    assert values["never_gradient"] == values["zero_b"] == values["frozen"] == []
    assert values["optimizer_matches"]
    assert values["unchanged_share"] < 0.01
    assert 0 < values["update_ratio"] < 1
    assert values["ba_ratio"] > 0
    assert read(OneBatch(), run)["moved"]


def test_a_frozen_half_is_seen(tiny) -> None:  # type: ignore[no-untyped-def]
    values = read(Wiring(), tiny(4, around=freeze_b))
    assert values["trainable"] == values["planned_trainable"] // 2
    assert values["frozen"]
    assert all("lora_B" in name for name in values["frozen"])
    assert values["zero_b"] == values["frozen"]
    assert values["optimizer_matches"]  # it was built for them: this is no stale optimizer


def test_a_stale_optimizer_is_seen(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(4, around=stale)
    values = read(Wiring(), run)
    assert not values["optimizer_matches"]
    assert values["moved_tensors"] == 0
    assert values["unchanged_share"] == 1.0
    batch = read(OneBatch(), run)
    assert not batch["moved"]
    assert batch["ratio"] == 1.0


def test_updates_that_bf16_swallows_are_seen(tiny) -> None:  # type: ignore[no-untyped-def]
    assert read(Wiring(), tiny(3, around=half, learning_rate=2e-5))["unchanged_share"] > 0.4
    assert read(Wiring(), tiny(3, learning_rate=2e-5))["unchanged_share"] < 0.05


def test_a_full_run_plans_every_weight(tiny) -> None:  # type: ignore[no-untyped-def]
    values = read(Wiring(), tiny(3, adapter="none"))
    assert values["trainable"] == values["planned_trainable"]
    assert math.isnan(values["ba_ratio"])


def overflowing(run: Any) -> None:
    """up_proj's output is beyond what fp16 holds, and comes down again behind it."""
    layer = run.model.get_base_model().model.layers[1].mlp
    with torch.no_grad():
        layer.up_proj.weight.mul_(1e5)
        layer.down_proj.weight.mul_(1e-4)


def test_an_overflow_of_fp16_is_told_from_bad_data(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(0, precision="fp16", around=overflowing)
    values = read(PrecisionReplay(), run)
    assert not math.isfinite(values["as_is_loss"])
    assert math.isfinite(values["fp32_loss"])
    assert math.isfinite(values["fp32_norm"])
    assert values["phase"] == "forward"
    assert "layers.1.mlp.up_proj" in values["first_non_finite_module"]


def test_an_overflow_on_the_way_back_is_named(tiny) -> None:  # type: ignore[no-untyped-def]
    def around(run: Any) -> None:
        norm = run.model.get_base_model().model.layers[0].post_attention_layernorm

        def spoil(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
            if output.requires_grad:
                output.register_hook(lambda gradient: gradient * math.inf)
            return output

        norm.register_forward_hook(spoil)

    values = read(PrecisionReplay(), tiny(3, around=around))
    assert math.isfinite(values["as_is_loss"])
    assert not math.isfinite(values["as_is_norm"])
    assert values["phase"] == "backward"
    assert "layers.0" in values["first_non_finite_module"]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_healthy_step_is_finite_everywhere(tiny, precision: str) -> None:  # type: ignore[no-untyped-def]
    values = read(PrecisionReplay(), tiny(4, precision=precision))
    assert values["first_non_finite_module"] == values["phase"] == ""
    assert values["as_is_loss"] == pytest.approx(values["fp32_loss"], rel=0.02)
    assert values["as_is_norm"] == pytest.approx(values["fp32_norm"], rel=0.2)
    assert len(values["clip_quantiles"]) == 3


def test_a_step_made_twice_is_the_same(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(6, adapter={"r": 4, "lora_dropout": 0.1})
    values = read(Rerun(), run, good=run.snapshots[1])
    assert values["identical"]
    assert values["difference"] == 0.0
    assert values["runs"] >= 2
    calls = [0.0]

    def flicker(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
        calls[0] += 1e-3
        return output * (1 + calls[0])

    run.model.get_input_embeddings().register_forward_hook(flicker)
    values = read(Rerun(), run)
    assert not values["identical"]
    assert values["difference"] > 0


@pytest.mark.parametrize("packing", ["auto", "off"])
def test_how_a_batch_is_cut_does_not_matter(tiny, packing: str) -> None:  # type: ignore[no-untyped-def]
    values = read(Equality(), tiny(4, data={"packing": packing}))
    assert values["holds"], values
    assert values["accumulation_loss_ratio"] == pytest.approx(1.0, abs=1e-5)
    assert math.isnan(values["packing_difference"]) == (packing == "off")


def test_a_leak_between_packed_examples_is_seen(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(4)
    core = run.model.get_base_model()
    core.set_attn_implementation("sdpa")

    def unpacked(module: Any, inputs: Any, given: dict[str, Any]) -> Any:
        """Positions that do not begin anew: then transformers takes the row for one text (transformers#46634)."""
        kept = {key: value for key, value in given.items() if key != "segment_lengths"}
        places = torch.arange(given["input_ids"].shape[1])[None].expand_as(given["input_ids"])
        return inputs, {**kept, "position_ids": places}

    core.base_model.register_forward_pre_hook(unpacked, with_kwargs=True)
    values = read(Equality(), run)
    assert not values["holds"]
    assert values["worst"] == "packing_difference"
    assert run.feed.layout is Layout.SEGMENTS


class MeanOfMeans(Stepper):
    """Each micro batch by its own mean, then added up: huggingface/transformers#34191."""

    def step(self, batches: Any, *, updates_done: int, target_tokens: int) -> torch.Tensor:
        batches = list(batches)
        one = min(batch.target_tokens for batch in batches)
        return super().step(batches, updates_done=updates_done, target_tokens=one)


def test_a_loss_that_depends_on_the_accumulation_is_seen(tiny) -> None:  # type: ignore[no-untyped-def]
    def around(run: Any) -> None:
        fields = {field.name: getattr(run.stepper, field.name) for field in dataclasses.fields(Stepper)}
        run.stepper = MeanOfMeans(**fields)

    values = read(Equality(), tiny(2, around=around))
    assert not values["holds"]
    assert values["worst"].startswith("accumulation")
    assert abs(values["accumulation_norm_ratio"] - 1) > 0.1


def test_two_evaluations_are_equal_unless_something_is_drawn(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(3, adapter={"r": 4, "lora_dropout": 0.3})
    values = read(Evaluation(), run)
    assert values["identical"]
    assert values["first"] == values["second"]
    assert values["train_mode_difference"] != 0.0
    for module in run.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.train = lambda mode=True: None  # type: ignore[method-assign]
    values = read(Evaluation(), run)
    assert not values["identical"]
    assert values["difference"] > 0


def test_a_spoilt_optimizer_state_is_told_from_its_steps(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(10)
    healthy = read(OptimizerSwap(), run, good=run.snapshots[-1])
    assert healthy["better_plain_p"] > 0.01
    assert not healthy["eps_underflows"]
    spoilt = run.snapshots[-1]
    for entry in spoilt.moments.values():
        entry["exp_avg"].normal_().mul_(100.0)
        entry["exp_avg_sq"].fill_(1e-8)
    values = read(OptimizerSwap(), run, good=spoilt)
    assert values["better_plain_p"] < 0.001
    assert not values["as_is"] <= values["plain"]


def test_an_epsilon_that_fp16_does_not_hold(tiny) -> None:  # type: ignore[no-untyped-def]
    def around(run: Any) -> None:
        for parameter in run.learner.parameters.values():
            parameter.data = parameter.data.half()

    assert read(OptimizerSwap(), tiny(0, around=around))["eps_underflows"]


def test_clipping_is_counted_by_the_norms_of_the_run(tiny) -> None:  # type: ignore[no-untyped-def]
    run = tiny(6, max_grad_norm=1e-3)
    values = read(Clip(), run, good=run.snapshots[0])
    assert values["share_clipped"] == 1.0
    assert values["norms"] == [norm for _, norm in run.history.values()]
    assert values["p50"] <= values["p90"]
    assert math.isfinite(values["unclipped_change"])
    assert read(Clip(), tiny(6, max_grad_norm=0.0))["share_clipped"] == 0.0
    with pytest.raises(CannotProbe):
        read(Clip(), run, 1.0)


def test_a_larger_adapter_learns_what_a_tiny_one_cannot(demo) -> None:  # type: ignore[no-untyped-def]
    def around(run: Any) -> None:
        for name, parameter in run.model.named_parameters():
            if "lora_" in name and "layers.0.self_attn.q_proj" not in name:
                parameter.requires_grad_(False)
        kept = {name: p for name, p in run.learner.parameters.items() if p.requires_grad}
        run.learner.parameters.clear()
        run.learner.parameters.update(kept)

    run = demo(2, around=around)
    names = [name for name, _ in run.model.named_modules()]
    values = read(Capacity(), run, 14.0)
    assert values["supported"]
    assert values["more_change"] < values["as_is_change"]
    assert values["better_more_p"] < 0.001
    assert [name for name, _ in run.model.named_modules()] == names


def test_full_fine_tuning_has_no_larger_adapter(tiny) -> None:  # type: ignore[no-untyped-def]
    assert not read(Capacity(), tiny(2, adapter="none"))["supported"]
