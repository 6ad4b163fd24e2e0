from __future__ import annotations

from collections import Counter
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trimtab.checks.embeddings import UntrainedRows, head_module, learns, look_at_embeddings
from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage
from trimtab.data.store import TokenStore
from trimtab.records import Severity

MANY = 0.5
"""Share of the examples: from here on it is the format that uses the token, such as the token that ends each turn."""
FEW = 0.01
"""Share below which it is some rare character: worth a note."""
NAMED = 8


class UntrainedEmbeddings(Rule):
    """
    What it finds:
        Tokens in the data whose embedding rows look as if nothing had ever trained them (zeros, equal to another row,
        near zero, at the mean of all rows), and that this run does not train either.

    Why it matters:
        A frozen row of the output head that is zero or the twin of others gives its token the same score as its twins
        in every context: a model with such an end-of-turn token never stops. A frozen input row of this kind tells the
        model nothing.

    Example:
        <|im_end|> added to a Llama-3 base: its row equals those of 250 reserved tokens, and LoRA trains neither
        embed_tokens nor lm_head.

    Fix:
        adapter.modules_to_save: [embed_tokens, lm_head], or a chat template that ends turns with a token that the base
        knows.

    What it cannot see:
        Rows that were drawn at random when tokens were added: they look like trained ones. Norms far above the bulk
        are no sign: trained control tokens have them too.

    Source:
        unslothai/unsloth#1053, #1256, #658 (untrained tokens); QwenLM/Qwen3#1064, huggingface/trl#2414 (a base tuned
        on a token it does not know cannot stop).
    """

    name: ClassVar[str] = "untrained-embeddings"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.WEIGHTS
    cause: ClassVar[str] = "untrained-special-token"

    def judge(self, seen: Evidence) -> Judgement:
        adapter = seen.config.adapter
        if adapter is None:
            return NotApplicable("every weight is trained, the embeddings too")
        inputs, outputs = look_at_embeddings(seen)
        read_V = inputs.idle_V & (not learns(inputs.module, adapter))
        # A tied head learns with the embedding, or by itself.
        head = {outputs.module, head_module(seen.skeleton) or outputs.module}
        written_V = outputs.idle_V & (not any(learns(module, adapter) for module in head))
        limit = "every token of the data has a trained row, or learns in this run"
        if not (read_V.any() or written_V.any()):
            return Good(value=f"none of {inputs.rows:,} rows looks untrained and stays so", limit=limit)
        hit = _Hits(seen.data.train, read_V, written_V)
        if not hit.rows:
            idle = int((read_V | _fitted(written_V, len(read_V))).sum())
            return Good(value=f"no token of the data is among the {idle:,} rows that look untrained", limit=limit)
        examples = len(seen.data.train)
        worst = [token for token, _ in (hit.in_targets or hit.in_inputs).most_common(NAMED)]
        named = ", ".join(f"{seen.tokenizer.convert_ids_to_tokens(token)!r} ({token})" for token in worst)
        modules = dict.fromkeys(one.module.rsplit(".", 1)[-1] for one in (inputs, outputs))
        return Bad(
            value=f"{len(hit.in_inputs | hit.in_targets):,} tokens in {len(hit.rows):,} of {examples:,} examples",
            limit=limit,
            evidence=f"{named}: {_looks(outputs if hit.in_targets else inputs, worst)}; as targets in "
            f"{hit.target_rows:,} examples",
            fix=f"set adapter.modules_to_save: [{', '.join(modules)}], or a data.chat_template with tokens that the "
            "base knows",
            rows=tuple(seen.data.train.place_name(row) for row in hit.rows[:20]),
            severity=_severity(hit, outputs, examples),
        )


class _Hits:
    """Where the data uses rows that look untrained and are frozen."""

    def __init__(self, store: TokenStore, read_V: NDArray[np.bool_], written_V: NDArray[np.bool_]) -> None:
        self.rows: list[int] = []
        self.target_rows = 0
        self.in_inputs: Counter[int] = Counter()
        self.in_targets: Counter[int] = Counter()
        for row in range(len(store)):
            example = store.example(row)
            ids = example.input_ids
            read = ids[read_V[ids]]
            written = ids[np.asarray(example.is_target) & written_V[ids]]
            if len(read) or len(written):
                self.rows.append(row)
                self.target_rows += bool(len(written))
                self.in_inputs.update(read.tolist())
                self.in_targets.update(written.tolist())


def _severity(hit: _Hits, outputs: UntrainedRows, examples: int) -> Severity:
    indistinct = any(outputs.empty_V[token] for token in hit.in_targets)
    if indistinct and hit.target_rows >= MANY * examples:
        return Severity.BLOCKS
    return Severity.WARNS if len(hit.rows) >= FEW * examples else Severity.NOTES


def _looks(embedding: UntrainedRows, tokens: list[int]) -> str:
    empty = sum(bool(embedding.empty_V[token]) for token in tokens)
    what = "zero or equal to other rows" if empty else "near zero or at the mean of all rows"
    return f"{empty or len(tokens)} of these rows of {embedding.parameter} {what}"


def _fitted(values_V: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """The head may have more or fewer rows than the embedding."""
    fitted = np.zeros(size, dtype=np.bool_)
    fitted[: len(values_V)] = values_V[:size]
    return fitted
