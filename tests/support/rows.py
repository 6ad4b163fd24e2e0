"""Rows of training data for rules to look at: healthy ones, and what a rule says of given ones."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.evidence import evidence
from support.runs import sections
from support.tiny import TinyWorld

Row = dict[str, Any]

_STARTS = ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "st", "tr", "pl"]
_VOWELS = ["a", "e", "i", "o", "u", "ai", "ou"]


def sentence(draw: random.Random, words: int) -> str:
    """So many made-up words and a full stop: no two sentences share more than a word or two."""
    made = [
        "".join(draw.choice(_STARTS) + draw.choice(_VOWELS) for _ in range(draw.randint(1, 3))) for _ in range(words)
    ]
    return " ".join(made).capitalize() + "."


def chats(count: int, *, seed: int = 0, words: tuple[int, int] = (5, 20)) -> list[Row]:
    """Healthy rows of one question and one answer."""
    draw = random.Random(seed)
    return [chat(sentence(draw, 6), sentence(draw, draw.randint(*words))) for _ in range(count)]


def chat(*said: str, roles: Sequence[str] = ("user", "assistant")) -> Row:
    """A conversation whose roles take turns as given."""
    return {"messages": [{"role": roles[i % len(roles)], "content": text} for i, text in enumerate(said)]}


def answer_of(row: Row) -> str:
    return str(row["messages"][-1]["content"])


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def seen(
    world: TinyWorld,
    folder: Path,
    rows: Sequence[Row],
    *,
    validation: Sequence[Row] | float | None = None,
    model: Path | None = None,
    **data: Any,
) -> Any:
    """`Evidence` of a run on these rows. `validation` are rows too, or the share to hold out; `data` are further keys
    of the config's section."""
    config = sections(world, folder / "run")
    if model is not None:
        config["model"] = {"name_or_path": str(model)}
    held_out: str | float = "none"
    if isinstance(validation, float):
        held_out = validation
    elif validation is not None:
        held_out = str(write_rows(folder / "held_out.jsonl", validation))
    files = {"train": str(write_rows(folder / "rows.jsonl", rows)), "validation": held_out, "max_length": 512}
    config["data"] = {**config["data"], **files, **data}
    return evidence(config, folder)


def model_with(tokenizer: Any, world: TinyWorld, folder: Path) -> Path:
    """The tiny Llama with another tokenizer."""
    import shutil

    shutil.copytree(world.llama, folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)
    return folder
