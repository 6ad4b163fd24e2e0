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
    stack. All stacks of the same adapters are worked on as one, [Kr, P]: a small model has hundreds of them, and an
    operation on each takes longer than its numbers (a sixth of a step of 9 × 32 tokens: docs/log.md)."""

    parameters: Sequence[nn.Parameter]
    groups: Sequence[range]
    """Of each parameter: the adapters that it stacks."""
    settings: Sequence[Settings]
    uses_scale: bool = False
    """fp16."""

    first_moments: list[torch.Tensor] = field(default_factory=list)
    """Of each parameter; views."""
    second_moments: list[torch.Tensor] = field(default_factory=list)
    _runs: list[range] = field(default_factory=list)
    """Which adapters, each once."""
    _first: list[torch.Tensor] = field(default_factory=list)
    """Of each run, [Kr, P]."""
    _second: list[torch.Tensor] = field(default_factory=list)
    _gradients: list[torch.Tensor] = field(default_factory=list)
    _scratch: list[torch.Tensor] = field(default_factory=list)
    """Kept: new blocks of this size come from the kernel each time, page by page."""
    steps: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    """[K], updates made; on the device, as all that follows."""
    scales: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    clean_steps: torch.Tensor = field(default_factory=lambda: torch.zeros(0))

    def __post_init__(self) -> None:
        device, count = self.parameters[0].device, len(self.settings)
        if not self.first_moments:
            self._lay_out()
            self.steps = torch.zeros(count, dtype=self._wide, device=device)
            self.scales = torch.full((count,), FIRST_SCALE if self.uses_scale else 1.0, device=device)
            self.clean_steps = torch.zeros(count, device=device)

    @classmethod
    def of(cls, bank: AdapterBank, settings: Sequence[Settings], *, uses_scale: bool = False) -> StackedAdamW:
        """`settings` in the members' order."""
        return cls(bank.parameters(), _groups(bank), settings, uses_scale)

    def stand(self, bank: AdapterBank, came_from: Sequence[int | None], settings: Sequence[Settings]) -> None:
        """The members are others now: `came_from` says which place each had before; a new one begins with nothing."""
        known = [self._of_adapter(k) for k in range(len(self.settings))]
        self.parameters, self.groups, self.settings = bank.parameters(), _groups(bank), settings
        self._lay_out()
        for which, stack in enumerate((self.first_moments, self.second_moments)):
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
        flat, scratch = self._gradients, self._scratch
        for view, parameter in zip(self._views(flat), parameters, strict=True):
            view.zero_() if parameter.grad is None else view.copy_(parameter.grad)
        if self.uses_scale:
            torch._foreach_mul_(flat, self._spread(1 / self.scales))
        norms = self._norms(self._views(flat))
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
        for gradient in flat:
            gradient.nan_to_num_()
        torch._foreach_mul_(flat, self._spread(factor))
        root = torch.where(correction2 > 0, correction2, 1.0)
        epsilon = vector([s.epsilon for s in self.settings])
        factors = zip(*map(self._spread, (beta1, 1 - beta1, beta2, 1 - beta2, root, epsilon, step_size)), strict=True)
        of_runs = zip(self._first, self._second, flat, scratch, factors, strict=True)
        for first, second, gradient, out, (b1, new1, b2, new2, corrected, eps, size) in of_runs:
            first.mul_(b1).add_(torch.mul(gradient, new1, out=out))
            second.mul_(b2).add_(torch.mul(gradient, gradient, out=out).mul_(new2))
            torch.sqrt(second, out=out).div_(corrected).add_(eps)
            torch.div(first, out, out=out).mul_(size)
        if any(s.weight_decay for s in self.settings):
            of_run = dict(zip(((run.start, run.stop) for run in self._runs), self._spread(shrink), strict=True))
            torch._foreach_mul_(parameters, [of_run[group.start, group.stop].unsqueeze(-1) for group in self.groups])
        torch._foreach_sub_(parameters, self._views(scratch))
        for parameter in parameters:
            parameter.grad = None
        if self.uses_scale:
            self._rescale(is_finite)
        return norms

    def _lay_out(self) -> None:
        """Moments of nothing."""
        self._runs = list(dict.fromkeys(self.groups))
        self._first = self._flat([torch.zeros_like(p) for p in self.parameters])
        self._second = self._flat([torch.zeros_like(p) for p in self.parameters])
        self._gradients, self._scratch = ([torch.zeros_like(m) for m in self._first] for _ in range(2))
        self.first_moments, self.second_moments = self._views(self._first), self._views(self._second)

    def _flat(self, stacks: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """[Kr, …] of each parameter → a copy, [Kr, P] of each run."""
        of_run: dict[range, list[torch.Tensor]] = {run: [] for run in self._runs}
        for stack, group in zip(stacks, self.groups, strict=True):
            of_run[group].append(stack.flatten(1))
        return [torch.cat(parts, dim=1) for parts in of_run.values()]

    def _views(self, flat: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The other way, without a copy."""
        at = dict(zip(self._runs, flat, strict=True))
        taken = dict.fromkeys(self._runs, 0)
        found = []
        for parameter, group in zip(self.parameters, self.groups, strict=True):
            size = parameter[0].numel()
            found.append(at[group][:, taken[group] : taken[group] + size].view(parameter.shape))
            taken[group] += size
        return found

    def _spread(self, of_adapters: torch.Tensor) -> list[torch.Tensor]:
        """[K] → for each run [Kr, 1], to be multiplied with."""
        narrow = of_adapters.to(self.parameters[0].dtype)
        return [narrow[run.start : run.stop].view(-1, 1) for run in self._runs]

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
