"""The base model's own losses, before anything is trained: what it already makes of the data.

The model is the one that `train` trains afterwards. Its adapter is untrained and changes nothing; its mode, its
attention and the random state are put back after each measurement.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from trimtab.checks.rule import Unavailable
from trimtab.data.collate import collate
from trimtab.data.store import Example
from trimtab.errors import UserError
from trimtab.model.adapter import idle_adapter_off
from trimtab.model.core import causal_lm, hidden_states
from trimtab.model.fit import Fit, fit
from trimtab.model.target_loss import CHUNK_LOGITS
from trimtab.train.precision import Precision

if TYPE_CHECKING:
    from trimtab.checks.evidence import Evidence
    from trimtab.records import Device, Plan

SECONDS = 6.0
"""Of arithmetic, for each rule that asks. There are three, and a run of an hour should not wait longer for a look than
the 20 seconds that they take together."""
CORE_FLOPS = 25e9
"""What a core reaches in products of small matrices: two reached 40 to 80 GFLOP/s here."""
GPU_FLOPS = 20e12
"""Where the data sheet is not known. A T4 reaches about this in fp16; anything newer is faster."""
GPU_SHARE = 0.3
"""Of the data sheet's arithmetic that a forward pass of short batches reaches: a guess on the low side."""
BATCH_TOKENS = 2048
"""Tokens laid out at a time. Without gradients a batch needs far less memory than a training step of one row."""

LONGEST_TOKENS = 1536


class BaseModelLosses:
    """Mean loss per target token of any examples under the base.

    Raises:
        Unavailable (from every method): the base cannot be loaded, or its loss cannot be computed here.
    """

    def __init__(self, seen: Evidence) -> None:
        self._seen = seen

    @cached_property
    def affordable_tokens(self) -> int:
        """Tokens that one rule may have read: `SECONDS` of arithmetic at 2 operations a parameter and token."""
        return int(SECONDS * flops_per_second(self._seen.here) / (2 * self._parameters))

    @property
    def longest_tokens(self) -> int:
        """Tokens that an example may have: a guess at what is enough, or the model's positions where they are fewer."""
        return min(LONGEST_TOKENS, getattr(self._seen.architecture, "max_position_embeddings", None) or LONGEST_TOKENS)

    @property
    def vocabulary(self) -> int:
        """Entries that the loss is taken over."""
        return int(causal_lm(self._model).config.get_text_config().vocab_size)

    def mean_losses(self, examples: Sequence[Example]) -> NDArray[np.float64]:
        """Nats per target token of each example, [N]. Each must have a target after its first token."""
        return np.array([losses.mean() for losses in self.token_losses(examples)])

    def token_losses(self, examples: Sequence[Example]) -> list[NDArray[np.float64]]:
        """Nats of each target of each example, in order."""
        # Longest first: memory runs out at once or not at all; neighbours of like length pad little.
        order = sorted(range(len(examples)), key=lambda index: -len(examples[index].input_ids))
        found: list[NDArray[np.float64]] = [np.zeros(0)] * len(examples)
        how, core = self._fit, causal_lm(self._model)
        rows_per_chunk = max(1, CHUNK_LOGITS // self.vocabulary)
        with self._undisturbed(), idle_adapter_off(self._model), torch.no_grad(), self._precision.autocast():
            for some in _batches(order, examples):
                batch = collate([examples[index] for index in some], how.layout).to(self._device)
                assert batch.target_tokens, "each example has a target"
                try:
                    hidden_ND = hidden_states(core, batch).flatten(0, 1)[batch.target_positions_N]
                    losses = [
                        functional.cross_entropy(how.head(hidden).float(), ids, reduction="none")
                        for hidden, ids in zip(
                            hidden_ND.split(rows_per_chunk), batch.target_ids_N.split(rows_per_chunk), strict=True
                        )
                    ]
                except torch.OutOfMemoryError:
                    raise Unavailable(f"the base and {batch.tokens:,} tokens do not fit the device's memory") from None
                losses_N = torch.cat(losses).cpu().double().numpy()
                # Both layouts list targets in the order of the examples.
                ends = np.cumsum([int(np.asarray(examples[index].is_target[1:]).sum()) for index in some])
                for index, own in zip(some, np.split(losses_N, ends[:-1]), strict=True):
                    found[index] = own
        return found

    @cached_property
    def _parameters(self) -> int:
        with contextlib.suppress(Unavailable):
            return sum(parameter.numel() for parameter in self._seen.skeleton.parameters())
        return sum(parameter.numel() for parameter in self._model.parameters())

    @cached_property
    def _model(self) -> Any:
        try:
            return self._seen.load_model()
        except UserError as error:
            raise Unavailable(f"the base could not be loaded: {_first_line(error)}") from None

    @cached_property
    def _device(self) -> torch.device:
        device: torch.device = next(self._model.parameters()).device
        return device

    @cached_property
    def _precision(self) -> Precision:
        return Precision.named(precision_here(self._seen.plan, self._seen.here), self._device)

    @cached_property
    def _fit(self) -> Fit:
        with self._undisturbed():
            try:
                found = fit(
                    self._model,
                    packing=self._seen.plan.packing.value,
                    own_attention=self._seen.config.model.attn_implementation != "auto",
                    device=self._device,
                    autocast=self._precision.autocast,
                )
            except UserError as error:
                raise Unavailable(f"the base's loss cannot be computed here: {_first_line(error)}") from None
            self._fitted_attention = causal_lm(self._model).config._attn_implementation
        return found

    @contextlib.contextmanager
    def _undisturbed(self) -> Iterator[None]:
        """Evaluation mode and the fitted attention inside; everything as it was after."""
        model = self._model
        core = causal_lm(model)
        training, attention = model.training, core.config._attn_implementation
        if fitted := getattr(self, "_fitted_attention", None):
            core.set_attn_implementation(fitted)
        model.eval()
        devices = [self._device] if self._device.type == "cuda" else []
        try:
            with torch.random.fork_rng(devices):
                yield
        finally:
            model.train(training)
            core.set_attn_implementation(attention)


def flops_per_second(device: Device) -> float:
    """What a forward pass on this device can be counted on to reach."""
    if device.kind == "cpu":
        return CORE_FLOPS * cores()
    return device.tflops * 1e12 * GPU_SHARE if device.tflops else GPU_FLOPS


def cores() -> int:
    """CPU cores that PyTorch may use: a container or torchrun may leave it fewer than the machine has."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, torch.get_num_threads()))


def precision_here(plan: Plan, here: Device) -> str:
    """What the base is kept and computed in for the checks: the plan's precision, where the plan is for this device or
    this device computes in it; else fp32, which every device does."""
    asked = plan.precision.value
    if here == plan.device:
        return asked
    native = here.native_bf16 if asked == "bf16" else here.kind != "cpu"
    return asked if native else "fp32"


def _batches(order: Sequence[int], examples: Sequence[Example]) -> Iterator[list[int]]:
    """Runs of `order` that pad to at most `BATCH_TOKENS`, or one example."""
    some: list[int] = []
    for index in order:
        if some and len(examples[some[0]].input_ids) * (len(some) + 1) > BATCH_TOKENS:
            yield some
            some = []
        some.append(index)
    if some:
        yield some


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
