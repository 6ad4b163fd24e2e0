"""A page as plain text: verdict, curve, how to read it. No colour, no cursor movement: it can be piped and pasted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from trimtab.report.figures import figure
from trimtab.report.views.comparison import ComparisonView
from trimtab.report.views.curve import MarkKind
from trimtab.report.views.page import Page
from trimtab.report.views.run import RunView
from trimtab.report.views.search import SearchView
from trimtab.report.visible import visible

WIDTH = 72
MOST_TRIALS = 20


def page_lines(page: Page, *, width: int = WIDTH) -> list[str]:
    """
    Args:
        width: Of the curve, in columns; lines of text are as long as they are.
    """
    lines: list[str] = []
    if page.search is not None:
        lines += _search(page.search)
    if page.comparison is not None:
        lines += _comparison(page.comparison)
    for run in page.runs:
        lines += ["", *_run(run, width=width, height=12 if len(page.runs) == 1 else 6, is_alone=len(page.runs) == 1)]
    return [line.rstrip() for line in lines[1 if lines and not lines[0] else 0 :]]


def curve_lines(run: RunView, *, width: int = WIDTH, height: int = 12, color: bool = False) -> list[str]:
    """Losses over steps. In colour training and validation; without, two lines could not be told apart, so the
    validation loss alone (the training loss where it was not measured twice)."""
    if not color:
        what = "validation loss" if _has_evaluations(run) else "training loss, smoothed"
        lines = [what, *_plot([("", *_main_curve(run))], width=width, height=height, color=False)]
    else:
        curves = [("training loss", *_known(run.curve.columns.step, run.curve.columns.values.get("smoothed", ())))]
        if _has_evaluations(run):
            curves.append(("validation loss", *_main_curve(run)))
        lines = _plot(curves, width=width, height=height, color=True)
    lost = [mark.text for mark in run.curve.marks if mark.kind is MarkKind.LOST]
    return [*lines, *lost]


def _plot(
    curves: Sequence[tuple[str, Sequence[int], Sequence[float]]], *, width: int, height: int, color: bool
) -> list[str]:
    import uniplot

    known = [curve for curve in curves if curve[1]]
    if not known:
        return ["no finite loss to draw"]
    text: str = uniplot.plot_to_string(
        xs=[list(steps) for _, steps, _ in known],
        ys=[list(losses) for _, _, losses in known],
        legend_labels=[name for name, _, _ in known] if color else None,
        lines=True,
        width=max(10, width - 10),
        height=height,
        color=color,
        y_min=min(0.0, *(min(losses) for _, _, losses in known)),
        x_unit=" steps",
    )
    return text.splitlines()


def _has_evaluations(run: RunView) -> bool:
    return sum(loss is not None for loss in run.curve.eval_loss) >= 2


def _main_curve(run: RunView) -> tuple[list[int], list[float]]:
    curve = run.curve
    if _has_evaluations(run):
        return _known(curve.eval_step, curve.eval_loss)
    return _known(curve.columns.step, curve.columns.values.get("smoothed", ()))


def _known(steps: Sequence[int], losses: Sequence[float | None]) -> tuple[list[int], list[float]]:
    pairs = [(step, loss) for step, loss in zip(steps, losses, strict=False) if loss is not None]
    return [step for step, _ in pairs], [loss for _, loss in pairs]


def _run(run: RunView, *, width: int, height: int, is_alone: bool) -> Iterator[str]:
    name = "" if is_alone else f"{visible(run.name)}: "
    yield f"{name}{run.headline.word}: {visible(run.headline.sentence)}"
    for number, step in enumerate(run.headline.next, 1):
        yield f"  {number}. {visible(step)}"
    yield ""
    if run.headline.word != "refused":
        yield from [*curve_lines(run, width=width, height=height), ""]
    for mark in run.curve.marks:
        if mark.kind not in (MarkKind.CHECKPOINT, MarkKind.BEST, MarkKind.LOST):
            yield f"step {mark.step:,}: {mark.kind.value}: {visible(mark.text)}"
    for epoch in run.reading.epochs:
        measured = "" if epoch.eval_loss is None else f", validation {figure(epoch.eval_loss)}, gap {figure(epoch.gap)}"
        fell = f"training loss {figure(epoch.first_loss)} → {figure(epoch.last_loss)}"
        yield f"{epoch.label}: {fell}{measured}: {epoch.words}"
    yield from run.reading.sentences
    if run.facts:
        facts = (f"{fact.label} {fact.value}{f' ({fact.note})' if fact.note else ''}" for fact in run.facts)
        yield visible(" · ".join(facts))
    yield from (f"{gauge.title.lower()}: {gauge.summary}" for gauge in run.gauges)
    if run.memory is not None:
        yield f"known by heart: {run.memory.sentence}"
    for finding in run.check.findings if run.check is not None else ():
        yield f"{finding.severity.value}: {finding.rule}: {visible(finding.value)}"
    yield from (f"note: {visible(remark)}" for remark in run.remarks)


def _comparison(view: ComparisonView) -> Iterator[str]:
    yield visible(view.sentence)
    yield ""
    rows = [["", *view.columns]]
    rows += [[f"{'* ' if row.is_best else '  '}{visible(row.name)}", *row.cells] for row in view.results]
    yield from table(rows)
    if view.differences:
        yield ""
        yield from table(
            [
                ["key", *map(visible, view.names)],
                *([visible(row.key), *map(visible, row.values)] for row in view.differences),
            ]
        )


def _search(view: SearchView) -> Iterator[str]:
    yield f"{view.word}: {visible(view.sentence)}"
    for number, step in enumerate(view.next, 1):
        yield f"  {number}. {visible(step)}"
    yield from map(visible, (*view.conclusion, *view.notes))
    yield ""
    rows = [["", "trial", *view.keys, "step", "loss", "behind", "", ""]]
    for place in view.places[:MOST_TRIALS]:
        behind = f"+{figure(place.behind)} ± {figure(place.error)}" if place.behind else "–"
        mark = "best" if place.is_best else "tie" if place.is_tied else ""
        row = [
            str(place.number),
            place.trial,
            *place.params,
            str(place.step),
            figure(place.loss),
            behind,
            mark,
            place.state,
        ]
        rows.append([visible(cell) for cell in row])
    yield from table(rows)
    if len(view.places) > MOST_TRIALS:
        yield f"and {len(view.places) - MOST_TRIALS} more"


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side, the first to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if number < 2 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
