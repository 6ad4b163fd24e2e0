"""A config is kept and read back whole: as YAML with origins, and flat."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import yaml
from config_files import Load, config_text
from hypothesis import HealthCheck, given, settings
from pydantic import ValidationError
from values_of_fields import run_configs

from trimtab.config import AdapterConfig, RunConfig, differences, dump_yaml, load_config


@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(run_configs())
def test_a_dump_reads_back_to_the_same_config(config: RunConfig) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(dump_yaml(config, dict.fromkeys(config.flat(), "run.yaml:1")), encoding="utf-8")
        loaded = load_config(path)
    assert loaded.config == config
    assert all("no effect" in notice for notice in loaded.notices), loaded.notices
    assert "default" not in loaded.origins.values()


@settings(deadline=None, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(run_configs())
def test_flat_and_back(config: RunConfig) -> None:
    assert RunConfig.from_flat(config.flat()) == config
    assert differences(config, config) == []


def test_each_value_has_its_origin(load: Load) -> None:
    loaded = load(config_text(training="lr: 1.0e-4\nrun_name: 'no'"), "adapter.r=16")
    lines = {
        line.partition("#")[0].strip(): line.partition("#")[2].strip() for line in dump_yaml(*_of(loaded)).splitlines()
    }
    assert lines["learning_rate: 0.0001"] == "run.yaml:6 (was lr)"
    assert lines["run_name: 'no'"] == "run.yaml:7"
    assert lines["r: 16"] == "command line"
    assert lines["seed: 42"] == "default"
    assert lines["output_dir: runs/run"] == "default"


def _of(loaded: object) -> tuple[RunConfig, dict[str, str]]:
    return loaded.config, loaded.origins  # type: ignore[attr-defined]


def test_a_dump_is_yaml_that_others_read_alike(load: Load) -> None:
    loaded = load(config_text(training="run_name: '2e-4'\nlearning_rate: 1.0e-5") + "adapter: none\n")
    read = yaml.safe_load(dump_yaml(loaded.config))
    assert read["adapter"] == "none"
    assert read["training"]["run_name"] == "2e-4"
    assert read["training"]["learning_rate"] == 1e-5
    assert read["training"] == loaded.config.training.model_dump()


def test_no_aliases_where_values_are_shared() -> None:
    names = ["q_proj"]
    config = RunConfig.model_validate(
        {
            "model": {"name_or_path": "m"},
            "data": {"train": "t"},
            "adapter": {"target_modules": names, "exclude_modules": names},
        }
    )
    assert "&id" not in dump_yaml(config)


def test_differences() -> None:
    least = {"model": {"name_or_path": "m"}, "data": {"train": "t"}}
    before = RunConfig.model_validate(least)
    after = RunConfig.model_validate({**least, "data": {"train": "u"}, "training": {"seed": 1}})
    assert differences(before, after) == [("data.train", "t", "u"), ("training.seed", 42, 1)]
    full = RunConfig.model_validate({**least, "adapter": "none"})
    assert differences(before, full) == [("adapter", "LoRA, r=8", "none")]
    assert differences(full, before) == [("adapter", "none", "LoRA, r=8")]


def test_configs_are_frozen_closed_and_strict() -> None:
    adapter = AdapterConfig(r=4)
    with pytest.raises(ValidationError):
        adapter.r = 5  # type: ignore[misc]
    for wrong in ({"rank": 4}, {"r": "4"}, {"r": True}, {"lora_dropout": float("nan")}):
        with pytest.raises(ValidationError):
            AdapterConfig.model_validate(wrong)


def test_rules_between_keys_hold_in_python_too() -> None:
    with pytest.raises(ValidationError, match="4-bit weights cannot be trained"):
        RunConfig.model_validate(
            {"model": {"name_or_path": "m", "load_in_4bit": True}, "data": {"train": "t"}, "adapter": None}
        )
