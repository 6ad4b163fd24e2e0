"""What every section of a config has in common, and the types that several of them use."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """One section of a config: frozen, complete, and closed to unknown keys.

    Strict, so that a value is what was written: `values.py` turns the spellings that YAML and tutorials
    produce into the right type, and says so, before a section sees them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=False)


Auto = Literal["auto"]
"""The planner decides, from the hardware and the data."""

Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Cadence = Count | Share | Auto
"""Every so many steps; below 1 a share of the run, as in `transformers.TrainingArguments`."""
