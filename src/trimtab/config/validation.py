"""Sections from values: what does not fit, in the words of the field, all at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from trimtab.config.base import Section
from trimtab.config.dump import as_flow
from trimtab.config.place import Place, Remarks
from trimtab.config.rules import conflicts
from trimtab.config.run_config import SECTIONS, RunConfig
from trimtab.config.sections import ADAPTER
from trimtab.config.setting import Setting
from trimtab.config.words import closest, example, rule
from trimtab.config.yaml_reader import shorten

Values = dict[str, dict[str, Any]]
"""Section → key → value, in the types that the sections take."""


def validate(values: Values, asked: Mapping[str, Setting], whole: Place, remarks: Remarks) -> RunConfig | None:
    """The config, or None when there are complaints; `whole` is where a missing key is missed."""
    parts: dict[str, Any] = {}
    refused: set[str] = set()
    for section, kind in SECTIONS.items():
        if section == ADAPTER and ADAPTER in asked:
            parts[section] = None
            continue
        problems = _problems(kind, values[section])
        for name, problem in problems.items():
            key = f"{section}.{name}"
            refused.add(key)
            if problem != "missing":
                _complain(key, kind, values[section][name], asked[key], remarks)
            elif key not in remarks.explained and section not in remarks.explained:
                remarks.complain(whole, _missing(section, name, kind))
        sound = {name: value for name, value in values[section].items() if name not in problems}
        # With stand-ins for what is refused, so that the rules between keys can be asked; never seen outside.
        parts[section] = kind.model_construct(**sound) if problems else kind.model_validate(sound)
    for conflict in conflicts(RunConfig.model_construct(**parts)):
        if not refused.intersection(conflict.keys):
            key = next((key for key in conflict.keys if key in asked), "")
            remarks.complain(asked[key].place if key else whole, f"{conflict.keys[0]}: {conflict.message}")
    return None if remarks.complaints() else RunConfig(**parts)


def accepts_value(kind: type[Section], name: str, value: Any) -> bool:
    """Whether one field alone takes a value."""
    return name not in _problems(kind, {name: value})


def _problems(kind: type[Section], values: dict[str, Any]) -> dict[str, str]:
    """Name of the field → pydantic's name of what is wrong with it."""
    try:
        kind.model_validate(values)
    except ValidationError as error:
        return {str(problem["loc"][0]): problem["type"] for problem in error.errors()}
    return {}


def _complain(key: str, kind: type[Section], value: Any, setting: Setting, remarks: Remarks) -> None:
    name = key.partition(".")[2]
    seen = shorten(value) if isinstance(value, list | dict) else shorten(setting.shown or "nothing")
    near = closest(value, kind, name) if isinstance(value, str) else None
    if near is not None:
        remarks.complain(setting.place, f"{key}: {seen} is not {rule(kind, name)}; did you mean {near}?")
        return
    description = kind.model_fields[name].description or ""
    remarks.complain(
        setting.place,
        f"{key}: {seen} is not {rule(kind, name)}; for example {name}: {as_flow(example(kind, name))}. {description}",
    )


def _missing(section: str, name: str, kind: type[Section]) -> str:
    description = kind.model_fields[name].description or ""
    shown = as_flow(example(kind, name))
    return f"{section}.{name}: missing. {description} For example {section}: {{{name}: {shown}}}"
