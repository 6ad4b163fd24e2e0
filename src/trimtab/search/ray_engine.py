"""Jobs on a Ray cluster: an actor on each device, each with a base of its own; a job whose machine died is run again
elsewhere, from the states that the trials had on disk.

The search's folder must be seen by all machines, as for any checkpoint.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trimtab.errors import TrimtabError
from trimtab.search.job import Job, Outcome
from trimtab.search.trials import Maker

TRIES = 3
"""Of a job, before the search gives up: what kills a third machine is the job (guess)."""


class Worker:
    """On one device. It holds a cohort between jobs, as a machine alone does."""

    def __init__(self, maker: Maker, folder: Path, rows: int, use_cpu: bool) -> None:
        import torch

        from trimtab.model.device import find_device
        from trimtab.model.libraries import import_libraries
        from trimtab.search.local import Local

        import_libraries(adapter=True)
        if use_cpu:
            torch.set_num_threads(1)
        self._local = Local(maker, find_device(use_cpu=use_cpu), folder, rows)

    def run(self, job: Job) -> list[Outcome]:
        return list(self._local.run([job]))


@dataclass
class RayEngine:
    """Started with the first job."""

    maker: Maker
    folder: Path
    rows: int
    use_cpu: bool
    workers: int | None = None
    """None: one for each GPU of the cluster; without any, one for each two of its CPUs."""
    _workers: list[Any] = field(default_factory=list)

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """
        Raises:
            TrimtabError: a job's machine died again and again.
        """
        import ray

        if not jobs:
            return
        self._start()
        waiting = deque((job, 1) for job in jobs)
        idle = deque(self._workers)
        running: dict[Any, tuple[Any, Job, int]] = {}
        while waiting or running:
            while waiting and idle:
                job, tries = waiting.popleft()
                worker = idle.popleft()
                running[worker.run.remote(job)] = worker, job, tries
            [done], _ = ray.wait(list(running), num_returns=1)
            worker, job, tries = running.pop(done)
            try:
                outcomes: list[Outcome] = ray.get(done)
            except ray.exceptions.RayActorError as error:
                if tries == TRIES:
                    raise TrimtabError(
                        f"{len(job.trials)} trials were on a machine that died, {TRIES} times: {error}. What is "
                        "finished is kept; go on with --resume."
                    ) from None
                idle.append(self._new_worker())
                waiting.append((job, tries + 1))
                continue
            idle.append(worker)
            yield from outcomes

    def close(self) -> None:
        import ray

        for worker in self._workers:
            ray.kill(worker)
        self._workers.clear()

    def _start(self) -> None:
        import ray

        if self._workers:
            return
        if not ray.is_initialized():
            # RAY_ADDRESS names a cluster; without it one is started here, for nobody but this machine.
            ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
        resources = ray.cluster_resources()
        count = self.workers or int(resources.get("GPU", 0)) or max(1, int(resources.get("CPU", 1)) // 2)
        self._workers = [self._new_worker() for _ in range(count)]

    def _new_worker(self) -> Any:
        import ray

        gpus = 0 if self.use_cpu or not ray.cluster_resources().get("GPU") else 1
        quiet = replace(self.maker, notify=_nothing, _prepared={})
        made = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0)(Worker)
        return made.remote(quiet, self.folder, self.rows, self.use_cpu)


def _nothing(line: str) -> None:
    """A worker's lines were told once already, here."""
