"""Jobs on this machine: cut where memory runs out, gone on with where they were stopped, and the same numbers whatever
happened on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import sections, write_config
from support.tiny import TinyWorld

from trimtab.errors import TrimtabError
from trimtab.search.job import Job, Outcome
from trimtab.search.local import Local
from trimtab.search.opened import Opened, opened
from trimtab.train.cohort import Cohort

Made = Callable[..., tuple[Local, Job]]


@pytest.fixture
def begun(world: TinyWorld, tmp_path: Path, one_thread: None) -> Opened:
    config = sections(world, tmp_path / "run", warmup_steps=1)
    config["search"] = {"space": {"training.learning_rate": [1e-3, 1e-2], "adapter.r": [2, 4]}, "steps": 6}
    path = write_config(tmp_path / "run.yaml", config)
    return opened(path, (), resume=False, accepted=(), notify=lambda line: None, checked=False)


@pytest.fixture
def made(begun: Opened, tmp_path: Path) -> Made:
    trials = tuple(begun.maker.trial(number, params) for number, params in enumerate(begun.space.grid()))

    def make(folder: str, **options: Any) -> tuple[Local, Job]:
        return Local(begun.maker, begun.device, tmp_path / folder, 100, **options), Job(trials, 6)

    return make


def numbers(outcomes: list[Outcome]) -> dict[str, Any]:
    assert all(outcome.measured is not None for outcome in outcomes)
    return {o.trial: (o.losses, o.grad_norms, o.measured and o.measured.sums, o.tokens) for o in outcomes}


def test_memory_that_runs_out_cuts_a_cohort_and_changes_nothing(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    local, job = made("whole")
    whole = numbers(list(local.run([job])))
    local.close()
    tick, said = Cohort.tick, []

    def small(self: Cohort) -> None:
        if len(self.names) > 1 and self.progress[self.names[0]].steps == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        tick(self)

    monkeypatch.setattr(Cohort, "tick", small)
    cut, job = made("cut", notify=said.append)
    assert numbers(list(cut.run([job]))) == whole
    assert cut.most == 1
    assert "at most 2" in said[0]
    assert "at most 1" in said[1]


def test_memory_that_holds_not_even_one_is_said(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: Cohort) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Cohort, "tick", never)
    local, job = made("none")
    with pytest.raises(TrimtabError, match="with one trial alone"):
        list(local.run([job]))


def test_a_job_that_was_stopped_goes_on_from_its_checkpoint(made: Made) -> None:
    local, job = made("whole")
    whole = numbers(list(local.run([job])))
    local.close()

    def stop(names: Any, step: int) -> None:
        if step == 4:
            raise KeyboardInterrupt

    stopped, job = made("stopped", on_tick=stop, save_seconds=0.0)
    with pytest.raises(KeyboardInterrupt):
        list(stopped.run([job]))
    stopped.close()
    seen: list[int] = []
    again, job = made("stopped", on_tick=lambda names, step: seen.append(step))
    assert numbers(list(again.run([job]))) == whole
    assert 1 < seen[0] <= 4 < seen[-1] == 6, "what was saved is not trained again"
