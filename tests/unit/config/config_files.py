"""Small config texts, and the types of the fixtures that load them."""

from __future__ import annotations

from collections.abc import Callable

from trimtab.config import LoadedConfig

Load = Callable[..., LoadedConfig]
Complaints = Callable[..., list[str]]

LEAST = {"model": "name_or_path: m", "data": "train: t"}


def config_text(**sections: str) -> str:
    """A config with the required keys, and further lines (`key: value`, one a line) under the sections named."""
    text = ""
    for section in ("model", "data", "adapter", "training"):
        lines = [line for part in (LEAST.get(section), sections.get(section)) if part for line in part.splitlines()]
        if lines:
            text += f"{section}:\n" + "".join(f"  {line}\n" for line in lines)
    return text
