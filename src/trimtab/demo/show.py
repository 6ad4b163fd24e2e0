"""What `trimtab demo` trains on, and how it shows what was learnt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.config import LoadedConfig, load_config
from trimtab.demo.grade import is_right
from trimtab.errors import ConfigError

HERE = Path(__file__).parent
CONFIG = HERE / "demo.yaml"
VALIDATION = HERE / "data" / "validation.jsonl"

LEARNING_RATES = {"healthy": 2e-3, "too-high": 0.3, "too-low": 2e-6}
"""Peaks that give the three curves on this base: good, ruinous, and a thousandth of good."""

SHOWN = 6
"""Questions whose answers are printed before and after; all of them are graded."""

LONGEST_ANSWER_TOKENS = 32


@dataclass(frozen=True)
class Graded:
    """Greedy answers to the held-out questions, and how many are right."""

    answers: list[str]
    right: list[bool]

    @property
    def score(self) -> str:
        return f"{sum(self.right)} of {len(self.right)} right"


def demo_config(curve: str, output_dir: Path) -> LoadedConfig:
    """The demo's config with its files found inside the package.

    Raises:
        ConfigError: `curve` is not one of healthy, too-high, too-low.
    """
    if curve not in LEARNING_RATES:
        raise ConfigError([f"--curve {curve}: not one of {', '.join(LEARNING_RATES)}"])
    return load_config(
        CONFIG,
        [
            f"model.name_or_path={json.dumps(str(HERE / 'base'))}",
            f"data.train={json.dumps(str(HERE / 'data' / 'train.jsonl'))}",
            f"data.validation={json.dumps(str(VALIDATION))}",
            f"training.output_dir={json.dumps(str(output_dir))}",
            f"training.learning_rate={LEARNING_RATES[curve]}",
            # A ruined curve is to be seen to its end; the guard would put it right.
            f"guard.mode={'repair' if curve == 'healthy' else 'off'}",
        ],
    )


def held_out_questions() -> list[dict[str, Any]]:
    """The rows of the validation file; see grade.py for the keys that judge an answer."""
    with VALIDATION.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def graded(answers: Sequence[str]) -> Graded:
    """Answers to `held_out_questions`, in their order, judged."""
    rows = held_out_questions()
    return Graded(list(answers), [is_right(row, answer) for row, answer in zip(rows, answers, strict=True)])


def question(row: dict[str, Any]) -> str:
    text: str = row["messages"][0]["content"]
    return text


def comparison_lines(before: Graded, after: Graded) -> list[str]:
    """Some answers side by side, and both scores."""
    lines = []
    rows = held_out_questions()
    for index in _spread(len(after.answers), SHOWN):
        lines += [
            f"  {' '.join(question(rows[index]).split())}",
            f"    before: {_short(before.answers[index])} {_mark(before.right[index])}",
            f"    after:  {_short(after.answers[index])} {_mark(after.right[index])}",
        ]
    return [f"held-out questions, greedy answers: {before.score} before, {after.score} after", *lines]


def _spread(count: int, wanted: int) -> list[int]:
    """`wanted` indexes, evenly over `count`."""
    return [count * i // wanted for i in range(min(wanted, count))]


def _short(text: str, width: int = 90) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= width else f"{flat[: width - 1]}…"


def _mark(right: bool) -> str:
    return "✓" if right else "✗"
