"""Law 2: an eval loss is the mean over the target tokens, whatever the eval batch size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import ListStore, make_examples, stores
from support.runs import sections, train
from support.steps import CPU, LAYOUTS, VOCABULARY, example_loss, make_model
from support.tiny import TinyWorld

from trimtab.model.core import causal_lm, plain_head
from trimtab.model.target_loss import TargetLoss
from trimtab.records import RunDir
from trimtab.train.evaluate import evaluate
from trimtab.train.feed import Feed
from trimtab.train.precision import Precision
from trimtab.train.processes import Processes

pytestmark = pytest.mark.usefixtures("straight_to_the_loop")

MODELS = {dtype: make_model("full", dtype).eval() for dtype in (torch.float32, torch.float64)}


def slow_twin(store: ListStore, dtype: torch.dtype) -> float:
    """Every target's loss once, added up, divided by their number."""
    model = MODELS[dtype]
    causal_lm(model).set_attn_implementation("sdpa")
    with torch.no_grad():
        total = sum(float(example_loss(model, store.example(i))) for i in range(len(store)))
    return total / int(store.target_counts.sum())


def measured(store: ListStore, batch_size: int, layout: str, dtype: torch.dtype) -> tuple[float, int]:
    arrangement, implementation = LAYOUTS[layout]
    model = MODELS[dtype]
    causal_lm(model).set_attn_implementation(implementation)
    batches = Feed(arrangement, 0, CPU, 0, 1).all(store, batch_size)  # type: ignore[arg-type]
    (loss,), targets, _ = evaluate(
        TargetLoss(model, plain_head(model)),
        batches,
        precision=Precision(torch.float32, "cpu"),
        processes=Processes(CPU, use_cpu=True),
    )
    return loss, targets


@given(store=stores(vocabulary=VOCABULARY), batch_size=st.integers(1, 16), layout=st.sampled_from(sorted(LAYOUTS)))
@settings(max_examples=40, deadline=None)
def test_any_batch_size_and_layout_gives_the_token_mean(store: ListStore, batch_size: int, layout: str) -> None:
    loss, targets = measured(store, batch_size, layout, torch.float32)
    assert loss == pytest.approx(slow_twin(store, torch.float32), rel=1e-6)
    assert targets == store.target_counts.sum()
    if layout != "block mask, eager":  # whose softmax is float32 in transformers
        exact, _ = measured(store, batch_size, layout, torch.float64)
        assert exact == pytest.approx(slow_twin(store, torch.float64), rel=1e-12)


def test_short_hard_rows_weigh_by_their_tokens() -> None:
    """The case in which a mean of batch means is off by as much as the rows differ."""
    store = ListStore(make_examples([2, 2, 2, 24], seed=0, vocabulary=VOCABULARY, target_share=1.0))
    each = [slow_twin(ListStore([store.example(i)]), torch.float64) for i in range(4)]
    of_means = sum(each) / 4
    token_mean, _ = measured(store, 1, "segments", torch.float64)
    assert token_mean == pytest.approx((sum(each[:3]) + 23 * each[3]) / 26, rel=1e-9)
    assert abs(of_means - token_mean) > 1e-2


def test_a_run_records_the_same_loss_at_any_eval_batch_size(world: TinyWorld, tmp_path: Path) -> None:
    found = []
    for size in (1, 4, 64):
        config = sections(
            world, tmp_path / f"run-{size}", per_device_eval_batch_size=size, max_steps=2, save_strategy="no"
        )
        train(config)
        found.append([(e.step, e.loss, e.target_tokens) for e in RunDir(tmp_path / f"run-{size}").read_metrics()[1]])
    for evals in found[1:]:
        assert [(step, targets) for step, _, targets in evals] == [(step, targets) for step, _, targets in found[0]]
        assert [loss for _, loss, _ in evals] == pytest.approx([loss for _, loss, _ in found[0]], rel=1e-6)


def test_dropout_is_off_in_evaluations_and_on_again_after(world: TinyWorld, tmp_path: Path) -> None:
    """The first evaluation is the base's own loss, though the adapter has dropout; and training keeps its dropout."""
    evals, curves = [], []
    for dropout in (0.0, 0.5):
        config = sections(world, tmp_path / f"run-{dropout}", max_steps=4, save_strategy="no", eval_steps=1)
        config["adapter"] = {"r": 4, "lora_dropout": dropout}
        train(config)
        steps, evaluations = RunDir(tmp_path / f"run-{dropout}").read_metrics()
        evals.append(evaluations[0].loss)
        curves.append([s.loss for s in steps])
    assert evals[0] == evals[1]
    assert curves[0][:1] == curves[1][:1]  # LoRA's B is zero at first: what is dropped does not matter
    assert curves[0][3] != curves[1][3]
