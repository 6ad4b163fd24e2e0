"""Configs of other tools, translated into one of ours that can be checked.

Every key of the file ends in one place: as a setting whose origin names it, in a notice, or among the untranslated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trimtab.config.foreign import axolotl, llama_factory, trl
from trimtab.config.foreign.ledger import Ledger
from trimtab.config.foreign.reading import Tool, read_foreign
from trimtab.config.loading import LoadedConfig, load_settings
from trimtab.config.place import Remarks
from trimtab.errors import ConfigError

_TOOLS: dict[str, tuple[Tool, Callable[[Ledger], None]]] = {
    tool.name: (tool, translate)
    for tool, translate in (
        (axolotl.TOOL, axolotl.translate_axolotl),
        (llama_factory.TOOL, llama_factory.translate_llama_factory),
        (trl.TOOL, trl.translate_trl),
    )
}

TOOLS = tuple(_TOOLS)
"""Names of the tools whose configs are read."""


@dataclass(frozen=True)
class Translated:
    """A config of another tool as one of ours.

    `loaded.origins` say what a key was called ("qlora.yml:12 (was sequence_len)") or whose default it is;
    `loaded.notices` what changed on the way. `untranslated` has a line for each key that has no equivalent here:
    the key, its value, why, and what is checked instead.
    """

    loaded: LoadedConfig
    untranslated: tuple[str, ...]


def translate_config(tool: str, path: Path | str, overrides: Sequence[str] = ()) -> Translated:
    """Read a config of `tool` (YAML or JSON); `overrides` are our keys, `key.sub=value`, and win over it.

    Raises:
        ConfigError: it cannot be read, is not that tool's, trains something that is not fine-tuning on answers, or
            lacks what is needed; with every complaint.
    """
    if tool not in _TOOLS:
        raise ConfigError([f"--from {tool}: configs are read from {', '.join(TOOLS)}"])
    path = Path(path)
    known, translate = _TOOLS[tool]
    root = read_foreign(path, known, [other for other, _ in _TOOLS.values() if other is not known])
    remarks = Remarks()
    overridden = frozenset(override.partition("=")[0].strip() for override in overrides)
    ledger = Ledger(known, path, root, overridden, remarks)
    translate(ledger)
    settings, untranslated = ledger.close()
    return Translated(load_settings(settings, path, overrides, remarks), untranslated)


__all__ = ["TOOLS", "Translated", "translate_config"]
