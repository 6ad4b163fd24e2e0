"""The page of a run or a search that goes on, written anew whenever there is something new to show."""

from __future__ import annotations

import time
from collections.abc import Callable

from trimtab.errors import TrimtabError
from trimtab.records import EvalRecord, RunDir, StepRecord

MOST_SHARE = 0.01
"""Of a run's time: what writing its page may take (law 6). After a page that took w seconds the next one waits
w / 0.01, unless the run has ended. At usual intervals between evaluations that is never felt."""


class LivePage:
    """Writes report.html into the folder: as the observer of a run at its evaluations. Where it cannot be written, that
    is said once: a page must not cost the run."""

    def __init__(self, run_dir: RunDir, notify: Callable[[str], None], *, is_wanted: bool = True) -> None:
        self._run_dir = run_dir
        self._notify = notify
        self._next = 0.0
        self._writes = is_wanted

    def on_step(self, record: StepRecord) -> None:
        """Pages are for evaluations."""

    def on_eval(self, record: EvalRecord) -> None:
        self.renew()

    def renew(self) -> None:
        """There is something new to show."""
        if time.monotonic() >= self._next:
            self._write(is_live=True)

    def end(self) -> None:
        """The last page: nothing goes on."""
        self._write(is_live=False)

    def _write(self, *, is_live: bool) -> None:
        from trimtab.report.views import page_of
        from trimtab.report.written import write_page

        if not self._writes:
            return
        began = time.monotonic()
        try:
            write_page(page_of([self._run_dir.path], is_live=is_live), self._run_dir.report)
        except (TrimtabError, OSError, ValueError) as error:
            self._writes = False
            self._notify(f"report.html could not be written ({error}); the records are whole: trimtab report makes it")
        now = time.monotonic()
        self._next = now + (now - began) / MOST_SHARE
