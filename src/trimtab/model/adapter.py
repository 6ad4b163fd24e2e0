"""What is trained: a LoRA adapter on a frozen base, or every weight."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trimtab.config import AdapterConfig
from trimtab.errors import ModelError


def add_adapter(base: Any, adapter: AdapterConfig, *, seed: int) -> nn.Module:
    """`base` frozen, with a LoRA adapter on it whose weights require gradients (float32, except in a float64 model).

    Raises:
        ModelError: the targets name no layer of this model, or PEFT refuses the combination.
    """
    from peft import LoraConfig, get_peft_model

    _check_targets(base, adapter)
    given = adapter.model_dump(exclude_none=True)
    if adapter.lora_alpha == "auto":
        given["lora_alpha"] = 2 * adapter.r
    torch.manual_seed(seed)  # before PEFT draws the adapter's first weights, or they differ from run to run
    try:
        adapted: nn.Module = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **given))
    except (ValueError, TypeError, ImportError, NotImplementedError) as error:
        raise ModelError(f"adapter: PEFT refuses this configuration: {error}") from None
    for parameter in adapted.parameters():
        # PEFT does this for LoRA's matrices, but not for modules_to_save and biases, which learn as well.
        if parameter.requires_grad and parameter.dtype in (torch.float16, torch.bfloat16):
            parameter.data = parameter.data.float()
    return adapted


@contextlib.contextmanager
def idle_adapter_off(model: nn.Module) -> Iterator[None]:
    """Layers whose LoRA adds nothing yet (its B is zero) are their base layer alone within: the same numbers to the
    last bit, without LoRA's products, which take about half the time of a small model."""
    layers: list[Any] = []
    if hasattr(model, "peft_config"):
        from peft.tuners.lora import LoraLayer

        layers = [module for module in model.modules() if isinstance(module, LoraLayer) and _adds_nothing(module)]
    for layer in layers:  # PEFT's own switch (`disable_adapter`) also sets what requires a gradient
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def _adds_nothing(layer: Any) -> bool:
    """A variant of LoRA (DoRA) changes what the base layer makes; so may weights that were merged."""
    if layer.disable_adapters or layer.merged or layer.lora_variant or not layer.lora_B:
        return False
    return not any(bool(p.any()) for p in layer.lora_B.parameters())


def train_everything(base: nn.Module) -> nn.Module:
    for parameter in base.parameters():
        parameter.requires_grad_(True)
    return base


@dataclass(frozen=True)
class Unmatched:
    """A name in `adapter:` that nothing in the model matches."""

    key: str
    said: str
    fix: str
    stops: bool = True
    """PEFT refuses it, or would train something else than was asked; if not, the rest of the key works."""

    def __str__(self) -> str:
        return f"adapter.{self.key}: {self.said}\n{self.fix}"


def unmatched(base: Any, adapter: AdapterConfig) -> list[Unmatched]:
    """Every such name. `base` may be a skeleton: only names and classes of modules are looked at.

    PEFT's own message for a target that matches nothing prints the whole model; for other keys it says nothing.
    """
    names = [name for name, _ in base.named_modules()]
    model = type(base).__name__
    found: list[Unmatched] = []
    for key in ("rank_pattern", "alpha_pattern"):
        for pattern in getattr(adapter, key):
            if not any(re.match(rf"(.*\.)?({pattern})$", name) for name in names):
                said = f"{model} has no layer that {pattern!r} matches."
                found.append(Unmatched(key, said, f"Its linear layers are: {', '.join(_linear_names(base))}."))
    for module in adapter.modules_to_save or []:
        if not _ends_any(names, module):
            near = _nearest(module, {name.rsplit(".", 1)[-1] for name in names})
            said = f"{model} has no module {module!r}{near}"
            found.append(Unmatched("modules_to_save", said, "Correct the name or take it out."))
    excluded = adapter.exclude_modules or []
    for module in [excluded] if isinstance(excluded, str) else excluded:
        if not (any(_fullmatch(module, name) for name in names) or _ends_any(names, module)):
            said = f"{model} has no layer {module!r} to leave out{_nearest(module, _linear_names(base))}"
            found.append(Unmatched("exclude_modules", said, "Correct the name or take it out.", stops=False))
    return [*found, *_unmatched_targets(base, names, adapter), *_unmatched_layers(names, adapter)]


def _unmatched_targets(base: Any, names: list[str], adapter: AdapterConfig) -> list[Unmatched]:
    targets, model, last = adapter.target_modules, type(base).__name__, _linear_names(base)
    known = f"Its linear layers are: {', '.join(last)}. all-linear takes them all."
    if targets == "all-linear":
        return []
    if isinstance(targets, str):
        if any(_fullmatch(targets, name) for name in names):
            return []
        as_list = f"To name layers by their endings, give a list: [{targets}]. " if _ends_any(names, targets) else ""
        said = f"no layer of {model} matches the regular expression {targets!r} (it must match the whole name)."
        return [Unmatched("target_modules", said, as_list + known)]
    return [
        Unmatched("target_modules", f"{model} has no layer {target!r}{_nearest(target, last)}", known)
        for target in targets
        if not _ends_any(names, target)
    ]


def _unmatched_layers(names: list[str], adapter: AdapterConfig) -> list[Unmatched]:
    if adapter.layers_to_transform is None:
        return []
    asked = adapter.layers_to_transform
    wanted = asked if isinstance(asked, list) else [asked]
    there = {int(found["number"]) for name in names if (found := _NUMBERED.match(f"{name}."))}
    beyond = [number for number in wanted if number not in there]
    if not beyond or not there:
        return []
    said = f"the model has no layer {', '.join(map(str, beyond))}."
    fix = f"Its layers are {min(there)} to {max(there)}."
    return [Unmatched("layers_to_transform", said, fix, stops=len(beyond) == len(wanted))]


_NUMBERED = re.compile(r".*?\.[^.]*\.(?P<number>\d+)\.")
"""The first number in a module's name is its layer's, as PEFT reads it."""


def _check_targets(base: Any, adapter: AdapterConfig) -> None:
    stopping = [one for one in unmatched(base, adapter) if one.stops]
    if stopping:
        raise ModelError("\n".join(map(str, stopping)))


def _linear_names(base: Any) -> list[str]:
    return sorted({name.rsplit(".", 1)[-1] for name, module in base.named_modules() if isinstance(module, nn.Linear)})


def _ends_any(names: list[str], ending: str) -> bool:
    return any(name == ending or name.endswith(f".{ending}") for name in names)


def _fullmatch(pattern: str, name: str) -> bool:
    try:
        return re.fullmatch(pattern, name) is not None
    except re.error:
        return False


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean {near[0]}?" if near else "."
