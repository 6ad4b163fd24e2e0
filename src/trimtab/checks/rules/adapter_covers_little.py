from __future__ import annotations

import copy
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage, Unavailable
from trimtab.errors import ModelError
from trimtab.records import Severity

FEW_LAYERS = 0.25
"""Share of the model's layers: a guess. mlx-lm adapts 16 layers by default, half of a 7B model's and a fifth of a
70B's."""
QUERY_OR_KEY = frozenset(
    {
        *("q_proj", "k_proj", "query", "key", "query_proj", "key_proj", "q_lin", "k_lin"),
        *("wq", "wk", "q", "k", "to_q", "to_k", "q_a_proj", "q_b_proj"),
    }
)
"""Last names of layers that make queries or keys and nothing else."""


class AdapterCoversLittle(Rule):
    """
    What it finds:
        An adapter on the query or key projections alone, or on a quarter of the model's blocks or less.

    Why it matters:
        Queries and keys say where attention looks, not what is made of it. Of adapters of one size, one on queries,
        keys or both learns least; and an adapter in one layer has to do with that layer what the others could.
        The loss looks healthy and stays above what the same data allows.

    Example:
        target_modules: [k_proj], layers_to_transform: [0]: 1 of 56 linear layers, in 1 of 8 blocks.

    Fix:
        target_modules: all-linear, or name value and output projections and the MLP too; leave layers_to_transform out.

    What it cannot see:
        Whether the task needs more. q_proj and v_proj in every layer, PEFT's default for many families, is not told.
        Names of queries and keys that are not in the rule's list, and layers that make queries, keys and values in one.

    Source:
        LoRA, arXiv 2106.09685, table 5: with as many parameters, W_q 70.4 and W_k 70.0 against W_q and W_v 73.7 on
        WikiSQL. LoRA Without Regret (Thinking Machines, 2025): attention alone is worse than the MLP. peft#3554.
    """

    name: ClassVar[str] = "adapter-covers-little"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.REHEARSAL
    cause: ClassVar[str] = "adapter-coverage-too-small"

    def judge(self, seen: Evidence) -> Judgement:
        if seen.config.adapter is None:
            return NotApplicable("every weight is trained: there is no adapter")
        covered = _covered(seen)
        if not covered.adapted:
            return NotApplicable("the adapter is on no linear layer in a block of the model")
        value = (
            f"{sum(covered.adapted.values())} of {sum(covered.linear.values())} linear layers, "
            f"in {covered.blocks_adapted} of {covered.blocks} blocks"
        )
        limit = f"more than queries and keys, in more than {FEW_LAYERS:.0%} of the blocks"
        said = []
        if set(covered.adapted) <= QUERY_OR_KEY:
            said.append(f"only {_names(covered.adapted)}: where attention looks is learnt, what is made of it is not")
        if covered.blocks_adapted <= FEW_LAYERS * covered.blocks:
            said.append(f"{covered.blocks - covered.blocks_adapted} blocks stay as they were")
        if not said:
            return Good(value=value, limit=limit)
        fixes = ["set adapter.target_modules: all-linear"] if set(covered.adapted) <= QUERY_OR_KEY else []
        if covered.blocks_adapted <= FEW_LAYERS * covered.blocks:
            fixes.append("take adapter.layers_to_transform out, or write target_modules so that it names every block")
        left = [name for name in covered.linear if name not in covered.adapted]
        return Bad(
            value=value,
            limit=limit,
            evidence="; ".join(said) + (f"; without an adapter: {', '.join(sorted(left))}" if left else ""),
            fix="; ".join(fixes),
        )


@dataclass(frozen=True)
class _Covered:
    """Linear layers inside the model's numbered blocks, by their last name."""

    linear: Counter[str]
    adapted: Counter[str]
    blocks: int
    blocks_adapted: int


_NUMBERED = re.compile(r"(?P<block>.*?\.\d+)\.(?:.*\.)?(?P<name>[^.]+)$")


def _covered(seen: Evidence) -> _Covered:
    """
    Raises:
        Unavailable: the architecture cannot be built without its weights, or its adapter cannot be put on it.
    """
    from peft.tuners.lora import LoraLayer

    from trimtab.model.adapter import add_adapter

    assert seen.config.adapter is not None
    # The first weights need a device; where they are does not depend on them.
    adapter = seen.config.adapter.model_copy(update={"init_lora_weights": True})
    try:
        model = add_adapter(copy.deepcopy(seen.skeleton), adapter, seed=0)
    except ModelError as error:
        raise Unavailable(str(error).splitlines()[0]) from None
    linear = [found for name, module in seen.skeleton.named_modules() if _is_linear(module) and (found := _split(name))]
    adapted = [
        found for name, module in model.named_modules() if isinstance(module, LoraLayer) and (found := _split(name))
    ]
    return _Covered(
        linear=Counter(name for _, name in linear),
        adapted=Counter(name for _, name in adapted),
        blocks=len({block for block, _ in linear}),
        blocks_adapted=len({block for block, _ in adapted}),
    )


def _split(name: str) -> tuple[str, str] | None:
    found = _NUMBERED.match(name)
    return (found["block"], found["name"]) if found else None


def _is_linear(module: Any) -> bool:
    return type(module).__name__ in ("Linear", "Conv1D")


def _names(names: Counter[str]) -> str:
    return " and ".join(sorted(names))
