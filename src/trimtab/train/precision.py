"""bf16, fp16 with a gradient scaler, or fp32: what weights are kept in and what is computed in."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Precision:
    """`compute` is what matrix products run in.

    A frozen base is kept in it too. Weights that learn stay in float32: in bf16, whose numbers are 0.4 % apart, an
    update of a learning rate of 1e-5 rounds to nothing.
    """

    compute: torch.dtype
    device_type: str

    @classmethod
    def named(cls, name: str, device: torch.device) -> Precision:
        return cls({"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[name], device.type)

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        if self.compute not in (torch.bfloat16, torch.float16):
            return contextlib.nullcontext()
        return torch.autocast(self.device_type, dtype=self.compute)

    def scaler(self) -> torch.amp.GradScaler:
        """Multiplies the loss so that small gradients survive fp16; does nothing for other types."""
        return torch.amp.GradScaler(self.device_type, enabled=self.compute is torch.float16)
