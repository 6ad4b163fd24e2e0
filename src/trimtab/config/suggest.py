"""What was probably meant by an unknown key: the same name elsewhere, another spelling, or the nearest."""

from __future__ import annotations

from difflib import get_close_matches
from typing import NamedTuple

from trimtab.config.not_here import NOT_HERE
from trimtab.config.run_config import SECTIONS
from trimtab.config.spellings import CONVERTED, RENAMED


class Unknown(NamedTuple):
    """What to say of an unknown name, and the key or section that was probably meant."""

    text: str
    meant: str = ""


def known_keys() -> list[str]:
    """Every dotted key."""
    return [f"{section}.{name}" for section, part in SECTIONS.items() for name in part.model_fields]


def meant(key: str) -> str | None:
    """The key that a bare or misplaced name stands for, if there is exactly one.

    >>> meant("lr"), meant("data.weight_decay")
    ('training.learning_rate', 'training.weight_decay')
    """
    ending = f".{_plain(key.rpartition('.')[2])}"
    for candidates in (
        {known for known in known_keys() if known.endswith(ending)},
        {known for spelling, known in RENAMED.items() if spelling.endswith(ending)},
        {spelling for spelling in CONVERTED if spelling.endswith(ending)},
    ):
        training = {candidate for candidate in candidates if candidate.startswith("training.")}
        for choice in (candidates, training):  # warmup_ratio, dtype: the same in several, at home in training
            if len(choice) == 1:
                return choice.pop()
    return None


def unknown_key(section: str, name: str) -> Unknown:
    """A key that a known section does not take."""
    plain = _plain(name)
    own = list(SECTIONS[section].model_fields)
    if plain in own:
        return Unknown(f"unknown key; did you mean {plain}?", f"{section}.{plain}")
    right = meant(name)
    if right is not None:
        return _belongs(name, right) if not right.startswith(f"{section}.") else _did_you_mean(section, right)
    if plain in SECTIONS:
        return Unknown(f"unknown key; {plain}: is a section of its own, at the left margin", plain)
    if (near := _nearest(f"{section}.{plain}", [f"{section}.{own_name}" for own_name in own])) is not None:
        return _did_you_mean(section, near)
    spellings = [key for key in (*RENAMED, *CONVERTED, *NOT_HERE) if key.startswith(f"{section}.")]
    if (near := _nearest(f"{section}.{plain}", spellings)) is not None:
        return _did_you_mean(section, RENAMED.get(near, near))
    if (near := _nearest(plain, known_keys())) is not None:
        return _belongs(name, near, sure=False)
    return Unknown(f"unknown key; {section}: takes {', '.join(own)}")


def unknown_section(name: str, *, is_mapping: bool) -> Unknown:
    """A name at the left margin that is no section."""
    known = f"this version knows {', '.join(SECTIONS)}"
    plain = _plain(name)
    section = _SECTION_SPELLINGS.get(plain) or next(iter(get_close_matches(plain, SECTIONS, n=1, cutoff=0.6)), "")
    if is_mapping:
        guess = f"did you mean {section}:? " if section else ""
        return Unknown(f"unknown section; {guess}{known}", section)
    right = meant(plain) or next((key for key in NOT_HERE if key.endswith(f".{plain}")), None)
    if right is not None:
        return _belongs(name, right, what="section")
    if section:
        return Unknown(f"unknown section; did you mean {section}:? {known}", section)
    near = _nearest(plain, known_keys())
    return _belongs(name, near, what="section", sure=False) if near else Unknown(f"unknown section; {known}")


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def _nearest(name: str, dotted: list[str]) -> str | None:
    """The dotted key whose last part is nearest to the name's."""
    by_name = {key.partition(".")[2]: key for key in reversed(dotted)}
    near = get_close_matches(name.rpartition(".")[2], by_name, n=1, cutoff=0.72)
    return by_name[near[0]] if near else None


def _did_you_mean(section: str, key: str) -> Unknown:
    return Unknown(f"unknown key; did you mean {key.removeprefix(f'{section}.')}?", key)


def _belongs(name: str, key: str, *, what: str = "key", sure: bool = True) -> Unknown:
    section, _, right = key.partition(".")
    if not sure:
        return Unknown(f"unknown {what}; did you mean {right}, under {section}:?", key)
    alias = "" if right == _plain(name) else f" as {right}"
    return Unknown(f"unknown {what}; {name} belongs under {section}:{alias}", key)


_SECTION_SPELLINGS = {
    "lora": "adapter",
    "peft": "adapter",
    "lora_config": "adapter",
    "peft_config": "adapter",
    "dataset": "data",
    "datasets": "data",
    "train": "training",
    "trainer": "training",
    "training_args": "training",
    "training_arguments": "training",
    "trainingarguments": "training",
    "args": "training",
    "sft": "training",
}
