"""The training step that `train` runs, on fake tensors: peak memory by term, and the work that is done."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import unset_fake_temporarily

from trimtab.config import RunConfig
from trimtab.data.collate import Batch, Layout, collate
from trimtab.data.store import Example
from trimtab.errors import TrimtabError
from trimtab.model import attention
from trimtab.model.checkpointing import start_checkpointing, stop_checkpointing, switch_on_checkpointing
from trimtab.model.core import causal_lm
from trimtab.rehearsal.fake_run import CPU, FakeRun, build, constants_of
from trimtab.rehearsal.recorder import Reading, Recorder
from trimtab.rehearsal.terms import BASE, CONSTANTS, GRADIENTS, LOGITS, OPTIMIZER, TRAINED
from trimtab.train.learner import Learner
from trimtab.train.optimizer import build_optimizer
from trimtab.train.precision import Precision
from trimtab.train.processes import Processes
from trimtab.train.step import Stepper

CUDA_GRANULE_BYTES = 512  # kMinBlockSize of c10/cuda/CUDACachingAllocator
CPU_GRANULE_BYTES = 64  # gAlignment of c10/core/alignment.h


class Refused(TrimtabError):
    """An operation cannot be rehearsed: the message names it."""


class Rehearsal:
    """One run's training step and evaluation, of any micro batch, with and without gradient checkpointing.

    The model is built once, in a fraction of a second and some megabytes, whatever its size.
    """

    def __init__(self, config: RunConfig, *, precision: str, optim: str, packing: bool, on_cpu: bool) -> None:
        """
        Raises:
            ModelError: the architecture cannot be built from its config, or the adapter does not fit it.
            Refused: it cannot be run on fake tensors.
        """
        self._precision = Precision.named(precision, CPU)
        self._granule_bytes = CPU_GRANULE_BYTES if on_cpu else CUDA_GRANULE_BYTES
        self._checkpointing = False
        with _global_state_kept():
            self.run: FakeRun = build(config, precision=precision)
            with _refusals(), self.run.mode:
                self._learner = self._make_learner(config, optim)
            self._stepper = Stepper(
                self.run.loss,
                [self._learner],
                self._precision,
                # Loss scaling asks whether a value is finite, which fake tensors do not know; it moves no memory.
                torch.amp.GradScaler("cpu", enabled=False),
                Processes.alone(CPU),
                config.training.seed,
            )
            own_attention = config.model.attn_implementation != "auto"
            self._layout = self._first_layout_that_runs(packing, own_attention)

    def step(self, examples: Sequence[tuple[int, int]], *, checkpointing: bool, accumulates: bool) -> Reading:
        """One optimizer step whose last micro batch is `examples`: (tokens, target tokens) of each.

        With `accumulates` the gradients of earlier micro batches are there already. The optimizer has its state, as
        from the second step on.

        Raises:
            Refused: see the class.
        """
        self._set_checkpointing(checkpointing)
        with self._recording() as recorder, self.run.mode:
            batch = self._batch(examples)
            if accumulates:
                for parameter in self.run.trained.values():
                    parameter.grad = torch.empty_like(parameter)
                    recorder.hold(parameter.grad, GRADIENTS)
            recorder.start()
            self.run.model.train()
            with recorder:
                self._stepper.step([batch], updates_done=1, target_tokens=max(1, batch.target_tokens))
        return recorder.reading

    def evaluate(self, examples: Sequence[tuple[int, int]]) -> Reading:
        """One evaluation batch, in the state in which training leaves the model.

        Raises:
            Refused: see the class.
        """
        with self._recording() as recorder, self.run.mode:
            batch = self._batch(examples)
            recorder.start()
            self.run.model.eval()
            with recorder, torch.no_grad(), self._precision.autocast():
                self.run.loss(batch)
        return recorder.reading

    def update(self) -> Reading:
        """What a step does once, whatever its micro batches: clip and update.

        Raises:
            Refused: see the class.
        """
        with self._recording() as recorder, self.run.mode:
            for parameter in self.run.trained.values():
                parameter.grad = torch.empty_like(parameter)
                recorder.hold(parameter.grad, GRADIENTS)
            recorder.start()
            with recorder:
                self._stepper.update(self._learner, updates_done=1)
        return recorder.reading

    @property
    def gathered_bytes(self) -> int:
        """What FSDP2 holds whole at a time (train/processes.py): two layers, and what is outside of layers."""
        return gathered_bytes(self.run.model)

    @property
    def is_padded(self) -> bool:
        return self._layout is Layout.PADDED

    @property
    def parameters(self) -> tuple[int, int]:
        """(all, trained) numbers of weights; a 4-bit one counts as one."""
        total = 0
        for parameter in self.run.model.parameters():
            state = getattr(parameter, "quant_state", None)
            total += parameter.numel() if state is None else int(np.prod(state.shape))
        return total, sum(parameter.numel() for parameter in self.run.trained.values())

    def _make_learner(self, config: RunConfig, optim: str) -> Learner:
        """The learner with its optimizer's state made, as after the first update."""
        parameters = self.run.trained
        with unset_fake_temporarily():  # bitsandbytes makes its tables for 8-bit state of real numbers
            optimizer = build_optimizer(optim, parameters, config.training)
        learner = Learner(
            trial="",
            parameters=parameters,
            optimizer=optimizer,
            schedule=lambda done: 1.0,
            peak_learning_rate=0.0,
            max_grad_norm=config.training.max_grad_norm,
        )
        for parameter in parameters.values():
            parameter.grad = torch.empty_like(parameter)
        learner.optimizer.step()
        learner.optimizer.zero_grad(set_to_none=True)
        return learner

    def _first_layout_that_runs(self, packing: bool, own_attention: bool) -> Layout:
        """As model/fit.py prefers them; it proves them on weights, here they must only run."""
        core = causal_lm(self.run.model)
        asked = core.config._attn_implementation
        attempts = [(Layout.POSITIONS, asked), (Layout.BLOCK_MASK, asked)] if packing else []
        attempts.append((Layout.PADDED, asked))
        if asked == "sdpa" and not own_attention:
            attempts.insert(0, (Layout.SEGMENTS if packing else Layout.PADDED, LISTENING))
        refused: Refused | None = None
        for self._layout, implementation in attempts:
            heard: list[None] = []
            _listen(heard)
            core.set_attn_implementation(implementation)
            try:
                self.evaluate([(8, 7), (5, 4)])
            except Refused as refusal:
                refused = refused or refusal
                continue
            if implementation == LISTENING and not heard:
                continue  # the class has attention code of its own
            core.set_attn_implementation(attention.NAME if implementation == LISTENING else asked)
            return self._layout
        core.set_attn_implementation(asked)
        assert refused is not None
        raise refused

    def _batch(self, examples: Sequence[tuple[int, int]]) -> Batch:
        made = []
        for tokens, targets in examples:
            is_target = np.zeros(tokens, dtype=np.bool_)
            is_target[tokens - targets :] = True
            made.append(Example(np.zeros(tokens, dtype=np.int32), is_target))
        return _as_fake(collate(made, self._layout), self.run.mode)

    def _set_checkpointing(self, wanted: bool) -> None:
        core = causal_lm(self.run.model)
        if wanted and not self._checkpointing:
            switch_on_checkpointing(self.run.model)
        elif wanted:
            start_checkpointing(core)
        else:
            stop_checkpointing(core)
        self._checkpointing = self._checkpointing or wanted
        if self._checkpointing and not wanted:
            core.disable_input_require_grads()
            self._checkpointing = False

    @contextlib.contextmanager
    def _recording(self) -> Iterator[Recorder]:
        """A recorder that knows what a run holds between its steps; logits and gradients are told as they come."""
        recorder = Recorder(granule_bytes=self._granule_bytes)
        run = self.run
        for parameter in run.model.parameters():
            is_base = not parameter.requires_grad
            recorder.hold(parameter, BASE if is_base else TRAINED)
            for constant in constants_of(parameter):
                recorder.hold(constant, CONSTANTS)
        for buffer in run.model.buffers():
            recorder.hold(buffer, BASE)
        for state in self._learner.optimizer.state.values():
            for value in state.values():
                if isinstance(value, torch.Tensor):
                    recorder.hold(value, OPTIMIZER)
        hooks = [
            parameter.register_post_accumulate_grad_hook(lambda p: recorder.hold(p.grad, GRADIENTS))
            for parameter in run.trained.values()
        ]
        head = run.loss.head

        def telling(hidden_ND: torch.Tensor) -> torch.Tensor:
            with recorder.term(LOGITS):
                return head(hidden_ND)

        run.loss.head = telling
        try:
            with _global_state_kept(), _refusals(recorder):
                yield recorder
        finally:
            run.loss.head = head
            for hook in hooks:
                hook.remove()
            for parameter in run.trained.values():
                parameter.grad = None


