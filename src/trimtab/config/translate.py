"""From any spelling to the keys of this version: a notice for each that changed, a complaint for each unknown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trimtab.config.not_here import NOT_HERE
from trimtab.config.place import Remarks
from trimtab.config.run_config import SECTIONS
from trimtab.config.sections import ADAPTER
from trimtab.config.setting import Setting
from trimtab.config.spellings import CONVERTED, RENAMED
from trimtab.config.suggest import unknown_key
from trimtab.config.yaml_reader import Node, shorten


def translate(settings: list[Setting], remarks: Remarks) -> dict[str, Setting]:
    """Settings of one source by canonical key; two spellings of one key with two values are a complaint."""
    found: dict[str, Setting] = {}
    for setting in settings:
        for known in _canonical(setting, remarks):
            before = found.get(known.key)
            if before is not None and before.value != known.value and not _are_mappings(before, known):
                if known.place.file is None:
                    remarks.notice(known.place, f"{known.key} is given twice; the last one counts, {known.shown}")
                else:
                    _complain_of_both(before, known, remarks)
                    continue
            # Mappings join: data.columns.prompt=… and data.columns.answer=…, or columns: and dataset_text_field.
            found[known.key] = known if before is None else known.over(before)
    return found


def _are_mappings(*settings: Setting) -> bool:
    return all(setting.node.children is not None for setting in settings)


def _complain_of_both(first: Setting, second: Setting, remarks: Remarks) -> None:
    names = [s.place.was or s.name for s in (first, second)]
    remarks.complain(
        second.place,
        f"{names[1]}: {second.shown} and {names[0]}: {first.shown} ({first.place}) both set {second.key}; keep one "
        "of them",
    )


def _canonical(setting: Setting, remarks: Remarks) -> list[Setting]:
    section, name = setting.section, setting.name
    if setting.key == ADAPTER or name in SECTIONS[section].model_fields:
        return [setting]
    written = setting.place
    place = replace(written, was=name)
    if setting.key in RENAMED:
        key = RENAMED[setting.key]
        remarks.notice(written, f"{setting.key} became {key}")
        return [replace(setting, key=key, place=place)]
    if setting.key in CONVERTED:
        try:
            values = CONVERTED[setting.key](setting)
        except ValueError as error:
            remarks.complain(written, f"{setting.key}: {error}")
            return []
        shown = ", ".join(f"{key}: {_shown(value)}" for key, value in values.items())
        remarks.notice(written, f"{setting.key}: {setting.shown} became {shown}")
        return [Setting(key, _node(value, setting.node), place) for key, value in values.items()]
    if setting.key in NOT_HERE:
        _not_here(setting, remarks)
        return []
    unknown = unknown_key(section, name)
    remarks.complain(written, f"{setting.key}: {unknown.text}", explains=unknown.meant)
    return []


def _not_here(setting: Setting, remarks: Remarks) -> None:
    entry = NOT_HERE[setting.key]
    node = setting.node
    text = "{}" if node.children == {} else "[]" if node.items == [] else (node.text or "").strip().lower()
    is_value = node.children in (None, {}) and node.items in (None, [])
    if not entry.neutral or (is_value and text in entry.neutral):
        remarks.notice(setting.place, f"{setting.key} is ignored: {entry.because}")
    else:
        remarks.complain(setting.place, f"{setting.key}: {entry.instead}")


def _node(value: Any, like: Node) -> Node:
    """A converted value where the written one stood."""
    if isinstance(value, dict):
        return Node(like.line, children={key: _node(part, like) for key, part in value.items()})
    return Node(like.line, value=value, text=_shown(value))


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else shorten(value)
