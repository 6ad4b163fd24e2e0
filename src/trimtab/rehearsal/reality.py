"""The same step on real tensors: what a rehearsal is held against, on this machine's device.

On a GPU the caching allocator counts; on a CPU PyTorch's profiler sees every allocation and release.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from trimtab.config import RunConfig
from trimtab.data.collate import collate
from trimtab.data.store import Example
from trimtab.model.adapter import add_adapter, train_everything
from trimtab.model.checkpointing import switch_on_checkpointing
from trimtab.model.fit import fit
from trimtab.model.load import DTYPES, load_base
from trimtab.model.target_loss import TargetLoss
from trimtab.model.weights import trained_parameters
from trimtab.rehearsal.fake_run import constants_of
from trimtab.train.learner import Learner
from trimtab.train.optimizer import build_optimizer
from trimtab.train.precision import Precision
from trimtab.train.processes import Processes
from trimtab.train.step import Stepper


@dataclass(frozen=True)
class Measured:
    """Most bytes that tensors held at one moment, and seconds of the step."""

    step_peak_bytes: int
    eval_peak_bytes: int
    step_seconds: float


def measure(
    config: RunConfig,
    examples: Sequence[tuple[int, int]],
    *,
    precision: str,
    optim: str,
    packing: bool,
    checkpointing: bool,
    accumulates: bool,
    device: torch.device,
) -> Measured:
    """One optimizer step of a loaded model, whose last micro batch is `examples`: (tokens, target tokens) of each; and
    one evaluation of them."""
    compute = DTYPES[precision]
    if config.adapter is None:
        model = train_everything(load_base(config.model, dtype=torch.float32, compute_dtype=compute, device=device))
    else:
        base = load_base(config.model, dtype=compute, compute_dtype=compute, device=device)
        model = add_adapter(base, config.adapter, seed=config.training.seed)
    if checkpointing:
        switch_on_checkpointing(model)
    arithmetic = Precision.named(precision, device)
    own = config.model.attn_implementation != "auto"
    fitted = fit(model, packing=packing, own_attention=own, device=device, autocast=arithmetic.autocast)
    parameters = trained_parameters(model)
    learner = Learner(
        trial="",
        parameters=parameters,
        optimizer=build_optimizer(optim, parameters, config.training),
        schedule=lambda done: 1.0,
        peak_learning_rate=1e-5,
        max_grad_norm=1.0,
    )
    loss = TargetLoss(model, fitted.head)
    stepper = Stepper(loss, [learner], arithmetic, arithmetic.scaler(), Processes.alone(device), seed=0)
    made = [_example(tokens, targets) for tokens, targets in examples]
    worst, small = (collate(batch, fitted.layout).to(device) for batch in (made, [_example(4, 3)]))

    def step() -> None:
        batches = [small, worst] if accumulates else [worst]
        stepper.step(batches, updates_done=1, target_tokens=sum(batch.target_tokens for batch in batches))

    def evaluation() -> None:
        with torch.no_grad(), arithmetic.autocast():
            loss(worst)

    model.train()
    stepper.step([small], updates_done=0, target_tokens=3)  # makes the optimizer's state
    held = [*model.parameters(), *model.buffers(), *_states(learner.optimizer)]
    held += [constant for parameter in model.parameters() for constant in constants_of(parameter)]
    step_peak = _peak(step, held, device)
    seconds = _seconds(step, device)  # apart: the profiler takes time of its own
    model.eval()
    return Measured(step_peak, _peak(evaluation, held, device), seconds)


def _example(tokens: int, targets: int) -> Example:
    is_target = np.zeros(tokens, dtype=np.bool_)
    is_target[tokens - targets :] = True
    return Example(np.ones(tokens, dtype=np.int32), is_target)


def _states(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]


def _peak(run: Callable[[], None], held: Iterable[torch.Tensor], device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return int(torch.cuda.max_memory_allocated())
    storages: dict[int, Any] = {id(s): s for tensor in held for s in [tensor.untyped_storage()]}
    before: int = sum(storage.nbytes() for storage in storages.values())
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    live = highest = 0
    sizes: dict[int, int] = {}
    for made in sorted(_allocations(seen.profiler.kineto_results.experimental_event_tree()), key=lambda one: one[0]):
        _, address, size = made
        if size > 0:
            sizes[address] = size
        else:  # 0: garbage of earlier work, which the profiler counts when it is freed if an earlier one saw it made
            size = -sizes.pop(address, 0)
        live += size
        highest = max(highest, live)
    return before + highest


def _allocations(tree: Iterable[Any]) -> Iterator[tuple[int, int, int]]:
    """(time in ns, address, bytes, negative where released) of everything the profiler saw on the CPU."""
    waiting = list(tree)
    while waiting:
        event = waiting.pop()
        waiting.extend(event.children)
        if event.tag == torch._C._profiler._EventType.Allocation and event.extra_fields.device.type == "cpu":
            yield event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size


def _seconds(run: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started
