"""Data of several sources, as other tools list it: what of it fits into one `data:` section."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from trimtab.config.foreign.ledger import Ledger
from trimtab.config.yaml_reader import Node

_LONGEST_PATH = 4096


@dataclass(frozen=True)
class Said:
    """A value, and the key and node that gave it."""

    value: str
    key: str
    node: Node


@dataclass
class Source:
    """One source: where its rows are and what they look like."""

    key: str
    paths: list[str]
    node: Node
    format: str = "auto"
    columns: dict[str, str] = field(default_factory=dict)
    subset: Said | None = None
    split: Said | None = None

    @property
    def part(self) -> tuple[str, str]:
        """Which part of a set is meant."""
        return (self.subset.value if self.subset else "", self.split.value if self.split else "")


def set_training_data(ledger: Ledger, key: str, sources: list[Source]) -> None:
    """`key` becomes data.train; subset, split, format and columns follow.

    One data.subset and one data.split hold for all sources here: those that differ from the first in them are
    left untranslated. Formats and columns that differ are left to be recognised.
    """
    node = ledger.keys[key]
    if "data.train" in ledger.overridden:
        ledger.note(f"{key}: data.train on the command line counts, and nothing of what is listed here", at=node)
        ledger.enter(key)
        return
    sources = _of_one_part(ledger, sources)
    found = [path for source in sources for path in source.paths]
    paths = [found_beside(ledger, path, node) for path in dict.fromkeys(found)]
    if len(paths) < len(found):
        ledger.note(f"{key}: a source that is listed twice is read once here", at=node)
    ledger.translate(key, "data.train", paths[0] if len(paths) == 1 else paths, because=_because(sources))
    for said, ours in ((sources[0].subset, "data.subset"), (sources[0].split, "data.split")):
        if said is not None:
            ledger.translate(said.key, ours, said.value, node=said.node)
    formats = list(dict.fromkeys(source.format for source in sources))
    if len(formats) > 1:
        ledger.note(
            f"{key}: rows of several formats ({', '.join(formats)}); each is recognised by its columns", at=node
        )
    elif formats[0] != "auto":
        ledger.imply(key, "data.format", formats[0], "what the rows are said to be")
    _columns(ledger, key, sources)


def _of_one_part(ledger: Ledger, sources: list[Source]) -> list[Source]:
    first = sources[0]
    for source in sources[1:]:
        if source.part != first.part:
            subset, split = source.part
            shown = ", ".join(f"{name} {value}" for name, value in (("subset", subset), ("split", split)) if value)
            why = (
                f"{shown or 'no subset or split'}: one data.subset and data.split hold for all sources here, and the "
                "first has others; left out (check it by itself with data.train=… data.split=…)"
            )
            ledger.leave(source.key, why, node=Node(source.node.line, value=", ".join(source.paths)))
    return [source for source in sources if source.part == first.part]


def _columns(ledger: Ledger, key: str, sources: list[Source]) -> None:
    if all(source.columns == sources[0].columns for source in sources):
        if sources[0].columns:
            ledger.imply(key, "data.columns", sources[0].columns, "the columns that are named there")
        return
    for source in sources:
        if source.columns:
            shown = ", ".join(f"{role}: {name}" for role, name in source.columns.items())
            ledger.leave(
                f"{source.key}.columns",
                "one data.columns holds for all sources here, and theirs differ; checked with the columns that are "
                "recognised by their names",
                node=Node(source.node.line, value=shown, text=shown),
            )


def found_beside(ledger: Ledger, path: str, node: Node) -> str:
    """A path as the tool would resolve it, from the current directory, else beside the file, which is said."""
    beside = ledger.path.parent / path
    try:
        if len(path) > _LONGEST_PATH or Path(path).is_absolute() or Path(path).exists() or not beside.exists():
            return path
    except (OSError, ValueError):  # a template's text is no path
        return path
    ledger.note(
        f"{path} is not in the current directory, where {ledger.tool.shown} looks for it; read from beside the "
        f"config, {beside}",
        at=node,
    )
    return str(beside)


def translate_model(ledger: Ledger, key: str) -> None:
    """The base model's name, or its folder."""
    if not ledger.has(key):
        ledger.refuse_lacking("model.name_or_path", f"{key}: missing; it names the model that is trained")
        return
    name = str(ledger.value(key))
    path = found_beside(ledger, name, ledger.keys[key])
    if path == name:
        ledger.translate(key, "model.name_or_path")
    else:
        ledger.translate(key, "model.name_or_path", path)


def _because(sources: list[Source]) -> str:
    if any(len(source.paths) != 1 for source in sources):
        return "the files that are named there"
    return "the sources that are listed there" if len(sources) > 1 else "the source that is listed there"
