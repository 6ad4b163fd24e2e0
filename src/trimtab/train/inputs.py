"""What a config's run is fed: its tokenizer and its prepared data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trimtab.config import RunConfig
from trimtab.data.cache import default_cache_dir
from trimtab.data.prepare import PreparedData, prepare
from trimtab.model.load import load_config, load_tokenizer, longest_position


def _cores() -> int:
    """The cores this process may use, which in a container are fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def prepare_inputs(config: RunConfig, notify: Callable[[str], None]) -> tuple[Any, PreparedData]:
    """(tokenizer, data) as `config` asks for; read from the cache where nothing changed.

    Raises:
        UserError: the model has no tokenizer, or the data cannot be used.
    """
    tokenizer = load_tokenizer(config.model)
    vocab_size = getattr(load_config(config.model).get_text_config(), "vocab_size", None)
    data = prepare(
        config.data,
        tokenizer,
        seed=config.training.data_seed_or_seed,
        vocab_size=vocab_size,
        model_max_length=longest_position(config.model),
        cache_dir=Path(config.data.cache_dir).expanduser() if config.data.cache_dir else default_cache_dir(),
        workers=_cores() if config.data.workers == "auto" else int(config.data.workers),
        notify=notify,
    )
    if data.chat_template is not None:
        tokenizer.chat_template = data.chat_template  # saved with the weights: served as they were trained
    return tokenizer, data
