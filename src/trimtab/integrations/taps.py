"""Where raw numbers are tapped in a transformers.Trainer: what its log says is filtered (NaN becomes the average of
what came before), averaged over `logging_steps`, and rounded.

`training_step` returns a micro step's loss as it was given to the backward: divided by the step's target tokens where
the Trainer counts those (`num_items_in_batch`), by the number of micro steps where it does not. Either way the losses
of a step's micro steps add up to the step's loss. Accelerate's `clip_grad_norm_` returns the norm before clipping.
Both are wrapped on the instance, which TRL's trainers and other subclasses share; nothing of what they do is changed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

IGNORED = -100
"""The label of a token without loss, everywhere in transformers."""


@dataclass
class Tapped:
    """One optimizer step, on the device."""

    losses: list[torch.Tensor]
    targets: list[torch.Tensor]
    """Of each micro step; empty where it has no labels."""
    tokens: list[torch.Tensor]
    norm: torch.Tensor | None
    """Before clipping; None where nobody measured it (DeepSpeed does its own)."""


class Taps:
    """Sits in a trainer from `__init__` to `release`."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._undo: list[Callable[[], None]] = []
        self._training_step = self._replace(trainer, "training_step", self._step)
        self._clip_grad_norm = self._replace(trainer.accelerator, "clip_grad_norm_", self._clip)
        self._now = Tapped([], [], [], None)
        self.error: Exception | None = None
        """The first that came of looking."""

    def release(self) -> None:
        """The trainer is what it was."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()

    def take(self) -> Tapped:
        """What was tapped since the last time."""
        taken, self._now = self._now, Tapped([], [], [], None)
        return taken

    def has_norm(self) -> bool:
        return self._now.norm is not None

    def set_norm(self, norm: torch.Tensor) -> None:
        self._now.norm = norm

    def _step(self, model: nn.Module, inputs: Any, *others: Any, **more: Any) -> torch.Tensor:
        self._look(self._count, inputs)
        loss: torch.Tensor = self._training_step(model, inputs, *others, **more)
        self._look(self._keep_loss, loss)
        return loss

    def _clip(self, parameters: Iterable[nn.Parameter], *others: Any, **more: Any) -> Any:
        norm = self._clip_grad_norm(parameters, *others, **more)
        self._look(self._keep_norm, norm)
        return norm

    def _look(self, at: Callable[[Any], None], what: Any) -> None:
        """Whatever goes wrong with looking is no reason to end somebody's training; what it was is said later."""
        try:
            at(what)
        except Exception as error:
            self.error = self.error or error

    def _count(self, inputs: Any) -> None:
        if not isinstance(inputs, Mapping):  # GRPO's trainer is given a list of rows
            return
        labels, ids = inputs.get("labels"), inputs.get("input_ids")
        if isinstance(labels, torch.Tensor) and labels.ndim:
            self._now.targets.append((labels[..., 1:] != IGNORED).sum())
        if isinstance(ids, torch.Tensor):
            mask = inputs.get("attention_mask")
            is_mask = isinstance(mask, torch.Tensor) and mask.shape == ids.shape
            self._now.tokens.append(mask.sum() if mask is not None and is_mask else torch.tensor(ids.numel()))

    def _keep_loss(self, loss: Any) -> None:
        self._now.losses.append(torch.as_tensor(loss).detach())

    def _keep_norm(self, norm: Any) -> None:
        if self._now.norm is None and norm is not None:  # a tensor, sharded or not; a number from DeepSpeed
            full = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
            self._now.norm = torch.as_tensor(full).detach()

    def _replace(self, owner: Any, name: str, new: Callable[..., Any]) -> Callable[..., Any]:
        """Put `new` over a method of this one instance; returns what was there."""
        old: Callable[..., Any] = getattr(owner, name)
        if name in vars(owner):
            self._undo.append(lambda: setattr(owner, name, old))
        else:
            self._undo.append(lambda: delattr(owner, name))
        setattr(owner, name, new)
        return old


def calling_trainer() -> Any | None:
    """The Trainer whose callback is being called: callbacks are given its model and optimizer, and not itself."""
    from transformers import Trainer

    frame = sys._getframe(1)
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, Trainer):
            return caller
        frame = frame.f_back  # type: ignore[assignment]
    return None
