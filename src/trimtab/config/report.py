"""`report:` — what is measured and written of a run for its reader alone."""

from __future__ import annotations

from pydantic import Field

from trimtab.config.base import Count, Section


class ReportConfig(Section):
    """What a run shows of itself. The weights are the same, to the last bit, whatever stands here; more takes
    longer."""

    page: bool = Field(
        True,
        description="Write report.html into the run's folder, anew at each evaluation (`trimtab report` writes it "
        "at any time).",
    )
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
