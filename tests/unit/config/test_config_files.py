"""Files that are no config: each is refused with its place, and the excerpt where that helps."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.config import load_config
from trimtab.config.yaml_reader import parse_yaml, plain_value
from trimtab.errors import ConfigError


def complaint(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert len(caught.value.complaints) == 1
    return caught.value.complaints[0]


def written(tmp_path: Path, content: str | bytes) -> str:
    path = tmp_path / "run.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return complaint(path).replace(f"{tmp_path}/", "")


def test_missing(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").touch()
    assert "no such file" in complaint(tmp_path / "run.yaml")
    assert "has other.yaml" in complaint(tmp_path / "run.yaml")
    assert "no such file" in complaint(tmp_path / "nowhere" / "run.yaml")
    assert "no such file" in complaint(Path("surely-not-here.yaml"))


def test_folder(tmp_path: Path) -> None:
    assert complaint(tmp_path).endswith("a folder; name the config file in it")


def test_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.mkdir()
    assert complaint(path / "x" / "y.yaml")
    assert "cannot be read" in complaint(Path("a\0b"))
    (tmp_path / "file").touch()
    assert "cannot be read" in complaint(tmp_path / "file" / "run.yaml")


@pytest.mark.parametrize("content", ["", "\n\n", "# only a comment\n", "---\n", "\ufeff"])
def test_empty(tmp_path: Path, content: str) -> None:
    assert written(tmp_path, content).startswith("run.yaml: empty")


@pytest.mark.parametrize(
    ("content", "start"),
    [
        ("- a\n- b\n", "run.yaml:1: a list where sections are expected"),
        ("[1, 2]", "run.yaml:1: a list"),
        ("\njust text\n", "run.yaml:2: one value, just text where"),
        ("3", "run.yaml:1: one value, 3"),
        ("null", "run.yaml:1: one value, null"),
    ],
)
def test_not_a_mapping(tmp_path: Path, content: str, start: str) -> None:
    assert written(tmp_path, content).startswith(start)


@pytest.mark.parametrize(
    ("content", "start"),
    [
        (b"model: m\ndata: caf\xe9\n", "run.yaml:2: not UTF-8 text (byte 0xe9 at offset 18)"),
        ("model: m\n".encode("utf-16"), "run.yaml:1: not UTF-8 text (byte 0xff at offset 0); it looks like UTF-16"),
        (b"\x80\x04\x95", "run.yaml:1: not UTF-8"),
        (b"model: m\n# \x00\n", "run.yaml:2:3: the character U+0000 is not allowed"),
        (b"model: \x07m\n", "run.yaml:1:8: the character U+0007 is not allowed"),
    ],
)
def test_not_text(tmp_path: Path, content: bytes, start: str) -> None:
    assert written(tmp_path, content).startswith(start)


@pytest.mark.parametrize(
    ("content", "start", "words"),
    [
        ("model:\n\tname_or_path: m\n", "run.yaml:2:1: broken YAML:", "replace the tab"),
        ("model: {name_or_path: m\ndata: t\n", "run.yaml:2:5: broken YAML:", "data: t\n        ^"),
        ("model: a: b\n", "run.yaml:1:9: broken YAML:", "quotes"),
        ('model: "m\n', "run.yaml:2:1: broken YAML:", ""),
        ("model: m\n---\nmodel: n\n", "run.yaml:2:1: broken YAML:", "remove the ---"),
        ("model: *missing\n", "run.yaml:1:8: broken YAML:", "missing"),
        ("model: @m\n", "run.yaml:1:8: broken YAML:", ""),
        ("model:\n   a: 1\n  b: 2\n", "run.yaml:3:3: broken YAML:", ""),
    ],
)
def test_broken_yaml_has_line_column_and_excerpt(tmp_path: Path, content: str, start: str, words: str) -> None:
    found = written(tmp_path, content)
    assert found.startswith(start)
    assert words in found
    assert "^" in found or '"m' in content


def test_duplicate_keys_name_both_lines(tmp_path: Path) -> None:
    found = written(tmp_path, "model: m\ndata: t\ntraining:\n  seed: 1\n  bf16: true\n  seed: 2\n")
    assert found.startswith("run.yaml:6: seed is given twice, first on line 4")
    assert written(tmp_path, "model: m\nmodel: n\n").startswith("run.yaml:2: model is given twice, first on line 1")
    assert "twice" in written(tmp_path, "model: m\ndata: {train: t, columns: {a: b, a: c}}\n")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("model: !!python/object/apply:os.system [echo]\n", "the tag"),
        ("model: !secret m\n", "the tag !secret"),
        ("model: !!binary aGk=\n", "the tag"),
        ("model: &a {x: *a}\n", "inside its own anchor"),
        ("data: &a [*a]\n", "inside its own anchor"),
        ("? [a, b]\n: c\n", "a key must be a name"),
        ("model: {<<: 3}\n", "<<: takes a mapping"),
    ],
)
def test_yaml_that_no_config_needs(tmp_path: Path, content: str, words: str) -> None:
    assert words in written(tmp_path, content)


def test_a_data_file_by_mistake(tmp_path: Path) -> None:
    assert "YAML" in written(tmp_path, '{"text": "a"}\n{"text": "b"}\n')


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        "model: {name_or_path: &name m}\ndata: {train: *name}\n"
        "training: {<<: {seed: 1, max_steps: 5}, seed: 2}\nadapter: {<<: [{r: 4}, {r: 16, lora_alpha: 9}]}\n"
    )
    config = load_config(path).config
    assert (config.data.train, config.training.seed, config.training.max_steps) == ("m", 2, 5)
    assert config.adapter is not None
    assert (config.adapter.r, config.adapter.lora_alpha) == (4, 9)


def test_json_windows_lines_and_byte_order_mark_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(b'\xef\xbb\xbf{"model": "m",\r\n "data": {"train": "t", "max_length": 16}}\r\n')
    loaded = load_config(path)
    assert loaded.config.data.max_length == 16
    assert loaded.origins["data.max_length"] == "run.json:2"


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    refused: list[str] = []
    try:
        parse_yaml(text, "run.yaml")
    except ConfigError as error:
        refused = error.complaints
    assert all(complaint.startswith("run.yaml:") for complaint in refused)


@given(st.integers(min_value=-(10**30), max_value=10**30))
def test_integers(value: int) -> None:
    assert plain_value(str(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_with_a_dot(value: float) -> None:
    text = f"{value:.17e}"
    assert plain_value(text) == value
