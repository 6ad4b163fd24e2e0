"""Probes in several processes: all of them make the same experiments, and come to the same numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.tiny import TinyWorld

CHILD = """
import json, os, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
import torch
torch.set_num_threads(1)
from support.labs import CPU, same, small_run
from support.runs import sections
from support.tiny import TinyWorld
from trimtab.guard.probe import CannotProbe
from trimtab.guard.probes import PROBES
from trimtab.train.processes import Processes
from trimtab.train.snapshot import reshard

world, folder, fsdp = Path({world!r}), Path({folder!r}), {fsdp!r}
tiny = TinyWorld(world, world / "llama", world / "gpt2", world / "train.jsonl", world / "validation.jsonl")
processes = Processes(CPU, use_cpu=True)
config = sections(tiny, folder / f"run{{processes.index}}", num_train_epochs=6)
if fsdp:
    config["adapter"] = "none"
run = small_run(config, folder / f"of{{processes.index}}", every=3, processes=processes, fsdp=fsdp).advance(5)
lab = run.lab()


def weights():
    reshard(run.stepper.model)
    return {{n: (p.full_tensor() if fsdp else p).detach().clone() for n, p in run.learner.parameters.items()}}


alone = small_run(config, folder / f"alone{{processes.index}}", every=3, processes=processes, fsdp=fsdp).advance(6)
before = weights()
said = {{}}
for probe in PROBES:
    try:
        said[probe.name] = probe.run(lab, run.suspect(good=run.snapshots[-1]), 6.0).model_dump(mode="json")
    except CannotProbe as reason:
        said[probe.name] = str(reason)
after = weights()
assert same(before, after), "a probe left a trace"
run.advance(1)
assert run.history == alone.history, (run.history, alone.history)
(folder / f"said{{processes.index}}.json").write_text(json.dumps(said))
processes.end(together=True)
"""


@pytest.mark.parametrize("fsdp", [True])
def test_all_processes_come_to_the_same(world: TinyWorld, tmp_path: Path, forked: Any, fsdp: bool) -> None:
    tests = str(Path(__file__).parent.parent)
    script = tmp_path / "child.py"
    script.write_text(CHILD.format(tests=tests, world=str(world.folder), folder=str(tmp_path), fsdp=fsdp))
    ran = forked(script)
    assert ran.returncode == 0, ran.stderr[-4000:]
    first, second = ((tmp_path / f"said{index}.json").read_text() for index in (0, 1))
    assert first == second
    assert "held-out loss" in first
    if fsdp:
        assert "spread over processes" in first
