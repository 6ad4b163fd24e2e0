"""Numbers as people read them."""

from __future__ import annotations

import math


def figure(value: float | None) -> str:
    """Four digits that matter; "–" where there is none.

    >>> figure(0.95), figure(12.3456), figure(12345.6), figure(0.000123), figure(None), figure(float("inf"))
    ('0.9500', '12.35', '12,346', '1.23e-04', '–', 'inf')
    """
    if value is None or math.isnan(value):
        return "–"
    if not math.isfinite(value):
        return str(value)
    if value and abs(value) < 1e-3:
        return f"{value:.2e}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 10 else f"{value:.4f}"
