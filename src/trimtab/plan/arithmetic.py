"""Which numbers a run computes in, and which optimizer kernel: what was asked for, or what the device has."""

from __future__ import annotations

from trimtab.config import TrainingConfig
from trimtab.records import Decision, Device

RUNS_ANYWHERE = ("adamw_torch", "adamw_torch_fused", "sgd")


def precision(training: TrainingConfig, origins: dict[str, str], device: Device) -> Decision[str]:
    """bf16 where the hardware has it, fp16 on older GPUs, fp32 on a CPU unless bf16 is asked for and native."""
    for name, asked, runs in (
        ("bf16", training.bf16, device.native_bf16),
        ("fp16", training.fp16, device.kind != "cpu"),
    ):
        if asked is True and runs:
            return Decision(value=name, reason=origins.get(f"training.{name}", "asked for"), source="user")
        if asked is True:
            instead = "fp16" if name == "bf16" and device.kind == "cuda" else "fp32"
            return Decision(
                value=instead, reason=f"{name} was asked for; {device.name} does not compute in it", source="device"
            )
    if device.kind == "cpu":
        return Decision(value="fp32", reason="exact, and models that fit a CPU are quick enough", source="device")
    if device.native_bf16 and training.bf16 == "auto":
        return Decision(value="bf16", reason=f"{device.name} computes in bf16", source="device")
    if not device.native_bf16 and training.fp16 == "auto":
        return Decision(value="fp16", reason=f"{device.name} has no bf16 arithmetic", source="device")
    return Decision(value="fp32", reason="bf16 and fp16 are off", source="user")


def optimizer(training: TrainingConfig, origins: dict[str, str], device: Device) -> Decision[str]:
    """8-bit and paged optimizers save GPU memory and need a GPU; elsewhere AdamW in one fused kernel."""
    asked = training.optim
    if asked == "auto":
        return Decision(
            value="adamw_torch_fused", reason="AdamW in one fused kernel, the same numbers", source="default"
        )
    if device.kind != "cuda" and asked not in RUNS_ANYWHERE:
        reason = f"{asked} was asked for; it saves GPU memory and needs a GPU, which {device.name} is not"
        return Decision(value="adamw_torch_fused", reason=reason, source="device")
    return Decision(value=asked, reason=origins.get("training.optim", "asked for"), source="user")
