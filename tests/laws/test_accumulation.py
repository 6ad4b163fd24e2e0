"""Law 1: accumulation is arithmetic. However an effective batch is cut and laid out, the run is the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import ListStore, make_examples, stores
from support.runs import largest_difference, losses, norms, relative, sections, tensors, train
from support.steps import LAYOUTS, VOCABULARY, Outcome, adamw, example_loss, fast_steps, make_model, sgd, slow_steps
from support.tiny import TinyWorld

from trimtab.data.order import Order

pytestmark = pytest.mark.usefixtures("straight_to_the_loop")

STEPS = 10
LEARNING_RATE = 0.01
"""Of SGD with clipping at 1. Larger steps make the run itself, not its arithmetic, enlarge rounding."""
SLOW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
EXACT_LAYOUTS = sorted(LAYOUTS.keys() - {"block mask, eager"})
"""transformers' eager attention takes its softmax in float32, whatever the model's type: no ten digits there."""

FLOOR_ADAMW = 2e-5
"""AdamW divides each gradient by its own size, so where a gradient is as small as its rounding error the update is
noise of the size of the learning rate. At a learning rate of 1e-3 and after ten steps the weights of these models
differ by 1.2e-7, those of a Llama four times as wide by up to 1.6e-5; losses and norms by no more than under SGD."""


@st.composite
def cuts(draw: st.DrawFn, layouts: Sequence[str] = tuple(sorted(LAYOUTS))) -> tuple[ListStore, Order, int, str]:
    """Examples, an effective batch (its last one of an epoch often smaller), one way of cutting it, one layout."""
    store = draw(stores(vocabulary=VOCABULARY))
    effective = draw(st.integers(1, 8))
    order = Order(len(store), effective, steps_per_epoch=-(-len(store) // effective), seed=draw(st.integers(0, 99)))
    return store, order, draw(st.integers(1, effective)), draw(st.sampled_from(layouts))


def slow_twin(kind: str, store: ListStore, order: Order, dtype: torch.dtype) -> Outcome:
    batches = [[store.example(int(row)) for row in order.rows(step)] for step in range(STEPS)]
    return slow_steps(make_model(kind, dtype), batches, optimizer=sgd, learning_rate=LEARNING_RATE)


def in_pieces(kind: str, store: ListStore, order: Order, micro: int, layout: str, dtype: torch.dtype) -> Outcome:
    model = make_model(kind, dtype)
    return fast_steps(
        model,
        store,
        order,
        steps=STEPS,
        micro_batch_size=micro,
        layout=layout,
        optimizer=sgd,
        learning_rate=LEARNING_RATE,
    )


@pytest.mark.parametrize("kind", ["full", "lora"])
@given(cut=cuts())
@SLOW
def test_any_cut_and_layout_equals_one_example_at_a_time(kind: str, cut: tuple[ListStore, Order, int, str]) -> None:
    store, order, micro, layout = cut
    expected = slow_twin(kind, store, order, torch.float32)
    measured = in_pieces(kind, store, order, micro, layout, torch.float32)
    assert relative(measured.losses, expected.losses) < 1e-6
    assert relative(measured.norms, expected.norms) < 1e-6
    assert largest_difference(measured.weights, expected.weights) < 1e-6


@pytest.mark.parametrize("kind", ["full", "lora"])
@given(cut=cuts(EXACT_LAYOUTS))
@SLOW
def test_in_float64_they_are_equal_to_ten_digits(kind: str, cut: tuple[ListStore, Order, int, str]) -> None:
    store, order, micro, layout = cut
    expected = slow_twin(kind, store, order, torch.float64)
    measured = in_pieces(kind, store, order, micro, layout, torch.float64)
    assert relative(measured.losses, expected.losses) < 1e-10
    assert relative(measured.norms, expected.norms) < 1e-10
    assert largest_difference(measured.weights, expected.weights) < 1e-10


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_under_adamw_losses_are_equal_and_weights_differ_by_no_more_than_its_floor(kind: str) -> None:
    store = ListStore(make_examples([3, 24, 5, 17, 9, 2, 30, 11, 6, 20, 4], seed=3, vocabulary=VOCABULARY))
    order = Order(len(store), 8, steps_per_epoch=2, seed=0)
    outcomes = [
        fast_steps(
            make_model(kind),
            store,
            order,
            steps=STEPS,
            micro_batch_size=micro,
            layout=layout,
            optimizer=adamw,
            learning_rate=1e-3,
        )
        for micro, layout in [(8, "segments"), (2, "padded"), (1, "positions")]
    ]
    for outcome in outcomes[1:]:
        assert relative(outcome.losses, outcomes[0].losses) < 1e-6
        assert relative(outcome.norms, outcomes[0].norms) < 1e-6
        assert largest_difference(outcome.weights, outcomes[0].weights) < FLOOR_ADAMW


def test_a_mean_of_means_would_be_found() -> None:
    """The law's own proof of sharpness: dividing by micro batches instead of tokens differs a thousandfold more."""
    store = ListStore(make_examples([2, 24, 2, 20], seed=1, vocabulary=VOCABULARY, target_share=1.0))
    right = slow_twin("full", store, Order(4, 4, 1, seed=0), torch.float32)
    model = make_model("full")
    means = [float(example_loss(model, store.example(i)).detach()) / int(store.target_counts[i]) for i in range(4)]
    assert abs(sum(means) / 4 - right.losses[0]) / right.losses[0] > 1e-3


@pytest.mark.parametrize("adapter", [{"r": 4}, "none"], ids=["lora", "full"])
def test_whole_runs_agree_whatever_the_micro_batch_and_packing(
    world: TinyWorld, tmp_path: Path, adapter: object
) -> None:
    """37 examples in batches of 8: the last step of an epoch has 5."""
    runs = []
    for micro, accumulation, packing in [(8, 1, "auto"), (4, 2, "off"), (1, 8, "auto"), (3, 3, "auto")]:
        config = sections(
            world, tmp_path / f"run-{micro}-{packing}", optim="sgd", learning_rate=0.1, lr_scheduler_type="constant"
        )
        config["training"] |= {"per_device_train_batch_size": micro, "gradient_accumulation_steps": accumulation}
        config["training"] |= {"max_steps": STEPS, "save_strategy": "no"}
        config["data"]["packing"] = packing
        config["adapter"] = adapter
        train(config)
        runs.append(Path(config["training"]["output_dir"]))
    first, *others, nine = runs
    for run in others:
        assert relative(losses(run), losses(first)) < 1e-6
        assert relative(norms(run), norms(first)) < 1e-6
        assert largest_difference(tensors(run / "final"), tensors(first / "final")) < 1e-6
    assert relative(losses(nine), losses(first)) > 1e-4, "another effective batch is another run"
