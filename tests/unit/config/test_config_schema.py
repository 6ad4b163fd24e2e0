"""The JSON Schema says what the loader takes."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from values_of_fields import run_configs

from trimtab.config import RunConfig, dump_yaml, json_schema
from trimtab.config.suggest import known_keys

jsonschema = pytest.importorskip("jsonschema")


def valid(text: str) -> bool:
    validator = jsonschema.Draft202012Validator(json_schema())
    return bool(validator.is_valid(yaml.safe_load(text)))


def test_the_schema_is_a_schema() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema.Draft202012Validator.check_schema(schema)


def test_every_key_is_described() -> None:
    described = {
        f"{section}.{name}"
        for section, title in {
            "model": "Model",
            "data": "Data",
            "adapter": "Adapter",
            "training": "Training",
            "checks": "Checks",
            "guard": "Guard",
            "report": "Report",
            "search": "Search",
        }.items()
        for name, part in json_schema()["$defs"][f"{title}Config"]["properties"].items()
        if part["description"]
    }
    assert described == set(known_keys())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: m\ndata: t.jsonl", True),
        ("model: m\ndata: [a, b]\nadapter: none", True),
        ("model: {name_or_path: m}\ndata: {train: t}\nadapter: {r: 8}\ntraining: {learning_rate: auto}", True),
        ("model: m", False),
        ("model: m\ndata: []", False),
        ("model: m\ndata: t\nadapter: full", False),
        ("model: m\ndata: t\nadapter: {r: 0}", False),
        ("model: m\ndata: t\ntraining: {lr: 1}", False),
        ("model: m\ndata: t\nguard: {mode: watch}", True),
        ("model: m\ndata: t\nguard: {mode: on}", False),
        ("model: m\ndata: t\nsweep: {}", False),
    ],
)
def test_what_an_editor_marks(text: str, expected: bool) -> None:
    assert valid(text) == expected


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(run_configs())
def test_every_valid_config_fits_the_schema(config: RunConfig) -> None:
    assert valid(dump_yaml(config))
