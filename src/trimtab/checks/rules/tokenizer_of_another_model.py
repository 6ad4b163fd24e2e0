from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage, Unavailable
from trimtab.data.exchange import spread
from trimtab.data.store import Example
from trimtab.errors import ModelError
from trimtab.records import Severity

ROWS, FEWEST_ROWS, TOKENS = 32, 8, 256
CHANCE = 0.95
"""Of ln(vocabulary), the loss of a model that finds every token equally likely. A trained base that can read the text
is far below; one fed with another model's ids is above, being surely wrong."""
WORSE = 1.1
"""Of chance. Random weights are within some per cent of it."""
UNUSED = 0.2
"""Share of the embedding's rows without a token. Padding to round sizes leaves at most some per cent."""


class TokenizerOfAnotherModel(Rule):
    """
    What it finds:
        A base that predicts the text of the data no better than chance, and signs that the tokenizer is not its own:
        more tokens than the embedding has rows, far fewer, other special ids than config.json's.

    Why it matters:
        Ids of another vocabulary are noise to the base. Training then learns the new code from nothing, on a data set
        a million times smaller than pretraining's.

    Example:
        tokenizer.json of Llama-2 beside the weights of a GPT-2 base: 11.4 nats per token, where chance is 10.8.

    Fix:
        Put the tokenizer files of the base beside its weights.

    What it cannot see:
        Tokenizers that differ in a few tokens. A base that never learnt the language of the data, or one with random
        weights, looks the same by its loss; without other signs, or where all weights are trained from about chance,
        this warns only.

    Source:
        Cross-entropy of the uniform distribution is ln(vocabulary).
    """

    name: ClassVar[str] = "tokenizer-of-another-model"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.BASE
    cause: ClassVar[str] = "template-mismatch"

    def judge(self, seen: Evidence) -> Judgement:
        signs = _signs(seen)
        chance = math.log(seen.architecture.vocab_size)
        limit = (
            f"below {CHANCE * chance:.2f} nats per token ({CHANCE:.0%} of chance, ln {seen.architecture.vocab_size})"
        )
        try:
            loss, rows = _loss(seen)
        except Unavailable as reason:
            if not signs:
                return NotApplicable(str(reason))
            return Bad(
                value=f"{len(signs)} signs",
                limit="the tokenizer's ids are the base's",
                evidence=f"{'; '.join(signs)}; the base's loss is not known ({reason})",
                fix=_fix(seen),
                severity=Severity.NOTES,
            )
        value = f"{loss:.2f} nats per token on {rows} examples"
        if loss < CHANCE * chance:
            return Good(value=value, limit=limit)
        severity = Severity.WARNS
        if signs:
            evidence, fix = f"no better than chance; {'; '.join(signs)}", _fix(seen)
            # Weights drawn at random are at chance in every tokenizer's ids, and training all of them is sound.
            from_scratch = seen.config.adapter is None and loss <= WORSE * chance
            severity = Severity.WARNS if from_scratch else Severity.BLOCKS
        elif loss > WORSE * chance:
            evidence = "far worse than chance: to the base these ids mean something else, or it never saw such text"
            fix = f"{_fix(seen)}; if those there are its own, take a base that knows this language or kind of text"
        elif seen.config.adapter is None:
            evidence, severity = "the loss of random weights, and the tokenizer fits", Severity.NOTES
            fix = "nothing, if you train from random weights; else take the trained base"
        else:
            evidence = "the loss of random weights, and the tokenizer fits: an adapter cannot make up for pretraining"
            fix = "take a trained base, or train all of it: adapter: none"
        return Bad(value=value, limit=limit, evidence=evidence, fix=fix, severity=severity)


def _loss(seen: Evidence) -> tuple[float, int]:
    """Mean loss of the base per token of the beginnings of some examples, context and answers alike."""
    store = seen.data.train
    chosen: list[Example] = []
    for row in spread(store, ROWS):
        if len(chosen) == ROWS:
            break
        ids = store.example(row).input_ids[:TOKENS]
        if len(ids) > 1:
            chosen.append(Example(ids, np.arange(len(ids)) > 0))
    each = sum(len(example.input_ids) for example in chosen) / max(1, len(chosen))
    affordable = int(seen.base.affordable_tokens / max(1.0, each))
    if affordable < FEWEST_ROWS:
        raise Unavailable(
            f"the base is too slow here: there is time for {seen.base.affordable_tokens:,} tokens, and {FEWEST_ROWS} "
            f"examples take {int(FEWEST_ROWS * each):,}"
        )
    chosen = chosen[:affordable]
    counts_N = np.array([len(example.input_ids) - 1 for example in chosen])
    return float(np.average(seen.base.mean_losses(chosen), weights=counts_N)), len(chosen)


def _signs(seen: Evidence) -> list[str]:
    rows, tokens = int(seen.architecture.vocab_size), len(seen.tokenizer)
    found = []
    if tokens > rows:
        found.append(f"the tokenizer has {tokens:,} tokens and the embedding {rows:,} rows")
    elif tokens < (1 - UNUSED) * rows:
        found.append(f"the tokenizer has {tokens:,} tokens for {rows:,} rows of the embedding")
    begins, ends = seen.architecture.bos_token_id, _ids(seen.architecture.eos_token_id) | _generation_ends(seen)
    bos, eos = seen.tokenizer.bos_token_id, seen.tokenizer.eos_token_id
    # One alone is common in sound models: a chat model ends turns with another token than its base ended texts.
    if begins is not None and bos is not None and begins != bos and ends and eos is not None and eos not in ends:
        found.append(
            f"config.json begins text with id {begins} and ends it with {', '.join(map(str, sorted(ends)))}, the "
            f"tokenizer with {bos} and {eos}"
        )
    return found


def _ids(given: Any) -> set[int]:
    return set() if given is None else set(given) if isinstance(given, (list, tuple)) else {int(given)}


def _generation_ends(seen: Evidence) -> set[int]:
    from transformers import GenerationConfig

    from trimtab.model.load import quiet

    model = seen.config.model
    try:
        with quiet():
            return _ids(GenerationConfig.from_pretrained(model.name_or_path, revision=model.revision).eos_token_id)
    except (OSError, ValueError, ModelError):
        return set()  # most bases have none


def _fix(seen: Evidence) -> str:
    where = seen.config.model.name_or_path
    return f"put the base's own tokenizer.json and tokenizer_config.json beside its weights ({where})"
