"""Every key of every example ends as a setting, in a notice or among the untranslated."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from foreign_files import SMALLEST, configs, ids, refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trimtab.config import RunConfig
from trimtab.config.foreign import TOOLS, Translated, axolotl, llama_factory, translate_config, trl
from trimtab.config.yaml_reader import Node, parse_yaml
from trimtab.errors import ConfigError

_LISTS_OF_SETS = ("datasets", "test_datasets", "pretraining_dataset", "dataset_mixture", "special_tokens")


def _names(key: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(key)}(?!\w)", text) is not None


def _has_origin(key: str, translated: Translated) -> bool:
    return any(
        _names(key, origin.partition("(was ")[2]) or (ours.partition(".")[2] == key and ":" in origin)
        for ours, origin in translated.loaded.origins.items()
    )


def _lost(keys: list[str], translated: Translated) -> list[str]:
    told = "\n".join([*translated.loaded.notices, *translated.untranslated])
    return [key for key in keys if not _names(key, told) and not _has_origin(key, translated)]


def _leaves(node: Node) -> Iterator[tuple[str, str]]:
    """(key, value as written) of every scalar in lists of data sets."""
    for child in node.items or []:
        yield from _leaves(child)
    for key, child in (node.children or {}).items():
        if child.items or child.children:
            yield from _leaves(child)
        elif child.text:
            yield key, child.text


@pytest.mark.parametrize(("tool", "path"), configs(), ids=ids(configs()))
def test_no_key_of_an_example_is_lost(tool: str, path: Path) -> None:
    translated = translate_config(tool, path)
    root = parse_yaml(path.read_text(encoding="utf-8").replace("\t", " "), path.name)
    assert root is not None and root.children is not None
    assert not _lost(list(root.children), translated)
    told = "\n".join([*translated.loaded.notices, *translated.untranslated, repr(translated.loaded.config.flat())])
    for listed in _LISTS_OF_SETS:
        for key, value in _leaves(root.children.get(listed, Node(0))):
            assert _names(key, told) or value in told, f"{listed}: {key}: {value}"


@pytest.mark.parametrize(("tool", "path"), configs(), ids=ids(configs()))
def test_what_is_untranslated_sets_nothing(tool: str, path: Path) -> None:
    translated = translate_config(tool, path)
    left = [line.partition(":")[0] for line in translated.untranslated]
    assert len(left) == len(set(left)), "a key is left twice"
    origins = "\n".join(origin for origin in translated.loaded.origins.values() if "(was " in origin)
    assert [key for key in left if f"(was {key})" in origins] == []


@pytest.mark.parametrize(("tool", "path"), configs(), ids=ids(configs()))
def test_an_example_becomes_a_config_of_ours(tool: str, path: Path) -> None:
    translated = translate_config(tool, path)
    config = translated.loaded.config
    assert RunConfig.from_flat(config.flat()) == config
    assert set(translated.loaded.origins) == set(config.flat())
    assert translated.loaded.origins["model.name_or_path"].startswith(f"{path.name}:")


@pytest.mark.parametrize(("tool", "path"), refused(), ids=ids(refused()))
def test_what_is_no_fine_tuning_on_answers_is_refused(tool: str, path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        translate_config(tool, path)
    (complaint,) = caught.value.complaints
    assert complaint.endswith("cannot be checked")
    assert complaint.startswith(f"{path}:")


_ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 4000),
    st.floats(0, 2, allow_nan=False),
    st.sampled_from(["", "x", "no", "auto", "all", "4", "0.1", "json", "adamw_torch", "cosine", "a,b"]),
    st.lists(st.sampled_from(["a", 1, None, {}, {"path": "a"}, {"path": "json", "data_files": ["b"]}]), max_size=2),
    st.sampled_from([{}, {"a": 1}, {"datasets": [{"id": "a", "weight": 0.5}]}, {"path": None}]),
)


def _keys_of(tool: str) -> list[str]:
    module = {"axolotl": axolotl, "llama-factory": llama_factory, "trl": trl}[tool]
    known = {key for table in (module._IGNORED, module._LEFT) for keys in table.values() for key in keys.split()}
    texts = [path.read_text(encoding="utf-8") for other, path in configs() if other == tool]
    written = {key for text in texts for key in yaml.safe_load(text.replace("\t", " "))}
    return sorted(known | written | set(module._BY_ANOTHER_NAME))


@pytest.mark.parametrize("tool", TOOLS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_odd_values_are_translated_or_complained_of(tool: str, tmp_path: Path, data: st.DataObject) -> None:
    values = yaml.safe_load(SMALLEST[tool])
    values |= data.draw(st.dictionaries(st.sampled_from(_keys_of(tool)), _ODD, max_size=6))
    path = tmp_path / "theirs.yml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    try:
        translated = translate_config(tool, path)
    except ConfigError:
        return
    assert not _lost(list(values), translated)
