"""Everything that an experiment may change besides weights, moments and scaler, kept to be put back to the last bit."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from trimtab.train.learner import Learner
from trimtab.train.snapshot import Snapshot, held_by, put_back, reshard, take
from trimtab.train.state import RunState


@dataclass(frozen=True)
class Kept:
    """A run between two steps."""

    now: Snapshot
    flags: list[tuple[torch.Tensor, bool]]
    """Which parameters require gradients."""
    gradients: list[tuple[torch.Tensor, torch.Tensor]]
    """Those that stood between two steps: an optimizer of other tensors clears the wrong ones."""
    storage: list[tuple[nn.Parameter, torch.Tensor]]
    buffers: list[tuple[torch.Tensor, torch.Tensor]]
    modes: list[tuple[nn.Module, bool]]
    hooks: list[tuple[dict[int, Any], frozenset[int]]]
    """Of each module, every kind: transformers adds one each time checkpointing is switched on again."""
    groups: list[dict[str, Any]]
    """The optimizer's settings: learning rates and what else its groups say."""
    random_state: tuple[Any, ...]


def keep(model: nn.Module, learner: Learner, scaler: torch.amp.GradScaler, state: RunState) -> Kept:
    """All of it. Gradients are set aside, so that an experiment begins with none."""
    reshard(model)
    every = [*model.parameters(), *held_by(learner).values()]
    kept = Kept(
        now=take(learner, scaler, state),
        flags=[(p, p.requires_grad) for p in every],
        gradients=[(p, p.grad) for p in every if p.grad is not None],
        storage=[(p, p.data) for p in model.parameters() if not hasattr(p, "full_tensor")],
        buffers=[(b, b.detach().clone()) for b in model.buffers()],
        modes=[(module, module.training) for module in model.modules()],
        hooks=[(hooks, frozenset(hooks)) for module in model.modules() for hooks in hooks_of(module)],
        groups=[_settings(group) for group in learner.optimizer.param_groups],
        random_state=_random_state(),
    )
    _clear_gradients(model, learner)
    return kept


def restore(kept: Kept, model: nn.Module, learner: Learner, scaler: torch.amp.GradScaler, *, finally_: bool) -> None:
    """What `keep` kept. The gradients that stood only `finally_`: the next experiment begins with none as well."""
    reshard(model)
    for parameter, data in kept.storage:
        if parameter.data.dtype != data.dtype or parameter.data.data_ptr() != data.data_ptr():
            parameter.data = data
    for tensor, flag in kept.flags:
        if tensor.requires_grad != flag:
            tensor.requires_grad_(flag)
    put_back(kept.now, learner, scaler)
    getattr(scaler, "_per_optimizer_states", {}).clear()  # an experiment that was cut short had unscaled already
    for group, settings in zip(learner.optimizer.param_groups, kept.groups, strict=True):
        group.update(settings)
    with torch.no_grad():
        for buffer, value in kept.buffers:
            buffer.copy_(value)
    for module, mode in kept.modes:
        module.training = mode
    for hooks, before in kept.hooks:
        for added in hooks.keys() - before:
            del hooks[added]
    _clear_gradients(model, learner)
    if finally_:
        for tensor, gradient in kept.gradients:
            tensor.grad = gradient
    _set_random_state(kept.random_state)


def hooks_of(module: nn.Module) -> tuple[dict[int, Any], ...]:
    """By kind."""
    kinds = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return cast(tuple[dict[int, Any], ...], kinds)


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}


def _clear_gradients(model: nn.Module, learner: Learner) -> None:
    for parameter in (*model.parameters(), *held_by(learner).values()):
        parameter.grad = None


def _random_state() -> tuple[Any, ...]:
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return torch.get_rng_state(), devices, random.getstate(), np.random.get_state()


def _set_random_state(state: tuple[Any, ...]) -> None:
    torch.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])
    random.setstate(state[2])
    np.random.set_state(state[3])
