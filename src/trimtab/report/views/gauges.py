"""What is drawn below the loss, and which two stories each gauge tells apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trimtab.diagnose.trace import Floats
from trimtab.records.units import memory_size
from trimtab.report.views.curve import CurveView
from trimtab.report.views.material import Material
from trimtab.report.views.view import Drawn, View

USUAL_UPDATE_RATIO = 1e-3
"""Full training's rule of thumb (Karpathy's lectures, "makemore" part 3: about -3 in log10); a LoRA run, whose B starts
at zero, begins far above."""


class Line(View):
    """A level to hold a gauge against."""

    label: str
    value: Drawn


class Gauge(View):
    """One small chart over the steps."""

    name: str
    """Of its column in the curve's."""
    title: str
    unit: str
    is_log: bool
    """Drawn on a log scale unless asked otherwise."""
    lines: tuple[Line, ...]
    summary: str
    """In numbers."""
    tells: str
    """Which two stories it tells apart."""


def gauges(material: Material, curve: CurveView) -> tuple[Gauge, ...]:
    """Those that were measured."""
    made = (make(material) for name, make in _GAUGES.items() if name in curve.columns.values)
    return tuple(made)


def _learning_rate(material: Material) -> Gauge:
    trace = material.trace
    peak = float(np.nanmax(trace.learning_rate))
    warmup = f", {trace.warmup_steps} warmup steps" if trace.warmup_steps else ""
    return Gauge(
        name="learning_rate",
        title="Learning rate",
        unit="",
        is_log=False,
        lines=(),
        summary=f"peak {peak:.3g}{warmup}",
        tells="A loss that stops falling where this reaches zero is out of steps; one that stops before has learnt "
        "what it can, or cannot move.",
    )


def _grad_norm(material: Material) -> Gauge:
    trace = material.trace
    norms, limit = _finite(trace.grad_norm), trace.max_grad_norm
    summary = f"median {np.median(norms):.3g}, highest {norms.max():.3g}"
    lines: tuple[Line, ...] = ()
    if limit:
        clipped = float((norms > limit).mean())
        summary += f"; clipped in {clipped:.0%} of the steps (limit {limit:g})"
        lines = (Line(label="max_grad_norm", value=limit),)
    if lost := int(trace.lost_norm.sum()):
        summary += f"; not a number in {lost:,}"
    return Gauge(
        name="grad_norm",
        title="Gradient norm",
        unit="before clipping",
        is_log=True,
        lines=lines,
        summary=summary,
        tells="A loss spike with a spike here comes from the batch; one without comes from the steps before it. "
        "Clipped nearly always: the limit, not the learning rate, sets the pace.",
    )


def _tokens_per_second(material: Material) -> Gauge:
    assert material.tokens is not None
    rates = _finite(material.tokens / np.where(material.trace.seconds > 0, material.trace.seconds, np.nan))
    slow = float((rates < np.median(rates) / 2).mean())
    return Gauge(
        name="tokens_per_second",
        title="Tokens per second",
        unit="tokens/s",
        is_log=False,
        lines=(),
        summary=f"median {np.median(rates):,.0f}; {slow:.0%} of the steps at less than half of it",
        tells="A run that is evenly slow is too much work for the device; one that stumbles waits for data, memory or "
        "a neighbour.",
    )


def _memory(material: Material) -> Gauge:
    memory = material.plan.memory if material.plan is not None else None
    most = float(_finite(material.trace.memory_bytes).max())
    lines, summary = [], f"highest {memory_size(most)}"
    if memory is not None:
        compared = material.verdict.predicted_vs_measured.get("peak_memory")
        summary += f"; predicted {memory_size(memory.peak_bytes)} of tensors"
        if compared is not None and compared.measured is not None:
            summary += f", measured {memory_size(compared.measured)}"
        if material.plan is not None and material.plan.device.kind != "cpu":
            lines = [Line(label="predicted", value=memory.needed_bytes)]
            if most > 0.5 * memory.limit_bytes:
                lines.append(Line(label="90 % of the device", value=memory.limit_bytes))
        else:  # what the process holds is its libraries too
            summary += "; drawn is all that the process holds, its libraries too"
    return Gauge(
        name="memory_bytes",
        title="Memory",
        unit="bytes",
        is_log=False,
        lines=tuple(lines),
        summary=summary,
        tells="A peak that was there at step 1 is the batch's; one that climbs is a leak, or longer rows.",
    )


def _target_tokens(material: Material) -> Gauge:
    targets = _finite(material.trace.target_tokens)
    return Gauge(
        name="target_tokens",
        title="Target tokens per step",
        unit="tokens",
        is_log=False,
        lines=(),
        summary=f"median {np.median(targets):,.0f}, least {targets.min():,.0f}",
        tells="A noisy loss over few targets is a small batch; over many it is the data or the rate.",
    )


def _update_ratio(material: Material) -> Gauge:
    assert material.update_ratio is not None
    ratios = _finite(material.update_ratio)
    return Gauge(
        name="update_ratio",
        title="Update ratio",
        unit="norm of the update ÷ norm of the weights",
        is_log=True,
        lines=(Line(label="usual in full training", value=USUAL_UPDATE_RATIO),),
        summary=f"median {np.median(ratios):.2g}, last {ratios[-1]:.2g}",
        tells="A flat loss with a tiny ratio is a rate too low or weights that cannot move; with a usual one it is "
        "data or labels.",
    )


_GAUGES: dict[str, Callable[[Material], Gauge]] = {
    "learning_rate": _learning_rate,
    "grad_norm": _grad_norm,
    "tokens_per_second": _tokens_per_second,
    "memory_bytes": _memory,
    "target_tokens": _target_tokens,
    "update_ratio": _update_ratio,
}


def _finite(values: Floats) -> Floats:
    return values[np.isfinite(values)]
