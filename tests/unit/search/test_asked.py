"""A search by somebody else's loop decides as the study does, and goes on where it was stopped."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.runs import sections, write_config
from support.tiny import TinyWorld

import trimtab
from trimtab.errors import DataError
from trimtab.search.asked import AskTell, Piece

SPACE = {"training.learning_rate": [1e-3, 1e-2, 1e-1], "adapter.r": [2, 4]}


@pytest.fixture
def begin(world: TinyWorld, tmp_path: Path) -> Callable[[bool], AskTell]:
    config = sections(world, tmp_path / "run", warmup_steps=1)
    config["search"] = {"steps": 6, "rungs": [3]}
    path = write_config(tmp_path / "run.yaml", config)
    return lambda resume: trimtab.ask_tell(path, space=SPACE, resume=resume)


def trained(piece: Piece) -> list[float]:
    """Best at 1e-2 and rank 4."""
    rate, rank = float(piece.params["training.learning_rate"] or 0), int(piece.params["adapter.r"] or 0)
    loss = 1 + abs(math.log(rate / 1e-2)) + abs(math.log(rank / 4)) + 1 / piece.until
    rows: list[float] = (np.random.default_rng(piece.until).normal(0, 0.01, 20) + loss).tolist()
    return rows


def drive(study: AskTell, most: int = 1000) -> list[tuple[str, int, int]]:
    seen: list[tuple[str, int, int]] = []
    while len(seen) < most and (piece := study.ask()) is not None:
        seen.append((piece.trial, piece.start, piece.until))
        assert piece.config.adapter is not None
        assert piece.config.adapter.r == piece.params["adapter.r"]
        study.tell(piece, trained(piece), [1] * 20)
    return seen


def test_asked_and_told_to_the_end(begin: Callable[[bool], AskTell]) -> None:
    study = begin(False)
    seen = drive(study)
    assert seen[:6] == [(f"trial-{number}", 0, 3) for number in range(6)]
    assert seen[-1][1:] == (3, 6)
    assert sum(piece[1:] == (3, 6) for piece in seen) == 2, "one in three of six went on"
    assert study.leaderboard is not None
    assert study.leaderboard.best_params == {"training.learning_rate": 1e-2, "adapter.r": 4}


def test_begun_again_it_asks_only_for_what_it_was_not_told(begin: Callable[[bool], AskTell]) -> None:
    first = drive(begin(False), most=4)
    again = begin(True)
    rest = drive(again)
    assert not set(first) & set(rest)
    assert again.leaderboard is not None
    assert again.leaderboard.best_params == {"training.learning_rate": 1e-2, "adapter.r": 4}


def test_what_is_told_wrongly_is_refused(begin: Callable[[bool], AskTell]) -> None:
    study = begin(False)
    piece = study.ask()
    assert piece is not None
    for sums, targets in (([], []), ([1.0], [1, 2]), ([1.0], [0]), ([1.0, 1.0], [1, -1])):
        with pytest.raises(DataError, match="targets"):
            study.tell(piece, sums, targets)
    study.tell(piece, [math.nan], [1])
    with pytest.raises(DataError, match="once"):
        study.tell(piece, [1.0], [1])
