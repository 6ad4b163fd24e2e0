"""Tokenizers trained in place, in milliseconds, and a `prepare` with few arguments."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.chat_tokenizers import CHATML, byte_level, make_tokenizer

from trimtab.config import DataConfig
from trimtab.data.prepare import PreparedData, prepare


@pytest.fixture(scope="session")
def chatml() -> Any:
    return make_tokenizer(byte_level(), CHATML)


@pytest.fixture(scope="session")
def base() -> Any:
    """No chat template."""
    return make_tokenizer(byte_level(), None)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """write(rows, name) -> path of a JSONL file (or of raw bytes)."""

    def _write(rows: Any, name: str = "rows.jsonl") -> str:
        path = tmp_path / name
        if isinstance(rows, bytes):
            path.write_bytes(rows)
        elif isinstance(rows, str):
            path.write_text(rows, encoding="utf-8")
        else:
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return _write


@pytest.fixture
def run(tmp_path: Path, chatml: Any) -> Callable[..., PreparedData]:
    """run(train, **data config) -> PreparedData; notices land in run.notices."""

    def _run(
        train: Any,
        *,
        tokenizer: Any = None,
        seed: int = 0,
        vocab_size: int | None = None,
        workers: int = 1,
        **config: Any,
    ) -> PreparedData:
        _run.notices = []  # type: ignore[attr-defined]
        return prepare(
            DataConfig(train=train, **{"validation": "none", **config}),
            tokenizer or chatml,
            seed=seed,
            vocab_size=vocab_size,
            model_max_length=None,
            cache_dir=tmp_path / "cache",
            workers=workers,
            notify=_run.notices.append,  # type: ignore[attr-defined]
        )

    return _run


def decoded_targets(tokenizer: Any, store: Any, index: int) -> list[str]:
    """Each run of target tokens, decoded."""
    example = store.example(index)
    runs: list[list[int]] = []
    previous = False
    for token, is_target in zip(example.input_ids.tolist(), example.is_target.tolist(), strict=True):
        if is_target:
            if not previous:
                runs.append([])
            runs[-1].append(token)
        previous = is_target
    return [tokenizer.backend_tokenizer.decode(r, skip_special_tokens=False) for r in runs]


@pytest.fixture
def targets() -> Callable[..., list[str]]:
    return decoded_targets
