"""Going back to a good state within a run, and going on with what a repair changed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from trimtab.config import TrainingConfig
from trimtab.train.learner import Learner
from trimtab.train.optimizer import build_optimizer
from trimtab.train.precision import Precision
from trimtab.train.snapshot import put_back, reshard
from trimtab.train.state import Changes

if TYPE_CHECKING:
    from trimtab.train.loop import Loop
    from trimtab.train.observer import Rewind
    from trimtab.train.step import Stepper

PLAIN_EPSILON = 1e-8
"""AdamW's own default."""


def go_back(loop: Loop, rewind: Rewind) -> None:
    """Weights, moments, scaler and position of the snapshot; checkpoints of what came after it are deleted, since a
    resumed run must not go on from them."""
    if rewind.restore is not None:
        rewind.restore(loop)
    loop.state.changes = rewind.changes
    state = loop.state.gone_back_to(rewind.snapshot.state)
    for name in type(state).model_fields:  # the loop, the guard and the lab hold this very object
        setattr(loop.state, name, getattr(state, name))
    loop.stepper = apply_changes(loop.stepper, rewind.changes, loop.config.training)
    learner = loop.stepper.learners[0]
    reshard(loop.stepper.model)
    put_back(rewind.snapshot, learner, loop.stepper.scaler)
    if rewind.changes.optim != rewind.snapshot.state.changes.optim:
        learner.optimizer.state.clear()  # the other optimizer's moments mean something else
    processes = loop.stepper.processes
    if processes.is_main:
        loop.run_dir.abandon(loop.state.global_step)
        for step, path in loop.run_dir.checkpoints():
            if step > loop.state.global_step:
                shutil.rmtree(path)
    processes.wait()
    loop.stepper.model.train()


def apply_changes(stepper: Stepper, changes: Changes, training: TrainingConfig) -> Stepper:
    """A step that does what repairs changed. The learners are changed in place."""
    for learner in stepper.learners:
        _apply_to(learner, changes, training)
    if changes.precision is None:
        return stepper
    device = stepper.processes.device
    precision = Precision.named(changes.precision, device)
    if precision == stepper.precision:
        return stepper
    if precision.compute is torch.float32:
        stepper.model.float()  # a base that was loaded in half precision; weights that learn are in float32 already
    return replace(stepper, precision=precision, scaler=precision.scaler())


def _apply_to(learner: Learner, changes: Changes, training: TrainingConfig) -> None:
    learner.learning_rate_scale = changes.learning_rate_scale
    learner.warms_up_again = changes.warms_up_again
    if changes.max_grad_norm is not None:
        learner.max_grad_norm = changes.max_grad_norm
    if changes.optim is not None and not is_plain(learner.optimizer):
        plain = training.model_copy(update={"adam_epsilon": PLAIN_EPSILON})
        learner.optimizer = build_optimizer(changes.optim, learner.parameters, plain)


def is_plain(optimizer: torch.optim.Optimizer) -> bool:
    """Whether it is AdamW with its state in float32 and the usual epsilon."""
    return type(optimizer) is torch.optim.AdamW and all(g["eps"] == PLAIN_EPSILON for g in optimizer.param_groups)
