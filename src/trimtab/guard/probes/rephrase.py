"""The same questions, asked a little differently."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from trimtab.data.exchange import Exchange, exchange_of
from trimtab.guard.asked import said_in, seen_rows
from trimtab.guard.lab import BASE, NOW, Where
from trimtab.guard.paired import larger_p, mean
from trimtab.guard.probe import CannotProbe, Probe, Suspect, Values

if TYPE_CHECKING:
    from trimtab.guard.lab import Lab

MOST_ROWS = 48
FEWEST_ROWS = 8
LONGEST_PROMPT = 1024
ENGLISH_STARTS = re.compile(
    r"(?:what|who|where|when|why|how|which|does|do|did|is|are|was|were|can|could|would|should|the|please|write|give|list|"
    r"explain|describe|name|tell|make|find|create|generate|summari[sz]e|translate|identify)",
    re.IGNORECASE,
)
"""First words that are no names, and that tell English: only after them is anything said in English."""
_CODE = re.compile(r"[`{}<>|\\]|\n\s{2,}")
"""Where whitespace and case may mean something, nothing is rewritten."""


class Rephrase(Probe):
    """Whether answers hang on the very words of their questions.

    Rows that were trained on, their question rewritten so that its meaning surely stays: "please" before or after it,
    another case of its first letter (after words that are no names), its final mark left out or set apart, another
    space. Rows with code or markup are left as they are.

    - loss_asked, loss_rephrased: mean loss of the answers in nats, now
    - base_asked, base_rephrased: under the base
    - gap_now, gap_base: rephrased less asked
    - p: how often chance would make gap_now so much larger than gap_base, row by row (Student's t, one-sided)

    Cost: four forwards a row.

    Source: Sclar et al., "Quantifying language models' sensitivity to spurious features in prompt design" (arXiv
    2310.11324); answers that break with the wording are what over-training looks like from outside.
    """

    name: ClassVar[str] = "rephrase"
    default_steps: ClassVar[float] = 4.0

    def measure(self, lab: Lab, suspect: Suspect, budget_steps: float) -> tuple[Values, str]:
        most = min(MOST_ROWS, lab.affordable(budget_steps, forwards=4))
        pairs = _pairs(lab, most)
        if len(pairs) < FEWEST_ROWS:
            raise CannotProbe(f"only {len(pairs)} of the rows seen have a question that can surely be rephrased")
        asked, again = self._losses(lab, NOW, pairs)
        base_asked, base_again = self._losses(lab, BASE, pairs)
        values = {
            "loss_asked": mean(asked),
            "loss_rephrased": mean(again),
            "base_asked": mean(base_asked),
            "base_rephrased": mean(base_again),
            "gap_now": mean(again) - mean(asked),
            "gap_base": mean(base_again) - mean(base_asked),
            "p": larger_p(_differences(again, asked), _differences(base_again, base_asked)),
        }
        sentence = (
            f"{len(pairs)} questions asked a little differently: the loss of their answers goes from {mean(asked):.3f} "
            f"to {mean(again):.3f}; under the base from {mean(base_asked):.3f} to {mean(base_again):.3f}"
        )
        return values, sentence

    def _losses(
        self, lab: Lab, where: Where, pairs: list[tuple[Exchange, np.ndarray]]
    ) -> tuple[list[float], list[float]]:
        with lab.at(where):
            asked = lab.losses_of([exchange.example() for exchange, _ in pairs])
            return asked, lab.losses_of([exchange.example(prompt) for exchange, prompt in pairs])


def _pairs(lab: Lab, most: int) -> list[tuple[Exchange, np.ndarray]]:
    """Exchanges with a second prompt, where the question stands in the prompt and the tokens round-trip."""
    rows = seen_rows(lab, 4 * most)[: 4 * most]
    said = said_in(lab, lab.train, rows.tolist())
    found: list[tuple[Exchange, np.ndarray]] = []
    for row, texts in said.items():
        exchange = exchange_of(lab.train, row)
        if len(found) >= most or exchange is None or len(exchange.prompt) > LONGEST_PROMPT:
            continue
        prompt = str(lab.tokenizer.decode(exchange.prompt.tolist()))
        question = texts.last_question.strip()
        before, found_in, after = prompt.rpartition(question)
        again = rephrased(question, len(found)) if question else None
        if not found_in or again is None or not _round_trips(lab, prompt, exchange):
            continue
        ids = np.asarray(lab.tokenizer.encode(before + again + after, add_special_tokens=False), dtype=np.int32)
        found.append((exchange, ids))
    return found


def _round_trips(lab: Lab, prompt: str, exchange: Exchange) -> bool:
    return bool(list(lab.tokenizer.encode(prompt, add_special_tokens=False)) == exchange.prompt.tolist())


def rephrased(question: str, turn: int) -> str | None:
    """The same question in another dress, by turns; None where that is not sure."""
    if _CODE.search(question) or len(question.split()) < 3:
        return None
    first, _, rest = question.partition(" ")
    is_english = ENGLISH_STARTS.fullmatch(first) is not None
    marked = question[-1] in ".?!"
    ways = [f"{question[:-1]} {question[-1]}" if marked else f"{question}."]
    if marked and question[-1] == ".":
        ways.append(question[:-1])
    if is_english:
        other_case = first.lower() if first[0].isupper() else first.capitalize()
        ways += [f"{other_case} {rest}", f"Please answer: {question}", f"{question} Please."]
    return ways[turn % len(ways)]


def _differences(one: list[float], other: list[float]) -> list[float]:
    return [a - b for a, b in zip(one, other, strict=True)]
