"""The config file's JSON Schema (draft 2020-12): completion, hover texts and red lines in editors."""

from __future__ import annotations

from typing import Any

from trimtab.config.run_config import RunConfig

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Schema of a config file, shorthands (`model: NAME`, `data: FILE`, `adapter: none`) included.

    Spellings from elsewhere load but are not in it: an editor marks them, and so teaches today's names.
    """
    schema = RunConfig.model_json_schema()
    properties = schema["properties"]
    text = {"type": "string", "minLength": 1}
    properties["model"] = _either(properties["model"], text)
    properties["data"] = _either(properties["data"], text, {"type": "array", "items": text, "minItems": 1})
    options = [part for part in properties["adapter"].pop("anyOf") if part.get("type") != "null"]
    properties["adapter"]["anyOf"] = [*options, {"const": "none", "type": "string"}]
    return {"$schema": DRAFT, **schema, "title": "Trimtab run config"}


def _either(reference: dict[str, Any], *shorthands: dict[str, Any]) -> dict[str, Any]:
    """A section, or one of its shorthands."""
    described = {key: value for key, value in reference.items() if key != "$ref"}
    return {**described, "anyOf": [{"$ref": reference["$ref"]}, *shorthands]}
