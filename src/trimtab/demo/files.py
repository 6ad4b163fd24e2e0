"""The demo's base and rows as ordinary files, for who wants to try the other verbs on them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

from trimtab.demo.show import HERE, VALIDATION
from trimtab.errors import OutputError

TRAIN = HERE / "data" / "train.jsonl"
COLUMNS = ("question", "answer")


def write_files(folder: Path) -> dict[str, str]:
    """Write into `folder`, which must be empty or not there yet: what is in it, by name.

    Raises:
        OutputError: there is something in it already, or it cannot be written.
    """
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise OutputError(f"{folder} is not empty and is left as it is. Name another folder: --files DIR")
        folder.mkdir(parents=True, exist_ok=True)
        for path in (HERE / "base").iterdir():
            (folder / "base").mkdir(exist_ok=True)
            shutil.copyfile(path, folder / "base" / path.name)
        for path in (TRAIN, VALIDATION):
            shutil.copyfile(path, folder / path.name)
        rows = _write_csv(folder / "questions.csv")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from None
    return {
        "base": "a language model of 2 million parameters that answers no question yet",
        TRAIN.name: f"{rows:,} conversations to train on",
        VALIDATION.name: "120 more, held out",
        "questions.csv": f"{TRAIN.name} again, as two columns: {' and '.join(COLUMNS)}",
    }


def _write_csv(path: Path) -> int:
    with TRAIN.open(encoding="utf-8") as lines, path.open("x", encoding="utf-8", newline="") as file:
        rows = [[message["content"] for message in json.loads(line)["messages"]] for line in lines]
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    return len(rows)
