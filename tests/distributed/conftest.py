"""Several real processes on this machine's CPU, over gloo, as `torchrun` starts them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def launch_script() -> Launch:
    """launch_script(script, *arguments, processes=2): `torchrun … script arguments`.

    `--standalone` lets the launcher's store bind whatever port is free; a port that is chosen before, and free then,
    may be another process's when the store comes to it.
    """

    def run(*arguments: str | Path, processes: int = 2) -> subprocess.CompletedProcess[str]:
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        return subprocess.run(
            [*launcher, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False
        )

    return run


@pytest.fixture
def launch(launch_script: Launch) -> Launch:
    """launch(config, *options, processes=2): `torchrun … -m trimtab train config options`."""

    def run(config: Path, *options: str, processes: int = 2) -> subprocess.CompletedProcess[str]:
        return launch_script("-m", "trimtab", "train", config, *options, processes=processes)

    return run
