"""The gradient that a step trains on is that of its targets' mean cross-entropy: worked out a second time where it
enters the model, at a few of the step's own targets.

A wrong divisor hides in the curve: AdamW and the clip make the same update of a gradient that is eight times too large.
Here it is seen in the very step, for the price of the head at a few tokens.
"""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch.nn import functional

from trimtab.data.collate import Batch
from trimtab.guard.look import is_sharded, unwrapped
from trimtab.model.core import causal_lm
from trimtab.records.diagnosis import Violation
from trimtab.train.step import Stepper
from trimtab.train.telemetry import Aside

TARGETS = 8
"""Of the first micro batch, at most."""
ROUNDING = {torch.float64: 1e-6, torch.float32: 5e-3}
"""Of the ratio of two gradients that must be equal, by the type that is computed in; TF32 is float32 to its users."""
HALF_ROUNDING = 2e-2
LEAST = 1e-6
"""Length of a gradient below which rounding is all of it: every target is known by heart."""


class OwnGradient:
    """Armed before a step, read when the next one is queued. Nothing is drawn at random and nothing kept: an armed step
    trains what any other does."""

    def __init__(self, stepper: Stepper) -> None:
        self._wrapped = unwrapped(stepper)
        core = causal_lm(self._wrapped.model)
        self._backbone: Any = core.base_model
        head = core.get_output_embeddings()
        # An adapter on the head may draw its dropout.
        is_adapted = any(".lora_" in f".{name}" for name, _ in head.named_parameters())
        self.can_look = not is_adapted and not is_sharded(self._wrapped)
        self.seconds = math.inf
        """What looking took on the host, at its cheapest."""
        self._hooks: list[Any] = []
        self._scaler: torch.amp.GradScaler | None = None
        self._batch: Batch | None = None
        self._expected: torch.Tensor | None = None
        self._seen: torch.Tensor | None = None
        self._waiting: tuple[int, Aside] | None = None

    def arm(self, scaler: torch.amp.GradScaler) -> None:
        """The next forward with a graph is looked at."""
        self.disarm()
        self._scaler = scaler
        self._batch = self._expected = self._seen = None
        self._hooks = [
            self._wrapped.register_forward_pre_hook(self._on_batch),
            self._backbone.register_forward_hook(self._on_hidden),
        ]

    def disarm(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def stepped(self, stepper: Stepper, step: int, target_tokens: int) -> None:
        """The armed step, which is number `step`, is queued; its effective batch has so many targets."""
        self.disarm()
        if self._expected is None or self._seen is None or not target_tokens:
            return
        factor = stepper.processes.count / target_tokens
        wide = torch.promote_types(self._expected.dtype, torch.float32)  # not every device has float64
        expected, seen = self._expected.to(wide).flatten(), self._seen.to(wide).flatten() / factor
        measured = torch.stack([expected @ seen, expected @ expected, seen @ seen])
        self._waiting = (step, Aside(measured, stepper.processes.device))
        self._batch = self._expected = self._seen = None

    def read(self, stepper: Stepper) -> list[Violation]:
        """What the last armed step showed, once."""
        if self._waiting is None:
            return []
        (step, aside), self._waiting = self._waiting, None
        across, expected, seen = aside.read().tolist()
        if not expected > LEAST**2 or not seen < float("inf"):
            return []
        ratio, allowed = across / expected, ROUNDING.get(stepper.precision.compute, HALF_ROUNDING)
        if abs(ratio - 1.0) <= allowed:
            return []
        said = f"the gradient that is trained on is {ratio:.3g} times that of the targets' mean cross-entropy"
        return [
            Violation(
                invariant="loss-is-the-targets",
                step=step,
                sentence=said,
                detail={"what": "trained", "ratio": ratio},
            )
        ]

    def forget(self) -> None:
        self.disarm()
        self._waiting = None

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────

    def _on_batch(self, module: Any, inputs: tuple[Any, ...]) -> None:
        self._batch = inputs[0]

    def _on_hidden(self, module: Any, inputs: Any, output: Any) -> None:
        """In the forward, since a head that learns is another one after the update."""
        started = time.perf_counter()
        batch, hidden_BTD = self._batch, output[0]
        if batch is None or not batch.target_tokens or not hidden_BTD.requires_grad or self._expected is not None:
            return
        positions, ids = batch.target_positions_N[:TARGETS], batch.target_ids_N[:TARGETS]
        self._expected = positions  # a head may call the backbone: once is enough
        with torch.enable_grad():
            hidden = hidden_BTD.detach().flatten(0, 1).index_select(0, positions).requires_grad_()
            logits = self._wrapped.head(hidden)
            logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
            loss = functional.cross_entropy(logits, ids, reduction="sum")
            (self._expected,) = torch.autograd.grad(loss, hidden)

        def keep(grad: torch.Tensor) -> None:
            seen = grad.detach().flatten(0, 1).index_select(0, positions)
            scale = getattr(self._scaler, "_scale", None)  # now: the step's end may change it
            self._seen = seen if scale is None else seen.float() / scale

        hidden_BTD.register_hook(keep)
        self.seconds = min(self.seconds, time.perf_counter() - started)
