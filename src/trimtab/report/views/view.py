"""What every view is: plain data, frozen, that HTML, terminal and JSON draw alike."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer


class View(BaseModel):
    """A part of a page."""

    model_config = ConfigDict(frozen=True)


def _drawn(value: float | None) -> float | None:
    """Six digits are more than a screen shows; what is not finite cannot be drawn (marks tell of it)."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")


Drawn = Annotated[float | None, PlainSerializer(_drawn, when_used="json")]
"""A number of a chart, as precise as can be seen. None: nothing to draw."""
