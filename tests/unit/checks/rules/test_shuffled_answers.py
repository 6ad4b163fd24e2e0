"""shuffled-answers: when it speaks, and when it must not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.demo_base import SHARED, Pair, config, pairs, shifted, shuffled
from support.evidence import evidence, judge

from trimtab.checks.pairing import point, words
from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.shuffled_answers import ShuffledAnswers
from trimtab.records import Device, Severity

SYLLABLES = ["ba", "de", "fi", "go", "hu", "ka", "le", "mi", "no", "pu", "ra", "se", "ti", "vo", "zu", "lor"]


def _name(number: int) -> str:
    return "".join(SYLLABLES[number // 16**place % 16] for place in range(3)).capitalize()


def _wordy(count: int = 200) -> list[Pair]:
    """Pairs of the base's world, with names whose rarity says that they belong together."""
    rows = []
    for at, (question, answer) in enumerate(pairs(count)):
        one, other = _name(7919 * 2 * at % 4096), _name(7919 * (2 * at + 1) % 4096)
        rows.append((f"{one} asks {other}: {question}", f"{answer} This is what {other} tells {one}."))
    return rows


@pytest.mark.parametrize(
    ("break_", "fix"),
    [
        (shuffled, "sorted, filtered or joined"),
        (shifted, "1 row before their own"),
        (lambda rows: shifted(rows, 2), "2 rows before"),
    ],
)
def test_it_fires_and_blocks_where_words_and_base_agree(
    tmp_path: Path, break_: Callable[[list[Pair]], list[Pair]], fix: str
) -> None:
    judged = judge(ShuffledAnswers(), config(tmp_path, break_(_wordy())), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.BLOCKS
    assert "giving answers the question that their words name lowers it by +" in judged.evidence
    assert fix in judged.fix
    assert judged.rows and all(row.startswith("train.jsonl:") for row in judged.rows)


def test_it_fires_mildly_where_a_part_is_shuffled(tmp_path: Path) -> None:
    rows = _wordy(400)
    judged = judge(ShuffledAnswers(), config(tmp_path, [*rows[:180], *shuffled(rows[180:])]), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.WARNS


@pytest.mark.parametrize("break_", [shuffled, shifted])
def test_it_fires_by_the_base_where_words_are_few(tmp_path: Path, break_: Callable[[list[Pair]], list[Pair]]) -> None:
    judged = judge(ShuffledAnswers(), config(tmp_path, break_(pairs())), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.WARNS


def test_it_fires_by_the_words_where_the_base_is_too_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.checks.base.CPU_FLOPS", 1e9)
    judged = judge(ShuffledAnswers(), config(tmp_path, shuffled(_wordy())), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.WARNS
    assert "the base was not asked" in judged.evidence


@pytest.mark.parametrize("rows", [pairs(), pairs(200), _wordy()])
def test_it_is_silent_on_healthy_pairs(tmp_path: Path, rows: list[Pair]) -> None:
    judged = judge(ShuffledAnswers(), config(tmp_path, rows), tmp_path)
    assert isinstance(judged, Good)
    assert "swapped questions raise" in judged.value


@pytest.mark.parametrize(
    "rows",
    [
        [(f"Is lot {at} good or bad?", "It is good." if at * 13 % 7 % 2 else "It is bad.") for at in range(150)],
        [("Say a word.", f"{_name(at)} is a word, and so is {_name(at + 999)}.") for at in range(150)],
        pairs(30),
    ],
    ids=["labels", "one question", "too few"],
)
def test_it_is_silent_where_it_cannot_tell(tmp_path: Path, rows: list[Pair]) -> None:
    assert not isinstance(judge(ShuffledAnswers(), config(tmp_path, rows), tmp_path), Bad)


def test_it_has_nothing_to_look_at_in_plain_text(tmp_path: Path) -> None:
    asked = config(tmp_path, pairs(3))
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps({"text": answer}) for _, answer in pairs(150)))
    assert isinstance(judge(ShuffledAnswers(), asked, tmp_path), NotApplicable)


def test_a_faster_device_is_asked_more(tmp_path: Path) -> None:
    gpu = Device(kind="cuda", name="a GPU", memory_bytes=2**34, native_bf16=True, tflops=300.0)
    here, there = (evidence(config(tmp_path, pairs(50)), tmp_path, device=device) for device in (None, gpu))
    assert there.base.affordable_tokens > here.base.affordable_tokens


REAL = {
    "gsm8k": ("gsm8k/train-2000.jsonl", "question", "answer"),
    "alpaca-en": ("alpaca-en/alpaca_en_demo.json", "instruction", "output"),
    "alpaca-zh": ("alpaca-zh/alpaca_zh_demo.json", "instruction", "output"),
    "code-alpaca": ("code-alpaca/code_alpaca_2k.json", "instruction", "output"),
    "roleplay": ("gpteacher-roleplay/roleplay-2000.json", "instruction", "output"),
}


def _real(name: str) -> list[Pair]:
    file, asked, said = REAL[name]
    path = SHARED / "data" / file
    if not path.exists():
        pytest.skip("the real data sets do not lie beside the repository")
    text = path.read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = json.loads(text) if path.suffix == ".json" else [*map(json.loads, text.splitlines())]
    return [(f"{row[asked]}\n{row.get('input') or ''}".strip(), row[said]) for row in rows if row[said].strip()]


@pytest.mark.parametrize("name", list(REAL))
def test_words_tell_real_sets_from_their_shuffled_copies(name: str) -> None:
    rows = _real(name)
    healthy = point([question for question, _ in rows], [answer for _, answer in rows])
    broken = point([question for question, _ in rows], [answer for _, answer in shuffled(rows)])
    assert healthy.at_own > 0.8 * healthy.pointing > 0.8 * 30
    assert broken.at_own < 0.05 * broken.pointing


@pytest.mark.parametrize("name", ["gsm8k", "alpaca-zh"])
def test_it_is_silent_on_real_sets_and_fires_on_their_shuffled_copies(tmp_path: Path, name: str) -> None:
    rows = _real(name)[:250]
    stories = SHARED / "models" / "stories260k-llama"
    assert isinstance(judge(ShuffledAnswers(), config(tmp_path, rows, model=stories), tmp_path), Good)
    judged = judge(ShuffledAnswers(), config(tmp_path, shuffled(rows), model=stories), tmp_path)
    assert isinstance(judged, Bad)


def test_words_of_scripts_without_spaces_are_pairs_of_characters() -> None:
    assert words("Hello, hello 你好吗!") == {"hello", "你好", "好吗"}
