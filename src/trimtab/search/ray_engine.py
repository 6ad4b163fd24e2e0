"""Jobs on a Ray cluster: an actor on each device, each with a base of its own; a job whose machine died is run again
elsewhere, from the states that its trials had on disk.

RAY_ADDRESS names a cluster; without it one is started on this machine, for nobody but it. The search's folder must be
seen by all machines, as for any checkpoint.
"""

from __future__ import annotations

import importlib.util
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trimtab.errors import ConfigError, TrimtabError
from trimtab.search.gain import Gain
from trimtab.search.job import Job, Outcome
from trimtab.search.trials import Maker, Trial

TRIES = 3
"""Of a job, before the search gives up: what kills a third machine is the job (guess)."""
CPUS_EACH = 2
"""Of an actor without a GPU: products of tiny models gain nothing from more (guess)."""


class Worker:
    """On one device. It holds a cohort between jobs, as a machine alone does."""

    def __init__(self, maker: Maker, folder: Path, rows: int, use_cpu: bool) -> None:
        import torch

        from trimtab.model.device import find_device
        from trimtab.model.libraries import import_libraries
        from trimtab.search.local import Local

        import_libraries(adapter=True)
        if use_cpu:
            torch.set_num_threads(1)  # as many split a sum in other ways
        self._local = Local(maker, find_device(use_cpu=use_cpu), folder, rows)

    def run(self, job: Job) -> list[Outcome]:
        return list(self._local.run([job]))

    def probe(self, trial: Trial, count: int) -> Gain:
        return self._local.probe(trial, count)

    def pid(self) -> int:
        return os.getpid()


@dataclass
class RayEngine:
    """Started with its first use."""

    maker: Maker
    folder: Path
    rows: int
    use_cpu: bool
    """As asked, or because the cluster has no GPU. What the driver runs on plays no part."""
    notify: Callable[[str], None] = lambda line: None
    workers: list[Any] = field(default_factory=list)
    """Ray's handles."""
    _is_ours: bool = False
    """The cluster, that is to end with the search."""

    def __post_init__(self) -> None:
        """
        Raises:
            ConfigError: Ray is not installed.
        """
        if importlib.util.find_spec("ray") is None:
            raise ConfigError(
                ["search.engine: ray is not installed: pip install 'trimtab[ray]', or take search.engine=local."]
            )

    @property
    def devices(self) -> int:
        self._start()
        return len(self.workers)

    def run(self, jobs: Sequence[Job]) -> Iterator[Outcome]:
        """
        Raises:
            TrimtabError: a job's machine died again and again, or what a worker says it cannot do.
        """
        import ray

        if not jobs:
            return
        self._start()
        waiting = deque((job, 1) for job in jobs)
        idle = deque(self.workers)
        running: dict[Any, tuple[Any, Job, int]] = {}
        while waiting or running:
            while waiting and idle:
                job, tries = waiting.popleft()
                worker = idle.popleft()
                running[worker.run.remote(job)] = worker, job, tries
            [done], _ = ray.wait(list(running), num_returns=1)
            worker, job, tries = running.pop(done)
            try:
                outcomes: list[Outcome] = _result(done)
            except ray.exceptions.RayActorError as error:
                said = str(error).strip().splitlines()[0]
                names = ", ".join(trial.name for trial in job.trials)
                if tries == TRIES:
                    raise TrimtabError(
                        f"{names} were on a machine that died, {TRIES} times ({said}). What is finished is kept; go on "
                        "with --resume."
                    ) from None
                self.notify(f"a machine died ({said}); {names} go on elsewhere")
                self.workers.remove(worker)
                # Where nothing is free another would wait for the machine that is gone; the others take the job.
                if self._has_room() or not self.workers:
                    idle.append(self._new_worker())
                waiting.append((job, tries + 1))
                continue
            idle.append(worker)
            yield from outcomes

    def probe(self, trial: Trial, count: int) -> Gain:
        self._start()
        gain: Gain = _result(self.workers[0].probe.remote(trial, count))
        return gain

    def close(self) -> None:
        if not self.workers:
            return
        import ray

        for worker in self.workers:
            ray.kill(worker)
        self.workers.clear()
        if self._is_ours:
            ray.shutdown()

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        if self.workers:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        if not ray.is_initialized():
            quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False}
            if os.environ.get("RAY_ADDRESS"):
                ray.init(**quiet)
            else:
                ray.init(address="local", include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
                self._is_ours = True
        resources = ray.cluster_resources()  # type: ignore[no-untyped-call]
        gpus = 0 if self.use_cpu else int(resources.get("GPU", 0))
        self.use_cpu = not gpus
        for _ in range(gpus or max(1, int(resources.get("CPU", 1)) // CPUS_EACH)):
            self._new_worker()
        self.notify(f"Ray: {len(self.workers)} workers, each on {'a GPU' if gpus else 'a share of the CPUs'}")

    def _has_room(self) -> bool:
        import ray

        free = ray.available_resources()  # type: ignore[no-untyped-call]
        return free.get("CPU", 0) >= 1 and (self.use_cpu or free.get("GPU", 0) >= 1)

    def _new_worker(self) -> Any:
        import ray

        alone = replace(self.maker, notify=_nothing, _prepared={})
        made: Any = ray.remote(num_cpus=1, num_gpus=0 if self.use_cpu else 1, max_restarts=0)(Worker)
        self.workers.append(made.remote(alone, self.folder, self.rows, self.use_cpu))
        return self.workers[-1]


def _result(reference: Any) -> Any:
    """What a worker answered.

    Raises:
        TrimtabError: as the worker raised it, without Ray's trace around it.
    """
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, TrimtabError):
            raise error.cause from None
        raise


def _nothing(line: str) -> None:
    """A worker's lines were told once already, here."""
