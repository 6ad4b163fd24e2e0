"""How far each update moves the weights, by a sample."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.runs import sections, train
from support.tiny import TinyWorld
from torch import nn

from trimtab.plan.schedule import schedule
from trimtab.records import RunDir
from trimtab.train.learner import EACH_STEP_ELEMENTS, Learner, movement


def _learner(*shapes: tuple[int, ...]) -> Learner:
    torch.manual_seed(0)
    parameters = {str(number): nn.Parameter(torch.randn(shape)) for number, shape in enumerate(shapes)}
    for parameter in parameters.values():
        parameter.grad = torch.randn_like(parameter)
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3, weight_decay=0.0)
    return Learner("", parameters, optimizer, schedule("constant", warmup_steps=0, total_steps=9), 1e-3, 1.0)


def _joined(learner: Learner) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in learner.parameters.values()])


def test_of_tensors_that_are_looked_at_whole_it_is_exact() -> None:
    learner = _learner((4, 8), (EACH_STEP_ELEMENTS,), (3,))
    before = _joined(learner)
    measured = learner.moving(3)
    learner.optimizer.step()
    unmoved, ratio = measured().tolist()
    assert unmoved == 0.0
    assert ratio == pytest.approx(float((_joined(learner) - before).norm() / before.norm()), rel=1e-5)


def test_a_large_tensor_counts_by_its_size_and_the_sample_is_the_same_at_each_step() -> None:
    ratios = []
    for done in (3, 1):  # the effect of the update after 1 is watched on all tensors
        learner = _learner(*[(64, 32), (32,)] * 9)
        with torch.no_grad():
            for parameter in list(learner.parameters.values())[1::2]:
                parameter.fill_(10.0)  # 32 large elements beside 2,048 small ones
        before = _joined(learner)
        measured = learner.moving(done)
        learner.optimizer.step()
        ratios.append(measured()[1].item())
        exact = float((_joined(learner) - before).norm() / before.norm())
        assert ratios[-1] == pytest.approx(exact, rel=0.3)
    assert ratios[0] == ratios[1]


def test_nothing_to_measure_is_a_sentinel() -> None:
    learner = _learner((4,))
    learner.parameters["0"].grad = None
    assert learner.moving(3)().tolist() == [-1.0, -1.0]
    zero = torch.zeros(4)
    assert movement([]) is None
    measured = movement([(zero, torch.zeros(4))])
    assert measured is not None and measured().tolist() == [-1.0, -1.0]


def test_each_step_of_a_run_records_it(world: TinyWorld, run_folder: Path) -> None:
    config = sections(world, run_folder, warmup_steps=2, lr_scheduler_type="linear", learning_rate=1e-3)
    train(config)
    steps, _ = RunDir(run_folder).read_metrics()
    ratios = [record.update_ratio for record in steps]
    assert ratios[0] == 0.0, "a warmup starts at a learning rate of 0"
    assert all(ratio is not None and 1e-5 < ratio < 0.1 for ratio in ratios[1:])
