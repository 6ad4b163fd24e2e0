"""`guard:` — who watches the run, and what may be done about what is seen."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trimtab.config.base import Section, Text


class GuardConfig(Section):
    """How the run is watched. A healthy run is the same, to the last bit, whatever stands here."""

    mode: Literal["off", "watch", "repair"] = Field(
        "repair",
        description="off: nothing is watched; watch: what goes wrong is diagnosed and told, and a ruined run stops; "
        "repair: what can be put right is, from the last good state.",
    )
    max_repairs: int = Field(
        3,
        ge=0,
        description="Repairs of one cause before the run stops and says so.",
    )
    probe_share: float = Field(
        0.02,
        gt=0.0,
        le=1.0,
        description="What the experiments of one incident may cost, as a share of the planned steps (short runs: at "
        "least 24 steps).",
    )
    allow: list[Text] = Field(
        default_factory=list,
        description="Remedies that change what was asked for and may be applied all the same (trimtab explain CAUSE "
        "lists them).",
        examples=[["leave-rows-out"]],
    )
