"""A config on disk, and what loading it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from config_files import Complaints, Load

from trimtab.config import LoadedConfig, load_config
from trimtab.errors import ConfigError


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
