"""One measured process: how long, how much of the CPU, how much memory, and what it said."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """Wall and CPU seconds include the interpreter's start and end, and the CPU seconds all processes it started;
    memory is the sum of its processes' resident sets at its largest (sampled: short peaks are missed)."""

    exit_status: int
    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    output: str

    def or_raise(self, what: str) -> Outcome:
        if self.exit_status != 0:
            raise SystemExit(f"{what} ended with status {self.exit_status}:\n{self.output[-3000:]}")
        return self


def run_child(
    command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Outcome:
    """Run to the end, output and errors together in a file (a full pipe would stop the child)."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        child = subprocess.Popen(
            [str(part) for part in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        )
        memory = _MemoryWatch(child.pid)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    return Outcome(child.returncode, wall, usage.ru_utime + usage.ru_stime, memory.peak_bytes(), text)


class _MemoryWatch:
    """Resident bytes of a process and its descendants, pages in common counted once, looked at every 0.2 s.

    (The kernel's own figure for a child, ru_maxrss, starts from the size of the process that started it.)
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peak = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def peak_bytes(self) -> int:
        self._is_over.set()
        self._thread.join()
        return self._peak

    def _watch(self) -> None:
        import psutil

        while not self._is_over.wait(0.2):
            total = 0
            try:
                process = psutil.Process(self._pid)
                family = [process, *process.children(recursive=True)]
            except psutil.Error:
                return
            for one in family:
                try:
                    # Adding up what pages several processes share takes a walk through their maps: only where needed.
                    total += one.memory_info().rss if len(family) == 1 else one.memory_full_info().pss
                except psutil.Error:
                    continue
            self._peak = max(self._peak, total)


def in_own_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)` in a fresh process: what it imports does not stay in this one."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "true",
    "PYTHONWARNINGS": "ignore",
}
"""No look-ups on the Hub: one that cannot succeed costs a minute."""


def machine_line() -> str:
    """Processor, cores this process may use, load: what a figure depends on."""
    name = "unknown processor"
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} cores, load {os.getloadavg()[0]:.1f} at the start"


def heading(title: str) -> str:
    return f"### {time.strftime('%Y-%m-%d')} · {title}\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)