def _as_fake(batch: Batch, mode: Any) -> Batch:
    return replace(
        batch,
        input_ids_BT=mode.from_tensor(batch.input_ids_BT),
        position_ids_BT=mode.from_tensor(batch.position_ids_BT),
        attention_mask=None if batch.attention_mask is None else mode.from_tensor(batch.attention_mask),
        target_positions_N=mode.from_tensor(batch.target_positions_N),
        target_ids_N=mode.from_tensor(batch.target_ids_N),
    )


@contextlib.contextmanager
def _global_state_kept() -> Iterator[None]:
    """A rehearsal draws random numbers as a run does; what comes after it must not notice."""
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


LISTENING = "trimtab_rehearsal"


def _listen(heard: list[None]) -> None:
    """Attention cut at examples' borders that tells when it is called."""
    from transformers import AttentionInterface

    def listen(*arguments: Any, **options: Any) -> tuple[torch.Tensor, None]:
        heard.append(None)
        return attention.segmented_attention(*arguments, **options)

    AttentionInterface.register(LISTENING, listen)


@contextlib.contextmanager
def _refusals(recorder: Recorder | None = None) -> Iterator[None]:
    """What fake tensors raise, as `Refused` with the operation's name; PyTorch's own report of it is not for users."""
    log = logging.getLogger("torch._subclasses.fake_tensor")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    except TrimtabError:
        raise
    except Exception as error:  # a model's code may fail on shapes without values in any way it likes
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        where = f"{recorder.refusing} refuses fake tensors: " if recorder is not None and recorder.refusing else ""
        raise Refused(f"{where}{type(error).__name__}: {first}") from error
    finally:
        log.setLevel(level)


def gathered_bytes(model: torch.nn.Module) -> int:
    """Twice the largest decoder layer, and all that is in none; a model's weights need not be there."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers: list[int] = [
        sum(p.numel() * p.element_size() for p in module.parameters())
        for module in model.modules()
        if isinstance(module, GradientCheckpointingLayer)
    ]
    everything = sum(p.numel() * p.element_size() for p in model.parameters())
    return everything - sum(layers) + 2 * max(layers, default=0)
