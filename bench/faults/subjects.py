"""What is trained: bases, rows and kinds of adapter that small runs are made of. Healthy as they stand.

The demo's base and its generator of questions are part of the package; further models and data sets lie in a folder
`shared/` beside the repository, and subjects that need them are left out where it is not.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from bench.faults.injector import Row, Site, pair

REPOSITORY = Path(__file__).resolve().parents[2]
DEMO = REPOSITORY / "src" / "trimtab" / "demo"
SHARED = REPOSITORY.parent / "shared"

STEPS = 100
TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = 360, 48, 96
BASES = {
    "demo": DEMO / "base",
    "stories": SHARED / "models" / "stories260k-llama",
    "letters": SHARED / "models" / "babyllama-char-1m",
}


@dataclass(frozen=True)
class Rows:
    """Disjoint: the judge's own rows are in neither of the others."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]


@dataclass(frozen=True)
class Subject:
    """A healthy run in the making."""

    name: str
    base: str
    rows: Callable[[int], list[Row]]
    learning_rate: float
    kind: str = "lora"
    """lora, qlora or full."""
    is_held_out: bool = False
    """Seen in the held-out half only."""
    max_length: int = 256

    @property
    def is_here(self) -> bool:
        try:
            return BASES[self.base].is_dir() and bool(self.rows(0))
        except FileNotFoundError:
            return False

    def draw_rows(self, seed: int) -> Rows:
        rows = list(self.rows(seed))
        random.Random(seed).shuffle(rows)
        ends = TRAIN_ROWS, TRAIN_ROWS + VALIDATION_ROWS, TRAIN_ROWS + VALIDATION_ROWS + TEST_ROWS
        assert len(rows) >= ends[-1], f"{self.name} has {len(rows)} rows"
        return Rows(rows[: ends[0]], rows[ends[0] : ends[1]], rows[ends[1] : ends[2]])

    def site(self, folder: Path, seed: int, steps: int = STEPS) -> tuple[Site, Rows]:
        """The run as it would be without a fault."""
        rows = self.draw_rows(seed)
        config: dict[str, Any] = {
            "model": {"name_or_path": str(BASES[self.base])},
            "data": {"max_length": self.max_length, "workers": 1},
            "adapter": {"r": 8},
            "training": {
                "max_steps": steps,
                "per_device_train_batch_size": 4,
                "gradient_accumulation_steps": 1,
                "learning_rate": self.learning_rate,
                "warmup_steps": 0.05,
                "eval_strategy": "steps",
                "eval_steps": max(1, steps // 5),
                "save_strategy": "no",
                # The last weights are the final ones, as transformers has it: else a ruined run would be judged by
                # what it was before the fault.
                "load_best_model_at_end": False,
                "report_to": "none",
                "use_cpu": True,
                "seed": 1 + seed,
            },
        }
        if self.kind == "full":
            config["adapter"] = "none"
        if self.kind == "qlora":
            config["model"]["load_in_4bit"] = True
        return Site(folder, list(rows.train), list(rows.validation), config, steps, random.Random(seed)), rows


@lru_cache(maxsize=8)
def _demo_rows(seed: int, kinds: str) -> list[Row]:
    from trimtab.demo.instructions import make_rows
    from trimtab.demo.world import World

    train, validation = make_rows(World(), random.Random(1000 + seed))
    passages = {"whereabouts", "hands", "counted", "compared", "colours", "deeds"}
    rows = [row for row in train + validation if kinds != "passages" or row["kind"] in passages]
    return [{"messages": row["messages"]} for row in _once_each(rows)]


def _once_each(rows: list[Row]) -> list[Row]:
    seen: dict[str, Row] = {}
    for row in rows:
        seen.setdefault(row["messages"][0]["content"], row)
    return list(seen.values())


def demo_all(seed: int) -> list[Row]:
    return _demo_rows(seed % 4, "all")


def demo_passages(seed: int) -> list[Row]:
    """Questions about a passage in the question; two draws of the generator, for there are few in one."""
    return _once_each(_demo_rows(seed % 4, "passages") + _demo_rows(4 + seed % 4, "passages"))


def demo_one_line(seed: int) -> list[Row]:
    """Without line breaks, which the character model cannot read; short enough for its 256 positions."""
    rows = [pair(*(" ".join(m["content"].split()) for m in row["messages"])) for row in demo_all(seed)]
    return [row for row in _once_each(rows) if sum(len(m["content"]) for m in row["messages"]) < 220]


@dataclass(frozen=True)
class SharedRows:
    """Rows of a file beside the project. A class, so that a process can be told of it."""

    file: str
    asked: str
    said: str
    extra: str
    characters: int

    def __call__(self, seed: int) -> list[Row]:
        return _read(self)


@lru_cache(maxsize=4)
def _read(rows: SharedRows) -> list[Row]:
    text = (SHARED / "data" / rows.file).read_text(encoding="utf-8")
    found = json.loads(text) if text.lstrip().startswith("[") else [json.loads(x) for x in text.splitlines() if x]
    pairs = []
    for row in found:
        prompt = f"{row[rows.asked]}\n{row[rows.extra]}" if row.get(rows.extra) else row[rows.asked]
        if row[rows.said] and prompt and len(prompt) + len(row[rows.said]) <= rows.characters:
            pairs.append(pair(prompt, row[rows.said]))
    return _once_each(pairs)


SUBJECTS: tuple[Subject, ...] = (
    Subject("demo questions", "demo", demo_all, 2e-3),
    Subject("demo passages", "demo", demo_passages, 2e-3),
    Subject("demo questions, 4-bit", "demo", demo_all, 2e-3, kind="qlora"),
    Subject("stories, demo questions", "stories", demo_all, 5e-3),
    Subject(
        "stories, alpaca",
        "stories",
        SharedRows("alpaca-en/alpaca_en_demo.json", "instruction", "output", "input", characters=700),
        5e-3,
        max_length=512,
    ),
    Subject(
        "stories, role play",
        "stories",
        SharedRows("gpteacher-roleplay/roleplay-2000.json", "instruction", "output", "input", characters=700),
        5e-3,
        is_held_out=True,
        max_length=512,
    ),
    Subject("letters, demo questions", "letters", demo_one_line, 2e-3, is_held_out=True),
)


def subjects(*, held_out: bool, bases: tuple[str, ...] = ()) -> list[Subject]:
    """Those of a half that are here."""
    return [s for s in SUBJECTS if (held_out or not s.is_held_out) and (not bases or s.base in bases) and s.is_here]


def subject(name: str) -> Subject:
    return next(s for s in SUBJECTS if s.name == name)
