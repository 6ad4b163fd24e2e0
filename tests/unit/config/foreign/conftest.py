"""A config of another tool on disk, and what translating it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from foreign_files import Refusals, Translate

from trimtab.config.foreign import Translated, translate_config
from trimtab.errors import ConfigError


@pytest.fixture
def translated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Translate:
    """Translate text as theirs.yml in the current directory, with overrides."""
    monkeypatch.chdir(tmp_path)

    def translate_text(tool: str, text: str, *overrides: str) -> Translated:
        Path("theirs.yml").write_text(text, encoding="utf-8")
        return translate_config(tool, Path("theirs.yml"), overrides)

    return translate_text


@pytest.fixture
def refusals(translated: Translate) -> Refusals:
    """The complaints that translating ends in."""

    def refusals_of(tool: str, text: str, *overrides: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            translated(tool, text, *overrides)
        return caught.value.complaints

    return refusals_of
