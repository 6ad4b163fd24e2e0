"""AdamW (Loshchilov and Hutter, arXiv 1711.05101) for K adapters whose matrices lie stacked: each with its own learning
rate, weight decay, clipping limit, step count and loss scale, all in one pass over the weights.

What one does does not depend on who else is there: everything between weights is elementwise, and norms are taken
slice by slice (a norm over the whole stack adds in another order, which moved weights by a bit: docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from trimtab.model.adapter_bank import AdapterBank
from trimtab.train.member_state import Counts

GROWTH_STEPS = 2000
"""As torch.amp.GradScaler: the scale is halved at an overflow and doubled after so many steps without."""
FIRST_SCALE = 2.0**16


@dataclass
class Settings:
    """Of one adapter; what `training` names so."""

    weight_decay: float
    max_grad_norm: float
    """0 means no clipping."""
    beta1: float
    beta2: float
    epsilon: float


@dataclass
class StackedAdamW:
    """Parameters are lists, in the order of the layers, of stacks [Kr, …]; `groups` says which adapters stand in a
    stack."""

    parameters: Sequence[nn.Parameter]
    groups: Sequence[range]
    """Of each parameter: the adapters that it stacks."""
    settings: Sequence[Settings]
    uses_scale: bool = False
    """fp16."""

    first_moments: list[torch.Tensor] = field(default_factory=list)
    second_moments: list[torch.Tensor] = field(default_factory=list)
    steps: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    """[K], updates made; on the device, as all that follows."""
    scales: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    clean_steps: torch.Tensor = field(default_factory=lambda: torch.zeros(0))

    def __post_init__(self) -> None:
        device, count = self.parameters[0].device, len(self.settings)
        if not self.first_moments:
            self.first_moments = [torch.zeros_like(p) for p in self.parameters]
            self.second_moments = [torch.zeros_like(p) for p in self.parameters]
            self.steps = torch.zeros(count, dtype=self._wide, device=device)
            self.scales = torch.full((count,), FIRST_SCALE if self.uses_scale else 1.0, device=device)
            self.clean_steps = torch.zeros(count, device=device)

    @classmethod
    def of(cls, bank: AdapterBank, settings: Sequence[Settings], *, uses_scale: bool = False) -> StackedAdamW:
        """`settings` in the members' order."""
        return cls(bank.parameters(), _groups(bank), settings, uses_scale)

    def stand(self, bank: AdapterBank, came_from: Sequence[int | None], settings: Sequence[Settings]) -> None:
        """The members are others now: `came_from` says which place each had before; a new one begins with nothing."""
        moments = self.first_moments, self.second_moments
        known = [self._of_adapter(k) for k in range(len(self.settings))]
        self.parameters, self.groups, self.settings = bank.parameters(), _groups(bank), settings
        for which, stack in enumerate(moments):
            stack[:] = [torch.zeros_like(p) for p in self.parameters]
            for number, (moment, group) in enumerate(zip(stack, self.groups, strict=True)):
                for at, k in enumerate(group):
                    before = came_from[k]
                    if before is not None:
                        moment[at] = known[before][which][_turn(self.groups, number)]
        device = self.parameters[0].device
        fresh = StackedAdamW(self.parameters, self.groups, settings, self.uses_scale)
        for name in ("steps", "scales", "clean_steps"):
            before_K, now_K = getattr(self, name), getattr(fresh, name)
            for k, before in enumerate(came_from):
                if before is not None:
                    now_K[k] = before_K[before]
            setattr(self, name, now_K.to(device))

    def state_of(self, k: int) -> tuple[list[torch.Tensor], list[torch.Tensor], Counts]:
        """An adapter's first and second moments, A and B of each layer in turn, and its counts; copies on the host."""
        first, second = ([moment.to("cpu", copy=True) for moment in part] for part in self._of_adapter(k))
        counts = Counts(float(self.steps[k]), float(self.scales[k]), float(self.clean_steps[k]))
        return first, second, counts

    def restore(self, k: int, first: Sequence[torch.Tensor], second: Sequence[torch.Tensor], counts: Counts) -> None:
        """What `state_of` gave."""
        for mine, kept in zip(self._of_adapter(k), (first, second), strict=True):
            for moment, stored in zip(mine, kept, strict=True):
                moment.copy_(stored)
        self.steps[k], self.scales[k], self.clean_steps[k] = counts.updates, counts.scale, counts.clean_steps

    def _of_adapter(self, k: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Views of its first and second moments, A and B of each layer in turn."""
        at = [(number, group.index(k)) for number, group in enumerate(self.groups) if k in group]
        first, second = (
            [stack[number][place] for number, place in at] for stack in (self.first_moments, self.second_moments)
        )
        return first, second

    @torch.no_grad()
    def update(self, rates: Sequence[float]) -> torch.Tensor:
        """One update of each adapter at its learning rate. An adapter whose gradient is no number is left as it is.

        Returns [K] on the device: the L2 norm of each adapter's gradient before clipping.
        """
        parameters: list[torch.Tensor] = list(self.parameters)
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        if self.uses_scale:
            torch._foreach_mul_(gradients, self._spread(1 / self.scales))
        norms = self._norms(gradients)
        is_finite = torch.isfinite(norms)
        self.steps += is_finite
        vector = self._vector
        limits = vector([s.max_grad_norm or float("inf") for s in self.settings])
        rate, decay = vector(rates), vector([s.weight_decay for s in self.settings])
        beta1, beta2 = vector([s.beta1 for s in self.settings]), vector([s.beta2 for s in self.settings])
        correction1, correction2 = 1 - beta1**self.steps, (1 - beta2**self.steps).sqrt()
        # What leaves an adapter as it is: no gradient, moments that do not fade, no decay, no step.
        factor = torch.where(is_finite, torch.clamp(limits / (norms + 1e-6), max=1.0), 0.0)  # as clip_grad_norm_
        beta1, beta2 = torch.where(is_finite, beta1, 1.0), torch.where(is_finite, beta2, 1.0)
        shrink = torch.where(is_finite, 1 - rate * decay, 1.0)
        step_size = torch.where(is_finite, rate / correction1, 0.0)
        for gradient in gradients:
            gradient.nan_to_num_()
        torch._foreach_mul_(gradients, self._spread(factor))
        squares = torch._foreach_mul(gradients, gradients)
        torch._foreach_mul_(self.first_moments, self._spread(beta1))
        torch._foreach_add_(self.first_moments, torch._foreach_mul(gradients, self._spread(1 - beta1)))
        torch._foreach_mul_(self.second_moments, self._spread(beta2))
        torch._foreach_add_(self.second_moments, torch._foreach_mul(squares, self._spread(1 - beta2)))
        denominators = torch._foreach_sqrt(self.second_moments)
        torch._foreach_div_(denominators, self._spread(torch.where(correction2 > 0, correction2, 1.0)))
        torch._foreach_add_(denominators, self._spread(vector([s.epsilon for s in self.settings])))
        updates = torch._foreach_div(self.first_moments, denominators)
        torch._foreach_mul_(updates, self._spread(step_size))
        torch._foreach_mul_(parameters, self._spread(shrink))
        torch._foreach_sub_(parameters, updates)
        for parameter in parameters:
            parameter.grad = None
        if self.uses_scale:
            self._rescale(is_finite)
        return norms

    def _spread(self, of_adapters: torch.Tensor) -> list[torch.Tensor]:
        """[K] → for each parameter [Kr, 1, 1], to be multiplied with."""
        narrow = of_adapters.to(self.parameters[0].dtype)
        parts = {(g.start, g.stop): narrow[g.start : g.stop].view(-1, 1, 1) for g in self.groups}
        return [parts[g.start, g.stop] for g in self.groups]

    def _norms(self, gradients: Sequence[torch.Tensor]) -> torch.Tensor:
        """[K]."""
        of_adapter: list[list[torch.Tensor]] = [[] for _ in self.settings]
        for gradient, group in zip(gradients, self.groups, strict=True):
            for k, part in zip(group, gradient.unbind(0), strict=True):
                of_adapter[k].append(part)
        return torch.stack([torch.linalg.vector_norm(torch.stack(torch._foreach_norm(of))) for of in of_adapter])

    def _rescale(self, is_finite: torch.Tensor) -> None:
        self.clean_steps = torch.where(is_finite, self.clean_steps + 1, 0.0)
        grows = self.clean_steps >= GROWTH_STEPS
        self.scales = torch.where(is_finite, torch.where(grows, self.scales * 2, self.scales), self.scales / 2)
        self.clean_steps = torch.where(grows, 0.0, self.clean_steps)

    def _vector(self, values: Sequence[float]) -> torch.Tensor:
        """[K]. In float64 where the device has it: 1 - 0.999 has four digits in float32."""
        return torch.tensor(list(values), dtype=self._wide, device=self.parameters[0].device)

    @property
    def _wide(self) -> torch.dtype:
        return torch.float32 if self.parameters[0].device.type == "mps" else torch.float64


def _groups(bank: AdapterBank) -> list[range]:
    """Of each parameter of the bank."""
    runs = [range(first, end) for first, end in bank.slots.groups()]
    return [run for layer in bank.layers.values() for run in runs for _ in (layer.a, layer.b)]


def _turn(groups: Sequence[range], number: int) -> int:
    """How many parameters before this one belong to the same adapters."""
    return sum(group == groups[number] for group in groups[:number])
