"""A page as one HTML file: nothing is fetched, nothing but our own code runs, all text from data is shown as text."""

from __future__ import annotations

import base64
import hashlib
import time
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from itertools import groupby
from typing import TYPE_CHECKING, Any

from trimtab import __version__
from trimtab.diagnose.wording import counted
from trimtab.records import RemedyKind, ShownRow, ShownToken
from trimtab.records.units import duration, memory_size
from trimtab.report.ending import WHO
from trimtab.report.figures import figure
from trimtab.report.views.curve import CurveView, Stretch
from trimtab.report.views.page import Page
from trimtab.report.views.search import CellView
from trimtab.report.visible import code_point

if TYPE_CHECKING:
    import jinja2

GENERATOR = f"Trimtab {__version__}"
MOST_ROWS = 60
"""Of the table of steps: what a screen reader can be asked to read."""
MOST_CHARACTERS = 160
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"}
_JOINERS = "\u200c\u200d"
"""Persian and Indic scripts, and composed emoji, are written with them."""


def html_of(page: Page) -> str:
    """The whole file."""
    parts = {name: _asset(name) for name in ("probe.js", "page.js", "page.css", "vendor/uPlot/uPlot.iife.min.js")}
    style = f"{_asset('vendor/uPlot/uPlot.min.css')}\n{parts['page.css']}"
    scripts = (parts["probe.js"], parts["vendor/uPlot/uPlot.iife.min.js"], parts["page.js"])
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            generator=GENERATOR,
            policy=_policy(scripts),
            probe=_safe(parts["probe.js"]),
            style=_safe(style),
            data=_safe(_island(page)),
            library=_safe(parts["vendor/uPlot/uPlot.iife.min.js"]),
            code=_safe(parts["page.js"]),
        )
    )


def _policy(scripts: tuple[str, ...]) -> str:
    """Scripts run by their hash alone: one that data smuggled in would not, even if it were not escaped."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; frame-src 'self' file:; "
        "base-uri 'none'; form-action 'none'"
    )


def _island(page: Page) -> str:
    """What the charts are drawn from. In a script element only "</" and "<!--" could end it: no "<" is left."""
    run_parts = {"name", "is_live", "curve", "gauges", "repairs"}
    text = page.model_dump_json(include={"runs": {"__all__": run_parts}, "search": {"curves": True, "base_loss": True}})
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@cache
def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _safe(text: str) -> Any:
    """Our own code, or JSON without a "<": written as it is."""
    from markupsafe import Markup

    return Markup(text)  # noqa: S704


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("trimtab.report.html"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.filters |= {
        "seen": seen,
        "lines": lines,
        "short_text": short_text,
        "figure": figure,
        "moment": moment,
        "counted": counted,
        "best_known": lambda rows: sorted(rows, key=lambda row: -(row.tuned_tokens or 0) / max(1, row.target_tokens)),
        "duration": duration,
        "evaluations": evaluations,
        "picked": picked,
        "label": label,
        "stretch": stretch_in_words,
        "stretches": stretches,
        "heat": heat,
        "who": lambda kind: WHO[RemedyKind(kind)],
    }
    return made


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def seen(text: object) -> str:
    """One line of text from anywhere, with what a browser would obey or hide written out; lines joined by ↵."""
    return " ↵ ".join("".join(_character(one) for one in line) for line in str(text).splitlines())


def lines(text: str) -> str:
    """The same, lines kept."""
    return "\n".join("".join(_character(one) for one in line) for line in text.splitlines())


def short_text(text: str) -> str:
    """One line, cut."""
    shown = seen(text)
    return shown if len(shown) <= MOST_CHARACTERS else f"{shown[:MOST_CHARACTERS]}…"


def _character(one: str) -> str:
    if one.isascii() and one.isprintable():
        return one
    if one == "\t":
        return "⇥"
    return code_point(one) if unicodedata.category(one) in _HIDDEN and one not in _JOINERS else one


def stretches(row: ShownRow) -> Iterator[tuple[str, str]]:
    """(kind, text) of tokens that follow each other: joined, so that scripts whose letters join are drawn right. What
    was left out of a very long row is of the kind "left out"."""
    yield from _stretches(row.tokens[: row.left_out_at])
    if row.left_out_tokens:
        yield "left out", f" […{row.left_out_tokens:,} tokens…] "
    yield from _stretches(row.tokens[row.left_out_at :])


def _stretches(tokens: Sequence[ShownToken]) -> Iterator[tuple[str, str]]:
    for kind, same in groupby(tokens, key=lambda token: token.kind):
        parts = "".join(token.text for token in same).split("\n")
        yield kind.value, "↵\n".join("".join(_character(one) for one in part) for part in parts)


# ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(seconds)).strip()


def evaluations(curve: CurveView) -> list[tuple[int, float | None]]:
    return list(zip(curve.eval_step, curve.eval_loss, strict=True))


def picked(curve: CurveView) -> list[list[str]]:
    """Rows of the table of steps: some, spread evenly, the first and the last among them."""
    columns, count = curve.columns, len(curve.columns.step)
    wanted = min(count, MOST_ROWS)
    at = sorted({round(number * (count - 1) / max(1, wanted - 1)) for number in range(wanted)})
    return [
        [f"{columns.step[one]:,}", *(_cell(name, column[one]) for name, column in columns.values.items())] for one in at
    ]


def label(name: str) -> str:
    return {"loss": "training loss", "memory_bytes": "memory"}.get(name, name.replace("_", " "))


def _cell(name: str, value: float | None) -> str:
    return memory_size(value) if name == "memory_bytes" and value is not None else figure(value)


def stretch_in_words(stretch: Stretch) -> str:
    """Its first, highest and last loss."""
    finite = [loss for loss in stretch.loss if loss is not None]
    if not finite:
        return f"steps {stretch.step[0]} to {stretch.step[-1]}, no finite loss" if stretch.step else "no step"
    return (
        f"steps {stretch.step[0]} to {stretch.step[-1]}, loss {figure(finite[0])}, highest {figure(max(finite))}, "
        f"last {figure(finite[-1])}"
    )


def heat(cell: CellView) -> str:
    """The cell's colours: light for a low loss, dark for a high one, and ink that is read on either (contrast above
    4.5 at both ends, by WCAG's formula)."""
    if cell.share is None or not 0 <= cell.share <= 1:
        return ""
    lightness = 94 - 62 * cell.share
    return f"background: hsl(205 65% {lightness:.0f}%); color: {'#10202e' if lightness > 58 else '#ffffff'}"
