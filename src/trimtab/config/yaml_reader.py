"""YAML in which every value knows its line, and nothing is lost: no key read twice, no text turned into a date.

PyYAML reads YAML 1.1. Its mappings keep the last of two equal keys, `2024-01-01` becomes a date, `1:30` becomes
90 and `0042` becomes 34. None of that helps a config, so the tree is built here from PyYAML's nodes: plain
scalars are null, booleans (with yes, no, on, off), decimal, 0x and 0o integers, floats with a dot, and text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trimtab.errors import ConfigError

_INTEGER = re.compile(r"[-+]?(0x[0-9a-fA-F_]+|0o[0-7_]+|[0-9][0-9_]*)$")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?$")
_NOT_FINITE = {".inf": "inf", "+.inf": "inf", "-.inf": "-inf", ".nan": "nan"}
_NULL = {"", "~", "null"}
_BOOLEAN = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_KNOWN_TAGS = {"null", "bool", "int", "float", "str", "timestamp", "value", "merge", "seq", "map"}


@dataclass(frozen=True)
class Node:
    """A value as it was written.

    `value` is the scalar, or None for a mapping or list; `text` is the source of a scalar; `plain` tells that
    the scalar had no quotes. `children` are the entries of a mapping, `items` those of a list.
    """

    line: int
    value: Any = None
    text: str | None = None
    plain: bool = False
    children: dict[str, Node] | None = None
    items: list[Node] | None = None

    def python(self) -> Any:
        """The plain value: scalar, list or dict."""
        if self.children is not None:
            return {key: child.python() for key, child in self.children.items()}
        if self.items is not None:
            return [item.python() for item in self.items]
        return self.value

    @property
    def is_empty(self) -> bool:
        """Nothing was written, not even `null`."""
        return self.text == "" and self.plain


def read_yaml(path: Path) -> Node:
    """The mapping that a config file holds.

    Raises:
        ConfigError: the file cannot be read, is not UTF-8 or not YAML, names a key twice, or is not a mapping.
    """
    node = parse_yaml(read_text(path), str(path))
    if node is None or node.is_empty:
        raise ConfigError([f"{path}: empty; a config needs at least model: and data: (trimtab init writes one)"])
    if node.children is None:
        seen = "a list" if node.items is not None else f"one value, {shorten(node.text)}"
        raise ConfigError([f"{path}:{node.line}: {seen} where sections are expected, such as model: and data:"])
    return node


def parse_yaml(text: str, name: str) -> Node | None:
    """The tree of one YAML document, None when it holds nothing; `name` starts each complaint."""
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - before.rfind("\n")
        raise ConfigError(
            [f"{name}:{line}:{column}: the character U+{int(error.character):04X} is not allowed in YAML"]
        ) from None
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_broken(error, text, name)]) from None
    if root is None:
        return None
    builder = _Builder(name)
    tree = builder.build(root)
    if builder.complaints:
        raise ConfigError(builder.complaints)
    return tree


class _Builder:
    def __init__(self, name: str) -> None:
        self.name = name
        self.complaints: list[str] = []
        self.open_nodes: set[int] = set()

    def build(self, node: yaml.Node) -> Node:
        line = node.start_mark.line + 1
        if id(node) in self.open_nodes:
            self.complaints.append(f"{self.name}:{line}: an alias (*name) stands inside its own anchor (&name)")
            return Node(line)
        self._check_tag(node, line)
        self.open_nodes.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode):
                return Node(line, children=dict(self._entries(node)))
            if isinstance(node, yaml.SequenceNode):
                return Node(line, items=[self.build(item) for item in node.value])
            assert isinstance(node, yaml.ScalarNode)
            return self._scalar(node, line)
        finally:
            self.open_nodes.discard(id(node))

    def _check_tag(self, node: yaml.Node, line: int) -> None:
        prefix, _, kind = str(node.tag).rpartition(":")
        if prefix != "tag:yaml.org,2002" or kind not in _KNOWN_TAGS:
            self.complaints.append(f"{self.name}:{line}: the tag {node.tag} is not read here; write the plain value")

    def _scalar(self, node: yaml.ScalarNode, line: int) -> Node:
        text, plain = str(node.value), node.style is None
        # PyYAML gives plain text the tag str both where it is text and where !!str says so.
        value = text if node.tag == "tag:yaml.org,2002:str" or not plain else plain_value(text)
        return Node(line, value=value, text=text, plain=plain)

    def _entries(self, node: yaml.MappingNode) -> Iterator[tuple[str, Node]]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                merged = {**self._merged(value_node), **merged}
                continue
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.complaints.append(f"{self.name}:{line}: a key must be a name, not a list or a mapping")
                continue
            key = str(key_node.value)
            value = self.build(value_node)
            if key in own:
                self.complaints.append(
                    f"{self.name}:{line}: {key} is given twice, first on line {own[key].line}; YAML would "
                    "silently take the last: keep one"
                )
            # A key's line is where an editor should jump to, also when its value starts further down.
            own.setdefault(key, _at(value, line))
        yield from {**merged, **own}.items()

    def _merged(self, node: yaml.Node) -> dict[str, Node]:
        """What `<<: *name` brings in; of several the first wins, and the mapping's own keys before all."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        brought: dict[str, Node] = {}
        for source in sources:
            built = self.build(source)
            if built.children is None:
                self.complaints.append(f"{self.name}:{node.start_mark.line + 1}: <<: takes a mapping (<<: *name)")
                continue
            brought = {**built.children, **brought}
        return brought


