"""The book in which every key of another tool's config is entered once: translated, told, or left untranslated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from trimtab.config.foreign.reading import Tool
from trimtab.config.place import Place, Remarks
from trimtab.config.run_config import SECTIONS
from trimtab.config.setting import Setting
from trimtab.config.validation import accepts_value
from trimtab.config.values import USE_DEFAULT, read_value
from trimtab.config.yaml_reader import Node, shorten
from trimtab.errors import ConfigError

_KEEP = object()
_SECRETS = ("api_key", "auth_token", "hub_token", "password", "secret", "secrets", "webhook_url")
"""How keys end whose values are not repeated."""


class Ledger:
    """What becomes of each key of one file.

    A key ends as a setting of ours (its origin names the key), in a notice (it changed, or does nothing here), or
    among the untranslated. `open_keys` are those that nothing was decided about yet. A key within a key is
    written with dots and indices: `datasets[0].type`.
    """

    def __init__(self, tool: Tool, path: Path, root: Node, overridden: frozenset[str], remarks: Remarks) -> None:
        assert root.children is not None
        self.tool = tool
        self.path = path
        self.keys = root.children
        self.remarks = remarks
        self.overridden = overridden
        """Our keys that the command line gives: what the file lacks or says of them is no obstacle."""
        self._settings: dict[str, Setting] = {}
        self._ours_stand: set[str] = set()
        self._left: list[tuple[int, str]] = []
        self._ignored: dict[str, list[str]] = {}
        self._entered: set[str] = set()
        self._touched: set[str] = set()
        """Top-level keys of which something is entered, be it a key within."""

    # Looking

    def has(self, key: str) -> bool:
        """Whether the file gives the key a value; `key:` and `key: null` do not."""
        node = self.keys.get(key)
        return node is not None and not is_null(node)

    def value(self, key: str, default: Any = None) -> Any:
        """The value that the file gives, as YAML reads it, without deciding anything about the key."""
        return self.keys[key].python() if self.has(key) else default

    def is_on(self, key: str) -> bool:
        """Whether the file says true."""
        return self.value(key) in (True, "true", "True")

    def is_set(self, ours: str) -> bool:
        """Whether one of our keys already has a value."""
        return ours in self._settings

    def given(self, ours: str) -> Any:
        """The value that one of our keys has so far, None without one."""
        return self._settings[ours].value if ours in self._settings else None

    @property
    def open_keys(self) -> list[str]:
        """Top-level keys that are not entered yet, in the order of the file."""
        return [key for key in self.keys if key not in self._touched]

    # Deciding

    def translate(
        self, key: str, ours: str, value: Any = _KEEP, *, node: Node | None = None, because: str = ""
    ) -> None:
        """`key` is our key `ours`; `value` is what it is here, where that differs, and `because` says why."""
        if not self._enter(key, node):
            return
        node = node or self.keys[key]
        if ours in self._settings:
            counts = self._settings[ours]
            self._notice(
                node,
                f"{key}: {_shown_unless_secret(key, node)}: {ours} is given by {counts.place.origin()}, which counts",
            )
            return
        if value is not _KEEP:
            if because or _shown(value) != _shown_node(node):
                reason = f" ({because})" if because else ""
                self._notice(node, f"{key}: {_shown_unless_secret(key, node)} became {ours}: {_shown(value)}{reason}")
            node = _node(value, node.line)
        elif because:
            self._notice(node, f"{key}: {_shown_unless_secret(key, node)}: {because}")
        self._settings[ours] = Setting(ours, node, Place(str(self.path), node.line, was=self._was(key, ours)))

    def translate_word(
        self, key: str, ours: str, *, node: Node | None = None, near: dict[str, tuple[str, str]]
    ) -> bool:
        """As `translate`, for a key that takes one of a few words.

        A word that we lack becomes the one that `near` gives for it, with the reason; else the key is left
        untranslated, and False is the answer.
        """
        written = node or self.keys[key]
        word = str(written.text or "").strip().lower()
        if word in near:
            value, because = near[word]
            self.translate(key, ours, value, node=node, because=because)
            return True
        if is_null(written) or self._fits(ours, written):
            self.translate(key, ours, node=node)
            return True
        section, _, name = ours.partition(".")
        default = SECTIONS[section].model_fields[name].default
        self.leave(key, f"{ours} here has no such choice; checked with {_shown(default)}", node=node)
        self.keep_ours(ours)
        return False

    def tell(self, key: str, text: str, *, node: Node | None = None) -> None:
        """One notice on a key that changes nothing here, or is taken into account elsewhere."""
        if self._enter(key, node):
            node = node or self.keys[key]
            self._notice(node, f"{key}: {_shown_unless_secret(key, node)}: {text}")

    def ignore(self, key: str, because: str) -> None:
        """As `tell`; keys with the same reason share a line."""
        if self._enter(key):
            self._ignored.setdefault(because, []).append(key)

    def leave(self, key: str, why: str, *, node: Node | None = None) -> None:
        """The key has no equivalent here."""
        if not self._enter(key, node):
            return
        node = node or self.keys[key]
        self._left.append((node.line, f"{key}: {_shown_unless_secret(key, node)}: {why}"))

    def leave_unless_off(self, key: str, why: str) -> None:
        """As `leave`, but a key that switches something off is as here."""
        if self.value(key) in (False, "false", 0, "none"):
            self.ignore(key, "off, as here always")
        else:
            self.leave(key, why)

    def leave_default(self, key: str, shown: str, why: str) -> None:
        """The tool's default for a key that is not in the file has no equivalent here."""
        self._left.append((0, f"{key} ({self.tool.shown}'s default, {shown}): {why}"))

    def refuse(self, key: str, text: str, *, explains: str = "") -> None:
        """The config cannot be checked at all."""
        if key in self.keys and self._enter(key):
            self.remarks.complain(Place(str(self.path), self.keys[key].line), text, explains=explains)

    def stop(self, key: str, text: str) -> NoReturn:
        """As `refuse`, where nothing else in the file matters any more."""
        raise ConfigError([f"{Place(str(self.path), self.keys[key].line)}: {text}: cannot be checked"])

    def refuse_lacking(self, ours: str, text: str) -> None:
        """Something that is needed is not in the file, and the command line does not give it either."""
        if ours not in self.overridden:
            self.remarks.complain(Place(str(self.path)), text, explains=ours)

    def default(self, ours: str, value: Any) -> None:
        """What the tool does where the file says nothing, and we would do something else."""
        if ours not in self._settings and ours not in self._ours_stand:
            place = Place(f"{self.tool.shown}'s default")
            self._settings[ours] = Setting(ours, _node(value, 0), place)

    def keep_ours(self, ours: str) -> None:
        """Our own default holds, not the tool's: the file said something that we lack."""
        self._ours_stand.add(ours)

    def imply(self, key: str, ours: str, value: Any, because: str) -> None:
        """One more of our keys that follows from a key which is entered elsewhere."""
        node = self.keys[key]
        if ours not in self._settings:
            self._notice(node, f"{key}: {_shown_unless_secret(key, node)} became {ours}: {_shown(value)} ({because})")
            self._settings[ours] = Setting(ours, _node(value, node.line), Place(str(self.path), node.line, was=key))

    def note(self, text: str, *, at: Node | None = None) -> None:
        """A line on several keys at once, or on one that is not in the file."""
        self.remarks.notice(Place(str(self.path), at.line if at else None), text)

    # Closing

    def close(self) -> tuple[list[Setting], tuple[str, ...]]:
        """Our settings and the untranslated lines; every key must have been entered."""
        assert not self.open_keys, f"nothing was decided about {', '.join(self.open_keys)}"
        for because, keys in self._ignored.items():
            self.note(f"{', '.join(keys)}: {because}")
        left = sorted(self._left, key=lambda entry: entry[0])
        return list(self._settings.values()), tuple(text for _, text in left)

    def enter(self, key: str) -> None:
        """The key was told of in another way."""
        self._enter(key)

    def _enter(self, key: str, node: Node | None = None) -> bool:
        """False for a key that the file leaves empty: it is told with the others."""
        top = key.partition(".")[0].partition("[")[0]
        assert key not in self._entered, f"{key} is entered twice"
        self._entered.add(key)
        self._touched.add(top)
        if key == top and node is None and is_null(self.keys[key]):
            self._ignored.setdefault("empty, as if not written", []).append(key)
            return False
        return True

    def _fits(self, ours: str, node: Node) -> bool:
        section, _, name = ours.partition(".")
        kind = SECTIONS[section]
        value = read_value(Setting(ours, node, Place()), kind, Remarks())
        return value is USE_DEFAULT or accepts_value(kind, name, value)

    def _notice(self, node: Node, text: str) -> None:
        self.remarks.notice(Place(str(self.path), node.line), text)

    def _was(self, key: str, ours: str) -> str | None:
        return None if key == ours.partition(".")[2] else key


