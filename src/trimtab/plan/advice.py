"""What the numbers suggest, in sentences: never an order, always with its reason."""

from __future__ import annotations

from trimtab.config import RunConfig
from trimtab.plan.learning_rate import FULL_RANGE, LORA_RANGE

FEW_EXAMPLES, MANY_EXAMPLES = 500, 50_000
MOST_EPOCHS = 3
"""1–3 epochs for 500–5,000 examples, 1 from 50,000 up (docs/design.md, Plan)."""


def shortcuts(examples: int, effective: int, epochs: float, total: int) -> list[str]:
    """What the common formulas for the number of steps would have said, where they differ from what will happen."""
    plain, floored = examples * epochs / effective, (examples // effective) * epochs
    if plain == total and floored == total:
        return []
    return [
        f"steps: examples × epochs / batch says {plain:g}, (examples // batch) × epochs says {floored:g}; what happens "
        f"is {total:,}: an epoch's last, smaller batch is a step too"
    ]


def epochs(examples: int, asked: float) -> list[str]:
    """How many passes over so many examples are usual, and what is to be watched where more are planned."""
    usual = f"1–{MOST_EPOCHS}" if examples < MANY_EXAMPLES else "one"
    line = (
        f"epochs: {usual} are usual for {examples:,} examples"
        if usual != "one"
        else (f"epochs: one is usual from {MANY_EXAMPLES:,} examples on")
    )
    if asked > MOST_EPOCHS:
        line += f"; in {asked:g} a model often learns them by heart, and the validation loss rises: watch it"
    elif examples >= MANY_EXAMPLES and asked > 1:
        line += f"; {asked:g} cost {asked:g} times as much"
    elif examples < FEW_EXAMPLES:
        line += f"; below {FEW_EXAMPLES} watch the validation loss, or gather more"
    return [line]


def learning_rate(config: RunConfig, value: float) -> list[str]:
    """The question to ask where a learning rate looks like the other method's. Ranges ask; only runs condemn."""
    is_lora = config.adapter is not None
    (low, high), name = (LORA_RANGE, "LoRA") if is_lora else (FULL_RANGE, "full fine-tuning")
    if low <= value <= high:
        return []
    usual = f"learning rate: {value:g} lies outside {low:g} … {high:g}, usual for {name}"
    other, other_name = (FULL_RANGE, "full fine-tuning") if is_lora else (LORA_RANGE, "LoRA")
    if other[0] <= value <= other[1]:
        return [f"{usual}, and is usual for {other_name}: is it meant?"]
    return [f"{usual}; small models take more, large ones less: is it meant?"]
