"""Answers that stop before their end."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from support.demo_base import config, pairs
from support.evidence import judge
from support.rows import chat, chats, seen, sentence
from support.tiny import TinyWorld

from trimtab.checks.half_words import half_words
from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.unended_answers import UnendedAnswers
from trimtab.records import Severity


def _answers(count: int, words: int, seed: int, *, ending: str) -> list[dict[str, object]]:
    draw = random.Random(seed)
    return [chat(sentence(draw, 5), sentence(draw, words).removesuffix(".") + ending) for _ in range(count)]


def test_it_fires_on_the_longest_that_break_off(world: TinyWorld, tmp_path: Path) -> None:
    rows = [*_answers(180, 25, 1, ending="."), *_answers(20, 60, 2, ending="")]
    judgement = UnendedAnswers().judge(seen(world, tmp_path, rows))
    assert isinstance(judgement, Bad)
    assert "longest answers break off in mid-sentence" in judgement.evidence
    assert judgement.severity is Severity.WARNS
    assert judgement.rows[0].startswith("rows.jsonl:1")


def test_it_is_silent_on_answers_that_are_cut_here(world: TinyWorld, tmp_path: Path) -> None:
    rows = [*chats(80), *_answers(20, 60, 2, ending=".")]
    assert isinstance(UnendedAnswers().judge(seen(world, tmp_path, rows, max_length=96)), Good)  # answers-cut warns


def test_it_fires_on_the_few_without_an_end_token(world: TinyWorld, tmp_path: Path) -> None:
    ended = {"input_ids": [*range(5, 40), 4], "labels": [-100] * 5 + [*range(10, 40), 4]}
    bare = {"input_ids": list(range(5, 40)), "labels": [-100] * 5 + list(range(10, 40))}
    judgement = UnendedAnswers().judge(seen(world, tmp_path, [*([ended] * 99), bare]))
    assert isinstance(judgement, Bad)
    assert judgement.severity is Severity.NOTES
    assert judgement.rows == ("rows.jsonl:100",)


@pytest.mark.parametrize(
    "ending", [".", "!", ")", "", " 42"], ids=["stop", "exclamation", "bracket", "letter", "number"]
)
def test_it_is_silent_when_long_and_short_end_alike(world: TinyWorld, tmp_path: Path, ending: str) -> None:
    rows = [*_answers(100, 25, 1, ending=ending), *_answers(20, 40, 2, ending=ending)]
    assert isinstance(UnendedAnswers().judge(seen(world, tmp_path, rows)), Good)


def _essays(count: int, seed: int = 4) -> list[str]:
    """Answers of three to ten sentences."""
    draw = random.Random(seed)
    return [" ".join(sentence(draw, draw.randint(4, 9)) for _ in range(draw.randint(3, 10))) for _ in range(count)]


@pytest.mark.parametrize(
    ("shorten", "said"),
    [
        (lambda text: text[:120], "have 120 characters"),
        (lambda text: " ".join(text.split()[:20]), "have 20 words"),
    ],
    ids=["characters", "words"],
)
def test_it_fires_where_all_answers_stop_at_one_length(
    world: TinyWorld, tmp_path: Path, shorten: Callable[[str], str], said: str
) -> None:
    rows = [chat(f"Say it {i}.", shorten(text)) for i, text in enumerate(_essays(120))]
    judgement = UnendedAnswers().judge(seen(world, tmp_path, rows))
    assert isinstance(judgement, Bad)
    assert judgement.severity is Severity.WARNS
    assert said in judgement.value
    assert "break off in mid-sentence" in judgement.evidence


def test_it_fires_where_most_long_answers_break_off(world: TinyWorld, tmp_path: Path) -> None:
    draw = random.Random(1)
    rows = [chat(f"Say it {i}.", text[: draw.randint(90, 160)].rstrip(". ")) for i, text in enumerate(_essays(120))]
    judgement = UnendedAnswers().judge(seen(world, tmp_path, rows))
    assert isinstance(judgement, Bad)
    assert judgement.severity is Severity.WARNS
    assert "long answers break off" in judgement.value


def _verses(count: int) -> list[str]:
    draw = random.Random(2)
    return ["\n".join(sentence(draw, 6).removesuffix(".") for _ in range(6)) for _ in range(count)]


def _code(count: int) -> list[str]:
    return [f"def f{i}(x):\n    # Adds {i}. It is quick.\n    y = x + {i}\n    return y" for i in range(count)]


@pytest.mark.parametrize(
    "answers",
    [
        _essays(120),
        _verses(120),
        _code(120),
        [["positive", "negative"][i % 2] for i in range(120)],
        [f"{i:064x}"[::-1].replace("0", "a") for i in range(120)],
    ],
    ids=["prose", "verse", "code", "labels", "hashes"],
)
def test_it_is_silent_where_answers_end_as_they_should(world: TinyWorld, tmp_path: Path, answers: list[str]) -> None:
    rows = [chat(f"Say it {i}.", text) for i, text in enumerate(answers)]
    assert isinstance(UnendedAnswers().judge(seen(world, tmp_path, rows)), Good)


def test_it_is_silent_on_text_in_pieces_of_one_length(world: TinyWorld, tmp_path: Path) -> None:
    rows = [{"text": text[:120]} for text in _essays(120)]
    assert isinstance(UnendedAnswers().judge(seen(world, tmp_path, rows)), Good)


def _cut(rows: list[tuple[str, str]], share: float) -> list[tuple[str, str]]:
    """Answers cut at two fifths of their characters."""
    chosen = set(random.Random(0).sample(range(len(rows)), round(share * len(rows))))
    return [(q, a[: len(a) * 2 // 5].rstrip() if at in chosen else a) for at, (q, a) in enumerate(rows)]


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_it_fires_on_short_answers_that_end_in_half_a_word(tmp_path: Path, share: float) -> None:
    judged = judge(UnendedAnswers(), config(tmp_path, _cut(pairs(300), share)), tmp_path)
    assert isinstance(judged, Bad)
    assert judged.severity is Severity.WARNS
    assert "end in half a word" in judged.value


def _labels(rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The last word alone, without its full stop."""
    return [(question, answer.rstrip(".").split()[-1]) for question, answer in rows]


@pytest.mark.parametrize("rows", [pairs(300), _labels(pairs(300)), pairs(30)], ids=["sentences", "labels", "few"])
def test_it_is_silent_on_short_answers_that_are_whole(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    assert isinstance(judge(UnendedAnswers(), config(tmp_path, rows), tmp_path), Good)


def test_half_words_are_told_from_names_that_begin_others() -> None:
    names = [f"Ann{letter}" for letter in "abcdefghijklmnopqrst"]
    found = half_words([f"Who is it, {name}{name.lower()}?" for name in names], names)
    assert found.open == len(found.halves) == 20
    found = half_words(
        ["Who was it that shut the window?"] * 3, ["Hilda shut the window.", "Hilda shut the wi", "Hilda"]
    )
    assert found.halves == (1,)
