"""One run of the real thing, with or without a fault, into a folder; and what the harness knows about it in `run.json`.

A run is kept under the hash of everything that goes into it, so that a second call finds it and runs that only differ
in their fault share the same clean twin.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from bench.faults.injector import Injector, Row, Site
from bench.faults.subjects import Rows
from filelock import FileLock

LIMIT_SECONDS = 300
"""A run that takes longer is broken itself; the slowest healthy one takes 40."""


BROKEN = (70, 124)
"""A crash and a run cut off: never kept, since the program may have been mended since."""

INTERRUPTED = 130


class TookTooLong(Exception):
    """A run was cut off by the harness."""


@dataclass(frozen=True)
class Plan:
    """One run to be."""

    site: Site
    rows: Rows
    fault: Injector | None
    mode: str
    """off, watch or repair: the guard's; a policy's name: unguarded, with that policy in the loop."""
    resume_at: int = 0
    """Where the run is interrupted and resumed; 0 is nowhere."""

    @property
    def key(self) -> str:
        parts = [
            self.site.config,
            self.site.train,
            self.site.validation,
            self.mode,
            self.resume_at,
            repr(self.fault),
        ]
        return hashlib.blake2b(json.dumps(parts, sort_keys=True, default=str).encode(), digest_size=8).hexdigest()


def execute(plan: Plan, folder: Path, *, observers: Sequence[Any] = ()) -> Path:
    """Run it, unless it was; the run's folder is `folder`/run. Two processes that need the same clean twin wait for
    each other."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(folder.name + ".lock")):
        return _execute(plan, folder, observers)


def _execute(plan: Plan, folder: Path, observers: Sequence[Any]) -> Path:
    done = folder / "run.json"
    if done.exists():
        kept = json.loads(done.read_text())
        if kept["exit"] not in BROKEN and kept["key"] == plan.key:
            return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    site = plan.site
    config = _config(site, folder, plan.mode)
    about: dict[str, Any] = {
        "key": plan.key,
        "mode": plan.mode,
        "base": str(site.model),
        "steps": site.steps,
        "config": config,
        "test": str(_write_rows(folder / "test.jsonl", plan.rows.test)),
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    started = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(_limited(LIMIT_SECONDS))
        if plan.mode not in ("watch", "repair"):
            stack.enter_context(_bare())
        if plan.fault is not None:
            stack.enter_context(plan.fault.during())
        about |= _train(folder / "config.yaml", plan, observers)
    if about["exit"] == INTERRUPTED:
        raise KeyboardInterrupt  # the run took the signal that was meant for the harness
    about["seconds"] = time.monotonic() - started
    done.write_text(json.dumps(about, indent=1), encoding="utf-8")
    return folder


def _train(config: Path, plan: Plan, observers: Sequence[Any]) -> dict[str, Any]:
    """What the caller of `api.train` sees: an exit status, or an error."""
    from trimtab import api
    from trimtab.errors import Blocked, TrimtabError

    try:
        if plan.resume_at:
            with _interrupted(plan.resume_at):
                api.train(config, observers=observers)
        result = api.train(config, observers=observers, resume=bool(plan.resume_at))
    except Blocked as error:
        return {"exit": 1, "refused": True, "error": str(error)[:500]}
    except TrimtabError as error:
        return {"exit": 2, "refused": True, "error": f"{type(error).__name__}: {error}"[:2000]}
    except TookTooLong:
        return {"exit": 124, "error": "cut off by the harness"}
    except Exception as error:  # a crash of the program is an outcome, and a bad one
        return {"exit": 70, "error": f"{type(error).__name__}: {error}"[:500], "trace": traceback.format_exc()}
    return {"exit": result.exit_status}


def _config(site: Site, folder: Path, mode: str) -> dict[str, Any]:
    config = json.loads(json.dumps(site.config))
    data, training = config["data"], config["training"]
    data["train"] = str(_write_rows(folder / "train.jsonl", site.train))
    data["validation"] = str(_write_rows(folder / "validation.jsonl", site.validation)) if site.validation else "none"
    data["cache_dir"] = str(folder / "cache")
    training["output_dir"] = str(folder / "run")
    guarded = mode in ("watch", "repair")
    if not guarded:
        config["checks"] = {"ignore": "all"}
    if _has_guard():
        config["guard"] = {"mode": mode if guarded else "off"}
    return config


def _has_guard() -> bool:
    from trimtab.config.run_config import SECTIONS

    return "guard" in SECTIONS


def _write_rows(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@contextmanager
def _bare() -> Iterator[None]:
    """Neither checks nor rehearsal: a run without a guard is only there to be compared with."""
    from trimtab import preflight

    rules, plan_for = preflight.RULES, preflight.plan_for

    def bare_plan(loaded: Any, data: Any, device: Any, *, here: Any, keep: Any = None) -> Any:
        from trimtab.plan.planner import plan
        from trimtab.train.assemble import data_size

        return plan(loaded.config, loaded.origins, data_size(data), device, keep=keep)

    preflight.RULES, preflight.plan_for = (), bare_plan
    try:
        yield
    finally:
        preflight.RULES, preflight.plan_for = rules, plan_for


@contextmanager
def _interrupted(step: int) -> Iterator[None]:
    """As by Ctrl-C during the step after `step`."""
    from bench.faults.sabotage import once

    with once(step - 1, lambda loop: os.kill(os.getpid(), signal.SIGINT)):
        yield


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TookTooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
