"""Kills a training run again and again, resumes it each time, and compares it with one that was left alone.

    python scripts/kill_resume.py run.yaml --kills 200

Law 4 (docs/design.md): `kill -9` at any instant, then `--resume`, and the final weights are bit-identical. The kills
are real (SIGKILL of a process), at random instants or aimed at the moments that could tear something: while a folder
is being written, while one replaces another, right after a checkpoint appeared. So that hundreds of kills take
minutes, processes are forked from one that has imported everything and computed nothing.

Prints one JSON object; exit status 1 if any run ended with other weights or other losses.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

POLL_SECONDS = 0.0005
LIMIT_SECONDS = 300.0

Start = Callable[[Path], int]
"""output folder → the id of a process that trains into it, resuming what is there."""


@dataclass
class Torture:
    """Kills runs that `start` starts, until `kills` are done and the last run has finished."""

    start: Start
    folder: Path
    kills: int
    seed: int = 0
    duration_seconds: float = 1.0
    """Of an undisturbed run, for random instants."""
    where: Counter[str] = field(default_factory=Counter)
    """What each kill hit, as the folder showed it afterwards."""

    def finished_runs(self) -> list[Path]:
        """Run folders, each killed many times and then finished."""
        draw = random.Random(self.seed)
        done: list[Path] = []
        left = self.kills
        while left or not done:
            run = self.folder / f"killed-{len(done)}"
            while True:
                aim = draw.choice(sorted(AIMS)) if left else "never"
                process = self.start(run)
                status = self._kill(process, run, aim, draw) if left else _wait(process)
                if status is not None:
                    if status != 0:
                        raise RuntimeError(f"a resumed run ended with status {status}; see {run}.log")
                    done.append(run)
                    break
                left -= 1
                self.where[_what_was_hit(run)] += 1
        return done

    def _kill(self, process: int, run: Path, aim: str, draw: random.Random) -> int | None:
        """Kill `process` when `aim` says so; its exit status if it was done before that, else None."""
        due = AIMS[aim](run, draw, self.duration_seconds)
        started = time.monotonic()
        while True:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            now = time.monotonic() - started
            if due(now) or now > LIMIT_SECONDS:
                os.kill(process, signal.SIGKILL)
                _, status = os.waitpid(process, 0)
                code = os.waitstatus_to_exitcode(status)
                return None if code == -signal.SIGKILL else code
            time.sleep(POLL_SECONDS)


def _at_random(run: Path, draw: random.Random, duration: float) -> Callable[[float], bool]:
    at = draw.uniform(0, duration)
    return lambda now: now >= at


def _while_writing(run: Path, draw: random.Random, duration: float) -> Callable[[float], bool]:
    """Some milliseconds after the n-th time that a half-written folder is seen."""
    return _after_seeing(lambda: any(run.glob(".writing-*")), draw, duration)


def _while_replacing(run: Path, draw: random.Random, duration: float) -> Callable[[float], bool]:
    """While one folder takes another's place: a window of microseconds, seldom hit."""
    return _after_seeing(lambda: any(run.glob(".replaced-*")), draw, duration, delay=0.0)


def _after_a_checkpoint(run: Path, draw: random.Random, duration: float) -> Callable[[float], bool]:
    before = set(run.glob("checkpoint-*"))
    return _after_seeing(lambda: bool(set(run.glob("checkpoint-*")) - before), draw, duration)


def _after_seeing(
    seen: Callable[[], bool], draw: random.Random, duration: float, delay: float = 0.015
) -> Callable[[float], bool]:
    wait = draw.uniform(0, delay)
    skip = draw.randrange(3)
    latest = 0.8 * duration
    count, before, since = 0, False, float("inf")

    def due(now: float) -> bool:
        nonlocal count, before, since
        present = seen()
        if present and not before:
            count += 1
            if count > skip:
                since = min(since, now)
        before = present
        return now > latest or now >= since + wait

    return due


AIMS: dict[str, Callable[[Path, random.Random, float], Callable[[float], bool]]] = {
    "at random": _at_random,
    "while writing": _while_writing,
    "while replacing": _while_replacing,
    "after a checkpoint": _after_a_checkpoint,
}


def _what_was_hit(run: Path) -> str:
    if not run.exists() or not (run / "metrics.jsonl").exists():
        return "before the first step"
    if any(run.glob(".replaced-*")):
        return "replacing a folder"
    writing = sorted(path.name.removeprefix(".writing-").split("-")[0] for path in run.glob(".writing-*"))
    if writing:
        return f"writing {writing[0]}"
    return "elsewhere"


def _wait(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def forked(config: Path, overrides: list[str]) -> Start:
    """Processes that are forked from this one, which has imported everything already."""

    def start(run: Path) -> int:
        process = os.fork()
        if process:
            return process
        status = 70
        try:
            log = os.open(run.with_name(run.name + ".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(log, 1)
            os.dup2(log, 2)
            from trimtab import api

            result = api.train(config, [*overrides, f"training.output_dir={run}"], resume=True)
            status = result.exit_status if result.exit_status != 1 else 0  # an unhealthy run is as good a run here
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    return start


def difference(run: Path, undisturbed: Path) -> str | None:
    """What differs between two finished runs; None if they are bit-identical."""
    import torch
    from safetensors.torch import load_file

    from trimtab.records import RunDir

    for folder in ("final", "best"):
        if (undisturbed / folder).exists() != (run / folder).exists():
            return f"{folder} is in one of them only"
        for file in sorted((undisturbed / folder).glob("*.safetensors")):
            mine, right = load_file(run / folder / file.name), load_file(file)
            if mine.keys() != right.keys() or any(not torch.equal(mine[name], right[name]) for name in right):
                return f"{folder}/{file.name} has other weights"
    curves = []
    for path in (run, undisturbed):
        steps, evals = RunDir(path).read_metrics()
        curves.append(
            [(s.step, s.loss, s.grad_norm, s.learning_rate, s.target_tokens) for s in steps]
            + [(e.step, e.loss, e.target_tokens) for e in evals]
        )
    if curves[0] != curves[1]:
        return "the measured losses differ"
    if leftovers := sorted(path.name for path in run.glob(".*") if path.name != ".lock"):
        return f"left behind: {', '.join(leftovers)}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/kill-resume"), help="where the runs go; must not exist"
    )
    arguments = parser.parse_args()

    # One thread: a forked child must not inherit threads, and sums split over threads would not be repeatable.
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import peft  # noqa: F401
    import torch
    import transformers  # noqa: F401

    import trimtab.train.run  # noqa: F401

    torch.set_num_threads(1)
    arguments.folder.mkdir(parents=True)
    start = forked(arguments.config, arguments.overrides)
    undisturbed = arguments.folder / "undisturbed"
    warm = arguments.folder / "warm"
    if _wait(start(warm)):  # prepares the data, so that the next one's duration is a run's alone
        print((arguments.folder / "warm.log").read_text(), file=sys.stderr)
        return 2
    started = time.monotonic()
    _wait(start(undisturbed))
    torture = Torture(start, arguments.folder, arguments.kills, arguments.seed, time.monotonic() - started)
    runs = torture.finished_runs()
    found = {run.name: wrong for run in [warm, *runs] if (wrong := difference(run, undisturbed))}
    summary = {
        "kills": sum(torture.where.values()),
        "hit": dict(torture.where.most_common()),
        "runs_finished": len(runs),
        "differences": found,
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(summary, indent=1))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
