"""records.md: every file of a run's folder, and of a search's, by the models that read and write it."""

from __future__ import annotations

import dataclasses
import enum
import importlib
import pkgutil
import re
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

import trimtab.records
from reference_pages.declared import Field, doc, fields
from trimtab.records import (
    CheckReport,
    EvalRecord,
    Memorisation,
    Plan,
    RunEvent,
    Samples,
    ShownRows,
    StepRecord,
    Verdict,
)
from trimtab.records.data import DataReport
from trimtab.records.search import Leaderboard, OutcomeRecord, TrialRecord

FILES: dict[str, tuple[str, tuple[type, ...]]] = {
    "plan.json": ("Every decision, before the run.", (Plan,)),
    "check.json": ("What the checks before the run found.", (CheckReport,)),
    "data.json": ("What became of the data.", (DataReport,)),
    "rows.json": ("The rows that findings name, token by token.", (ShownRows,)),
    "metrics.jsonl": (
        "A line per step and per evaluation; `abandoned.jsonl` has the lines of steps that a repair made undone.",
        (StepRecord, EvalRecord),
    ),
    "events.jsonl": ("A line for whatever happened.", (RunEvent,)),
    "samples.json": ("What the model answers, before and after.", (Samples,)),
    "memorised.json": ("What it knows by heart.", (Memorisation,)),
    "verdict.json": ("How the run ended.", (Verdict,)),
    "trials.jsonl": ("Of a search: a line whenever something becomes of a trial.", (TrialRecord,)),
    "trials/NAME/outcome-STEP.json": ("Of a search: what a trial measured at a rung.", (OutcomeRecord,)),
    "leaderboard.json": ("Of a search: how its trials stand, or ended.", (Leaderboard,)),
}

WORD = re.compile(r"[A-Za-z_]\w*")


def records_page() -> str:
    """Each file, its model, and what that one holds."""
    parts = [
        "# Records\n\n"
        "Written from the code by `scripts/write_reference.py`. What the files are for, and the weights beside them: "
        "[the run folder](run-folder.md).\n\n"
        "Each file is read with `trimtab.records`, without torch: `RunDir(folder).read_verdict()`, or "
        '`Verdict.model_validate_json(text)`. `Measured` is a number that may be the string "nan", "inf" or "-inf". '
        "`.jsonl` has one record a line.\n\n"
        "| file | record | what |\n| --- | --- | --- |\n"
        + "\n".join(
            f"| [`{name}`](#{_anchor(name)}) | {' '.join(_link(model.__name__) for model in models)} | {what} |"
            for name, (what, models) in FILES.items()
        )
    ]
    told: set[type] = set()
    for name, (what, models) in FILES.items():
        parts.append(f"## {name}\n\n{what}")
        waiting = list(models)
        while waiting:
            model = waiting.pop(0)
            if model not in told:
                told.add(model)
                parts.append(_section(model))
                waiting += _parts(model)
    return "\n\n".join(parts) + "\n"


def all_records() -> dict[str, type]:
    """Every model, dataclass and enum of trimtab.records, by name."""
    found: dict[str, type] = {}
    for module in pkgutil.iter_modules(trimtab.records.__path__, "trimtab.records."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, type) and value.__module__ == module.name and _is_record(value):
                found[name] = value
    return found


def _is_record(value: Any) -> bool:
    return issubclass(value, BaseModel | enum.Enum) or dataclasses.is_dataclass(value)


def _parts(model: type) -> list[type]:
    known = all_records()
    return [known[word] for field in fields(model) for word in WORD.findall(field.type) if word in known]


def _section(model: type) -> str:
    lines = [f"### {model.__name__}", "", doc(model)]
    if issubclass(model, enum.Enum):
        lines += ["", "| value | meaning |", "| --- | --- |"]
        lines += [f"| `{model[field.name].value}` | {_cell(field.what)} |" for field in fields(model)]
        return "\n".join(lines)
    lines += ["", "| key | type | what |", "| --- | --- | --- |"]
    for field in fields(model):
        lines.append(f"| `{field.name}` | {_type(_spelt_out(field.type, model))} | {_cell(_what(field))} |")
    return "\n".join(lines)


def _what(field: Field) -> str:
    is_told = field.default is not None and not field.default.isupper()  # the name of a constant tells nothing
    return f"{field.what} Default `{field.default}`.".strip() if is_told else field.what


def _spelt_out(text: str, model: type) -> str:
    """Names that a module has for a choice of words, by those words."""
    known = vars(importlib.import_module(model.__module__))
    return WORD.sub(lambda word: _choice(known.get(word[0])) or word[0], text)


def _choice(kind: Any) -> str:
    return " | ".join(f'"{word}"' for word in get_args(kind)) if get_origin(kind) is Literal else ""


def _type(text: str) -> str:
    """With a link to each record in it."""
    known, parts, end = all_records(), [], 0
    for word in WORD.finditer(text):
        if word[0] in known:
            parts += [_code(text[end : word.start()]), _link(word[0])]
            end = word.end()
    return "".join([*parts, _code(text[end:])])


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text.strip() else ""


def _link(name: str) -> str:
    return f"[`{name}`](#{_anchor(name)})"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w-]", "", heading).lower()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