def _at(node: Node, line: int) -> Node:
    return Node(line, node.value, node.text, node.plain, node.children, node.items)


def plain_value(text: str) -> Any:
    """What an unquoted scalar means.

    >>> plain_value("0042"), plain_value("no"), plain_value("2e-4"), plain_value("2.0e-4")
    (42, False, '2e-4', 0.0002)
    """
    lowered = text.lower()
    if lowered in _NULL:
        return None
    if lowered in _BOOLEAN:
        return _BOOLEAN[lowered]
    if lowered in _NOT_FINITE:
        return float(_NOT_FINITE[lowered])
    if _INTEGER.match(text):
        digits = text.lower().replace("_", "")
        base = 16 if "0x" in digits else 8 if "0o" in digits else 10
        try:
            return int(digits, base)
        except ValueError:  # more digits than Python converts; no config number has 4,300
            return text
    if _FLOAT.match(text):
        return float(text.replace("_", ""))
    return text


def read_text(path: Path) -> str:
    """A config file's text.

    Raises:
        ConfigError: it is not there, cannot be read or is not UTF-8.
    """
    if path.is_dir():
        raise ConfigError([f"{path}: a folder; name the config file in it"])
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError([_missing(path)]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError([f"{path}: cannot be read ({reason})"]) from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        hint = "it looks like UTF-16; " if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        raise ConfigError(
            [
                f"{path}:{line}: not UTF-8 text (byte 0x{raw[error.start]:02x} at offset {error.start:,}); "
                f"{hint}save the file as UTF-8"
            ]
        ) from None


def _missing(path: Path) -> str:
    beside = sorted(p.name for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
    where = (
        f"; {path.parent if str(path.parent) != '.' else 'this folder'} has {', '.join(beside[:5])}" if beside else ""
    )
    return f"{path}: no such file{where}; trimtab init writes a config"


def _broken(error: yaml.MarkedYAMLError, text: str, name: str) -> str:
    mark = error.problem_mark or error.context_mark
    problem = (error.problem or error.context or "not YAML").strip()
    if mark is None:
        return f"{name}: {problem}"
    lines = text.splitlines()
    excerpt = lines[mark.line] if mark.line < len(lines) else ""
    fix = ""
    if "'\\t'" in problem or excerpt[: mark.column + 1].strip(" ").startswith("\t"):
        fix = "; YAML indents with spaces: replace the tab"
    elif "mapping values are not allowed" in problem:
        fix = "; put text that holds ': ' in quotes, or check the indentation"
    elif "another document" in problem:
        fix = "; a config is one document: remove the ---"
    context = f" ({error.context.strip()})" if error.context and error.problem else ""
    pointer = "\n".join(("", f"    {excerpt.replace(chr(9), '→')}", f"    {' ' * mark.column}^")) if excerpt else ""
    return f"{name}:{mark.line + 1}:{mark.column + 1}: broken YAML: {problem}{context}{fix}{pointer}"


def shorten(value: object, limit: int = 60) -> str:
    """A value as a message shows it."""
    shown = value if isinstance(value, str) else repr(value)
    shown = " ".join(shown.split())
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"
