"""A model that is made to speak, and left as it was."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trimtab.data.order import Rows
from trimtab.data.store import TokenStore
from trimtab.model.core import causal_lm
from trimtab.model.fit import Fit
from trimtab.model.generate import Sampling, continued, stop_ids
from trimtab.model.load import pad_id, quiet
from trimtab.model.recited import recited_tokens
from trimtab.train.evaluate import evaluating
from trimtab.train.feed import Feed
from trimtab.train.precision import Precision


@dataclass(frozen=True)
class Speaker:
    """One process's model, whole, not wrapped."""

    model: nn.Module
    tokenizer: Any
    fitted: Fit
    precision: Precision
    device: torch.device
    batch_size: int
    """Examples that an evaluation takes at once."""

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Evaluation mode within; mode and random state are as they were after."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), quiet(), evaluating(self.model), self.precision.autocast():
            yield

    @property
    def positions(self) -> int | None:
        """The longest text that it was made for, in tokens; None where there is no such limit."""
        return getattr(causal_lm(self.model).config.get_text_config(), "max_position_embeddings", None) or None

    def answers(self, prompts: Sequence[Sequence[int]], new_tokens: int) -> list[str]:
        """The likeliest text after each prompt, up to the token that ends it."""
        made = continued(self.model, self.tokenizer, prompts, Sampling(max_new_tokens=new_tokens)) if prompts else []
        stops = set(stop_ids(self.tokenizer))
        ends = [next((at for at, token in enumerate(row) if token in stops), len(row)) for row in made]
        return [self.text(row[:end]) for row, end in zip(made, ends, strict=True)]

    def recited(self, store: TokenStore, rows: Rows) -> list[int]:
        """Target tokens of each example that it gives back (model/recited.py), laid out and computed as an evaluation
        does."""
        feed = Feed(self.fitted.layout, pad_id(self.tokenizer), self.device, process=0, processes=1)
        found: list[int] = []
        for start in range(0, len(rows), self.batch_size):
            some = rows[start : start + self.batch_size]
            (batch,) = feed.of_rows(store, some, self.batch_size)
            found += recited_tokens(self.model, self.fitted.head, batch, store.target_counts[some].tolist())
        return found

    def text(self, tokens: Sequence[int]) -> str:
        """Without control tokens."""
        return str(self.tokenizer.decode([int(token) for token in tokens], skip_special_tokens=True)).strip()

    def whole_text(self, tokens: Sequence[int]) -> str:
        """As the model reads it."""
        return str(self.tokenizer.decode([int(token) for token in tokens]))
