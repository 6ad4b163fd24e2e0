"""A number arrives with its reason."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, field_serializer

T = TypeVar("T")

Source = Literal["user", "derived", "default", "device", "data"]


class Decision(BaseModel, Generic[T]):
    """One thing that was decided before the run: what, in which unit, why, and who decided it.

    `source` is "user" (the config says so), "data" or "device" (measured), "derived" (follows from
    other decisions) or "default" (nobody asked; the field's usual value).
    """

    model_config = ConfigDict(frozen=True)

    value: T
    unit: str = ""
    reason: str
    source: Source

    @field_serializer("value", mode="wrap")
    def _tuples_as_lists(self, value: Any, handler: SerializerFunctionWrapHandler) -> Any:
        return list(value) if isinstance(value, tuple) else handler(value)
