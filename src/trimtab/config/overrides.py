"""`key.sub=value` from the command line; the value is YAML, so that [a, b] is a list and {a: 1} a mapping."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from trimtab.config.place import COMMAND_LINE, Remarks
from trimtab.config.setting import Setting
from trimtab.config.values import takes_only_text
from trimtab.config.yaml_reader import Node, parse_yaml, shorten
from trimtab.errors import ConfigError

_KEY = re.compile(r"[A-Za-z_][\w-]*(\.[^=\s]+)?$")


def parse_overrides(overrides: Sequence[str], remarks: Remarks) -> list[Setting]:
    """One setting per override that can be read; the others become complaints."""
    settings = []
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not _KEY.match(key):
            example = f"{key}=…" if _KEY.match(key) and "." in key else "training.learning_rate=1e-4"
            remarks.complain(COMMAND_LINE, f"{shorten(override)!r} is not key=value; write for example {example}")
            continue
        try:
            settings.append(Setting(key, _value(text), COMMAND_LINE))
        except ConfigError as error:
            if takes_only_text(key):  # chat_template={% for … %} needs no quotes
                settings.append(Setting(key, Node(0, value=text, text=text), COMMAND_LINE))
                continue
            reason = error.complaints[0].partition(": ")[2].splitlines()[0]
            remarks.complain(COMMAND_LINE, f"{shorten(override)}: the value is not YAML: {reason}")
    return settings


def _value(text: str) -> Node:
    text = text.strip()
    node = parse_yaml(text, "value") if text else None
    if node is None:
        # `#3` alone is a comment to YAML; on a command line it is text.
        return Node(0, value=text or None, text=text, plain=True)
    if node.children is None and node.items is None and node.plain and node.text != text:
        return Node(0, value=text, text=text)  # `a #b`: no comments on a command line
    # The text stays at hand for keys that take text only: chat_template={{ messages }} is a mapping to YAML.
    return replace(node, text=node.text if node.text is not None else text)
