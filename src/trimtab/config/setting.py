"""One thing that was asked: a key with its value and its place. What reading a config is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from trimtab.config.place import Place
from trimtab.config.yaml_reader import Node


@dataclass(frozen=True)
class Setting:
    """`key` is dotted (`training.learning_rate`) and may still be another tool's spelling. `merges` marks an
    entry for a mapping (`data.columns.prompt=question`), which joins the entries that are there.
    """

    key: str
    node: Node
    place: Place
    merges: bool = False

    @property
    def section(self) -> str:
        """`training` of `training.learning_rate`."""
        return self.key.partition(".")[0]

    @property
    def name(self) -> str:
        """`learning_rate` of `training.learning_rate`."""
        return self.key.partition(".")[2]

    @property
    def value(self) -> Any:
        """The value as YAML reads it."""
        return self.node.python()

    @property
    def shown(self) -> str:
        """The value as it was written, for a message."""
        return str(self.node.text) if self.node.text else str(self.value)

    def over(self, before: Setting) -> Setting:
        """This mapping's entries over those of another; just this setting where one of them is no mapping."""
        if self.node.children is None or before.node.children is None:
            return self
        return replace(self, node=replace(self.node, children={**before.node.children, **self.node.children}))
