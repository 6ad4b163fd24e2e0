"""The processes of a run: one, or several that `torchrun` or `accelerate launch` started.

accelerate sets the process group up (backend, device, addresses); PyTorch's own DDP or FSDP2 wraps the model, and
the wrapper is the one that was asked for: accelerate quietly takes DDP where FSDP is asked for on a CPU.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import nn

from trimtab.errors import TrimtabError

T = TypeVar("T")
PARTING = timedelta(minutes=1)
"""How long a process that is done waits for the others to be (guess); they were together a moment ago."""


class Processes:
    """Which of them this one is, and what they do together. Cheap with one process: no process group is made."""

    def __init__(self, device: torch.device, *, use_cpu: bool) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.index = int(os.environ.get("RANK", "0"))
        self.device = device
        if self.count > 1:
            from accelerate import PartialState

            PartialState(cpu=use_cpu or device.type == "cpu")
            # Flags and Python objects travel over gloo: agreeing to stop must not wait for the GPU.
            # Preparing a large data set may take the main process hours; the others wait.
            self._control = dist.new_group(backend="gloo", timeout=timedelta(days=7))

    @classmethod
    def alone(cls, device: torch.device) -> Processes:
        """One process, whatever launched this one."""
        made = cls.__new__(cls)
        made.count, made.index, made.device = 1, 0, device
        return made

    @property
    def is_main(self) -> bool:
        return self.index == 0

    def wait(self) -> None:
        if self.count > 1:
            dist.barrier(group=self._control)

    def any(self, flag: bool) -> bool:
        """True in every process as soon as it is true in one."""
        if self.count == 1:
            return flag
        flags = torch.tensor([int(flag)])
        dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self._control)
        return bool(flags.item())

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over processes, queued on the device; nothing waits."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor

    def from_main(self, value: Any) -> Any:
        """The main process's object, in every process."""
        if self.count == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._control)
        return box[0]

    def everyone(self, value: T) -> list[T]:
        """Every process's object, in every process."""
        if self.count == 1:
            return [value]
        box: list[Any] = [None] * self.count
        dist.all_gather_object(box, value, group=self._control)
        return box

    def by_main(self, make: Callable[[], T]) -> T:
        """What `make` returns in the main process, in every process; an error of ours in all of them if it is one
        there."""
        made: T | TrimtabError | None = None
        if self.is_main:
            try:
                made = make()
            except TrimtabError as error:
                made = error
        made = self.from_main(made)
        if isinstance(made, TrimtabError):
            raise made
        return cast(T, made)

    def wrap(self, loss: nn.Module, *, fsdp: bool) -> nn.Module:
        """`loss` with its gradients exchanged: averaged over processes at the last micro batch of a step."""
        if self.count == 1:
            return loss
        if fsdp:
            return _shard(loss, self.device)
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(
            loss,
            device_ids=[self.device] if self.device.type == "cuda" else None,
            find_unused_parameters=False,
            broadcast_buffers=False,
        )

    def end(self, *, together: bool) -> None:
        """`together`: every process comes here, none of them with an error. Then they leave one another in order: none
        closes a connection while another still waits on it, and none exits while a thread of the control group still
        holds a tensor.

        Such a thread needs Python to let go of its tensor. One that comes to it while the interpreter shuts down ends
        the process ("terminate called without an active exception", pytorch/pytorch#179291); destroying a gloo group
        does not stop its threads, letting go of the last reference to it does.
        """
        if self.count == 1:
            return
        if together:
            with contextlib.suppress(RuntimeError):  # one that died after all is no reason to fail
                dist.monitored_barrier(self._control, timeout=PARTING)
        dist.destroy_process_group()
        if together:  # its threads have nothing left to wait for
            del self._control


def exchange(model: nn.Module, *, now: bool) -> contextlib.AbstractContextManager[None]:
    """DDP exchanges gradients in the last micro batch of a step; those before it only add up. (FSDP2 exchanges in
    each, because it keeps no whole gradient.)"""
    if not now and hasattr(model, "no_sync"):
        return model.no_sync()  # type: ignore[no-any-return, operator]
    return contextlib.nullcontext()


def _shard(loss: nn.Module, device: torch.device) -> nn.Module:
    """FSDP2: each decoder layer, then the rest, is kept in parts and gathered while it computes."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard
    from transformers.modeling_layers import GradientCheckpointingLayer

    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    layers = [module for module in loss.modules() if isinstance(module, GradientCheckpointingLayer)]
    assert layers, "every transformers decoder layer is a GradientCheckpointingLayer"
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(loss, mesh=mesh)
    assert isinstance(loss, FSDPModule)
    return loss
