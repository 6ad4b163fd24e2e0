"""Whether the model says its training rows word for word."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, ClassVar

from trimtab.data.exchange import Exchange, exchange_of
from trimtab.data.store import TokenStore
from trimtab.guard.asked import seen_rows
from trimtab.guard.lab import FORWARD_SHARE, shortened
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values
from trimtab.model.generate import Sampling, continued

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

ROWS = 16
FEWEST_ROWS = 4
TOKENS = 32
"""Compared of each answer, at most."""
TELLING_TOKENS = 8
"""Of an answer, at least: short ones are said again by anything that has learnt its task."""
LONGEST_PROMPT = 1024
TOKEN_COST = 3.0
"""How many tokens of a batched forward a generated one takes: one at a time, and each alone. bench/probes.py."""


class Memorisation(Probe):
    """Whether training rows are repeated word for word, and held-out ones are not.

    Greedy generation, now, from the prompts of rows that were trained on and of as many held-out ones, up to 32 tokens;
    only answers of at least 8 tokens are asked for.

    - rows: of each kind
    - verbatim_share, held_out_verbatim_share: share of the answers that begin exactly as the row's. High on both is a
      task with one right answer; high on trained rows alone is memory.
    - longest_match_share: median share of an answer that the longest run of equal tokens covers, of trained rows
    - sample: an answer that was repeated, decoded, or the first

    Cost: by tokens, about 3 times those of a forward: they are made one at a time.

    Source: Carlini et al., "Quantifying memorization across neural language models" (arXiv 2202.07646): greedy
    continuation of training prefixes.
    """

    name: ClassVar[str] = "memorisation"
    default_steps: ClassVar[float] = 16.0
    sharded: ClassVar[bool] = False

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        each = FORWARD_SHARE * (TOKENS * TOKEN_COST + float(lab.train.lengths.mean())) / lab.tokens_per_step
        most = min(ROWS, int(budget_steps / (2 * each)))
        trained = _exchanges(lab.train, seen_rows(lab, 4 * ROWS).tolist(), most)
        held_out = _exchanges(lab.held_out_store, [int(row) for row in lab.held_out_rows], most)
        count = min(len(trained), len(held_out) or len(trained))
        if count < FEWEST_ROWS:
            raise CannotProbe(
                f"only {count} rows have a prompt and an answer of {TELLING_TOKENS} tokens, or were seen yet"
            )
        trained, held_out = trained[:count], held_out[:count]
        made = self._answers(lab, trained)
        others = self._answers(lab, held_out)
        lab.spent_steps += each * (len(trained) + len(held_out))
        verbatim = [_is_verbatim(m, e) for m, e in zip(made, trained, strict=True)]
        shown = verbatim.index(True) if any(verbatim) else 0
        values = {
            "rows": count,
            "verbatim_share": sum(verbatim) / count,
            "held_out_verbatim_share": _share([_is_verbatim(m, e) for m, e in zip(others, held_out, strict=True)]),
            "longest_match_share": statistics.median(_longest(m, e) for m, e in zip(made, trained, strict=True)),
            "sample": shortened(str(lab.tokenizer.decode(made[shown])), 200),
        }
        sentence = (
            f"{sum(verbatim)} of {count} answers to rows that were trained on are those rows' own, word for word; "
            f"{values['held_out_verbatim_share']:.0%} of those to held-out rows"
        )
        return values, sentence

    def _answers(self, lab: Lab, exchanges: Sequence[Exchange]) -> list[list[int]]:
        if not exchanges:
            return []
        prompts = [exchange.prompt.tolist() for exchange in exchanges]
        with lab.at(None), lab.stepper.precision.autocast():
            return continued(lab.model, lab.tokenizer, prompts, Sampling(max_new_tokens=TOKENS))


def _exchanges(store: TokenStore, rows: Sequence[int], most: int) -> list[Exchange]:
    found: list[Exchange] = []
    for row in rows:
        if len(found) >= most:
            break
        exchange = exchange_of(store, row)
        if exchange is not None and len(exchange.answer) >= TELLING_TOKENS and len(exchange.prompt) <= LONGEST_PROMPT:
            found.append(exchange)
    return found


def _is_verbatim(made: Sequence[int], exchange: Exchange) -> bool:
    wanted = exchange.answer[:TOKENS].tolist()
    return bool(list(made[: len(wanted)]) == wanted)


def _longest(made: Sequence[int], exchange: Exchange) -> float:
    wanted = exchange.answer[:TOKENS].tolist()
    return SequenceMatcher(None, list(made), wanted, autojunk=False).find_longest_match().size / len(wanted)


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else float("nan")
