"""The keys that the tools pass on to transformers, held against the installed transformers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from foreign_files import SMALLEST

from trimtab.config.foreign import translate_config
from trimtab.config.foreign.training_arguments import TRAINING_ARGUMENTS_DEFAULTS
from trimtab.errors import ConfigError


def _fields() -> dict[str, object]:
    from transformers import TrainingArguments

    return {field.name: field.default for field in dataclasses.fields(TrainingArguments) if field.init}


def test_defaults_are_those_of_transformers() -> None:
    fields = _fields()
    stated = {ours.partition(".")[2]: value for ours, value in TRAINING_ARGUMENTS_DEFAULTS.items()}
    theirs = {name: getattr(fields[name], "value", fields[name]) for name in stated}
    assert theirs == stated


@pytest.mark.parametrize("tool", ["llama-factory", "trl"])
def test_every_training_argument_is_known(tool: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.yml"
    unknown = []
    for name in sorted(_fields()):
        path.write_text(f"{SMALLEST[tool]}\n{name}: 1\n", encoding="utf-8")
        try:
            left = translate_config(tool, path).untranslated
        except ConfigError:  # 1 is no value for it, so it is known
            continue
        unknown += [line for line in left if line.startswith(f"{name}: ") and "not a key" in line]
    assert unknown == []