def is_null(node: Node) -> bool:
    """`key:`, `key: null`, `key: {}` and `key: []`."""
    if node.children is not None or node.items is not None:
        return not (node.children or node.items)
    return node.value is None


def names(keys: Iterable[str]) -> frozenset[str]:
    """Keys written as one text, a table's lines."""
    return frozenset(key for text in keys for key in text.split())


def by_key(table: Mapping[str, str]) -> dict[str, str]:
    """Key → reason, of a table from reasons to keys in one text."""
    found: dict[str, str] = {}
    for because, keys in table.items():
        for key in keys.split():
            assert key not in found, f"{key} is in two lines of a table"
            found[key] = because
    return found


def _node(value: Any, line: int) -> Node:
    if isinstance(value, dict):
        return Node(line, children={key: _node(part, line) for key, part in value.items()})
    if isinstance(value, list):
        return Node(line, items=[_node(part, line) for part in value])
    return Node(line, value=value, text=_shown(value))


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else shorten(value)


def _shown_unless_secret(key: str, node: Node) -> str:
    """Messages go to screens and into records, where a secret does not belong."""
    if key.endswith(_SECRETS):
        return "(not shown)"
    if key == "env" and node.children:
        return ", ".join(node.children)
    return _shown_node(node)


def _shown_node(node: Node) -> str:
    if node.items and any(item.children for item in node.items):
        return "1 entry" if len(node.items) == 1 else f"{len(node.items)} entries"
    return shorten(node.text) if node.text else shorten(node.python())
