"""Two sources become one: the command line over the file, entry by entry where a mapping is meant."""

from __future__ import annotations

from trimtab.config.place import Remarks
from trimtab.config.sections import ADAPTER, is_none
from trimtab.config.setting import Setting


def merge(in_file: dict[str, Setting], on_command_line: dict[str, Setting], remarks: Remarks) -> dict[str, Setting]:
    """Canonical key → the setting that counts. The key `adapter` is left only where it says none."""
    merged = dict(in_file)
    switch = on_command_line.get(ADAPTER) or in_file.get(ADAPTER)
    if switch is not None and switch.place.file is None and is_none(switch):
        # adapter=none on the command line takes the file's options with it.
        merged = {key: setting for key, setting in merged.items() if setting.section != "adapter"}
    for key, setting in on_command_line.items():
        before = merged.get(key)
        merged[key] = setting.over(before) if before is not None and setting.merges else setting
    if switch is None or not is_none(switch):
        merged.pop(ADAPTER, None)
        return merged
    for option in [s for s in merged.values() if s.section == "adapter" and s.key != ADAPTER]:
        fix = "adapter=lora brings the adapter back" if option.place.file is None else "remove one of the two"
        remarks.complain(
            option.place,
            f"{option.key}: adapter is none ({switch.place}), which is full fine-tuning and has no {option.name}; "
            f"{fix}",
        )
        del merged[option.key]
    return merged
