"""A run folder's config can be read from anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.config import load_config, with_absolute_paths


def test_what_is_there_becomes_absolute_and_names_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d.jsonl").write_text("{}")
    (tmp_path / "c.yaml").write_text(
        "model: {name_or_path: org/base}\ndata: {train: [d.jsonl, org/set], validation: 0.1}\n"
        "training: {output_dir: runs/a}\n"
    )
    config = load_config(Path("c.yaml")).config
    absolute = with_absolute_paths(config)
    assert absolute.model.name_or_path == "org/base"
    assert absolute.data.train == [str(tmp_path / "d.jsonl"), "org/set"]
    assert absolute.data.validation == 0.1
    assert absolute.training.output_dir == str(tmp_path / "runs/a")
    assert with_absolute_paths(absolute) == absolute


def test_a_chat_templates_text_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "{% for message in messages %}" + "You are a helpful assistant. " * 40
    (tmp_path / "c.yaml").write_text(
        f"model: {{name_or_path: org/base}}\ndata: {{train: org/set, chat_template: '{text}'}}\n"
        "training: {output_dir: runs/a}\n"
    )
    config = load_config(Path("c.yaml")).config
    assert with_absolute_paths(config).data.chat_template == text
