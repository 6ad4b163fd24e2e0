"""Loss curves as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trimtab.records import EvalRecord, StepRecord


def loss_curve(
    steps: Sequence[StepRecord], evals: Sequence[EvalRecord], *, width: int = 64, height: int = 12
) -> list[str]:
    """Training and validation loss over steps. Non-finite values cannot be drawn: they are counted under the curve."""
    import uniplot

    drawn = []
    curves: list[tuple[str, Sequence[StepRecord | EvalRecord]]] = [("training", steps), ("validation", evals)]
    for name, records in curves:
        finite = [(record.step, record.loss) for record in records if math.isfinite(record.loss)]
        if finite:
            drawn.append((name, [step for step, _ in finite], [loss for _, loss in finite]))
    if not drawn:
        return ["no finite loss to draw"]
    lines: list[str] = uniplot.plot_to_string(
        xs=[xs for _, xs, _ in drawn],
        ys=[ys for _, _, ys in drawn],
        legend_labels=[f"{name} loss" for name, _, _ in drawn],
        lines=True,
        width=width,
        height=height,
        color=False,
        y_min=min(0.0, *(min(ys) for _, _, ys in drawn)),
        x_unit=" steps",
    )
    lost = sum(not math.isfinite(record.loss) for _, records in curves for record in records)
    return [*lines, *([f"{lost} values were not finite numbers and are not drawn"] if lost else [])]
