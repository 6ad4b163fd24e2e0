"""A whole page: one run, several side by side, or a search."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from trimtab.errors import LogError
from trimtab.report.views.comparison import ComparisonView, comparison_view, distinct_names
from trimtab.report.views.headline import Headline, Tone
from trimtab.report.views.material import read_material
from trimtab.report.views.run import RunView, run_view
from trimtab.report.views.search import SearchView, is_search, search_view
from trimtab.report.views.view import View

PAGE_FORMAT = 1


class Page(View):
    """What `trimtab report` tells, as `--json` prints it."""

    format: int = PAGE_FORMAT
    title: str
    written: float
    """Seconds since the epoch."""
    is_live: bool
    """Something on it goes on: the page looks for a newer one of itself."""
    search: SearchView | None = None
    comparison: ComparisonView | None = None
    runs: tuple[RunView, ...] = ()


def page_of(paths: Sequence[Path | str], *, is_live: bool | None = None) -> Page:
    """
    Args:
        paths: Run folders, logs of any tool, or a search's folder (alone).
        is_live: Whether the run goes on; None finds out.

    Raises:
        LogError: one of them is not there or holds no run, or a search stands among several.
    """
    try:
        return _page_of(paths, is_live)
    except OSError as error:
        raise LogError(f"{error.filename or paths[0]}: cannot be read: {error.strerror or error}") from None


def _page_of(paths: Sequence[Path | str], is_live: bool | None) -> Page:
    searches = [path for path in paths if is_search(Path(path))]
    if searches and len(paths) > 1:
        raise LogError(
            f"{searches[0]} is a search: a report shows one search, or runs side by side. "
            "Name it alone, or name its runs"
        )
    if searches:
        view = search_view(Path(searches[0]), is_live=is_live)
        runs = []
        best = Path(searches[0]) / "best"
        if best.is_dir() and any(best.glob("metrics.jsonl")):
            runs = [_run_of_best(best)]
        return Page(title=view.name, written=time.time(), is_live=view.is_live, search=view, runs=tuple(runs))
    materials = [read_material(path, is_live=is_live) for path in paths]
    names = distinct_names(materials)
    views = tuple(run_view(one).model_copy(update={"name": name}) for one, name in zip(materials, names, strict=True))
    return Page(
        title=" · ".join(names) if len(names) <= 3 else f"{len(names)} runs",
        written=time.time(),
        is_live=any(view.is_live for view in views),
        comparison=comparison_view(materials, names) if len(materials) > 1 else None,
        runs=views,
    )


def _run_of_best(folder: Path) -> RunView:
    """The run that begins with the winner's steps: where nobody has gone on with it, that is no accident."""
    material = read_material(folder)
    view = run_view(material)
    if material.has_verdict or material.is_live or material.has_damaged_verdict:
        return view
    trace = material.trace
    done = f"{int(trace.step[-1]):,}" if len(trace.step) else "0"
    planned = f" of {trace.planned_steps:,}" if trace.planned_steps else ""
    told = Headline(
        word="begun",
        tone=Tone.NEUTRAL,
        sentence=f"The search trained it for {done}{planned} steps; it has not been trained in full yet.",
        next=(f"Train it in full: trimtab train {shlex.quote(str(folder.parent / 'best.yaml'))} --resume",),
    )
    return view.model_copy(update={"headline": told})
