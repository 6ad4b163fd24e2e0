"""What a run is predicted to need: memory by term, arithmetic, time. Printed beside what was measured (law 9)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Method = Literal["rehearsal", "arithmetic"]
"""The training step run on fake tensors, or formulas where that was refused."""


class MemoryEstimate(BaseModel):
    """The peak of one device's memory over the whole run."""

    model_config = ConfigDict(frozen=True)

    method: Method
    peak_bytes: int
    """Most bytes that tensors hold at one moment of the worst micro batch's step (what
    `torch.cuda.max_memory_allocated` counts)."""
    terms: dict[str, int]
    """What `peak_bytes` is made of at that moment, by term; they add up to it."""
    operations: dict[str, int] = {}
    """The largest of the same bytes by the operation that made them ("aten.mm"), weights and what else lived before the
    step aside. Empty where formulas answered."""
    eval_peak_bytes: int
    """The same of the worst evaluation batch; 0 without evaluation."""
    overhead_bytes: int
    """What the device holds besides tensors: the CUDA context, kernels' workspaces, fragmentation."""
    device_bytes: int
    limit_bytes: int
    """90 % of `device_bytes`."""
    worst_tokens: int
    """Tokens (padding included) of the largest micro batch."""
    remarks: tuple[str, ...] = ()
    """What was estimated another way, and why: an operation that refuses fake tensors, by its name."""

    @property
    def needed_bytes(self) -> int:
        return max(self.peak_bytes, self.eval_peak_bytes) + self.overhead_bytes

    @property
    def fits(self) -> bool:
        return self.needed_bytes <= self.limit_bytes


class CostEstimate(BaseModel):
    """Arithmetic and time of the whole run on one device."""

    model_config = ConfigDict(frozen=True)

    method: Method
    flops_per_token: float
    """Of a training step, forward, backward and what checkpointing computes again; one multiply-add is 2."""
    total_flops: float
    """All devices together, evaluations too."""
    train_seconds: float
    eval_seconds: float
    device_hours: float
    """Seconds × devices: what a bill counts."""
    speed: str
    """The rates that the seconds assume, in words, and where they are from."""


class Alternative(BaseModel):
    """One way to cut the effective batch that was weighed."""

    model_config = ConfigDict(frozen=True)

    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    gradient_checkpointing: bool
    optim: str
    needed_bytes: int
    step_seconds: float
    fits: bool
    chosen: bool
