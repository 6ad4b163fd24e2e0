"""Rules between keys: what cannot be asked for together, and what has no effect together."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.config.run_config import RunConfig


@dataclass(frozen=True)
class Conflict:
    """Keys that do not go together, the one to change first, and why with what to do."""

    keys: tuple[str, ...]
    message: str


def conflicts(config: RunConfig) -> list[Conflict]:
    """Every pair of requests that contradict each other."""
    return [*_precision(config), *_four_bit(config), *_sharding(config), *_evaluation(config), *_layers(config)]


def _precision(config: RunConfig) -> Iterator[Conflict]:
    if config.training.bf16 is True and config.training.fp16 is True:
        yield Conflict(
            ("training.fp16", "training.bf16"),
            "bf16 and fp16 are both true, and a run computes in one of them; "
            "keep bf16 on Ampere and later, fp16 on T4 and V100, or leave both at auto",
        )


def _four_bit(config: RunConfig) -> Iterator[Conflict]:
    if config.model.load_in_4bit and config.adapter is None:
        yield Conflict(
            ("model.load_in_4bit", "adapter"),
            "4-bit weights cannot be trained (a step is far smaller than the gap between two 4-bit values), "
            "and adapter: none "
            "leaves nothing else to train; give an adapter (adapter: {r: 8}) or set load_in_4bit: false",
        )


def _sharding(config: RunConfig) -> Iterator[Conflict]:
    if not config.training.fsdp:
        return
    if config.model.load_in_4bit:
        yield Conflict(
            ("training.fsdp", "model.load_in_4bit"),
            "4-bit weights cannot be sharded: their constants do not split with them; a 4-bit base is small, "
            "so leave fsdp out (each process then holds all of it), or load the base in 16 bits",
        )
    if "8bit" in config.training.optim or "paged" in config.training.optim:
        yield Conflict(
            ("training.optim", "training.fsdp"),
            f"{config.training.optim} cannot work on sharded parameters; use adamw_torch_fused, "
            "whose state fsdp shards as well",
        )


def _evaluation(config: RunConfig) -> Iterator[Conflict]:
    training = config.training
    missing = (
        ("training.eval_strategy", "eval_strategy is no")
        if training.eval_strategy == "no"
        else ("data.validation", "data.validation is none")
        if config.data.validation == "none"
        else None
    )
    if missing is None:
        return
    key, seen = missing
    if training.early_stopping_patience is not None:
        yield Conflict(
            ("training.early_stopping_patience", key),
            f"early stopping watches the eval loss, and {seen}; evaluate, or remove early_stopping_patience",
        )
    if training.save_strategy == "best":
        yield Conflict(
            ("training.save_strategy", key),
            f"save_strategy best saves when the eval loss fell, and {seen}; evaluate, or use save_strategy: steps",
        )


def _layers(config: RunConfig) -> Iterator[Conflict]:
    adapter = config.adapter
    if adapter is None:
        return
    if adapter.layers_pattern and adapter.layers_to_transform is None:
        yield Conflict(
            ("adapter.layers_pattern", "adapter.layers_to_transform"),
            "layers_pattern says where the numbers of layers_to_transform are found, and that is not given; "
            "give both or neither",
        )
    if adapter.layers_to_transform is not None and isinstance(adapter.target_modules, str):
        yield Conflict(
            ("adapter.layers_to_transform", "adapter.target_modules"),
            "peft picks layers by number only from a list of modules, and target_modules is "
            f"{adapter.target_modules!r}; "
            "list them, for example target_modules: [q_proj, v_proj]",
        )


def without_effect(config: RunConfig, asked: Collection[str]) -> list[Conflict]:
    """Keys that somebody asked for and that do nothing beside the others; told, not refused."""
    training, found = config.training, []

    def tell(key: str, idle: bool, message: str) -> None:
        if idle and key in asked:
            found.append(Conflict((key,), message))

    for what in ("eval", "save"):
        strategy = getattr(training, f"{what}_strategy")
        tell(
            f"training.{what}_steps",
            strategy in ("no", "epoch", "best") and getattr(training, f"{what}_steps") != "auto",
            f"has no effect with {what}_strategy: {strategy}",
        )
    tell(
        "training.load_best_model_at_end",
        training.load_best_model_at_end and (training.eval_strategy == "no" or config.data.validation == "none"),
        "has no effect without evaluation: the run ends with its last weights",
    )
    tell(
        "training.num_train_epochs",
        training.max_steps > 0 and training.num_train_epochs != "auto",
        f"has no effect: max_steps: {training.max_steps} decides the length of the run",
    )
    for key in ("bnb_4bit_quant_type", "bnb_4bit_use_double_quant"):
        changed = getattr(config.model, key) != type(config.model).model_fields[key].default
        tell(
            f"model.{key}",
            changed and not config.model.load_in_4bit,
            "has no effect with load_in_4bit: false",
        )
    tell(
        "training.early_stopping_threshold",
        training.early_stopping_patience is None and training.early_stopping_threshold > 0,
        "has no effect without early_stopping_patience",
    )
    return found
