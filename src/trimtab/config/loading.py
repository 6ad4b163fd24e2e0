"""From a file and overrides to a `LoadedConfig`, or to every complaint at once.

    file ─── yaml_reader ─┐
                          ├─ sections ─ translate ─ merge ─ values ─ validation ─► RunConfig
    key=value ─ overrides ┘

The command line wins over the file, the file over the defaults. Relative paths in a config start at the
current directory, as on a command line, wherever the file lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab.config.merge import merge
from trimtab.config.overrides import parse_overrides
from trimtab.config.paths import expand_home, look_beside
from trimtab.config.place import Place, Remarks
from trimtab.config.rules import without_effect
from trimtab.config.run_config import SECTIONS, RunConfig
from trimtab.config.sections import ADAPTER, settings_of_file, settings_of_overrides
from trimtab.config.setting import Setting
from trimtab.config.translate import translate
from trimtab.config.validation import Values, validate
from trimtab.config.values import USE_DEFAULT, read_value
from trimtab.config.yaml_reader import read_yaml
from trimtab.errors import ConfigError

DEFAULT = "default"


@dataclass(frozen=True)
class LoadedConfig:
    """A config with what is known about it.

    `origins` has an entry for each key of `config.flat()`: "run.yaml:12", "run.yaml:9 (was evaluation_strategy)",
    "command line" or "default". `notices` has one line for each key or value that became something else.
    """

    config: RunConfig
    origins: dict[str, str]
    notices: tuple[str, ...]


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> LoadedConfig:
    """Read a config file; `overrides` are `key.sub=value` and win over it.

    A run's own config.yaml loads like any other.

    Raises:
        ConfigError: with every complaint, each with its line and what to do.
    """
    path = Path(path)
    remarks = Remarks()
    return load_settings(settings_of_file(read_yaml(path), str(path), remarks), path, overrides, remarks)


def load_settings(settings: list[Setting], path: Path, overrides: Sequence[str], remarks: Remarks) -> LoadedConfig:
    """As `load_config`, from settings that were already read from the file at `path`.

    Raises:
        ConfigError: with every complaint, those that `remarks` already holds among them.
    """
    in_file = translate(settings, remarks)
    written = settings_of_overrides(parse_overrides(overrides, remarks), remarks)
    asked = merge(in_file, translate(written, remarks), remarks)
    values = _values(asked, remarks)
    values["training"].setdefault("output_dir", f"runs/{path.stem}")
    config = validate(values, asked, Place(str(path)), remarks)
    if config is not None:
        given = {key for key, setting in asked.items() if _is_given(setting, values)}
        for idle in without_effect(config, given):
            remarks.notice(asked[idle.keys[0]].place, f"{idle.keys[0]} {idle.message}")
        look_beside(config, {key: asked[key].place for key in given}, path.parent, remarks)
    complaints = remarks.complaints()
    if complaints or config is None:
        raise ConfigError(complaints)
    origins = {key: asked[key].place.origin() if key in given else DEFAULT for key in config.flat()}
    return LoadedConfig(config, origins, tuple(remarks.notices()))


def _values(asked: Mapping[str, Setting], remarks: Remarks) -> Values:
    values: Values = {section: {} for section in SECTIONS}
    for key, setting in asked.items():
        if key == ADAPTER:
            continue
        kind = SECTIONS[setting.section]
        value = read_value(setting, kind, remarks)
        if value is USE_DEFAULT:
            field = kind.model_fields[setting.name]
            if not field.is_required():
                default = field.get_default(call_default_factory=True)
                shown = "" if key == "training.output_dir" else f", {default}"
                remarks.notice(setting.place, f"{key}: {setting.shown or 'empty'} became its default{shown}")
                continue
            value = None
        values[setting.section][setting.name] = expand_home(setting, value, remarks)
    return values


def _is_given(setting: Setting, values: Values) -> bool:
    """Not where `null` stood for the default."""
    return setting.key == ADAPTER or setting.name in values[setting.section]
