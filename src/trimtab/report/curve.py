"""Loss curves as text."""

from __future__ import annotations

import math
from collections.abc import Sequence

from trimtab.records import EvalRecord, StepRecord

Records = Sequence[StepRecord | EvalRecord]


def loss_curve(
    steps: Sequence[StepRecord],
    evals: Sequence[EvalRecord],
    *,
    color: bool = False,
    width: int = 64,
    height: int = 12,
) -> list[str]:
    """Loss over steps. In colour both curves; without, two lines could not be told apart, so the validation loss
    alone (the training loss where there is none). Values that cannot be drawn are counted under the curve."""
    import uniplot

    curves: list[tuple[str, Records]] = [("training loss", steps), ("validation loss", evals)]
    if not color:
        curves = curves[1:] if evals else curves[:1]
    drawn = []
    for name, records in curves:
        finite = [(record.step, record.loss) for record in records if math.isfinite(record.loss)]
        if finite:
            drawn.append((name, [step for step, _ in finite], [loss for _, loss in finite]))
    if not drawn:
        return ["no finite loss to draw"]
    text: str = uniplot.plot_to_string(
        xs=[xs for _, xs, _ in drawn],
        ys=[ys for _, _, ys in drawn],
        legend_labels=[name for name, _, _ in drawn],
        lines=True,
        width=width,
        height=height,
        color=color,
        y_min=min(0.0, *(min(ys) for _, _, ys in drawn)),
        x_unit=" steps",
    )
    lost = sum(not math.isfinite(record.loss) for _, records in curves for record in records)
    return [*text.splitlines(), *([f"{lost} values were not finite numbers and are not drawn"] if lost else [])]
