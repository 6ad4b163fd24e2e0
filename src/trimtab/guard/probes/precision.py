"""The suspicious step as it is and in fp32, and where the first value that is no number appears."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from trimtab.guard.lab import NOW, Gradients, Where
from trimtab.guard.paired import quantile
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values
from trimtab.train.precision import Precision
from trimtab.train.step import Stepper

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

QUANTILES = (0.5, 0.9, 0.99)
HALVES = (torch.float16, torch.bfloat16)


class PrecisionReplay(Probe):
    """Whether a value that is no number is arithmetic's doing.

    The step's forward and backward in the state before it (the good one, else the start; where all is finite there,
    now) twice: as the run computes, and with autocast off and every plain weight of the model in fp32. A 4-bit base
    stays in 4 bits and computes in fp32. Finite in fp32 only: the precision is at fault. In neither: the data or a
    kernel.

    - as_is_loss, as_is_norm, fp32_loss, fp32_norm: loss in nats, gradient norm before clipping; fp16 as it is includes
      its loss scale. The fp32 ones are NaN where the model does not fit the memory twice.
    - first_non_finite_module, phase: the first module, in the order of the computation, whose output ("forward") or
      whose gradient ("backward") is no number, as it is; "" if there is none
    - clip_quantiles: the run's gradient norms at 50, 90 and 99 %, as far as they were kept

    Cost: two steps. Memory: the base once more, in fp32.

    Source: google/gemma_pytorch#24, unslothai/unsloth-zoo#600 (a forward overflow in down_proj), unslothai/
    unsloth-zoo#866 (finite loss, a backward overflow), huggingface/transformers#12225.
    """

    name: ClassVar[str] = "precision"
    default_steps: ClassVar[float] = 4.0
    sharded: ClassVar[bool] = False

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        if budget_steps < 2:
            raise CannotProbe("two steps are needed")
        where: Where = lab.good(suspect) or NOW
        made, first, phase = self._as_is(lab, suspect, where)
        if where is not NOW and not phase and lab.agreed(_is_finite(made)) and budget_steps >= 3:
            where = NOW
            made, first, phase = self._as_is(lab, suspect, where)
        in_fp32 = self._in_fp32(lab, suspect, where)
        norms = [norm for _, norm in lab.history.values()]
        values = {
            "as_is_loss": made.loss,
            "as_is_norm": made.norm,
            "fp32_loss": in_fp32.loss,
            "fp32_norm": in_fp32.norm,
            "first_non_finite_module": first,
            "phase": phase,
            "clip_quantiles": [quantile(norms, share) for share in QUANTILES],
        }
        at = f"; the first value that is no number: {first} ({phase})" if first else ""
        sentence = (
            f"the step as it is: loss {made.loss:.4g}, norm {made.norm:.4g}; in fp32: {in_fp32.loss:.4g}, "
            f"{in_fp32.norm:.4g}{at}"
        )
        return values, sentence

    def _as_is(self, lab: Lab, suspect: Suspect, where: Where) -> tuple[Gradients, str, str]:
        with lab.at(where), _watched(lab.model) as seen:
            made = _replayed(lab, suspect, lab.stepper)
            first, phase = seen.first()
            if not first:
                first, phase = next(
                    ((name, "backward") for name, g in made.of.items() if g is not None and not _all_finite(g)),
                    ("", ""),
                )
        return made, first, phase

    def _in_fp32(self, lab: Lab, suspect: Suspect, where: Where) -> Gradients:
        precision = Precision(torch.float32, lab.feed.device.type)
        stepper = replace(lab.stepper, precision=precision, scaler=precision.scaler())
        try:
            with lab.at(where), _widened(lab.model):
                return _replayed(lab, suspect, stepper)
        except torch.OutOfMemoryError:
            return Gradients(math.nan, math.nan, {})


def _replayed(lab: Lab, suspect: Suspect, stepper: Stepper) -> Gradients:
    stepper.model.train()
    batches, targets = lab.batches(suspect.rows)
    return lab.gradients(batches, step=suspect.step, target_tokens=targets, stepper=stepper)


@contextmanager
def _widened(model: nn.Module) -> Iterator[None]:
    """Plain weights and buffers in fp32; quantised ones compute in it."""
    weights = [(p, p.data) for p in model.parameters() if p.dtype in HALVES and type(p) is nn.Parameter]
    buffers = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False)
        if buffer.dtype in HALVES
    ]
    computing = [(m, m.compute_dtype) for m in model.modules() if getattr(m, "compute_dtype", None) in HALVES]
    try:
        for parameter, data in weights:
            parameter.data = data.float()
        for module, name, buffer in buffers:
            module._buffers[name] = buffer.float()
        for module, _ in computing:
            module.compute_dtype = torch.float32  # type: ignore[assignment]
        yield
    finally:
        for parameter, data in weights:
            parameter.data = data
        for module, name, buffer in buffers:
            module._buffers[name] = buffer
        for module, dtype in computing:
            module.compute_dtype = dtype


@dataclass
class _Seen:
    """What flowed, in order: (module, phase, whether all of it was finite, still on the device)."""

    flags: list[tuple[str, str, torch.Tensor]] = field(default_factory=list)

    def first(self) -> tuple[str, str]:
        if not self.flags:
            return "", ""
        finite = torch.stack([flag for _, _, flag in self.flags]).cpu().tolist()
        return next(((n, phase) for (n, phase, _), ok in zip(self.flags, finite, strict=True) if not ok), ("", ""))


@contextmanager
def _watched(model: nn.Module) -> Iterator[_Seen]:
    """Listens at every module without children: to its outputs in the forward, and in the backward to the gradient that
    comes out of it, which tells of the module itself (what goes into it tells of those after it)."""
    seen = _Seen()
    handles = [
        module.register_forward_hook(_listener(name, seen))
        for name, module in model.named_modules()
        if not any(True for _ in module.children())
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _listener(name: str, seen: _Seen) -> Callable[..., None]:
    def hear(tensor: torch.Tensor, phase: str) -> None:
        seen.flags.append((name, phase, tensor.detach().isfinite().all()))

    def listen(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        for tensor in _floats(output):
            hear(tensor, "forward")
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient: hear(gradient, "backward"))
        for tensor in _floats(inputs):
            if tensor.requires_grad:
                tensor.register_hook(lambda gradient: hear(gradient, "backward"))

    return listen


def _floats(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, (tuple, list)):
        return [tensor for each in value for tensor in _floats(each)]
    return []


def _all_finite(tensor: torch.Tensor) -> bool:
    return bool(tensor.isfinite().all())


def _is_finite(made: Gradients) -> bool:
    return math.isfinite(made.loss) and math.isfinite(made.norm)
