"""The rule that a value broke, in words made from the field itself: message, schema and check cannot disagree."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from typing import Any

from trimtab.config.base import Section


@cache
def _properties(section: type[Section]) -> dict[str, Any]:
    properties: dict[str, Any] = section.model_json_schema()["properties"]
    return properties


def rule(section: type[Section], name: str) -> str:
    """What the key takes: `a whole number of at least 1, or auto`."""
    return _in_words(_properties(section)[name])


def example(section: type[Section], name: str) -> Any:
    """A sensible value: the field's own example, else its default."""
    field = section.model_fields[name]
    if field.examples:
        return field.examples[0]
    return field.get_default(call_default_factory=True)


def closest(word: Any, section: type[Section], name: str) -> str | None:
    """The word that was probably meant, where the key takes words."""
    matches = get_close_matches(str(word).lower(), _words(_properties(section)[name]), n=1, cutoff=0.7)
    return matches[0] if matches else None


def _words(schema: dict[str, Any]) -> list[str]:
    found = [str(word) for word in (*schema.get("enum", ()), *([schema["const"]] if "const" in schema else []))]
    for part in schema.get("anyOf", ()):
        found += _words(part)
    return found


def _in_words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        parts = list(dict.fromkeys(_in_words(part) for part in schema["anyOf"]))
        return _or(parts)
    if "enum" in schema:
        return "one of " + ", ".join(str(word) for word in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    kind = schema.get("type")
    if kind in ("integer", "number"):
        return ("a whole number" if kind == "integer" else "a number") + _bounds(schema)
    if kind == "array":
        return "a list of " + {"string": "names", "integer": "whole numbers"}.get(
            schema["items"].get("type"), _in_words(schema["items"])
        )
    if kind == "object":
        values = schema.get("additionalProperties")
        return f"a mapping of names to {_in_words(values)}" if isinstance(values, dict) else "a mapping"
    if kind == "string":
        return f"text that matches {schema['pattern']}" if "pattern" in schema else "text"
    return {"boolean": "true or false", "null": "null"}.get(str(kind), "a value")


def _bounds(schema: dict[str, Any]) -> str:
    words = {
        "minimum": "of at least",
        "exclusiveMinimum": "above",
        "maximum": "of at most",
        "exclusiveMaximum": "below",
    }
    found = [f"{word} {schema[key]:,}" for key, word in words.items() if key in schema]
    return f" {' and '.join(found)}" if found else ""


def _or(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, or {parts[-1]}"
