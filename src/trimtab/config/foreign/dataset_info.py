"""LLaMA-Factory's `dataset_info.json`: what a data set's name stands for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trimtab.config.foreign.ledger import Ledger
from trimtab.config.foreign.sources import Said, Source
from trimtab.config.yaml_reader import Node, shorten

FILE_NAME = "dataset_info.json"
_DEFAULT_FOLDER = "data"

_ALPACA_ROLES = {
    "prompt": "instruction",
    "query": "input",
    "response": "output",
    "system": "system",
    "history": "history",
}
_ALPACA_COLUMNS = {"prompt": "instruction", "query": "input", "response": "output"}
_CHAT_ROLES = {"messages": "messages", "system": "system", "tools": "tools"}
_USUAL_TAGS = {
    "user_tag": {"human", "user"},
    "assistant_tag": {"gpt", "assistant"},
    "system_tag": {"system"},
    "observation_tag": {"observation", "tool"},
    "function_tag": {"function_call", "function"},
}
_NO_TEXT = ("images", "videos", "audios")


def _names(value: Any) -> list[str]:
    """The names in `dataset:`, which may be a list or one text with commas."""
    parts = value if isinstance(value, list) else str(value).split(",")
    return [str(part).strip() for part in parts if str(part).strip()]


def read_datasets(ledger: Ledger, key: str, stage: str) -> list[Source]:
    """The sources that the names in `key` stand for; a complaint for each that cannot be found."""
    ours = "data.train" if key == "dataset" else "data.validation"
    wanted = _names(ledger.value(key))
    if ours in ledger.overridden:
        ledger.tell(key, f"{ours} on the command line counts")
        return []
    folder = str(ledger.value("dataset_dir", _DEFAULT_FOLDER))
    if folder == "ONLINE":
        return [Source(f"{key}[{name}]", [name], ledger.keys[key]) for name in wanted]
    where, problem = _read_info(ledger, folder)
    if problem:
        ledger.refuse(key, f"{key}: {', '.join(wanted)}: {problem}; name the data with {ours}=FILE", explains=ours)
        return []
    info, info_folder = where
    sources = []
    lacking = [name for name in wanted if not isinstance(info.get(name), dict)]
    if lacking:
        known = shorten(", ".join(info)) or "nothing"
        text = f"{key}: {', '.join(lacking)} is not in {info_folder / FILE_NAME}, which has {known}"
        ledger.refuse(key, text, explains=ours)
        return []
    for name in wanted:
        source = _source(ledger, key, name, info[name], info_folder, stage)
        if source is not None:
            sources.append(source)
    return sources


def _read_info(ledger: Ledger, folder: str) -> tuple[tuple[dict[str, Any], Path], str]:
    """(The file's entries and its folder, "") or (nothing, what is wrong)."""
    nothing: tuple[dict[str, Any], Path] = ({}, Path(folder))
    if folder.startswith("REMOTE:"):
        return nothing, f"{folder} is on the Hub, which is not asked"
    tried = [Path(folder), ledger.path.parent / folder]
    found = next((place for place in tried if _has_info(place)), None)
    if found is None:
        return (
            nothing,
            f"data sets are looked up in {Path(folder) / FILE_NAME}, and there is none, here or beside the config",
        )
    if found is not tried[0]:
        ledger.note(f"{Path(folder) / FILE_NAME} is not in the current directory; read from beside the config, {found}")
    try:
        entries = json.loads((found / FILE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return nothing, f"{found / FILE_NAME} cannot be read ({error})"
    if not isinstance(entries, dict):
        return nothing, f"{found / FILE_NAME} holds no names"
    return (entries, found), ""


def _has_info(folder: Path) -> bool:
    try:
        return (folder / FILE_NAME).is_file()
    except (OSError, ValueError):  # a name that is too long for a path
        return False


def _source(ledger: Ledger, key: str, name: str, entry: dict[str, Any], folder: Path, stage: str) -> Source | None:
    inner = f"{key}[{name}]"
    node = ledger.keys[key]
    if entry.get("ranking"):
        ledger.refuse(
            key, f"{key}: {name} holds preferences (ranking: true), not answers to learn", explains="data.train"
        )
        return None
    path = entry.get("hf_hub_url") or entry.get("ms_hub_url") or entry.get("om_hub_url")
    if not path and isinstance(entry.get("file_name"), str):
        path = str(folder / entry["file_name"])
    if not isinstance(path, str):
        text = f"{key}: {name} names neither file_name nor hf_hub_url in {folder / FILE_NAME}"
        ledger.refuse(key, text, explains="data.train")
        return None
    source = Source(inner, [path], node)
    _format(ledger, source, entry, stage)
    for option in ("subset", "split"):
        if entry.get(option) and (option, entry[option]) != ("split", "train"):
            setattr(source, option, Said(str(entry[option]), f"{inner}.{option}", node))
    if entry.get("folder"):
        ledger.leave(
            f"{inner}.folder", f"{entry['folder']}: a folder of a Hub set cannot be chosen; checked with all", node=node
        )
    if entry.get("num_samples"):
        ledger.leave(f"{inner}.num_samples", "all rows are read, each once", node=_entry(source, entry["num_samples"]))
    return source


def _format(ledger: Ledger, source: Source, entry: dict[str, Any], stage: str) -> None:
    formatting = str(entry.get("formatting", "alpaca"))
    columns = _mapping(entry.get("columns"))
    media = [name for name in _NO_TEXT if columns.get(name)]
    if media:
        why = "text models are trained here; pictures, film and sound are not read"
        ledger.leave(f"{source.key}.columns", why, node=_entry(source, ", ".join(media)))
    if stage == "pt":
        source.columns = {"text": str(columns.get("prompt", "instruction"))}
        return
    if formatting == "alpaca":
        source.format = "alpaca"
        given = columns or _ALPACA_COLUMNS
        source.columns = {
            role: str(given[theirs])
            for theirs, role in _ALPACA_ROLES.items()
            if given.get(theirs) and given[theirs] != _ALPACA_COLUMNS.get(theirs, theirs)
        }
        return
    tags = _mapping(entry.get("tags"))
    parts = (tags.get("role_tag") or "from", tags.get("content_tag") or "value")
    source.format = "messages" if formatting == "openai" or parts == ("role", "content") else "sharegpt"
    if formatting != "openai" and parts not in (("role", "content"), ("from", "value")):
        why = f"messages have role and content or from and value here, not {parts[0]} and {parts[1]}"
        ledger.leave(f"{source.key}.tags", why, node=_entry(source, ", ".join(parts)))
    unusual = [str(tag) for name, tag in tags.items() if name in _USUAL_TAGS and str(tag) not in _USUAL_TAGS[name]]
    if unusual:
        why = "roles have their usual names here (user or human, assistant or gpt, …)"
        ledger.leave(f"{source.key}.tags.roles", why, node=_entry(source, ", ".join(unusual)))
    source.columns = {
        role: str(columns[theirs])
        for theirs, role in _CHAT_ROLES.items()
        if columns.get(theirs) and columns[theirs] not in (role, "conversations")
    }
    if columns.get("messages") == "conversations":
        source.columns["messages"] = "conversations"


def _entry(source: Source, value: object) -> Node:
    """A value of dataset_info.json, told at the line that named the set."""
    return Node(source.node.line, value=value, text=str(value))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
