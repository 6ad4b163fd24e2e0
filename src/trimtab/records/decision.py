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

    def __reduce__(self) -> tuple[Any, ...]:
        """Plans travel between processes, and pickle finds no class by the name Decision[int]."""
        return _made, (type(self).__pydantic_generic_metadata__["args"], dict(self))


def _made(of: tuple[Any, ...], values: dict[str, Any]) -> Decision[Any]:
    kind = Decision[of] if of else Decision  # type: ignore[valid-type]
    return kind.model_construct(**values)
