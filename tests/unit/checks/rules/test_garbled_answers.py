"""garbled-answers: when it speaks, and when it must not."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from support.demo_base import SHARED, Pair, config, pairs
from support.evidence import judge

from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.garbled_answers import GarbledAnswers
from trimtab.checks.surprise import looks_random, surprise
from trimtab.records import Severity

SIGNS = "bcdfghjklmnpqrstvwxz0123456789#%&=+"


def garbled(rows: list[Pair], share: float, seed: int = 0) -> list[Pair]:
    draw = random.Random(seed)
    chosen = draw.sample(range(len(rows)), round(share * len(rows)))
    made = list(rows)
    for at in chosen:
        made[at] = (rows[at][0], "".join(draw.choice(SIGNS) for _ in range(max(12, len(rows[at][1])))))
    return made


@pytest.mark.parametrize("share", [0.05, 0.1, 0.4])
def test_it_fires(tmp_path: Path, share: float) -> None:
    judged = judge(GarbledAnswers(), config(tmp_path, garbled(pairs(300), share)), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.WARNS
    found = int(judged.value.split()[0])
    assert 0.9 * share * 300 <= found <= share * 300
    assert judged.rows and all(row.startswith("train.jsonl:") for row in judged.rows)


def test_it_fires_as_a_note_on_very_few(tmp_path: Path) -> None:
    judged = judge(GarbledAnswers(), config(tmp_path, garbled(pairs(300), 0.01)), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.NOTES


def _numbers(count: int) -> list[Pair]:
    draw = random.Random(1)
    return [(f"Number {at}?", " ".join(str(draw.randrange(10**6)) for _ in range(6))) for at in range(count)]


def _capitals(rows: list[Pair]) -> list[Pair]:
    return [(question, answer.upper() if at % 10 == 0 else answer) for at, (question, answer) in enumerate(rows)]


def _other_script(rows: list[Pair]) -> list[Pair]:
    said = "Привет, как у тебя сегодня дела? 你好,今天天气很好,我们一起去公园散步吧。"
    return [(question, said[at % 7 :] if at % 10 == 0 else answer) for at, (question, answer) in enumerate(rows)]


@pytest.mark.parametrize(
    "rows",
    [pairs(300), [*pairs(280), *_numbers(20)], _capitals(pairs(300)), _other_script(pairs(300)), _numbers(200)],
    ids=["healthy", "a few numbers", "capitals", "other scripts", "numbers"],
)
def test_it_is_silent(tmp_path: Path, rows: list[Pair]) -> None:
    assert isinstance(judge(GarbledAnswers(), config(tmp_path, rows), tmp_path), Good)


def test_it_has_nothing_to_compare_few_rows_with(tmp_path: Path) -> None:
    assert isinstance(judge(GarbledAnswers(), config(tmp_path, pairs(20)), tmp_path), NotApplicable)


def test_letters_at_random_are_more_surprising_than_any_answer() -> None:
    rows = garbled(pairs(300), 0.1)
    questions, answers = [question for question, _ in rows], [answer for _, answer in rows]
    is_random = looks_random(questions, answers)
    bits = surprise(questions, answers)
    assert is_random.sum() == 30
    assert bits[is_random].min() > bits[~is_random].max()


FILES = {
    "alpaca-en": ("alpaca-en/alpaca_en_demo.json", "output"),
    "alpaca-zh": ("alpaca-zh/alpaca_zh_demo.json", "output"),
    "code-alpaca": ("code-alpaca/code_alpaca_2k.json", "output"),
}


@pytest.mark.parametrize("name", list(FILES))
def test_it_is_silent_on_real_sets(tmp_path: Path, name: str) -> None:
    file, said = FILES[name]
    path = SHARED / "data" / file
    if not path.exists():
        pytest.skip("the real data sets do not lie beside the repository")
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    kept = [(f"{row['instruction']}\n{row.get('input') or ''}".strip(), row[said]) for row in rows if row[said].strip()]
    judged = judge(GarbledAnswers(), config(tmp_path, kept), tmp_path)
    assert isinstance(judged, Good) or judged.severity is Severity.NOTES
