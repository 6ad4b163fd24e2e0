"""One trial's share of the loop: its adapter, its optimizer, its learning rate. A plain run has one learner."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from trimtab.plan.schedule import Schedule


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

    def learning_rate(self, updates_done: int) -> float:
        return self.peak_learning_rate * self.schedule(updates_done)

    def set_learning_rate(self, updates_done: int) -> None:
        rate = self.learning_rate(updates_done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def clip(self) -> torch.Tensor:
        """Scale the gradients down to `max_grad_norm`; returns their global L2 norm before that, a scalar."""
        limit = self.max_grad_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), limit)
        return norm.full_tensor() if hasattr(norm, "full_tensor") else norm
