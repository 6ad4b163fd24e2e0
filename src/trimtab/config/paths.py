"""Paths in a config start at the current directory, as everywhere on a command line; `~` is the home folder.

A run folder can then be named in a shell and in a config in the same way, and a config can be moved without
moving the data. The price is that a config used from another directory does not find its files; that is said.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimtab.config.place import Place, Remarks
from trimtab.config.run_config import RunConfig
from trimtab.config.setting import Setting

_PATHS = {
    "model.name_or_path",
    "data.train",
    "data.validation",
    "data.chat_template",
    "data.cache_dir",
    "training.output_dir",
}
_LONGEST_PATH = 4096
"""PATH_MAX on Linux: what is longer is a template's text, not a path."""

_DATA_SUFFIXES = {".jsonl", ".json", ".csv", ".parquet", ".jinja"}


def expand_home(setting: Setting, value: Any, remarks: Remarks) -> Any:
    """`~/data` as a shell would read it; said in one line, since YAML itself does not do this."""
    if setting.key not in _PATHS:
        return value
    if isinstance(value, list):
        return [expand_home(setting, part, remarks) for part in value]
    if not isinstance(value, str) or not value.startswith(("~/", "~\\")):
        return value
    expanded = str(Path(value).expanduser())
    remarks.notice(setting.place, f"{setting.key}: {value} became {expanded}")
    return expanded


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The same config readable from anywhere: every relative path that is there becomes absolute."""
    values = config.flat()
    for key in _PATHS & values.keys():
        value = values[key]
        is_list = isinstance(value, list)
        paths = [_absolute(key, part) for part in (value if is_list else [value])]
        values[key] = paths if is_list else paths[0]
    return RunConfig.from_flat(values)


def _absolute(key: str, value: Any) -> Any:
    if not isinstance(value, str) or len(value) > _LONGEST_PATH:
        return value
    try:
        is_path = key == "training.output_dir" or Path(value).exists()
    except (OSError, ValueError):  # a chat template's text: too long for a name
        return value
    return str(Path(value).absolute()) if is_path else value


def look_beside(config: RunConfig, places: Mapping[str, Place], folder: Path, remarks: Remarks) -> None:
    """Say so where a path is not in the current directory but beside the config.

    A complaint where it cannot be anything but a path, a notice where it may be a name on the Hub.
    """
    if folder.resolve() == Path.cwd():
        return
    values = config.flat()
    for key in ("model.name_or_path", "data.train", "data.validation", "data.chat_template"):
        value = values[key]
        for path in value if isinstance(value, list) else [value]:
            if key in places and places[key].file is not None and isinstance(path, str):
                _look_beside(key, path, places[key], folder, remarks)


def _look_beside(key: str, path: str, place: Place, folder: Path, remarks: Remarks) -> None:
    try:
        beside = folder / path
        if Path(path).is_absolute() or Path(path).exists() or not beside.exists():
            return
    except (OSError, ValueError):  # a chat template's text is no path
        return
    shown = os.path.relpath(beside)
    seen = f"{key}: {path} is not in the current directory, where paths start"
    text = f"{seen}, but there is one beside the config; write {shown}"
    if path.startswith(("./", "../")) or Path(path).suffix in _DATA_SUFFIXES:
        remarks.complain(place, text)
    else:
        remarks.notice(place, f"{text} if that is meant")
