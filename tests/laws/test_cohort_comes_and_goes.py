"""Law 5 of the cohort that a search runs: who joins late, leaves early or trains on rows of its own is, bit for bit,
what it is alone; also beside one that is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.runs import sections, write_config
from support.tiny import TinyWorld

from trimtab.config import load_config
from trimtab.model.device import describe, find_device
from trimtab.plan import planner
from trimtab.search.shared import Shared, entrant_of
from trimtab.train.assemble import data_size
from trimtab.train.cohort import Cohort, Entrant
from trimtab.train.inputs import prepare_inputs
from trimtab.train.member_state import MemberState

pytestmark = pytest.mark.usefixtures("one_thread")

TRIALS: dict[str, dict[str, Any]] = {
    "low": {"adapter": {"r": 4}, "training": {"learning_rate": 1e-3}},
    "high": {"adapter": {"r": 16, "lora_dropout": 0.1}, "training": {"learning_rate": 1e-2, "seed": 7}},
    "own rows": {"adapter": {"r": 4}, "training": {"data_seed": 5}},
    "late": {"adapter": {"r": 8}, "training": {"weight_decay": 0.2, "max_grad_norm": 0.2}},
    "lost": {"adapter": {"r": 8}, "training": {"learning_rate": 0.5}},
}


@pytest.fixture(scope="module")
def made(world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any, Any, Any]]:
    """Trial → config, plan, data, tokenizer."""
    found = {}
    folder = tmp_path_factory.mktemp("trials")
    for name, changes in TRIALS.items():
        config: Any = sections(world, folder / name, max_steps=20, warmup_steps=2)
        config["adapter"] |= changes["adapter"]
        config["training"] |= changes["training"]
        loaded = load_config(write_config(folder / f"{name}.yaml", config))
        tokenizer, data = prepare_inputs(loaded.config, lambda line: None)
        device = describe(find_device(use_cpu=True), 1)
        plan, _ = planner.plan(loaded.config, loaded.origins, data_size(data), device)
        found[name] = loaded.config, plan, data, tokenizer
    return found


def cohort_of(
    made: dict[str, tuple[Any, Any, Any, Any]], names: Sequence[str], states: Mapping[str, MemberState] | None = None
) -> Cohort:
    config, plan, data, tokenizer = made[names[0]]
    shared = Shared.load(config, plan, data, tokenizer, torch.device("cpu"))
    going_on = {name: state for name, state in (states or {}).items() if name in names}
    return shared.cohort([entrant(made, name) for name in names], going_on)


def entrant(made: dict[str, tuple[Any, Any, Any, Any]], name: str) -> Entrant:
    config, plan, *_ = made[name]
    found = entrant_of(name, config, plan)
    return replace(found, peak_learning_rate=1e25) if name == "lost" else found


def learnt(cohort: Cohort, name: str) -> dict[str, torch.Tensor]:
    return {key: tensor.clone() for key, tensor in cohort.bank.tensors(cohort.names.index(name)).items()}


def alone(made: Any, name: str, ticks: int) -> tuple[dict[str, torch.Tensor], list[float]]:
    cohort = cohort_of(made, [name])
    for _ in range(ticks):
        cohort.tick()
    cohort.read()
    return learnt(cohort, name), cohort.progress[name].losses


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_coming_and_going(made: Any) -> None:
    cohort = cohort_of(made, ["low", "high", "own rows", "lost"])
    for _ in range(4):
        cohort.tick()
    gone = learnt(cohort, "high")
    cohort.leave(["high"])
    cohort.join([entrant(made, "late")])
    for _ in range(6):
        cohort.tick()
    cohort.read()
    assert same(gone, alone(made, "high", 4)[0])
    for name, ticks in (("low", 10), ("own rows", 10), ("late", 6)):
        weights, losses = alone(made, name, ticks)
        assert same(learnt(cohort, name), weights), name
        assert cohort.progress[name].losses == losses
    assert max(float(tensor.abs().max()) for tensor in learnt(cohort, "lost").values()) > 1e15


def test_held_out_losses_are_each_ones_own(made: Any) -> None:
    together = cohort_of(made, ["low", "high", "own rows"])
    store = made["low"][2].validation
    rows = np.arange(len(store))
    base = together.held_out_at_base(store, rows)
    for _ in range(3):
        together.tick()
    seen = together.held_out(store, rows)
    for name in together.names:
        single = cohort_of(made, [name])
        assert single.held_out_at_base(store, rows) == base
        for _ in range(3):
            single.tick()
        assert single.held_out(store, rows)[name] == seen[name]
        assert seen[name] != base
    together.micro_batch_size = 1  # rows one by one round otherwise, no more
    one_by_one = together.held_out(store, rows)
    assert all(one_by_one[name] == pytest.approx(seen[name], rel=1e-5) for name in together.names)


def test_a_trial_goes_on_elsewhere(made: Any, tmp_path: Path) -> None:
    """From disk: alone, and in another company."""
    cohort = cohort_of(made, ["low", "high", "own rows"])
    for _ in range(4):
        cohort.tick()
    for name in cohort.names:
        cohort.state_of(name).save(tmp_path / name)
    states = {name: MemberState.load(tmp_path / name) for name in ("low", "high", "own rows")}
    single, others = cohort_of(made, ["high"], states), cohort_of(made, ["late", "own rows", "low"], states)
    for _ in range(3):
        cohort.tick()
        single.tick()
        others.tick()
    for now in (cohort, single, others):
        now.read()
    assert same(learnt(single, "high"), learnt(cohort, "high"))
    assert single.progress["high"] == cohort.progress["high"]
    for name in ("low", "own rows"):
        assert same(learnt(others, name), learnt(cohort, name))
        assert others.progress[name] == cohort.progress[name]
    assert same(learnt(others, "late"), alone(made, "late", 3)[0])
