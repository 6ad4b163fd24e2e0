"""What nine adapters at once take of memory, against one: with Trimtab's head and loss, which go adapter by adapter,
and with the stock head, which makes the logits of all rows at once. Both over the same AdapterBank, on a CPU.

    python bench/cohort_memory.py [--tokens 256] [--vocabulary 32000] [--hidden 256] [--layers 4] [--repeats 3]

Every measurement has a process of its own. *Alive* is what all tensors between two steps hold, each storage once: base,
adapters, optimizer. *Activations* is what autograd saves for the backward pass. Three peaks, each less what was there
before the adapters were made: of *tensors*, by torch's own allocator; *resident*, by the kernel (VmHWM, reset before)
over three steps, with glibc as it comes, whose heap has holes; and resident where glibc takes every larger block from
the kernel and gives it back at once (MALLOC_MMAP_THRESHOLD_). Prints a block of Markdown.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import os
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from child import heading, in_own_process, machine_line, table
from cohort import CPU, autocast, base_model, trials
from torch import nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from trimtab.config import AdapterConfig
from trimtab.data.collate import Batch, collate
from trimtab.data.store import Example
from trimtab.model.adapter_bank import AdapterBank, Member
from trimtab.model.checkpointing import switch_on_checkpointing
from trimtab.model.cohort_loss import CohortLoss
from trimtab.model.core import hidden_states
from trimtab.model.fit import fit
from trimtab.train.stacked_adamw import Settings, StackedAdamW

FEW, MANY = 1, 9
STEPS = 3
NO_HOLES = {"MALLOC_MMAP_THRESHOLD_": "131072"}
MOST = 0.5
"""Of the stock head's growth."""
OURS, STOCK = "adapter by adapter", "stock"
MATRICES_KEPT = 5
"""Of each adapter, all float32: weights, two moments, and AdamW's two kept blocks."""


@dataclass(frozen=True)
class Setting:
    tokens: int
    vocabulary: int
    hidden: int
    layers: int
    checkpointing: bool


@dataclass(frozen=True)
class Measured:
    """Bytes."""

    base: int
    by_shapes: int
    """Adapters and optimizer, by arithmetic."""
    alive: int
    """Between two steps."""
    activations: int
    tensors: int
    """The most over what was alive before the adapters."""
    resident: int
    """Likewise, of the process."""


class StockLoss(nn.Module):
    """As people write it: all rows through the head, all logits into the cross-entropy. Every token of these batches is
    a target but each example's first, so that it computes no loss that ours leaves out."""

    def __init__(self, bank: AdapterBank, batch: Batch) -> None:
        super().__init__()
        self.model: Any = bank.base
        self.bank = bank
        labels = torch.full((batch.input_ids_BT.numel(),), -100)
        labels[batch.target_positions_N] = batch.target_ids_N
        self.labels = labels.repeat(bank.slots.count)

    def forward(self, batch: Batch) -> torch.Tensor:
        count = self.bank.slots.count
        self.bank.slots.tokens = [batch.input_ids_BT.numel()] * count
        assert batch.attention_mask is None, "the layout is cut at the examples' borders"
        ids, positions = batch.input_ids_BT.repeat(count, 1), batch.position_ids_BT.repeat(count, 1)
        hidden = hidden_states(self.model, replace(batch, input_ids_BT=ids, position_ids_BT=positions)).flatten(0, 1)
        logits = self.model.get_output_embeddings()(hidden).float()
        losses: torch.Tensor = functional.cross_entropy(logits, self.labels, reduction="none", ignore_index=-100)
        return losses.view(count, -1).sum(1)


def measure(count: int, head: str, setting: Setting) -> Measured:
    """In this process, which should be a fresh one."""
    torch.set_num_threads(1)
    base = base_model("fp32", setting.hidden, setting.layers, setting.vocabulary)
    if setting.checkpointing:
        switch_on_checkpointing(base)
    fitted = fit(base, packing=True, own_attention=False, device=CPU, autocast=lambda: autocast("fp32"))
    draw, each = np.random.default_rng(0), setting.tokens // 4
    rows = [Example(draw.integers(0, setting.vocabulary, each).astype(np.int32), np.ones(each, bool)) for _ in range(4)]
    batch = collate(rows, fitted.layout)
    base_bytes = held(base.parameters())

    before = settled_resident()
    members = [Member(str(k), AdapterConfig(r=r), k) for k, (r, _) in enumerate(trials(count))]
    bank = AdapterBank(base, members)
    loss = (CohortLoss(bank, fitted.head) if head == OURS else StockLoss(bank, batch)).train()
    optimizer = StackedAdamW.of(bank, [Settings(0.0, 1.0, 0.9, 0.999, 1e-8)] * count)

    def step() -> None:
        bank.slots.begin([0] * count)
        (loss(batch) / batch.target_tokens).sum().backward()
        optimizer.update([1e-4] * count)

    for _ in range(STEPS):
        step()
    resident = status("VmHWM") - before
    gc.collect()
    alive = held(one for one in gc.get_objects() if issubclass(type(one), torch.Tensor))
    tensors = alive - base_bytes + most_allocated(step)
    saved = activations(step, known=[*base.parameters(), *bank.parameters()])
    sizes = [(module.in_features + module.out_features) for module in bank.layers.values()]
    by_shapes = MATRICES_KEPT * 4 * sum(sizes) * sum(r for r, _ in trials(count))
    return Measured(base_bytes, by_shapes, alive, saved, tensors, resident)


