"""The device this process trains on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch

from trimtab.records import Device


def find_device(*, use_cpu: bool) -> torch.device:
    """This process's device: the accelerator that its local rank names, or the CPU."""
    if use_cpu:
        return torch.device("cpu")
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        return torch.device("cuda", local_rank)
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        return torch.device("xpu", local_rank)
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def describe(device: torch.device, processes: int) -> Device:
    """What plans depend on: name, memory, and whether bf16 is native."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        # is_bf16_supported() is also true where bf16 is only emulated; compute capability 8 is Ampere.
        native = torch.cuda.get_device_capability(device)[0] >= 8 if torch.version.hip is None else True
        return Device(
            kind="cuda",
            name=properties.name,
            memory_bytes=properties.total_memory,
            native_bf16=native,
            processes=processes,
        )
    if device.type == "cpu":
        return Device(
            kind="cpu",
            name=_cpu_name(),
            memory_bytes=_ram_bytes() // _processes_here(processes),
            native_bf16=_cpu_has_bf16(),
            processes=processes,
        )
    kind = "mps" if device.type == "mps" else "xpu"
    return Device(
        kind=kind,
        name=device.type.upper(),
        memory_bytes=_ram_bytes() // _processes_here(processes),
        native_bf16=True,
        processes=processes,
    )


def _processes_here(processes: int) -> int:
    """How many of a run's processes share this machine's memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", processes))


def _cpu_name() -> str:
    return f"{platform.processor() or platform.machine()} CPU, {os.cpu_count()} cores"


def _ram_bytes() -> int:
    import psutil

    total = int(psutil.virtual_memory().total)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()  # a container's share
    except OSError:
        return total
    return min(total, int(limit)) if limit.isdigit() else total


def free_host_bytes() -> int:
    """Of this machine's memory, or this container's, what a process may still take beside its local siblings."""
    import psutil

    free = int(psutil.virtual_memory().available)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii").strip()
    except OSError:
        limit, used = "", ""
    if limit.isdigit() and used.isdigit():
        free = min(free, int(limit) - int(used))
    return max(0, free) // _processes_here(1)


def _cpu_has_bf16() -> bool:
    """AVX512-BF16 or AMX on x86, the bf16 extension on Arm; else bf16 is emulated and slower than fp32."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return platform.machine() == "arm64"  # Apple silicon from M2 on; no /proc there
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))
