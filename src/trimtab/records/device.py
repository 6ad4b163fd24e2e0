"""What the machine has, as far as decisions depend on it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Device(BaseModel):
    """The device that one process trains on, and how many processes there are."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["cpu", "cuda", "mps", "xpu"]
    name: str
    memory_bytes: int
    native_bf16: bool
    """bf16 in hardware: GPUs from Ampere on, CPUs with AVX512-BF16 or AMX."""
    processes: int = 1
    tflops: float | None = None
    """Dense matrix arithmetic in the half precision it trains in, 10¹² a second, where the data sheet says."""
    fp32_tflops: float | None = None
    """The same in fp32."""
    bandwidth_bytes: float | None = None
    """Memory bandwidth in bytes a second, where the data sheet says."""
