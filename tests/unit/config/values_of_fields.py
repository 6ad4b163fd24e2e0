"""Hypothesis: any config that is valid, built from the JSON Schema of its sections."""

from __future__ import annotations

from functools import cache
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st
from pydantic import ValidationError

from trimtab.config import RunConfig
from trimtab.config.run_config import SECTIONS
from trimtab.config.value_spellings import VALUES
from trimtab.config.values import parse_number

SPELLED = {word for values in VALUES.values() for word in values}


def _is_plain(text: str) -> bool:
    """Not what another tool's value, a home folder or a number looks like: those are read as such, and told."""
    shown = text.strip().lower()
    known = shown in SPELLED or shown in ("auto", "none", "all-linear", "all") or text.startswith("~")
    return not known and "," not in text and parse_number(text) is None


def _texts(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True).filter(lambda text: text.isascii() and "\n" not in text)
    any_text = st.text(st.characters(exclude_categories=["Cs"]), min_size=schema.get("minLength", 0), max_size=20)
    telling = st.sampled_from(
        ["2024-01-01", "a: b", "# x", "- x", "é ü", "a\nb", "{{ m }}", "@x", "%x", "!x", "&x", "*x", " x "]
    )
    return (any_text | telling).filter(_is_plain)


def values(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a JSON Schema takes."""
    if "anyOf" in schema:
        return st.one_of([values(part) for part in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    kind = schema.get("type")
    if kind == "integer":
        return st.integers(schema.get("minimum", -(10**9)), min(schema.get("maximum", 10**9), 10**9))
    if kind == "number":
        low, high = (schema.get(f"exclusive{end}", schema.get(end.lower())) for end in ("Minimum", "Maximum"))
        return st.floats(
            low,
            high,
            exclude_min="exclusiveMinimum" in schema,
            exclude_max="exclusiveMaximum" in schema,
            allow_nan=False,
            allow_infinity=False,
        )
    if kind == "boolean":
        return st.booleans()
    if kind == "null":
        return st.none()
    if kind == "array":
        return st.lists(values(schema["items"]), min_size=schema.get("minItems", 0), max_size=3)
    if kind == "object":
        inner = schema.get("additionalProperties")
        entry = (
            values(inner) if isinstance(inner, dict) else st.integers() | st.booleans() | st.text("ab1e-", max_size=5)
        )
        return st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), entry, max_size=3)
    return _texts(schema)


@cache
def sections(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """The values of a section: what is required, and any of the rest."""
    schema = SECTIONS[name].model_json_schema()
    required = schema.get("required", [])
    return st.fixed_dictionaries(
        {key: values(schema["properties"][key]) for key in required},
        optional={key: values(part) for key, part in schema["properties"].items() if key not in required},
    )


@st.composite
def run_configs(draw: st.DrawFn) -> RunConfig:
    """Any valid config."""
    parts = {name: draw(sections(name)) for name in SECTIONS}
    if draw(st.integers(0, 3)) == 0:
        parts["adapter"] = "none"  # type: ignore[assignment]
    try:
        return RunConfig.model_validate(parts)
    except ValidationError:
        reject()
