"""From what YAML, a shell or a tutorial wrote to the type that a key takes: a line for each value that changed."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from trimtab.config.base import Section
from trimtab.config.place import Remarks
from trimtab.config.run_config import SECTIONS
from trimtab.config.setting import Setting
from trimtab.config.value_spellings import VALUES
from trimtab.config.yaml_reader import Node

USE_DEFAULT = object()
"""What `null` means for a key that does not take it."""


@dataclass(frozen=True)
class Accepts:
    """The kinds of value that a key takes."""

    integer: bool
    number: bool
    boolean: bool
    text: bool
    null: bool
    list_of_text: bool
    mapping: bool
    words: tuple[str, ...]


@cache
def accepts(section: type[Section], name: str) -> Accepts:
    """The kinds of value of one field, read from its annotation."""
    parts = list(_alternatives(section.model_fields[name].annotation))
    words = tuple(
        word for part in parts if get_origin(part) is Literal for word in get_args(part) if isinstance(word, str)
    )
    lists = [part for part in parts if get_origin(part) is list]
    return Accepts(
        integer=int in parts,
        number=float in parts,
        boolean=bool in parts,
        text=str in parts,
        null=type(None) in parts,
        list_of_text=any(int not in _alternatives(get_args(part)[0]) for part in lists),
        mapping=any(get_origin(part) is dict for part in parts),
        words=words,
    )


def takes_only_text(key: str) -> bool:
    """Whether every value of a dotted key is free text, so that nothing in it needs YAML's rules."""
    section, _, name = key.partition(".")
    if section not in SECTIONS or name not in SECTIONS[section].model_fields:
        return False
    takes = accepts(SECTIONS[section], name)
    return takes.text and not (takes.number or takes.integer or takes.boolean or takes.mapping or takes.list_of_text)


def _alternatives(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _alternatives(part)
    else:
        yield annotation


_NAMES_WITH_COMMAS = re.compile(r"[\w.-]+(\s*,\s*[\w.-]+)+$")
_BOOLEAN_TEXT = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}
_NUMBER_TEXT = re.compile(r"[-+]?([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?$")


def read_value(setting: Setting, section: type[Section], remarks: Remarks) -> Any:
    """The setting's value in the type that its key takes, as far as that is clear; `USE_DEFAULT` for null.

    What stays wrong is left for the section's own validation to complain about.
    """
    takes = accepts(section, setting.name)
    node = setting.node
    text = _comparable(node)

    def became(value: Any, because: str = "") -> Any:
        reason = f" ({because})" if because else ""
        remarks.notice(setting.place, f"{setting.key}: {setting.shown or 'empty'} became {_as_yaml(value)}{reason}")
        return value

    if text is not None:
        known = VALUES.get(setting.key, {})
        # `eval_strategy: no` and `packing: off` are booleans to YAML; what was written is a word of the key's.
        for word in takes.words:
            if text == word.lower():
                return word if node.text == word else became(word)
        if text in known and not node.is_empty:
            return became(known[text])
    if setting.key == "training.fsdp" and setting.value in (["full_shard"], ["full_shard", "auto_wrap"]):
        return became(True)
    if node.children is not None and takes.mapping:
        return _numbers_in(setting, node, remarks)
    if node.children is not None or node.items is not None:
        if takes.text and not takes.list_of_text and node.text is not None:
            return node.text  # an override such as chat_template={{ messages }}
        return setting.value
    return _scalar(setting, takes, became)


def _scalar(setting: Setting, takes: Accepts, became: Any) -> Any:
    node, value = setting.node, setting.node.value
    if value is None:
        if takes.null:
            return None
        return USE_DEFAULT if node.plain else value
    if isinstance(value, bool):
        return node.text if takes.text and not takes.boolean else value
    if isinstance(value, int):
        if takes.integer or takes.number:
            return value if takes.integer else float(value) if abs(value) < 2**53 else value
        if takes.boolean and value in (0, 1):
            return became(bool(value))
        return node.text if takes.text else value
    if isinstance(value, float):
        if takes.integer and value.is_integer() and math.isfinite(value):
            return int(value)
        return value if takes.number or takes.integer or not takes.text else node.text
    return _text(setting, takes, became)


def _text(setting: Setting, takes: Accepts, became: Any) -> Any:
    value = str(setting.node.value)
    number = parse_number(value)
    if number is not None and (takes.integer or takes.number):
        if takes.integer and number.is_integer():
            number = int(number)
        # A shell has no types: only in a file is a number in quotes, or without its dot, worth a line.
        return number if setting.place.file is None else became(number, _why_text(setting))
    if takes.boolean and not takes.text and value.lower() in _BOOLEAN_TEXT:
        return became(_BOOLEAN_TEXT[value.lower()])
    if takes.list_of_text and _NAMES_WITH_COMMAS.match(value) and setting.key not in ("data.train", "data.validation"):
        return became([part.strip() for part in value.split(",")])
    if takes.list_of_text and not takes.text and not takes.words:
        return became([value])
    return value


def _why_text(setting: Setting) -> str:
    if not setting.node.plain:
        return "a number in quotes"
    return "YAML takes it for text; as a number it would need a dot and a sign, such as 2.0e-4"


def _numbers_in(setting: Setting, node: Node, remarks: Remarks) -> dict[str, Any]:
    """A mapping's values, with numbers such as 1e-1 that YAML took for text read as numbers; quoted text stays text."""
    assert node.children is not None
    values = {}
    for key, child in node.children.items():
        value = child.python()
        if isinstance(value, str) and child.plain and setting.key != "data.columns":
            number = parse_number(value)
            if number is not None:
                if setting.place.file is not None:
                    remarks.notice(
                        setting.place,
                        f"{setting.key}.{key}: {value} became {_as_yaml(number)} "
                        f"({_why_text(Setting('', child, setting.place))})",
                    )
                value = number
        elif setting.key == "data.columns" and child.text is not None and value is not None:
            value = child.text  # a column may be called 1 or yes
        values[key] = value
    return values


def parse_number(text: str) -> float | None:
    """The finite number that a text is, in any of the notations that people use; None if it is none."""
    if not _NUMBER_TEXT.match(text.strip()):
        return None
    try:
        number = float(text.strip().replace("_", ""))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _comparable(node: Node) -> str | None:
    """Lower-case text of a scalar or an empty list; None for other lists and mappings."""
    if node.items is not None:
        return "[]" if not node.items else None
    if node.children is not None:
        return None
    text = (node.text or "").strip().lower()
    return "null" if text == "~" and node.plain else text


def _as_yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    return str(value)
