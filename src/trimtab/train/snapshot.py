"""The state of a run in memory: what a checkpoint keeps on disk, kept to go back to within a run or to experiment on.

Copies leave the device without making it wait; they are read only when something went wrong.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from trimtab.train.learner import Learner
from trimtab.train.state import RunState


@dataclass(frozen=True)
class Snapshot:
    """A run after `state.global_step` updates, on the host."""

    state: RunState
    weights: dict[str, torch.Tensor]
    """Of what learns, by name; a process's own part where they are sharded. What only the optimizer holds (it was
    built for other tensors) is there too, as "optimizer/0" and so on: a step changes it."""
    moments: dict[str, dict[str, Any]]
    """The optimizer's state of each, by name; empty before the first update."""
    scaler: dict[str, Any]
    copied: torch.cuda.Event | None = None
    """Until it has happened the copies are on their way."""

    @property
    def step(self) -> int:
        return self.state.global_step

    @cached_property
    def is_finite(self) -> bool:
        """Whether every weight is a number; of a process's own part."""
        if self.copied is not None:
            self.copied.synchronize()
        return all(bool(weight.isfinite().all()) for weight in self.weights.values() if weight.is_floating_point())

    @property
    def nbytes(self) -> int:
        tensors = [*self.weights.values(), *(v for entry in self.moments.values() for v in entry.values())]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors if isinstance(tensor, torch.Tensor))


def take(learner: Learner, scaler: torch.amp.GradScaler, state: RunState) -> Snapshot:
    """Copy everything that a step changes."""
    held = held_by(learner)
    moments = {name: _copied(learner.optimizer.state.get(p, {})) for name, p in held.items()}
    weights = {name: _aside(_local(p.detach())) for name, p in held.items()}
    event = None
    if any(p.device.type == "cuda" for p in held.values()):
        event = torch.cuda.Event()
        event.record()
    return Snapshot(state.model_copy(deep=True), weights, moments, copy.deepcopy(scaler.state_dict()), event)


def put_back(snapshot: Snapshot, learner: Learner, scaler: torch.amp.GradScaler) -> None:
    """Make the weights, the optimizer and the scaler what they were, to the last bit. The caller takes the state, and
    calls `reshard` before where the model may be sharded."""
    if snapshot.copied is not None:
        snapshot.copied.synchronize()
    with torch.no_grad():
        for name, parameter in held_by(learner).items():
            if name not in snapshot.weights:  # it began to learn later
                continue
            _local(parameter.detach()).copy_(snapshot.weights[name])
            parameter.grad = None
            _put_back_moments(learner.optimizer, parameter, snapshot.moments[name])
    if snapshot.scaler:
        scaler.load_state_dict(copy.deepcopy(snapshot.scaler))


def reshard(model: nn.Module) -> None:
    """Give up whole tensors that an evaluation gathered (FSDP): weights are put back into the parts, and the next
    forward would compute with the old whole."""
    for module in model.modules():
        if (give_up := getattr(module, "reshard", None)) is not None:
            give_up()


def held_by(learner: Learner) -> dict[str, torch.Tensor]:
    """What learns by name, and what the optimizer holds besides."""
    held: dict[str, torch.Tensor] = dict(learner.parameters)
    known = {id(p) for p in held.values()}
    in_groups = [p for group in learner.optimizer.param_groups for p in group["params"]]
    strangers = [p for p in in_groups if id(p) not in known]
    return held | {f"optimizer/{index}": p for index, p in enumerate(strangers)}


def _put_back_moments(optimizer: torch.optim.Optimizer, parameter: torch.Tensor, entry: dict[str, Any]) -> None:
    if not entry:
        optimizer.state.pop(parameter, None)
        return
    now = optimizer.state[parameter]
    for key in now.keys() - entry.keys():
        del now[key]
    for key, value in entry.items():
        if not isinstance(value, torch.Tensor):
            now[key] = copy.deepcopy(value)
        elif isinstance(now.get(key), torch.Tensor):
            _local(now[key]).copy_(value)
        elif value.ndim == 0:
            now[key] = value.clone()
        elif hasattr(parameter, "full_tensor") and value.shape == _local(parameter).shape:
            now[key] = torch.zeros_like(parameter, dtype=value.dtype)
            _local(now[key]).copy_(value)
        else:
            # torch's AdamW keeps its moments as its weights are; a repair may have widened them since.
            follows = type(optimizer) is torch.optim.AdamW and value.is_floating_point()
            now[key] = value.to(parameter.device, parameter.dtype if follows else value.dtype, copy=True)


def _copied(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _aside(_local(value)) if isinstance(value, torch.Tensor) else copy.deepcopy(value)
        for key, value in entry.items()
    }


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """This process's part of a sharded tensor; any other as it is."""
    local = getattr(tensor, "to_local", None)
    return local() if local is not None else tensor


def _aside(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the host. A count of steps stays where it is: fused optimizers want it on the device."""
    if tensor.device.type != "cuda" or tensor.ndim == 0:
        return tensor.clone()
    aside = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    aside.copy_(tensor, non_blocking=True)
    return aside
