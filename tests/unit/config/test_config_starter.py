"""The starter is a config that loads without a word."""

from __future__ import annotations

from typing import Any

import pytest
from config_files import Load

from trimtab.config import starter_yaml
from trimtab.config.suggest import known_keys


@pytest.mark.parametrize("data", ["train.jsonl", "my data/train: 1.jsonl", "2024", "# odd", "org/name", "C:\\data"])
@pytest.mark.parametrize("output_dir", [None, "runs/first"])
def test_the_starter_loads_without_a_word(load: Load, data: str, output_dir: str | None) -> None:
    loaded = load(starter_yaml(data, "org/model", output_dir=output_dir))
    assert loaded.notices == ()
    assert loaded.config.data.train == data
    assert loaded.config.model.name_or_path == "org/model"
    assert loaded.config.training.output_dir == (output_dir or "runs/run")


def test_the_starter_has_every_key_and_each_loads_when_uncommented(load: Load) -> None:
    text = starter_yaml("t", "m", output_dir="o")
    lines = [line.strip().removeprefix("# ").partition(":")[0] for line in text.splitlines()]
    names = {key.partition(".")[2] for key in known_keys()}
    assert names <= set(lines)
    only_together = {"layers_to_transform", "layers_pattern"}  # and with a list of modules
    for line in text.splitlines():
        name = line.strip().removeprefix("# ").partition(":")[0]
        if line.startswith("  # ") and name in names - only_together:
            load(text.replace(line, line.replace("# ", "", 1)))


def test_the_starter_writes_what_was_detected(load: Load) -> None:
    detected: dict[str, Any] = {"data.format": "alpaca", "data.columns": {"prompt": "q"}, "adapter": "none"}
    text = starter_yaml("t", "m", detected=detected, facts=["1,200 rows"])
    assert "#   1,200 rows" in text
    config = load(text).config
    assert (config.data.format, config.data.columns, config.adapter) == ("alpaca", {"prompt": "q"}, None)
