"""Faults put into a running loop from outside, at a step of choice: what a guard must notice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from trimtab.train.loop import Loop


@contextlib.contextmanager
def at_step(step: int, harm: Callable[[Loop], Any]) -> Iterator[None]:
    """Do `harm` to the loop once, before the step after `step` updates."""
    whole, done = Loop._step, []

    def sabotaged(self: Loop, *args: Any, **options: Any) -> Any:
        if self.state.global_step == step and not done:
            done.append(True)
            harm(self)
        return whole(self, *args, **options)

    Loop._step = sabotaged  # type: ignore[method-assign]
    try:
        yield
    finally:
        Loop._step = whole  # type: ignore[method-assign]


def freeze_b(loop: Loop) -> None:
    for name, parameter in loop.stepper.model.named_parameters():
        if ".lora_B" in name:
            parameter.requires_grad_(False)


def stale_optimizer(loop: Loop) -> None:
    """The optimizer holds copies of what is trained."""
    import torch

    for group in loop.stepper.learners[0].optimizer.param_groups:
        group["params"] = [torch.nn.Parameter(p.detach().clone()) for p in group["params"]]


def keep_in_bf16(loop: Loop) -> None:
    for parameter in loop.stepper.learners[0].parameters.values():
        parameter.data = parameter.data.bfloat16()


def hundredfold_rate(loop: Loop) -> None:
    loop.stepper.learners[0].peak_learning_rate *= 100


def lose_a_weight(loop: Loop) -> None:
    parameter = next(iter(loop.stepper.learners[0].parameters.values()))
    parameter.data.flatten()[0] = float("nan")


def ruin_the_weights(loop: Loop) -> None:
    """As a flipped bit of an exponent does: finite, and far too large."""
    for name, parameter in loop.stepper.learners[0].parameters.items():
        if ".lora_B" in name:
            parameter.data += 1.0


def overflow_in_half(loop: Loop) -> None:
    """A layer's output passes through float16, where the run computes in half precision, and does not fit there."""
    import torch

    def passed_through(module: Any, args: Any, out: torch.Tensor) -> torch.Tensor:
        return out if out.dtype == torch.float32 else ((out * 1e7).half() / 1e7).to(out.dtype)

    layer = next(m for name, m in loop.stepper.model.named_modules() if name.endswith("mlp.down_proj"))
    layer.register_forward_hook(passed_through)
