"""A config as YAML, each value with its origin; reading it back gives the same config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from trimtab.config.run_config import SECTIONS, RunConfig

_COLUMN = 48  # where origins start, so that most of them line up


class _Dumper(yaml.SafeDumper):
    """Quotes text that looks like a number without a dot (2e-4), which the reader would take for one."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write equal values out instead of as *id001."""
        return True


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML would fold text with line breaks over several lines, and turns U+0085 into a space when it reads them.
    style = '"' if len(text.splitlines()) > 1 or text.splitlines() not in ([], [text]) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*\.?[0-9_]*[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def dump_yaml(config: RunConfig, origins: Mapping[str, str] | None = None) -> str:
    """Every key of the config, resolved defaults included, one per line; `origins` become comments."""
    origins = origins or {}
    lines = []
    for section in SECTIONS:
        part = getattr(config, section)
        if part is None:
            lines.append(_line(f"{section}: none", origins.get(section)))
            continue
        lines.append(f"{section}:")
        for name, value in part.model_dump().items():
            lines.append(_line(f"  {name}: {as_flow(value)}", origins.get(f"{section}.{name}")))
    return "\n".join(lines) + "\n"


def as_flow(value: Any) -> str:
    """A value on one line."""
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=True,
        width=float("inf"),
        allow_unicode=True,
        sort_keys=False,
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _line(text: str, origin: str | None) -> str:
    return text if origin is None else f"{text:<{_COLUMN}}  # {' '.join(origin.split())}"
