"""Several real processes on this machine's CPU, over gloo, as `torchrun` starts them."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def launch() -> Launch:
    """launch(config, *options, processes=2): `torchrun … -m trimtab train config options`."""

    def run(config: Path, *options: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            f"--nproc-per-node={processes}",
            f"--master-port={port}",
        ]
        return subprocess.run(
            [*command, "-m", "trimtab", "train", str(config), *options],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run
