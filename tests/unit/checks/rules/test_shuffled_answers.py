"""shuffled-answers: when it speaks, and when it must not."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.demo_base import SHARED, Pair, config, pairs, shifted, shuffled
from support.evidence import judge

from trimtab.checks.pairing import point, words
from trimtab.checks.rule import Bad, Good, NotApplicable
from trimtab.checks.rules.shuffled_answers import ShuffledAnswers
from trimtab.records import Severity

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
    assert "giving answers the question that their words name lowers it by 0." in judged.evidence
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


def _partly(rows: list[Pair], share: float) -> list[Pair]:
    """So many of the rows have another's answer."""
    chosen = random.Random(0).sample(range(len(rows)), round(share * len(rows)))
    made = list(rows)
    for at, pair in zip(chosen, shuffled([rows[at] for at in chosen]), strict=True):
        made[at] = pair
    return made


@pytest.mark.parametrize("share", [0.4, 0.97])
def test_it_fires_where_short_answers_point_at_a_few_questions_each(tmp_path: Path, share: float) -> None:
    """As many rows as a small set has; none of the answers names one question."""
    judged = judge(ShuffledAnswers(), config(tmp_path, _partly(pairs(400), share)), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity in (Severity.WARNS, Severity.BLOCKS)


def test_it_fires_by_the_words_where_the_base_is_too_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.checks.base.CORE_FLOPS", 1e9)
    judged = judge(ShuffledAnswers(), config(tmp_path, shuffled(_wordy())), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.WARNS
    assert "the base was not asked" in judged.evidence


@pytest.mark.parametrize("rows", [pairs(), _wordy()])
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


def _both_ways(rows: list[Pair]) -> list[Pair]:
    """Each pair as it is, and turned round."""
    turned = [(f"Which question does this answer?\n{answer}", question) for question, answer in rows]
    return [pair for both in zip(rows, turned, strict=True) for pair in both]


def _piece_by_piece(texts: list[str]) -> list[Pair]:
    """Each text answers the one before."""
    return list(pairwise(texts))


def _turn_by_turn(rows: list[Pair]) -> list[Pair]:
    """Conversations of three exchanges, each exchange a row after all that was said before it."""
    made = []
    for at in range(0, len(rows) - 2, 3):
        history = ""
        for question, answer in rows[at : at + 3]:
            made.append((f"{history}{question}", answer))
            history += f"{question}\n{answer}\n"
    return made


@pytest.mark.parametrize("make", [_both_ways, _turn_by_turn, lambda rows: _piece_by_piece([a for _, a in rows])])
def test_it_is_silent_where_questions_quote_other_answers(
    tmp_path: Path, make: Callable[[list[Pair]], list[Pair]]
) -> None:
    judged = judge(ShuffledAnswers(), config(tmp_path, make(_wordy(300))), tmp_path)
    assert not isinstance(judged, Bad)


def test_it_fires_on_wrong_pairs_beside_quoted_ones(tmp_path: Path) -> None:
    rows = _wordy(400)
    judged = judge(ShuffledAnswers(), config(tmp_path, [*_both_ways(rows[:100]), *shuffled(rows[100:])]), tmp_path)
    assert isinstance(judged, Bad)


def test_it_is_silent_where_the_base_is_sure_of_the_pairs(tmp_path: Path) -> None:
    """Words that name another row's question, in letters that the base does not take for the same."""
    rows = []
    for at, (question, answer) in enumerate(pairs(300)):
        asked = [_name(7919 * (2 * at + each) % 4096).upper() for each in range(2)]
        said = [_name(7919 * (2 * (at + 1) % 600 + each) % 4096).lower() for each in range(2)]
        rows.append((f"{' '.join(asked)} {question}", f"{answer} {' '.join(said)}."))
    assert point([question for question, _ in rows], [answer for _, answer in rows]).at_own < 10
    judged = judge(ShuffledAnswers(), config(tmp_path, rows), tmp_path)
    assert isinstance(judged, Good)
    assert "the base prefers the given ones" in judged.value


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


def _translated() -> list[Pair]:
    """English to French and back: the set has each sentence in fifteen languages."""
    path = SHARED / "data" / "raw-text" / "multilingual-sentences.txt"
    if not path.exists():
        pytest.skip("the real data sets do not lie beside the repository")
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line]
    made = []
    for at in range(0, len(lines) - 14, 15):
        english, french = lines[at + 4], lines[at + 6]
        made += [(f"Translate to French: {english}", french), (f"Translate to English: {french}", english)]
    return made


def _continued() -> list[Pair]:
    path = SHARED / "data" / "raw-text" / "wiki_demo.txt"
    if not path.exists():
        pytest.skip("the real data sets do not lie beside the repository")
    text = path.read_text(encoding="utf-8").replace("\n", " ")
    return _piece_by_piece([text[at : at + 400] for at in range(0, 120_000, 400)])


@pytest.mark.parametrize(
    "make", [lambda: _both_ways(_real("code-alpaca")[:500]), _translated, _continued], ids=["code", "French", "wiki"]
)
def test_it_is_silent_on_real_sets_that_quote_their_answers(tmp_path: Path, make: Callable[[], list[Pair]]) -> None:
    stories = SHARED / "models" / "stories260k-llama"
    assert not isinstance(judge(ShuffledAnswers(), config(tmp_path, make(), model=stories), tmp_path), Bad)


def test_words_of_scripts_without_spaces_are_pairs_of_characters() -> None:
    assert words("Hello, hello 你好吗!") == {"hello", "你好", "好吗"}
