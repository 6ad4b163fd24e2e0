"""Starts processes that torchrun would start, without their imports: each is forked from this one, which has imported
everything and computed nothing.

Reads a job a line from its standard input, {"arguments": […], "processes": 2, "port": 1234, "output": "folder"}, and
answers each with the exit statuses. What process 1 writes lies in `output`/1.out and `output`/1.err.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import signal
import sys
from pathlib import Path
from typing import Any

LIMIT_SECONDS = 240


def become(job: dict[str, Any], rank: int) -> None:
    """What torchrun tells a process, and where it writes."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(job["processes"]),
        "LOCAL_WORLD_SIZE": str(job["processes"]),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(job["port"]),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is there already, the launcher's
        "TORCHELASTIC_RESTART_COUNT": "0",
    }
    for number, kind in ((1, "out"), (2, "err")):
        file = os.open(Path(job["output"]) / f"{rank}.{kind}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(file, number)
        os.close(file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.alarm(LIMIT_SECONDS)


def job_of_this_process() -> list[str]:
    """Serves until it is told no more; in each forked process it returns what to run."""
    for line in sys.stdin:
        job = json.loads(line)
        forked = []
        for rank in range(job["processes"]):
            if not (process := os.fork()):
                become(job, rank)
                arguments: list[str] = job["arguments"]
                return arguments
            forked.append(process)
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in forked]), flush=True)
    os._exit(0)


if __name__ == "__main__":
    import torch
    from accelerate import PartialState  # noqa: F401
    from torch.distributed.fsdp import fully_shard  # noqa: F401
    from transformers import LlamaForCausalLM  # noqa: F401

    import trimtab.guard.guard
    import trimtab.guard.probes
    import trimtab.preflight
    import trimtab.train.run  # noqa: F401
    from trimtab.model.libraries import import_libraries

    import_libraries(adapter=True)
    torch.set_num_threads(1)
    gc.freeze()
    first, *rest = job_of_this_process()
    if first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        runpy.run_path(first, run_name="__main__")
