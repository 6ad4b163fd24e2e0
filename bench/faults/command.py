"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import multiprocessing
import re
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from bench.faults import suite
from bench.faults.catalogue import HALVES, Case, cases
from bench.faults.healthy import SHAPES, Shape
from bench.faults.subjects import REPOSITORY, STEPS

MODES = ("off", "watch", "repair")
SMALL = (("stale-optimizer", "plain"),)
"""One that is silent, and a healthy shape: under a minute on an idle machine."""
SMALL_SHAPES = ("batch 2",)
SMALL_STEPS = 20


@dataclass(frozen=True)
class Job:
    """One case or one healthy shape, to be run in some process."""

    half: str
    item: Case | Shape
    out: Path
    mode: str
    policies: bool
    steps: int
    fresh: bool

    @property
    def name(self) -> str:
        return self.item.name if isinstance(self.item, Case) else f"healthy: {self.item.name}"

    def run(self) -> str:
        """The outcome in one line."""
        _quiet()
        started = time.monotonic()
        try:
            line = self._case() if isinstance(self.item, Case) else self._shape()
        except Exception:  # one case that cannot be run must not end the others
            line = "FAILED IN THE HARNESS\n" + traceback.format_exc(limit=6)
        return f"{self.name:42s} {time.monotonic() - started:5.1f} s  {line}"

    def _case(self) -> str:
        assert isinstance(self.item, Case)
        if self.fresh:
            shutil.rmtree(self.item.folder(self.out) / self.mode, ignore_errors=True)
        found = suite.run_case(self.item, self.out, mode=self.mode, policies=self.policies, steps=self.steps)
        harm = "" if found.harmed else " (no harm)"
        line = f"[{found.subject}] clean {found.clean:.3f} unguarded {found.unguarded:.3f}{harm} {found.traits}"
        if (got := found.guarded) is not None:
            right = "right" if got["top1"] else "in three" if got["top3"] else "WRONG" if got["detected"] else "MISSED"
            mended = "repaired" if got["repaired"] else "refused" if got["refused"] else "not repaired"
            line += f" | {right}: {', '.join(got['causes'][:3])} after {got['latency']}"
            line += f" | {got['loss']:.3f} {mended} {got['error']}"
        return line

    def _shape(self) -> str:
        assert isinstance(self.item, Shape)
        if self.fresh:
            shutil.rmtree(self.out / self.half / "healthy" / self.item.name / "on", ignore_errors=True)
        found = suite.run_healthy(self.item, self.half, self.out, mode=self.mode, steps=self.steps)
        same = "same" if found.same_weights else "CHANGED"
        line = f"[{found.subject}] base {found.base:.3f} → {found.off_loss:.3f} {same}"
        return (
            line + (f" WARNED {found.warned}" if found.warned else "") + f" {', '.join(found.remarked)} {found.error}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print a line each, write the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--stratum", choices=("small", "whole"), default="small")
    parser.add_argument("--half", choices=HALVES, default="dev")
    parser.add_argument("--mode", choices=MODES, default="repair", help="the guard's; off measures the faults alone")
    parser.add_argument("--kind", choices=("faulty", "healthy"), help="only these")
    parser.add_argument("--only", default="", help="only cases whose name this regular expression finds")
    parser.add_argument("--replicates", type=int, default=1, help="cases of each injector and severity")
    parser.add_argument("--steps", type=int, help=f"of each run; {STEPS}, in the small stratum {SMALL_STEPS}")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--no-policies", action="store_true", help="leave out the baselines that repair")
    parser.add_argument(
        "--fresh", action="store_true", help="run guarded runs again; clean and unguarded ones are kept"
    )
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "faults", help="runs and outcomes")
    parser.add_argument("--table", action="store_true", help="write docs/fault-benchmark.md from what --out holds")
    parser.add_argument("--realism", action="store_true", help="record how unguarded faults look, in realism.json")
    asked = parser.parse_args(arguments)
    jobs = [job for job in _jobs(asked) if re.search(asked.only, job.name)]
    started, broken = time.monotonic(), 0
    for line in _run_all(jobs, asked.processes):
        broken += "FAILED IN THE HARNESS" in line
        print(line, flush=True)
    print(f"{len(jobs)} cases in {(time.monotonic() - started) / 60:.1f} minutes", file=sys.stderr)
    from bench.faults.page import record_realism, summary, write_page

    if asked.realism:
        print(f"wrote {record_realism(asked.out, asked.half, jobs[0].steps)}")
    print(summary(asked.out, asked.half))
    if asked.table:
        print(f"wrote {write_page(asked.out, asked.half, asked.mode)}")
    return 1 if broken else 0


def _jobs(asked: argparse.Namespace) -> Iterator[Job]:
    small = asked.stratum == "small"
    steps = asked.steps or (SMALL_STEPS if small else STEPS)

    def job(item: Case | Shape) -> Job:
        policies = not (asked.no_policies or small)
        return Job(asked.half, item, asked.out.resolve(), asked.mode, policies, steps, asked.fresh)

    if asked.kind != "healthy":
        for one in cases(asked.half, replicates=asked.replicates, steps=steps):
            if not small or (one.fault.name, one.fault.severity) in SMALL:
                yield job(one)
    if asked.kind != "faulty":
        for shape in SHAPES:
            if not small or shape.name in SMALL_SHAPES:
                yield job(shape)


def _run_all(jobs: list[Job], processes: int) -> Iterator[str]:
    if processes == 1:
        for job in jobs:
            yield job.run()
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        run: Callable[[Job], str] = Job.run
        for done in as_completed([pool.submit(run, job) for job in jobs]):
            yield done.result()


def _quiet() -> None:
    import torch
    from transformers.utils import logging

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
