"""Law 3: the steps, warmup, evaluations and saves that plan.json lists are what the run does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.runs import event_kinds, sections, train
from support.tiny import TinyWorld
from transformers import get_scheduler

from trimtab import preflight
from trimtab.records import RunDir, Status

CASES: dict[str, dict[str, Any]] = {
    "two epochs, a partial batch in each": {"num_train_epochs": 2},
    "a fraction of an epoch more": {"num_train_epochs": 1.3, "save_strategy": "epoch"},
    "less than an epoch": {"num_train_epochs": 0.5, "eval_steps": 1},
    "partial batches dropped": {"num_train_epochs": 2, "dataloader_drop_last": True, "eval_strategy": "epoch"},
    "a number of steps": {"max_steps": 7, "save_steps": 3, "eval_steps": 2, "eval_strategy": "steps"},
    "cadences as ratios": {"num_train_epochs": 3, "eval_steps": 0.21, "save_steps": 0.5, "warmup_steps": 0.4},
    "every epoch": {"num_train_epochs": 3, "eval_strategy": "epoch", "save_strategy": "epoch", "warmup_steps": 4},
    "nothing saved": {"num_train_epochs": 1, "save_strategy": "no", "eval_steps": 2},
    "nothing evaluated": {"num_train_epochs": 1, "eval_strategy": "no", "save_steps": 2},
    "a batch larger than the data": {"num_train_epochs": 3, "gradient_accumulation_steps": 64},
    "one step": {"max_steps": 1},
    "linear": {
        "max_steps": 9,
        "lr_scheduler_type": "linear",
        "warmup_steps": 3,
        "eval_steps": 4,
        "save_strategy": "no",
    },
}


Case = tuple[dict[str, Any], Any, Path]


@pytest.fixture(scope="module", params=CASES)
def ran(request: pytest.FixtureRequest, world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """What was asked for, what came of it, and where; not checked before, which changes no plan."""
    folder = tmp_path_factory.mktemp("case") / "run"
    training = CASES[request.param]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preflight, "RULES", ())
        return training, train(sections(world, folder, save_total_limit=None, **training)), folder


def test_what_is_planned_is_what_happens(ran: Case) -> None:
    training, result, run_folder = ran
    plan = RunDir(run_folder).read_plan()
    steps, evals = RunDir(run_folder).read_metrics()
    assert plan == result.plan

    assert [s.step for s in steps] == list(range(1, plan.total_steps.value + 1))
    looked = [] if training.get("eval_strategy") == "no" else [0, *plan.eval_points.value]
    assert [e.step for e in evals] == looked
    assert [step for step, _ in RunDir(run_folder).checkpoints()] == list(plan.save_points.value)
    saved = [event.step for event in RunDir(run_folder).read_events() if event.kind == "checkpoint"]
    assert saved == list(plan.save_points.value)
    assert result.verdict.predicted_vs_measured["steps"].measured == plan.total_steps.value
    assert "amendment" not in event_kinds(run_folder)


def test_the_learning_rate_of_each_step_is_the_planned_schedules(ran: Case) -> None:
    import torch

    _, result, run_folder = ran
    plan = result.plan
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=plan.learning_rate.value)
    scheduler = get_scheduler(plan.lr_scheduler_type.value, optimizer, plan.warmup_steps.value, plan.total_steps.value)
    for record in RunDir(run_folder).read_metrics()[0]:
        assert record.learning_rate == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12, abs=1e-15)
        optimizer.step()
        scheduler.step()


def test_examples_and_tokens_of_an_epoch_add_up(world: TinyWorld, run_folder: Path) -> None:
    plan = train(sections(world, run_folder, num_train_epochs=2, eval_strategy="no", save_strategy="no")).plan
    steps, _ = RunDir(run_folder).read_metrics()
    assert plan.examples.value == 37
    assert plan.steps_per_epoch.value == 5
    for epoch in (steps[:5], steps[5:]):
        assert sum(s.tokens for s in epoch) == plan.tokens.value
        assert sum(s.target_tokens for s in epoch) == plan.target_tokens.value
    assert steps[4].epoch == 1.0
    assert steps[-1].epoch == 2.0


def test_early_stopping_stops_and_says_so(world: TinyWorld, run_folder: Path) -> None:
    """A learning rate that only makes it worse: the departure from the plan is an amendment."""
    config = sections(world, run_folder, max_steps=12, eval_steps=1, learning_rate=0.5, early_stopping_patience=2)
    config["training"] |= {"lr_scheduler_type": "constant", "early_stopping_threshold": 10.0}
    result = train(config)
    steps, evals = RunDir(run_folder).read_metrics()
    assert [s.step for s in steps] == [1, 2]
    assert [e.step for e in evals] == [0, 1, 2]
    [amendment] = [event for event in RunDir(run_folder).read_events() if event.kind == "amendment"]
    assert "2 steps instead of 12" in amendment.message
    assert "early stopping" in amendment.message
    compared = result.verdict.predicted_vs_measured["steps"]
    assert (compared.predicted, compared.measured) == (12, 2)
    assert RunDir(run_folder).final.is_dir()


def test_a_verdict_compares_with_the_base_not_with_the_start_of_the_curve(world: TinyWorld, tmp_path: Path) -> None:
    """A base that knows the data, ruined by the learning rate: no evaluation is as good as the base was."""
    first = sections(world, tmp_path / "base", max_steps=30, eval_strategy="no", save_strategy="no")
    first["adapter"] = "none"
    train(first)
    second = sections(
        world, tmp_path / "run", max_steps=4, eval_steps=1, learning_rate=0.9, warmup_steps=0, save_strategy="no"
    )
    second["model"]["name_or_path"] = str(tmp_path / "base" / "final")
    second["guard"] = {"mode": "off"}  # it would be put right
    result = train(second)
    assert result.verdict.status is Status.FAILED
    assert result.exit_status == 1
    assert result.verdict.best_eval_loss > result.verdict.base_eval_loss
    assert "the base itself" in result.verdict.reason
