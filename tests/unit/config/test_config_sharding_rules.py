"""What cannot be sharded is refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.config import load_config
from trimtab.errors import ConfigError

HEAD = (
    "model: {{name_or_path: m, load_in_4bit: {four_bit}}}\ndata: {{train: d.jsonl}}\n"
    "training: {{fsdp: true, optim: {optim}}}\n"
)


@pytest.mark.parametrize(
    ("four_bit", "optim", "named"),
    [
        ("true", "adamw_torch", "4-bit"),
        ("false", "paged_adamw_8bit", "paged_adamw_8bit"),
        ("false", "adamw_8bit", "adamw_8bit"),
    ],
)
def test_what_cannot_be_sharded_is_refused(tmp_path: Path, four_bit: str, optim: str, named: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(HEAD.format(four_bit=four_bit, optim=optim))
    with pytest.raises(ConfigError, match=named):
        load_config(path)


def test_what_can_be_sharded_is_not(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(HEAD.format(four_bit="false", optim="adamw_torch"))
    assert load_config(path).config.training.fsdp
