"""`report:` — what is measured of a run for its reader alone."""

from __future__ import annotations

from pydantic import Field

from trimtab.config.base import Count, Section


class ReportConfig(Section):
    """What a run shows of its model besides the curves. The weights are the same, to the last bit, whatever stands
    here; more takes longer."""

    samples: int = Field(
        4,
        ge=0,
        description="Held-out prompts that are answered before the first step and by the final weights (samples.json); "
        "0 leaves them out.",
    )
    max_new_tokens: Count = Field(
        64,
        description="Tokens that each of these answers may have.",
    )
    recited: int = Field(
        32,
        ge=0,
        description="Training rows, and as many held-out ones, at most, of which is counted what the model says "
        "word for word (memorised.json); short runs look at fewer. 0 leaves it out.",
    )
