"""From the tree of a file, or from overrides, to settings under sections that exist."""

from __future__ import annotations

from dataclasses import replace

from trimtab.config.place import Place, Remarks
from trimtab.config.run_config import SECTIONS
from trimtab.config.setting import Setting
from trimtab.config.suggest import known_keys, meant, unknown_section
from trimtab.config.yaml_reader import Node, shorten

ADAPTER = "adapter"
"""The one section that can be switched off: as a setting's whole key, its value says none or lora."""

_NO_ADAPTER = {"none", "null", "~", "false", "no", "off", "full"}
_DEFAULT_ADAPTER = {"lora", "true", "yes", "on", "auto"}
_EXAMPLES = {
    "model": "{name_or_path: mistralai/Mistral-7B-v0.3}",
    "data": "{train: train.jsonl}",
    "adapter": "{r: 8}",
    "training": "{learning_rate: 2e-4}",
    "checks": "{ignore: [too-few-examples]}",
    "guard": "{mode: repair}",
    "report": "{samples: 8}",
}
_SHORTHAND = {"model": "name_or_path", "data": "train"}
_MAPPING_KEYS = {
    f"{section}.{name}"
    for section, kind in SECTIONS.items()
    for name, field in kind.model_fields.items()
    if "dict[" in str(field.annotation)
}


def settings_of_file(root: Node, file: str, remarks: Remarks) -> list[Setting]:
    """Every key of a config file under its section; what has no section becomes a complaint."""
    settings = []
    for name, node in (root.children or {}).items():
        settings += _section_settings(name, node, Place(file, node.line), remarks)
    return settings


def settings_of_overrides(overrides: list[Setting], remarks: Remarks) -> list[Setting]:
    """As for a file; `data.columns.prompt=question` sets one entry of a mapping."""
    settings = []
    for override in overrides:
        section, dot, name = override.key.partition(".")
        if not dot:
            if section in SECTIONS:
                settings += _section_settings(section, override.node, override.place, remarks)
            else:
                written = shorten(f"{override.key}={override.node.text or ''}")
                remarks.complain(override.place, f"{written}: {_bare(override)}")
            continue
        if section not in SECTIONS:
            remarks.complain(override.place, f"{override.key}: {unknown_section(section, is_mapping=True).text}")
            continue
        field, dot, entry = name.partition(".")
        if dot and f"{section}.{field}" in _MAPPING_KEYS:
            # rank_pattern's names have dots themselves: everything after the field is the entry.
            node = Node(0, children={entry: override.node})
            settings.append(Setting(f"{section}.{field}", node, override.place, merges=True))
        else:
            settings.append(override)
    return settings


def _bare(override: Setting) -> str:
    """What to say of a key without a section."""
    value = override.node.text or ""
    key = meant(override.key)
    same_name = [key] if key else [known for known in known_keys() if known.endswith(f".{override.key}")]
    if same_name:
        choices = " or ".join(f"{known}={value}" for known in same_name)
        return f"a key starts with its section; did you mean {choices}?"
    return (
        f"unknown key; write SECTION.KEY=VALUE with one of {', '.join(SECTIONS)}, such as training.learning_rate=1e-4"
    )


def _section_settings(name: str, node: Node, place: Place, remarks: Remarks) -> list[Setting]:
    if name not in SECTIONS:
        unknown = unknown_section(name, is_mapping=node.children is not None)
        remarks.complain(place, f"{name}: {unknown.text}", explains=unknown.meant)
        return []
    if node.children is not None:
        # On the command line, adapter={r: 8} also brings back an adapter that the file switched off.
        switch = [Setting(ADAPTER, Node(0, value="lora", text="lora"), place)] if _switches(name, place) else []
        return switch + [
            Setting(f"{name}.{key}", child, replace(place, line=child.line) if place.file else place)
            for key, child in node.children.items()
        ]
    if node.is_empty:
        if name == ADAPTER:
            remarks.notice(place, "adapter: empty, so LoRA with its defaults; adapter: none is full fine-tuning")
        return []
    if name in _SHORTHAND and (isinstance(node.value, str) or (name == "data" and node.items)):
        key = f"{name}.{_SHORTHAND[name]}"
        shown = shorten(node.text or node.python())
        remarks.notice(place, f"{name}: {shown} became {key}: {shown}")
        return [Setting(key, node, place)]
    if name == ADAPTER and node.items is None:
        return _adapter(node, place, remarks)
    seen = shorten(node.text or node.python())
    remarks.complain(
        place, f"{name}: {seen} where keys are expected, for example {name}: {_EXAMPLES[name]}", explains=name
    )
    return []


def _switches(name: str, place: Place) -> bool:
    return name == ADAPTER and place.file is None


def _adapter(node: Node, place: Place, remarks: Remarks) -> list[Setting]:
    text = (node.text or "").strip().lower()
    if text in _NO_ADAPTER:
        if text != "none":
            remarks.notice(place, f"adapter: {node.text} became adapter: none, which is full fine-tuning")
    elif text in _DEFAULT_ADAPTER:
        remarks.notice(place, f"adapter: {node.text} became LoRA with its defaults")
    else:
        fix = (
            "QLoRA is LoRA on a 4-bit base; write adapter: {r: 8} and model: {load_in_4bit: true}"
            if text == "qlora"
            else f"{shorten(node.text or '')} is neither none nor LoRA's options; write adapter: none, or adapter: "
            f"{{r: 8}}"
        )
        remarks.complain(place, f"adapter: {fix}")
        return []
    return [Setting(ADAPTER, node, place)]


def is_none(switch: Setting) -> bool:
    """Whether a setting of the whole section asks for full fine-tuning."""
    return (switch.node.text or "").strip().lower() in _NO_ADAPTER
