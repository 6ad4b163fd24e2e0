"""A page into its file: whole or not at all, and never over what is not a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trimtab.errors import OutputError
from trimtab.records import RunDir
from trimtab.report.html.render import GENERATOR, html_of
from trimtab.report.views.material import is_ours
from trimtab.report.views.page import Page
from trimtab.report.views.search import is_search

_SIGN = GENERATOR.split()[0]
_HEAD_BYTES = 4096
"""The generator is named within."""


def default_output(paths: Sequence[Path | str]) -> Path:
    """Beside the records where there is one folder of ours; else here."""
    folder = Path(paths[0])
    if len(paths) == 1 and (is_ours(folder) or is_search(folder)):
        return RunDir(folder).report
    return Path("report.html")


def write_page(page: Page, output: Path) -> None:
    """
    Raises:
        OutputError: it cannot be written, or the file is somebody's else.
    """
    if output.is_dir():
        raise OutputError(f"{output} is a folder, and a report is a file. Name another: --output FILE.html")
    if output.exists() and not _is_report(output):
        raise OutputError(
            f"{output} exists and is no report of Trimtab's; it is left as it is. Name another: --output FILE"
        )
    if not output.parent.is_dir():
        raise OutputError(
            f"{output}: there is no folder {output.parent}. Make it first, or name another: --output FILE"
        )
    RunDir(output.parent).write_text(output, html_of(page))


def _is_report(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return f'name="generator" content="{_SIGN} '.encode() in head
