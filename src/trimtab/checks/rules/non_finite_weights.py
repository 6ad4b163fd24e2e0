from __future__ import annotations

import math
from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage, Unavailable
from trimtab.records import Severity

FEW_ROWS = 0.1
"""Of an embedding: up to here it is the rows of some tokens. A guess; added tokens are a handful of thousands."""


class NonFiniteWeights(Rule):
    """
    What it finds:
        Values in the base's weight files that are NaN or infinite.

    Why it matters:
        One NaN in a layer makes every loss behind it NaN, and no learning rate or precision helps. One in a row of the
        embedding waits for its token.

    Example:
        model.layers.17.mlp.up_proj.weight holds 3 NaN: a merge in fp16 overflowed, or a download was cut and patched.

    Fix:
        Download the model again, or make it again from what it was merged of, in bf16 or fp32.

    What it cannot see:
        Finite values that are wrong. Weights that overflow only once they are converted to a narrower type.

    Source:
        Training tools pass such a base without a word: `litgpt validate` accepts one with a NaN weight.
    """

    name: ClassVar[str] = "non-finite-weights"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.WEIGHTS
    cause: ClassVar[str] = "save-load-merge-mismatch"

    def judge(self, seen: Evidence) -> Judgement:
        files = seen.weights
        found = files.non_finite
        limit = "none is NaN or infinite"
        if not found:
            return Good(value=f"{files.values:,} values in {len(files.tensors):,} tensors", limit=limit)
        worst = sorted(found, key=lambda name: -found[name])
        named = ", ".join(f"{name} ({found[name]:,})" for name in worst[:5])
        more = f" and {len(worst) - 5} more" if len(worst) > 5 else ""
        files_hit = ", ".join(sorted({files.tensors[name].path.name for name in worst}))
        return Bad(
            value=f"{sum(found.values()):,} values in {len(found):,} of {len(files.tensors):,} tensors",
            limit=limit,
            evidence=f"{named}{more}",
            cause="untrained-special-token" if _are_embedding_rows(seen, worst) else "",
            fix=f"download {files_hit} of {seen.config.model.name_or_path} again, or make the model again from what "
            "it was merged of, in bf16 or fp32",
        )


def _are_embedding_rows(seen: Evidence, tensors: list[str]) -> bool:
    """Only rows of the embeddings hold such values, and few of them: tokens that were added and never written."""
    from trimtab.checks.embeddings import embedding_names

    files = seen.weights
    try:
        names = {files.tensor_named(name) for name in embedding_names(seen.skeleton)}
    except Unavailable:
        return False
    return all(
        name in names and files.non_finite[name] < FEW_ROWS * math.prod(files.tensors[name].shape) for name in tensors
    )
