"""What the audit counts, against counting by hand, and what must not change it."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.rows import Row, chat, chats, seen, write_rows
from support.tiny import TinyWorld

from trimtab.checks.audit import Audit, audit
from trimtab.config import DataConfig
from trimtab.data.prepare import PreparedData, prepare
from trimtab.data.store import TokenizedRows
from trimtab.data.tokenize import TextTokenizer

BOS = 1


def _prepare(folder: Path, rows: list[Row], world: TinyWorld, **keys: Any) -> tuple[PreparedData, TextTokenizer]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(world.llama)
    config = DataConfig(**{"train": str(write_rows(folder / "rows.jsonl", rows)), "validation": "none", **keys})
    data = prepare(
        config,
        tokenizer,
        seed=1,
        vocab_size=300,
        model_max_length=512,
        cache_dir=folder / "cache",
        workers=1,
        notify=lambda line: None,
    )
    return data, TextTokenizer(tokenizer)


def _audit(folder: Path, rows: list[Row], world: TinyWorld, **keys: Any) -> Audit:
    return audit(*_prepare(folder, rows, world, **keys))


@st.composite
def token_rows(draw: st.DrawFn) -> list[Row]:
    """Tokenised rows with targets at random, BOS and end tokens among them."""
    rows = []
    for _ in range(draw(st.integers(3, 25))):
        ids = draw(st.lists(st.integers(1, 20), min_size=2, max_size=70))
        mask = [0, *draw(st.lists(st.integers(0, 1), min_size=len(ids) - 1, max_size=len(ids) - 1))]
        mask[draw(st.integers(1, len(ids) - 1))] = 1
        rows.append({"input_ids": ids, "assistant_masks": mask})
    return rows


def _only_id(world: TinyWorld, text: str) -> int:
    from transformers import AutoTokenizer

    (token,) = AutoTokenizer.from_pretrained(world.llama).encode(text)
    return int(token)


def _by_hand(rows: list[Row], limit: int, blank: set[int]) -> dict[str, Any]:
    """The same figures, a row and a token at a time."""
    added = {0, 1, 2, 3, 4}
    of: dict[str, Any] = {"rows": 0, "tokens": 0, "targets": 0, "bos": 0, "few": 0, "cut": 0, "lost": 0, "ends": {}}
    of |= {"masked": {}, "unended": 0, "whole": 0, "needed": []}
    for row in rows:
        ids, mask = row["input_ids"], row["assistant_masks"]
        last = max(i for i, m in enumerate(mask) if m)
        of["needed"] += [i + 1 for i, m in enumerate(mask) if m and not any(mask[i + 1 : i + 2])]
        if not any(mask[:limit]):
            of["lost"] += sum(mask)
            continue
        of["rows"] += 1
        of["tokens"] += len(ids[:limit])
        of["targets"] += sum(mask[:limit])
        of["bos"] += ids[:2] == [BOS, BOS]
        of["few"] += sum(mask[:limit]) < 10
        of["lost"] += sum(mask[limit:])
        if any(mask[limit:]):
            of["cut"] += 1
            continue
        of["whole"] += 1
        end = last
        while end > max(0, last - 2) and ids[end] in blank:
            end -= 1
        if ids[end] in added and mask[end]:
            of["ends"][ids[end]] = of["ends"].get(ids[end], 0) + 1
        else:
            of["unended"] += 1
            after = ids[:limit][last + 1 : last + 2]
            if ids[end] in added and any(mask[:end]):
                of["masked"][ids[end]] = of["masked"].get(ids[end], 0) + 1
            elif ids[end] not in added and after and after[0] in added:
                of["masked"][after[0]] = of["masked"].get(after[0], 0) + 1
    return of


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=token_rows(), limit=st.integers(30, 80), chunk=st.sampled_from([1, 40, 1 << 20]))
def test_counts_are_those_made_by_hand(
    world: TinyWorld,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[Row],
    limit: int,
    chunk: int,
) -> None:
    monkeypatch.setattr("trimtab.checks.audit.counting._CHUNK_TOKENS", chunk)
    blank = {19: _only_id(world, "\n"), 20: _only_id(world, " ")}
    rows = [{**row, "input_ids": [blank.get(token, token) for token in row["input_ids"]]} for row in rows]
    expected = _by_hand(rows, limit, set(blank.values()))
    if not expected["rows"]:
        return
    found = _audit(tmp_path_factory.mktemp("hand"), rows, world, max_length=limit)
    assert (found.rows, found.tokens, found.target_tokens) == (
        expected["rows"],
        expected["tokens"],
        expected["targets"],
    )
    assert found.double_bos.count == expected["bos"]
    assert found.few_targets.count == expected["few"]
    assert (found.cut.count, found.targets_cut, found.whole) == (
        expected["cut"],
        expected["lost"],
        expected["whole"],
    )
    assert (found.ends, found.masked_ends, found.unended.count) == (
        expected["ends"],
        expected["masked"],
        expected["unended"],
    )
    for length in (limit, limit // 2, 10, 100):
        assert found.answers_cut(length) == sum(needed > length for needed in expected["needed"])
    enough = found.max_length_for(0.9)
    assert found.answers == len(expected["needed"])
    assert found.answers_cut(enough) <= 0.1 * found.answers < found.answers_cut(enough - 1) + 1e-9


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6))
def test_the_order_of_the_rows_changes_no_count(
    world: TinyWorld, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    draw = random.Random(seed)
    rows = [
        *chats(30, seed=seed),
        *chats(5, seed=seed),
        chat("Say.", "It.", "Why?", roles=("user", "assistant", "user")),
    ]
    shuffled = draw.sample(rows, len(rows))
    counts = []
    for order in (rows, shuffled):
        data, tokenizer = _prepare(tmp_path_factory.mktemp("order"), order, world, max_length=64)
        found = audit(data, tokenizer)
        events = {kind: count.count for kind, count in data.report.events.items()}
        counts.append(
            (
                found.tokens,
                found.target_tokens,
                found.answers,
                found.answer_end_counts.tolist(),
                found.cut.count,
                found.few_targets.count,
                found.ends,
                found.unended.count,
                found.duplicates.count,
                found.most_copies,
                events,
            )
        )
    assert counts[0] == counts[1]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_row_that_is_added_again_is_found(
    world: TinyWorld, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rows = chats(20, seed=data.draw(st.integers(0, 1000)))
    which = data.draw(st.integers(0, 19))
    found = _audit(tmp_path_factory.mktemp("again"), [*rows, rows[which]], world)
    assert found.duplicates.count == 1
    assert found.duplicates.first == (("rows.jsonl:21", f"rows.jsonl:{which + 1}"),)


def test_every_tokenised_row_is_in_the_store_kept_or_not(world: TinyWorld, tmp_path: Path) -> None:
    long_prompt = chat(" ".join(["word"] * 90), "It.")
    no_target = {"input_ids": [5, 6, 7], "labels": [-100, -100, -100]}
    chat_file = write_rows(tmp_path / "chats.jsonl", [*chats(5), long_prompt, chat("a", "b", "c", "d")])
    ids_file = write_rows(tmp_path / "ids.jsonl", [no_target, {"input_ids": [5, 6, 7, 8], "labels": [-100, 6, 7, 8]}])
    data, _ = _prepare(tmp_path, [], world, train=[str(chat_file), str(ids_file)], max_length=80)
    rows = TokenizedRows.open(data.train.folder.parent)
    assert len(rows) == 9
    assert rows.is_kept.tolist() == [True] * 5 + [False, True, False, True]
    assert rows.answer_counts.tolist() == [1, 1, 1, 1, 1, 1, 2, 0, 1]
    assert np.all(np.diff(rows.places) > 0)
    assert np.array_equal(rows.places[rows.is_kept], data.train.places)
    assert rows.full_lengths[5] > 80
    ends = np.split(rows.answer_ends, np.cumsum(rows.answer_counts)[:-1])
    for length, of_row in zip(rows.full_lengths, ends, strict=True):
        assert np.all(of_row <= length)
        assert np.all(np.diff(of_row) > 0)


def test_both_splits_are_looked_at_wherever_their_tokens_lie(world: TinyWorld, tmp_path: Path) -> None:
    twice = {"input_ids": [1, 1, *range(5, 40)]}
    rows = [{"input_ids": [1, *range(5 + i % 7, 60)]} for i in range(100)]
    rows[::10] = [twice] * 10
    data, tokenizer = _prepare(tmp_path, rows, world, validation=0.3)
    assert data.validation is not None
    found = audit(data, tokenizer)
    assert (found.rows, found.double_bos.count) == (100, 10)
    assert found.tokens == data.train.tokens + data.validation.tokens
    assert found.in_train.count == 0  # equal rows are on one side


def test_evidence_makes_it_once(world: TinyWorld, tmp_path: Path) -> None:
    looked_at = seen(world, tmp_path, chats(20))
    assert looked_at.audit is looked_at.audit
    assert isinstance(looked_at.audit, Audit)