def activations(step: Callable[[], None], known: Iterable[torch.Tensor]) -> int:
    """What autograd keeps from forward to backward, weights left out."""
    weights = {one.untyped_storage().data_ptr() for one in known}
    found: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    return sum(found.values())


def most_allocated(step: Callable[[], None]) -> int:
    """By tensors during a step, over what they held before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
    assert seen.profiler is not None
    events = [one for one in seen.profiler.kineto_results.events() if one.name() == "[memory]"]
    return int(max(accumulate(one.nbytes() for one in sorted(events, key=lambda one: one.start_ns()))))


def held(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes, each storage once."""
    return sum({s.data_ptr(): s.nbytes() for s in (one.untyped_storage() for one in tensors)}.values())


def settled_resident() -> int:
    """Resident now, with nothing free in the heap that a step could take unseen; the peak is counted from here."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(name: str) -> int:
    """Bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise KeyError(name)


def typical(count: int, head: str, setting: Setting, repeats: int, env: dict[str, str]) -> Measured:
    """The one in the middle, by what was resident."""
    os.environ.update(env)
    try:
        runs: list[Measured] = [in_own_process(measure, count, head, setting) for _ in range(repeats)]
    finally:
        for name in env:
            del os.environ[name]
    middle = statistics.median_low(run.resident for run in runs)
    return next(run for run in runs if run.resident == middle)


def compared(setting: Setting, repeats: int) -> str:
    cells = [(count, head) for head in (OURS, STOCK) for count in (FEW, MANY)]
    found = {cell: typical(*cell, setting, repeats, {}) for cell in cells}
    without_holes = {cell: typical(*cell, setting, 1, NO_HOLES).resident for cell in cells}
    peaks = {
        "tensors": {cell: one.tensors for cell, one in found.items()},
        "resident": {cell: one.resident for cell, one in found.items()},
        "resident, no holes": without_holes,
    }
    columns = ("K", "head and loss", "base", "adapters + optimizer, by shapes", "alive − base", "activations")
    rows = [
        [*cell, *map(mebibytes, (one.base, one.by_shapes, one.alive - one.base, one.activations))]
        + [f"{of[cell] / 2**20:.0f}" for of in peaks.values()]
        for cell, one in found.items()
    ]
    lines = []
    for name, of in peaks.items():
        ours, stock = (of[MANY, head] - of[FEW, head] for head in (OURS, STOCK))
        verdict = "" if ours <= MOST * stock else f": missed, must be ≤ {MOST}"
        lines.append(f"{name} {ours / 2**20:.0f} MiB of {stock / 2**20:.0f}, a ratio of {ours / stock:.2f}{verdict}")
    return (
        f"{'With' if setting.checkpointing else 'Without'} gradient checkpointing, MiB:\n\n"
        f"{table((*columns, *(f'peak: {name}' for name in peaks)), rows)}\n\n"
        f"Growth from K = {FEW} to {MANY}, ours of the stock head's: {'; '.join(lines)}.\n"
    )


def mebibytes(count: int) -> str:
    return f"{count / 2**20:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=256, help="of each adapter")
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    shape = (given.tokens, given.vocabulary, given.hidden, given.layers)
    print(heading(f"Memory of {MANY} adapters at once, CPU"))
    print(
        f"{machine_line()}; fp32, hidden {given.hidden} × {given.layers}, vocabulary {given.vocabulary}, "
        f"{given.tokens} tokens per adapter.\n"
    )
    for checkpointing in (False, True):
        print(compared(Setting(*shape, checkpointing), given.repeats), flush=True)


if __name__ == "__main__":
    main()
