"""One trial's share of the loop: its adapter, its optimizer, its learning rate. A plain run has one learner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from trimtab.plan.schedule import Schedule

WATCHED_UPDATES = (1, 2, 5)
"""Updates after which the movement of all tensors is measured. The first may have a learning rate of 0 (a warmup
starts there)."""
WATCHED_EVERY = 100
"""And again after so many: it costs about as much as an update. A guess."""
SAMPLED_ELEMENTS = 4096
"""Of each tensor, then: whole copies would cost memory that the plan does not know of."""
EACH_STEP_TENSORS, EACH_STEP_ELEMENTS = 2, 256
"""At every other step: the first and the last tensor are enough to see that nothing moves at all."""


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
        """Call before an update, and what it returns after it: the share of elements with a gradient that the update
        left as they were, a scalar, by the first elements of some tensors. bf16 swallows updates below half its spacing
        (pytorch/torchtune#2254)."""
        tensors = [(p, p.grad) for p in self.parameters.values() if p.grad is not None]
        elements = SAMPLED_ELEMENTS
        if not self.watches_movement(updates_done):
            tensors, elements = [*tensors[:1], *tensors[1:][-(EACH_STEP_TENSORS - 1) :]], EACH_STEP_ELEMENTS
        return movement(tensors, elements) or (lambda: torch.tensor(-1.0))


def movement(
    tensors: Sequence[tuple[torch.Tensor, torch.Tensor]], elements: int = SAMPLED_ELEMENTS
) -> Callable[[], torch.Tensor] | None:
    """Call before an update, and what it returns after it: the share of elements with a gradient that the update left
    as they were, a scalar; -1 where none has one. `tensors`: each with its gradient. None without any."""
    sample = [(p, _first(p, elements).clone(), _first(grad, elements) != 0) for p, grad in tensors]
    if not sample:
        return None

    def unmoved() -> torch.Tensor:
        device = sample[0][1].device
        same = torch.stack(
            [((_first(p, elements) == before) & due).sum().to(device) for p, before, due in sample]
        ).sum()
        count = torch.stack([due.sum().to(device) for _, _, due in sample]).sum()
        return torch.where(count > 0, same / count, -1.0)

    return unmoved


def _first(tensor: torch.Tensor, count: int) -> torch.Tensor:
    """The first elements of a tensor, or of this process's part of it."""
    local = getattr(tensor, "to_local", None)
    return (local() if local is not None else tensor).detach().flatten()[:count]
