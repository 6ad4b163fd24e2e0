"""One linear layer of the base, and the LoRA matrices of K adapters on it: one product with the frozen weight for all
rows, then each adapter's own two on its rows.

Rows are adapter-major: all tokens of the first adapter, then all of the second, and so on. Adapters of one rank stand
together and are multiplied in one batched product. Ranks are not padded to the largest: an adapter's numbers are then
those that it has alone, to the last bit, whoever else is there.

K adapters, N tokens of one of them, R its rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@dataclass
class Slots:
    """What all layers of a bank know: who is there, whose rows are whose, and what each draws at random."""

    ranks: list[int] = field(default_factory=list)
    """Of each adapter; equal ones stand together."""
    dropouts: list[float] = field(default_factory=list)
    generators: list[torch.Generator] = field(default_factory=list)
    """One stream for each adapter: it draws what it draws alone."""
    tokens: list[int] = field(default_factory=list)
    """Rows of each adapter in the forward that is going on."""
    only: int | None = None
    """The one adapter whose rows these are; None: all."""
    is_off: bool = False
    _states: dict[tuple[int, int], torch.Tensor] = field(default_factory=dict)
    """(layer, adapter) → its stream before it drew there: a layer that is computed again draws the same."""

    @property
    def count(self) -> int:
        return len(self.ranks)

    def begin(self, seeds: Sequence[int]) -> None:
        """A new micro step: every stream from its own start."""
        self._states.clear()
        for generator, seed in zip(self.generators, seeds, strict=True):
            generator.manual_seed(seed)

    def groups(self) -> list[tuple[int, int]]:
        """[first, after the last) of each run of equal ranks."""
        starts = [k for k in range(self.count) if k == 0 or self.ranks[k] != self.ranks[k - 1]]
        return list(zip(starts, [*starts[1:], self.count], strict=True))

    def dropped(self, layer: int, adapter: int, x_ND: torch.Tensor) -> torch.Tensor:
        """As `torch.nn.functional.dropout` does on a CPU, from the adapter's own stream."""
        share, generator = self.dropouts[adapter], self.generators[adapter]
        if not share:
            return x_ND
        state = self._states.get((layer, adapter))
        if state is None:
            self._states[layer, adapter] = generator.get_state()
        else:
            generator.set_state(state)
        noise = torch.empty_like(x_ND).bernoulli_(1 - share, generator=generator).div_(1 - share)
        return x_ND * noise


class BankLinear(nn.Module):
    """`base` frozen, and on it for each run of equal ranks A [Kr, R, in] and B [Kr, out, R], float32."""

    def __init__(self, base: nn.Module, slots: Slots, layer: int) -> None:
        """`layer` is a number of its own, for the random draws."""
        super().__init__()
        self.base = base
        self.slots, self.layer = slots, layer
        self.is_quantised = type(base).__module__.startswith("bitsandbytes")
        self.scales: list[float] = []
        """What the product is multiplied by: alpha / r, or alpha / √r."""
        self.a = nn.ParameterList()
        self.b = nn.ParameterList()

    def hold(self, matrices: Sequence[tuple[torch.Tensor, torch.Tensor]], scales: Sequence[float]) -> None:
        """A [R, in] and B [out, R] of each adapter, in the order of the slots."""
        self.scales = list(scales)
        groups = [matrices[first:end] for first, end in self.slots.groups()]
        self.a = nn.ParameterList([nn.Parameter(torch.stack([a for a, _ in group])) for group in groups])
        self.b = nn.ParameterList([nn.Parameter(torch.stack([b for _, b in group])) for group in groups])

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            # Models look at a layer's weight: for its type, its device, its shape.
            if name in ("weight", "bias", "in_features", "out_features"):
                return getattr(super().__getattr__("base"), name)
            raise

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.base(x)
        if self.slots.is_off:
            return result
        added = torch.cat(self._added(x.reshape(-1, x.shape[-1]))).view_as(result)
        if self.is_quantised:  # when to round is as PEFT has it, in either case
            added = added.to(result.dtype)
        return (result + added).to(result.dtype)

    def _added(self, flat: torch.Tensor) -> list[torch.Tensor]:
        """Of each run of ranks, in order: [tokens, out]."""
        slots, pieces, row = self.slots, [], 0
        converts = not torch.is_autocast_enabled(flat.device.type)
        for (first, end), a, b in zip(slots.groups(), self.a, self.b, strict=True):
            members = range(first, end) if slots.only is None else [k for k in (slots.only,) if first <= k < end]
            for some in self._of_equal_length(members):
                count, length = len(some), slots.tokens[some[0]]
                given = flat[row : row + count * length].view(count, length, -1)
                row += count * length
                given = given.to(a.dtype) if converts else given
                if self.training and any(slots.dropouts[k] for k in some):
                    rows = given.unbind(0)
                    given = torch.stack([slots.dropped(self.layer, k, x) for k, x in zip(some, rows, strict=True)])
                a_some, b_some = (_part(matrix, some[0] - first, count) for matrix in (a, b))
                scales = [self.scales[k] for k in some]
                inner = torch.bmm(given, a_some.transpose(1, 2))
                if is_exact := all(map(_is_power_of_two, scales)):
                    inner = _scaled(inner, scales)
                outer = torch.bmm(inner, b_some.transpose(1, 2))
                pieces.append((outer if is_exact else _scaled(outer, scales)).flatten(0, 1))
        return pieces

    def _of_equal_length(self, members: Sequence[int]) -> list[list[int]]:
        """Neighbours with as many rows go through one product."""
        runs: list[list[int]] = []
        for k in members:
            if runs and self.slots.tokens[runs[-1][-1]] == self.slots.tokens[k]:
                runs[-1].append(k)
            else:
                runs.append([k])
        return runs

    def extra_repr(self) -> str:
        return f"ranks={self.slots.ranks}"


def _part(matrix: torch.Tensor, first: int, count: int) -> torch.Tensor:
    """`count` of the first dimension. The gradient of a slice is a whole tensor of zeros with the part in it; that of
    what was unbound is its part."""
    if count == matrix.shape[0]:
        return matrix
    return torch.stack(matrix.unbind(0)[first : first + count])


def _is_power_of_two(scale: float) -> bool:
    """As alpha / r mostly is. Such a product rounds nothing, so that it may come before the second matrix, where the
    rows are short: the numbers are those that PEFT has by multiplying last."""
    return scale > 0 and math.frexp(scale)[0] == 0.5


def _scaled(outer: torch.Tensor, scales: Sequence[float]) -> torch.Tensor:
    if len(set(scales)) == 1:
        return outer if scales[0] == 1.0 else outer * scales[0]
    factors = torch.tensor(scales, dtype=torch.float32, device=outer.device)[:, None, None]
    return (outer * factors).to(outer.dtype)
