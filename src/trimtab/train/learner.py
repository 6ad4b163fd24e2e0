"""One trial's share of the loop: its adapter, its optimizer, its learning rate. A plain run has one learner."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from trimtab.plan.schedule import Schedule

T = TypeVar("T")

WATCHED_UPDATES = (1, 2, 5)
"""Updates after which the movement of all tensors is measured. The first may have a learning rate of 0 (a warmup
starts there)."""
WATCHED_EVERY = 100
"""And again after so many: it costs about as much as an update. A guess."""
SAMPLED_ELEMENTS = 4096
"""Of each tensor, then: whole copies would cost memory that the plan does not know of."""
EACH_STEP_TENSORS, EACH_STEP_ELEMENTS = 8, 256
"""At every step: a few tensors, from the first to the last, are enough to see that nothing moves at all, and how far
what moves goes. A guess."""


@dataclass
class Learner:
    """What learns, and how. Nothing here is shared between the trials of a cohort."""

    trial: str
    parameters: dict[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    peak_learning_rate: float
    max_grad_norm: float
    """0 means no clipping; the norm is measured all the same."""

    learning_rate_scale: float = 1.0
    """What a repair made of the learning rate."""
    warms_up_again: tuple[int, int] | None = None
    """(updates done, steps): where a repair went back to, and how long the learning rate rises from there."""

    def learning_rate(self, updates_done: int) -> float:
        rate = self.peak_learning_rate * self.schedule(updates_done) * self.learning_rate_scale
        if self.warms_up_again is not None:
            since, steps = self.warms_up_again
            rate *= min(1.0, (updates_done - since + 1) / (steps + 1)) if updates_done >= since else 1.0
        return rate

    def set_learning_rate(self, updates_done: int) -> None:
        rate = self.learning_rate(updates_done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def clip(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale the gradients down to `max_grad_norm`. Returns two scalars: their global L2 norm before that, and how
        many of the tensors have none, or one that is exactly zero.

        The arithmetic is that of `torch.nn.utils.clip_grad_norm_`, whose norms of single tensors are kept.
        """
        limit = self.max_grad_norm or float("inf")
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        missing = len(self.parameters) - len(gradients)
        is_plain = bool(gradients) and all(
            gradient.device == gradients[0].device and not hasattr(gradient, "full_tensor") for gradient in gradients
        )
        if not is_plain:
            norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), limit)
            whole = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
            return whole, torch.full_like(whole, -1.0)  # parts of tensors say nothing of the whole
        norms = torch.stack(torch._foreach_norm(gradients))
        norm = torch.linalg.vector_norm(norms)
        torch.nn.utils.clip_grads_with_norm_(self.parameters.values(), limit, norm)
        return norm, (norms == 0.0).sum() + missing

    def watches_movement(self, updates_done: int) -> bool:
        """Whether the effect of this update on all tensors is measured."""
        return updates_done in WATCHED_UPDATES or updates_done % WATCHED_EVERY == WATCHED_EVERY - 1

    def moving(self, updates_done: int) -> Callable[[], torch.Tensor]:
        """Call before an update, and what it returns after it: the two numbers of `movement`, by the first elements of
        some tensors. The share of elements that stayed is by all tensors where these are watched: bf16 swallows updates
        below half its spacing (pytorch/torchtune#2254). How far they moved is by the same few at each step, so that one
        step's number compares with another's."""
        tensors = [(p, p.grad) for p in self.parameters.values() if p.grad is not None]
        few = movement(_spread(tensors, EACH_STEP_TENSORS), EACH_STEP_ELEMENTS)
        if few is None:
            return lambda: torch.full((2,), -1.0)
        if not self.watches_movement(updates_done):
            return few
        every = movement(tensors)
        assert every is not None, "there are tensors with a gradient"
        return lambda: torch.stack([every()[0], few()[1]])


def movement(
    tensors: Sequence[tuple[torch.Tensor, torch.Tensor]], elements: int = SAMPLED_ELEMENTS
) -> Callable[[], torch.Tensor] | None:
    """Call before an update, and what it returns after it, [2], by the first `elements` of each tensor: the share of
    elements with a gradient that the update left as they were; and the norm of the change ÷ the norm before it. -1
    where no element has a gradient, or where all are zero. `tensors`: each with its gradient. None without any.

    In the norms each tensor counts by its size, as it does in the norm of all: few of a large matrix's elements are
    looked at, and all of a small scale's.
    """
    if not tensors:
        return None
    device = _first(tensors[0][0], 1).device
    samples = [_first(p, elements) for p, _ in tensors]
    sizes = [len(sample) for sample in samples]
    # Roots, because norms are scaled, not their squares.
    stands_for = [math.sqrt(p.numel() / max(1, size)) for (p, _), size in zip(tensors, sizes, strict=True)]
    before = _joined(samples, device)
    due = _joined([_first(grad, elements) for _, grad in tensors], device) != 0

    def norm(joined: torch.Tensor) -> torch.Tensor:
        norms = torch._foreach_norm(joined.float().split(sizes))
        whole: torch.Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_mul(norms, stands_for)))
        return whole

    def measured() -> torch.Tensor:
        after = _joined([_first(p, elements) for p, _ in tensors], device)
        count, size = due.sum(), norm(before)
        stayed = torch.where(count > 0, ((after == before) & due).sum() / count, -1.0)
        return torch.stack([stayed.float(), torch.where(size > 0, norm(after - before) / size, -1.0)])

    return measured


def _spread(items: Sequence[T], count: int) -> list[T]:
    """At most so many, the first and the last among them."""
    if len(items) <= count:
        return list(items)
    return [items[number * (len(items) - 1) // (count - 1)] for number in range(count)]


def _joined(parts: Sequence[torch.Tensor], device: torch.device) -> torch.Tensor:
    """A copy end to end; of several types, in the widest."""
    return torch.cat([part.to(device) for part in parts])


def _first(tensor: torch.Tensor, count: int) -> torch.Tensor:
    """The first elements of a tensor, or of this process's part of it."""
    local = getattr(tensor, "to_local", None)
    return (local() if local is not None else tensor).detach().flatten()[:count]
