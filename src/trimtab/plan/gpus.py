"""GPUs that a run can be planned for without having one."""

from __future__ import annotations

import difflib
import re

from trimtab.errors import ConfigError
from trimtab.records import Device

GIB = 2**30


def _gpu(
    name: str, gib: float, tflops: float, fp32_tflops: float, gb_per_second: float, *, bf16: bool = True
) -> Device:
    return Device(
        kind="cuda",
        name=name,
        memory_bytes=int(gib * GIB),
        native_bf16=bf16,
        tflops=tflops,
        fp32_tflops=fp32_tflops,
        bandwidth_bytes=gb_per_second * 1e9,
    )


GPUS: dict[str, Device] = {
    gpu.name: gpu
    for gpu in (
        _gpu("T4", 14.75, 65.0, 8.1, 320.0, bf16=False),
        _gpu("RTX-3090", 23.69, 71.0, 35.6, 936.0),
        _gpu("RTX-4090", 23.65, 165.2, 82.6, 1008.0),
        _gpu("L4", 22.17, 121.0, 30.3, 300.0),
        _gpu("A100-40", 39.56, 312.0, 19.5, 1555.0),
        _gpu("A100-80", 79.15, 312.0, 19.5, 2039.0),
        _gpu("H100", 79.10, 989.4, 67.0, 3350.0),
        _gpu("H200", 139.80, 989.4, 67.0, 4800.0),
    )
}
"""Memory is what PyTorch sees (the "total capacity" of its out-of-memory messages), less than the name says. TFLOPS are
NVIDIA's data sheets' for dense bf16/fp16 products with fp32 sums on tensor cores (SXM boards), and for plain fp32."""

_OWN = re.compile(r"(?P<name>[^=]+)=(?P<gib>[0-9.]+),(?P<tflops>[0-9.]+)")
_FLOPS_PER_BYTE = 160.0  # guess for an unknown GPU: between L4's 400 and H200's 200, RTX 3090's 76
_FP32_SHARE = 0.25  # guess for an unknown GPU: RTX cards have a half, data centre ones a fifteenth


def find_gpu(asked: str) -> Device:
    """The GPU of this name, or one described as NAME=GiB,TFLOPS ("mine=24,80").

    Raises:
        ConfigError: no such GPU, with the nearest name.
    """
    by_name = {name.lower(): gpu for name, gpu in GPUS.items()}
    key = asked.strip().lower().replace("_", "-").replace(" ", "-").removeprefix("nvidia-")
    if key in by_name:
        return by_name[key]
    if "=" in asked:
        own = _OWN.fullmatch(asked.strip())
        numbers = [_number(own["gib"]), _number(own["tflops"])] if own else [0.0]
        if own is None or not all(number > 0 for number in numbers):
            raise ConfigError(
                [f"--gpu {asked}: a GPU is described as NAME=GiB,TFLOPS, both above 0, such as mine=24,80"]
            )
        gib, tflops = numbers
        return _gpu(own["name"], gib, tflops, _FP32_SHARE * tflops, tflops * 1e3 / _FLOPS_PER_BYTE)
    near = [name for name in by_name if key and name.startswith(key)]
    near = near or difflib.get_close_matches(key, by_name, n=1, cutoff=0.4)
    hint = f" Did you mean {' or '.join(by_name[name].name for name in near)}?" if near else ""
    raise ConfigError(
        [
            f"--gpu {asked}: not one of {', '.join(GPUS)}.{hint} Any other is described as NAME=GiB,TFLOPS, such as "
            "mine=24,80 (memory as PyTorch sees it, dense bf16 arithmetic)."
        ]
    )


def with_data_sheet(device: Device) -> Device:
    """A GPU at hand with the rates of its data sheet, where its name and memory tell which it is."""
    if device.tflops is not None or device.kind != "cuda":
        return device
    name = device.name.lower().replace(" ", "-")
    for gpu in GPUS.values():
        same_memory = abs(device.memory_bytes - gpu.memory_bytes) < 0.05 * gpu.memory_bytes
        if _model(gpu.name) in name and same_memory:
            rates = {key: getattr(gpu, key) for key in ("tflops", "fp32_tflops", "bandwidth_bytes")}
            return device.model_copy(update=rates)
    return device


def _model(name: str) -> str:
    """ "a100" of A100-80, "rtx-3090" of RTX-3090."""
    return name.lower() if name.startswith("RTX") else name.lower().partition("-")[0]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
