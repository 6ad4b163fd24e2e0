"""K LoRA adapters on one frozen base, trained in one forward and backward (Ye et al., ASPEN, arXiv 2312.02515: rows of
all adapters through one product with the base).

Each begins as PEFT begins it, from its own seed, or as a copy of the adapter that a model has on it; and is saved as
PEFT saves it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from trimtab.config import AdapterConfig
from trimtab.errors import ModelError
from trimtab.model.adapter import add_adapter
from trimtab.model.bank_linear import BankLinear, Slots
from trimtab.model.core import causal_lm
from trimtab.model.weights import ADAPTER_FILE, has_adapter, trained_parameters


@dataclass(frozen=True)
class Member:
    """An adapter that is to be one of several."""

    trial: str
    adapter: AdapterConfig
    seed: int
    """Of its first weights and of its dropout."""


@dataclass
class _Made:
    """An adapter as PEFT made it."""

    member: Member
    config: Any
    """peft.LoraConfig, as it is saved."""
    tensors: dict[str, tuple[torch.Tensor, torch.Tensor]]
    """Module → A [R, in], B [out, R]."""
    scales: dict[str, float]
    names: dict[str, tuple[str, str]]
    """Module → the names under which its A and B are saved."""


def why_alone(adapter: AdapterConfig | None) -> str | None:
    """Why an adapter cannot share its base with others; None if it can."""
    if adapter is None:
        return "all weights are trained: there is no frozen base to share"
    if adapter.use_dora:
        return "use_dora normalises the base's weights for each adapter"
    if adapter.init_lora_weights in ("olora", "pissa"):
        return f"init_lora_weights: {adapter.init_lora_weights} changes the base for each adapter"
    if adapter.modules_to_save:
        return "modules_to_save trains copies of whole layers"
    if adapter.bias != "none":
        return "biases of the base are trained"
    if adapter.rank_pattern:
        return "rank_pattern gives layers ranks of their own"
    return None


class AdapterBank:
    """The adapters of a cohort, on a base whose layers it took the place of. Members stand by rank, equal ranks in the
    order in which they came."""

    def __init__(self, base: nn.Module, members: Sequence[Member]) -> None:
        """On a model with an adapter, whose config the members then have, that one stands aside, and each begins as its
        copy.

        Raises:
            ModelError: PEFT refuses an adapter, or one cannot share the base; nothing is changed then.
        """
        self.base = base
        self.device = next(base.parameters()).device
        self.slots = Slots()
        self.layers: dict[str, BankLinear] = {}
        self._aside: dict[str, nn.Module] = {}
        """What stood where the layers are."""
        self._made: list[_Made] = []
        if not has_adapter(base):
            for parameter in base.parameters():
                parameter.requires_grad_(False)
        try:
            self.join(members)
        except BaseException:
            self.remove()
            raise

    @property
    def members(self) -> list[Member]:
        return [one.member for one in self._made]

    def parameters(self) -> list[nn.Parameter]:
        """A and B of each layer and run of ranks, [Kr, …]."""
        return [
            matrix for layer in self.layers.values() for pair in zip(layer.a, layer.b, strict=True) for matrix in pair
        ]

    def tensors(self, k: int) -> dict[str, torch.Tensor]:
        """What the k-th adapter has learnt, by the names under which PEFT saves it; views."""
        found: dict[str, torch.Tensor] = {}
        for module in self.layers:
            name_a, name_b = self._made[k].names[module]
            found[name_a], found[name_b] = self._matrices(k, module)
        return found

    def assign(self, k: int, tensors: Mapping[str, torch.Tensor]) -> None:
        """Overwrite what the k-th adapter has learnt, by the same names."""
        mine = self.tensors(k)
        assert mine.keys() == tensors.keys(), "they are another adapter's"
        for name, tensor in mine.items():
            tensor.copy_(tensors[name])

    def save(self, k: int, folder: Path) -> None:
        """The k-th adapter, as PEFT writes one."""
        folder.mkdir(parents=True, exist_ok=True)
        config = copy.deepcopy(self._made[k].config)
        config.inference_mode = True
        config.save_pretrained(folder)
        saved = {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in self.tensors(k).items()}
        save_file(saved, folder / ADAPTER_FILE, metadata={"format": "pt"})

    def keep(self, staying: Sequence[int]) -> None:
        """Only these members stay, in their order. The parameters are new ones."""
        assert staying and list(staying) == sorted(set(staying)), "some members, each once, in their order"
        self._stand(list(staying), [])

    def join(self, members: Sequence[Member]) -> list[int | None]:
        """More members, as they begin. The parameters are new ones.

        Returns: of each place now, which it was before; None for one that is new.

        Raises:
            ModelError: as above; nothing is changed then.
        """
        assert members, "somebody joins"
        self.remove()
        try:
            made = _all_made(self.base, members)
            modules = list(self.layers) or list(made[0].tensors)
            if any(list(one.tensors) != modules for one in made):
                raise ModelError("adapter.target_modules: the adapters of a cohort must be on the same layers.")
        finally:
            self._take_place()
        if not self.layers:
            self._aside = {module: causal_lm(self.base).get_submodule(module) for module in modules}
            for number, (module, aside) in enumerate(self._aside.items()):
                self.layers[module] = BankLinear(getattr(aside, "base_layer", aside), self.slots, number)
            self._take_place()
        return self._stand(list(range(len(self._made))), made)

    def _stand(self, staying: list[int], new: list[_Made]) -> list[int | None]:
        """By rank; among equal ones those that were there first."""
        everyone = [*self._made, *new]
        count = len(self._made)
        order = sorted([*staying, *range(count, len(everyone))], key=lambda at: everyone[at].member.adapter.r)
        matrices = {module: [self._matrices(k, module) for k in range(count)] for module in self.layers}
        self._made = [everyone[at] for at in order]
        slots = self.slots
        generators = [*slots.generators, *(torch.Generator(self.device) for _ in new)]
        slots.ranks = [one.member.adapter.r for one in self._made]
        slots.dropouts = [one.member.adapter.lora_dropout for one in self._made]
        slots.generators = [generators[at] for at in order]
        for module, layer in self.layers.items():
            known = [*matrices[module], *(one.tensors[module] for one in new)]
            layer.hold([known[at] for at in order], [one.scales[module] for one in self._made])
        for one in new:
            one.tensors = dict.fromkeys(one.tensors, (torch.zeros(0), torch.zeros(0)))  # the layers have them now
        return [at if at < count else None for at in order]

    def _matrices(self, k: int, module: str) -> tuple[torch.Tensor, torch.Tensor]:
        group, at = self._place(k)
        layer = self.layers[module]
        return layer.a[group].detach()[at], layer.b[group].detach()[at]

    def remove(self) -> None:
        """The base as it was, its own adapter in its place again."""
        for module, aside in self._aside.items():
            _set(causal_lm(self.base), module, aside)

    def _take_place(self) -> None:
        for module, layer in self.layers.items():
            _set(causal_lm(self.base), module, layer)

    def _place(self, k: int) -> tuple[int, int]:
        """(which run of ranks, where in it)."""
        for group, (first, end) in enumerate(self.slots.groups()):
            if first <= k < end:
                return group, k - first
        raise IndexError(k)


def _all_made(base: nn.Module, members: Sequence[Member]) -> list[_Made]:
    """Equal adapters from equal seeds begin alike, and are made once."""
    known: dict[tuple[str, int], _Made] = {}
    for member in members:
        key = member.adapter.model_dump_json(), member.seed
        if key not in known:
            known[key] = _made(base, member)
    return [replace(known[m.adapter.model_dump_json(), m.seed], member=m) for m in members]


def _made(base: nn.Module, member: Member) -> _Made:
    """The adapter that is on the base; else PEFT's own, taken off it again."""
    if reason := why_alone(member.adapter):
        raise ModelError(f"{member.trial}: cannot share a base: {reason}.")
    if has_adapter(base):
        return _read(base, member)
    adapted: Any = add_adapter(base, member.adapter, seed=member.seed)
    try:
        return _read(adapted, member)
    finally:
        adapted.unload()
        if hasattr(base, "peft_config"):  # PEFT leaves it, and calls the next adapter a second one
            del base.peft_config


def _read(adapted: Any, member: Member) -> _Made:
    from peft.tuners.lora import LoraLayer

    saved_as = {id(p): name for name, p in trained_parameters(adapted).items()}
    config = copy.deepcopy(adapted.peft_config["default"])
    layers = {n: m for n, m in causal_lm(adapted).named_modules() if isinstance(m, LoraLayer)}
    made = _Made(member, config, {}, {}, {})
    head = causal_lm(adapted).get_output_embeddings()
    for name, layer in layers.items():
        if layer is head:
            raise ModelError(
                f"{member.trial}: cannot share a base: {name} is the head, whose logits and loss are made for one "
                f"adapter at a time. Leave it out of adapter.target_modules, or set adapter.exclude_modules=[{name}]."
            )
        if "default" not in layer.lora_A or layer.lora_variant.get("default") is not None:
            raise ModelError(f"{member.trial}: cannot share a base: {name} is no plain linear layer.")
        a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        made.tensors[name] = a.detach().clone(), b.detach().clone()
        made.scales[name] = float(layer.scaling["default"])
        made.names[name] = saved_as[id(a)], saved_as[id(b)]
    return made


def _set(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent) if parent else model, last, module)
