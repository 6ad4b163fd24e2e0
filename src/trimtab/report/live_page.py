"""The page of a run or a search that goes on, written anew whenever there is something new to show."""

from __future__ import annotations

import time
from collections.abc import Callable

from trimtab.errors import OutputError
from trimtab.records import EvalRecord, RunDir, StepRecord

MOST_SHARE = 0.01
"""Of a run's time: what writing its page may take (law 6). After a page that took w seconds the next one waits
w / 0.01, unless the run has ended. At usual intervals between evaluations that is never felt."""
WITHOUT_EVALUATION_SECONDS = 60.0
"""After which steps are news enough, in a run that is not evaluated or seldom (guess)."""


class LivePage:
    """Writes report.html into the folder: as the observer of a run at its evaluations. Where it cannot be written, that
    is said once: a page must not cost the run."""

    def __init__(self, run_dir: RunDir, notify: Callable[[str], None], *, is_wanted: bool = True) -> None:
        self._run_dir = run_dir
        self._notify = notify
        self._is_wanted = is_wanted
        self._next = 0.0
        self._written: float | None = None
        """When the newest page of something that goes on was; None where there is none."""
        self._has_complained = False

    def on_step(self, record: StepRecord) -> None:
        now = time.monotonic()
        if self._written is None:
            self._written = now  # the run has begun
        elif now - self._written > WITHOUT_EVALUATION_SECONDS:
            self.renew()

    def on_eval(self, record: EvalRecord) -> None:
        self.renew()

    def renew(self) -> None:
        """There is something new to show."""
        if time.monotonic() >= self._next:
            self._write(is_live=True)

    def end(self) -> None:
        """The last page: nothing goes on."""
        self._write(is_live=False)
        self._written = None

    def close(self) -> None:
        """Where it did not come to an end: a page that says that something goes on must not stay."""
        if self._written is not None:
            self.end()

    def _write(self, *, is_live: bool) -> None:
        from trimtab.report.views import page_of
        from trimtab.report.written import write_page

        if not self._is_wanted:
            return
        began = time.monotonic()
        try:
            write_page(page_of([self._run_dir.path], is_live=is_live), self._run_dir.report)
        except Exception as error:  # whatever a view trips over: the run is worth more than its page
            if not self._has_complained:
                said = str(error) if isinstance(error, OutputError) else f"{type(error).__name__}: {error}"
                self._notify(
                    f"report.html could not be written ({said}); the records are whole: trimtab report makes it"
                )
            self._has_complained = True
        now = time.monotonic()
        self._written = now
        self._next = now + (now - began) / MOST_SHARE
