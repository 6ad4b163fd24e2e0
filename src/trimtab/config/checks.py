"""`checks:` — which findings before the run are let pass."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trimtab.config.base import Section, Text


class ChecksConfig(Section):
    """What the checks before the run may not refuse. Everything is looked at and told all the same."""

    ignore: Literal["all"] | Annotated[list[Text], Field()] = Field(
        default_factory=list,
        description="Names of rules whose findings do not block the run (trimtab explain lists them); all lets "
        "everything pass, doomed runs too.",
        examples=[["too-few-examples"]],
    )
