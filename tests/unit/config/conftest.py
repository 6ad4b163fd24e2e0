"""A small config file on disk, and what loading it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab.config import LoadedConfig, load_config
from trimtab.errors import ConfigError

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


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load text as run.yaml, with overrides."""

    def load_text(text: str, *overrides: str) -> LoadedConfig:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return load_config(path, overrides)

    return load_text


@pytest.fixture
def complaints(load: Load, tmp_path: Path) -> Complaints:
    """What loading complains of, with the folder left out."""

    def complaints_of(text: str, *overrides: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            load(text, *overrides)
        return [complaint.replace(f"{tmp_path}/", "") for complaint in caught.value.complaints]

    return complaints_of
