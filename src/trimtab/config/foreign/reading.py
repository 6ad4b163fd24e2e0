"""Another tool's file as a tree in which every value knows its line, and whose file it is."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from trimtab.config.run_config import SECTIONS
from trimtab.config.yaml_reader import Node, parse_yaml, read_text, shorten
from trimtab.errors import ConfigError


class Tool(NamedTuple):
    """A tool whose configs are read.

    `own_keys` are top-level keys that no other of the tools has: they tell whose file it is. `smallest` is what
    the smallest config of the tool holds, for a message.
    """

    name: str
    shown: str
    own_keys: frozenset[str]
    shared_keys: frozenset[str]
    smallest: str


def read_foreign(path: Path, tool: Tool, others: list[Tool]) -> Node:
    """The mapping in a YAML or JSON file of `tool`.

    Raises:
        ConfigError: the file cannot be read, holds no mapping, or is not that tool's config.
    """
    text = read_text(path)
    if path.suffix.lower() == ".json":
        # JSON is YAML but for tabs between its values; within JSON's strings they are always escaped.
        text = text.replace("\t", " ")
    root = parse_yaml(text, str(path))
    if root is None or root.is_empty:
        raise ConfigError([f"{path}: empty; the smallest {tool.shown} config has {tool.smallest}"])
    if root.children is None:
        seen = "a list" if root.items is not None else f"one value, {shorten(root.text)},"
        raise ConfigError([f"{path}:{root.line}: {seen} where {tool.shown} expects keys, such as {tool.smallest}"])
    _check_whose_it_is(path, root.children, tool, others)
    return root


def _check_whose_it_is(path: Path, keys: dict[str, Node], tool: Tool, others: list[Tool]) -> None:
    if tool.own_keys & keys.keys():
        return
    if {name for name, node in keys.items() if name in SECTIONS and node.children is not None} & {"model", "data"}:
        raise ConfigError([f"{path}: this is Trimtab's own config; leave out --from {tool.name}"])
    likeliest = max(others, key=lambda other: len(other.own_keys & keys.keys()))
    theirs = [key for key in keys if key in likeliest.own_keys]
    if theirs:
        raise ConfigError(
            [
                f"{path}: none of {tool.shown}'s own keys are in it; with {', '.join(theirs[:4])} it looks like a "
                f"config of {likeliest.shown}: --from {likeliest.name}"
            ]
        )
    if not tool.shared_keys & keys.keys():
        shown = shorten(", ".join(keys)) if keys else "nothing"
        raise ConfigError(
            [
                f"{path}: no key that {tool.shown} knows is in it, only {shown}; the smallest {tool.shown} config "
                f"has {tool.smallest}"
            ]
        )
