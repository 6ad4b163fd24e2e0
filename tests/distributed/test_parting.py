"""How processes leave one another: in order where all are done, without waiting for one that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

CHILD = """
import os, sys
from pathlib import Path
import torch
from trimtab.train.processes import Processes

def threads():
    return [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")].count("pt_gloo_runloop")

processes = Processes(torch.device("cpu"), use_cpu=True)
assert processes.everyone(processes.index) == [0, 1]
if processes.index == 1 and sys.argv[1] == "one dies":
    os._exit(0)
if processes.index == 1 and sys.argv[1] == "one fails":
    processes.end(together=False)
    sys.exit(0)
processes.end(together=True)
assert not threads(), "a thread that may yet want the interpreter"
"""


@pytest.mark.parametrize("how", ["all are done", "one dies", "one fails"])
def test_nobody_waits_for_what_does_not_come(tmp_path: Path, forked: Any, how: str) -> None:
    (tmp_path / "child.py").write_text(CHILD)
    done = forked(tmp_path / "child.py", how)
    assert done.returncode == 0, done.stderr
