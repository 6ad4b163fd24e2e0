"""A run is a folder. This is the only place that knows its file names; the format is documented in
docs/reference/run-folder.md and readable without torch.

`metrics.jsonl` and `events.jsonl` are appended to. After a kill their last line may be torn: readers skip it, and a
resumed run cuts it off, together with what was measured after its checkpoint. Should two lines have the same kind,
trial and step all the same, the later one counts.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import BaseModel

from trimtab.errors import OutputError
from trimtab.records.event import RunEvent
from trimtab.records.finding import CheckReport
from trimtab.records.metrics import EvalRecord, StepRecord, read_metric
from trimtab.records.plan import Plan
from trimtab.records.samples import Sample, Samples
from trimtab.records.shown_row import ShownRows
from trimtab.records.verdict import Verdict
from trimtab.records.whole_folder import write_error

RUN_FORMAT = 1
LOCK_SECONDS = 1.0
"""That a lock is waited for: whoever asks whether a run goes on holds it for a moment."""


class RunDir:
    """The files of one run."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = FileLock(self.path / ".lock")

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def check(self) -> Path:
        return self.path / "check.json"

    @property
    def data_report(self) -> Path:
        return self.path / "data.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def abandoned(self) -> Path:
        """Metrics of steps that a repair made undone, in the format of `metrics`."""
        return self.path / "abandoned.jsonl"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def rows(self) -> Path:
        return self.path / "rows.json"

    @property
    def samples(self) -> Path:
        return self.path / "samples.json"

    @property
    def memorised(self) -> Path:
        return self.path / "memorised.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def verdict(self) -> Path:
        return self.path / "verdict.json"

    @property
    def best(self) -> Path:
        return self.path / "best"

    @property
    def final(self) -> Path:
        return self.path / "final"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    def checkpoint(self, step: int) -> Path:
        return self.path / f"checkpoint-{step}"

    def checkpoints(self) -> list[tuple[int, Path]]:
        """(step, folder) of every checkpoint, oldest first, whole or not: whoever reads one verifies it."""
        found = []
        for path in self.path.glob("checkpoint-*"):
            step = path.name.removeprefix("checkpoint-")
            if step.isdigit() and path.is_dir():
                found.append((int(step), path))
        return sorted(found)

    def holds_a_run(self) -> bool:
        """A plan, the checks' findings, or the verdict of a run that they refused are no run yet."""
        return any(path.exists() for path in (self.metrics, self.final)) or bool(self.checkpoints())

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────

    def write_json(self, path: Path, record: BaseModel) -> None:
        self.write_text(path, record.model_dump_json(indent=2) + "\n")

    def write_rows(self, rows: ShownRows) -> None:
        """Without a line for each of their tokens, unlike `write_json`."""
        self.write_text(self.rows, rows.model_dump_json() + "\n")

    def write_text(self, path: Path, text: str) -> None:
        """Write a whole file or nothing: aside, synced, renamed."""
        aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")  # two may write the same file, each its own
        try:
            with aside.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except OSError as error:
            aside.unlink(missing_ok=True)
            raise write_error(path, error, needed_bytes=len(text.encode())) from None

    def append_metric(self, record: StepRecord | EvalRecord) -> None:
        _append_line(self.metrics, record.model_dump_json())

    def append_event(self, event: RunEvent) -> None:
        _append_line(self.events, event.model_dump_json())

    def go_back_to(self, step: int) -> None:
        """Before a resumed run appends: drop what a kill left of a last line, and what was measured after `step`, which
        is measured again."""
        for path in (self.metrics, self.events):
            if path.exists():
                _cut_torn_line(path)
        if self.metrics.exists():
            kept = [line for line in _whole_lines(self.metrics) if line["step"] <= step]
            self.write_text(self.metrics, "".join(json.dumps(line) + "\n" for line in kept))

    def abandon(self, step: int) -> None:
        """A run went back: what was measured after `step` is measured again. The old lines are kept aside."""
        lines = list(_whole_lines(self.metrics))
        for line in lines:
            if line["step"] > step:
                _append_line(self.abandoned, json.dumps(line))
        kept = [line for line in lines if line["step"] <= step]
        self.write_text(self.metrics, "".join(json.dumps(line) + "\n" for line in kept))

    def lock(self) -> None:
        """Claim the folder for this process, until `unlock` or its end.

        Raises:
            OutputError: another process is training into it.
        """
        try:
            self._lock.acquire(timeout=LOCK_SECONDS)
        except Timeout:
            raise OutputError(
                f"{self.path}: another process is training into this folder. Two at once would spoil its records. "
                "Wait for it, or stop it first."
            ) from None

    def unlock(self) -> None:
        self._lock.release(force=True)

    def is_locked(self) -> bool:
        """Whether a process is training into the folder. A copy of a folder on another machine has a lock that nobody
        holds; one that cannot be asked is taken for free."""
        lock = self.path / ".lock"
        if not lock.exists() or not os.access(lock, os.W_OK):
            return False
        try:
            with FileLock(lock, timeout=0):
                return False
        except Timeout:
            return True
        except OSError:
            return False

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────

    def read_metrics(self) -> tuple[list[StepRecord], list[EvalRecord]]:
        """Steps and evaluations by step, each once: what a resumed run measured again replaces what was there."""
        steps: dict[tuple[str, int], StepRecord] = {}
        evals: dict[tuple[str, int], EvalRecord] = {}
        for line in _whole_lines(self.metrics):
            record = read_metric(line)
            if isinstance(record, StepRecord):
                steps[record.trial, record.step] = record
            else:
                evals[record.trial, record.step] = record
        return [steps[key] for key in sorted(steps)], [evals[key] for key in sorted(evals)]

    def read_events(self) -> list[RunEvent]:
        return [RunEvent.model_validate(line) for line in _whole_lines(self.events)]

    def read_plan(self) -> Plan:
        return Plan.model_validate_json(self.plan.read_text(encoding="utf-8"))

    def read_check(self) -> CheckReport | None:
        if not self.check.exists():
            return None
        return CheckReport.model_validate_json(self.check.read_text(encoding="utf-8"))

    def read_verdict(self) -> Verdict | None:
        if not self.verdict.exists():
            return None
        return Verdict.model_validate_json(self.verdict.read_text(encoding="utf-8"))

    def read_samples(self) -> tuple[Sample, ...]:
        """What the model says; none where nobody asked."""
        if not self.samples.exists():
            return ()
        return Samples.model_validate_json(self.samples.read_text(encoding="utf-8")).samples

    def follow(self, poll_seconds: float = 0.5) -> Iterator[StepRecord | EvalRecord]:
        """Metrics as they are written, until the run has a verdict."""
        offset = 0
        while True:
            ended = self.verdict.exists()
            if self.metrics.exists():
                with self.metrics.open("rb") as file:
                    file.seek(offset)
                    for raw in file:
                        if not raw.endswith(b"\n"):
                            break
                        offset += len(raw)
                        yield read_metric(json.loads(raw))
            if ended:
                return
            time.sleep(poll_seconds)


def _append_line(path: Path, line: str) -> None:
    # One write() of a whole line to a file opened for appending: another reader sees all of it or none.
    content = line.encode() + b"\n"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            if os.write(descriptor, content) < len(content):
                raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            os.close(descriptor)
    except OSError as error:
        raise write_error(path, error, needed_bytes=len(content)) from None


def _cut_torn_line(path: Path) -> None:
    with path.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for raw in file:
            if raw.endswith(b"\n"):
                yield json.loads(raw)
