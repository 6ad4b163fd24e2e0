"""Several real processes on this machine's CPU, over gloo, as `torchrun` starts them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Launch = Callable[..., subprocess.CompletedProcess[str]]
LIMIT_SECONDS = 240
KINDS = ("out", "err")


@pytest.fixture
def torchrun() -> Launch:
    """torchrun(script, *arguments, processes=2): `torchrun … script arguments`. One of each kind; most are `forked`.

    `--standalone` lets the launcher's store bind whatever port is free; a port that is chosen before, and free then,
    may be another process's when the store comes to it.
    """

    def run(*arguments: str | Path, processes: int = 2) -> subprocess.CompletedProcess[str]:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        return subprocess.run(
            [*launcher, *map(str, arguments)], capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False
        )

    return run


@pytest.fixture(scope="session")
def forking() -> Iterator[subprocess.Popen[str]]:
    """The process that processes are forked from: importing what they need takes each of them longer than the rest."""
    server = [sys.executable, str(Path(__file__).with_name("forked.py"))]
    with subprocess.Popen(server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


@pytest.fixture
def forked(forking: subprocess.Popen[str], tmp_path: Path) -> Launch:
    """forked(script, *arguments, processes=2): as `torchrun` does, in a fraction of its time."""
    from torch.distributed import TCPStore

    def run(*arguments: str | Path, processes: int = 2) -> subprocess.CompletedProcess[str]:
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        told = list(map(str, arguments))
        job = {"arguments": told, "processes": processes, "port": store.port, "output": str(tmp_path)}
        assert forking.stdin is not None and forking.stdout is not None
        forking.stdin.write(json.dumps(job) + "\n")
        forking.stdin.flush()
        statuses = json.loads(forking.stdout.readline())
        out, err = (
            "".join((tmp_path / f"{n}.{kind}").read_text() for n in range(processes)) for kind in ("out", "err")
        )
        return subprocess.CompletedProcess(told, next((status for status in statuses if status), 0), out, err)

    return run
