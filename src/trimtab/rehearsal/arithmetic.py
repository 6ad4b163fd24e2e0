"""Memory and work by formulas, for what refuses fake tensors (experts that look at values, own kernels). Coarse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from trimtab.config import RunConfig
from trimtab.model.adapter import add_adapter, train_everything
from trimtab.model.load import DTYPES
from trimtab.model.skeleton import build_skeleton
from trimtab.rehearsal import terms
from trimtab.rehearsal.recorder import Reading, Work
from trimtab.rehearsal.rehearse import gathered_bytes

ACTIVATION_BYTES_PER_WIDTH = 27
"""Bytes that a token leaves behind in a layer, for each unit of width and each byte of a number. Rehearsed on Mistral
7B with LoRA: 54 × 4,096 bytes in bf16. (Korthikanti et al., arXiv 2205.05198, count 34 for a GPT's full
fine-tuning.)"""

FOUR_BIT_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # a weight, its block's 8-bit constant, that one's own
OPTIMIZER_BYTES = {"sgd": 0, "adamw_8bit": 2, "adamw_bnb_8bit": 2, "paged_adamw_8bit": 2}
ADAMW_BYTES = 8  # two float32 moments
OPERATIONS_PER_LAYER = 300  # rehearsed on Mistral 7B with LoRA: 9,700 in 32 layers


class Arithmetic:
    """Answers as a Rehearsal does."""

    is_padded = False

    def __init__(self, config: RunConfig, *, precision: str, optim: str) -> None:
        """
        Raises:
            ModelError: not even the model's shapes can be had without its weights.
        """
        self._number_bytes = DTYPES[precision].itemsize
        model = build_skeleton(config.model)
        text = model.config.get_text_config()
        self._width, self._layers = int(text.hidden_size), int(text.num_hidden_layers)
        self._vocabulary = int(text.vocab_size)
        linear = sum(m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear))
        linear -= self._width * self._vocabulary  # the head stays as it is
        self._total = sum(parameter.numel() for parameter in model.parameters())
        self._is_full = config.adapter is None
        if config.adapter is None:
            train_everything(model)
        else:
            with torch.device("meta"):
                model = add_adapter(model, config.adapter, seed=config.training.seed)
        self.gathered_bytes = gathered_bytes(model)
        self._trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        in_4bit = linear if config.model.load_in_4bit else 0
        base = 0.0 if self._is_full else FOUR_BIT_BYTES * in_4bit + self._number_bytes * (self._total - in_4bit)
        self._held = {
            terms.BASE: int(base),
            terms.TRAINED: 4 * self._trained,
            terms.OPTIMIZER: OPTIMIZER_BYTES.get(optim, ADAMW_BYTES) * self._trained,
        }
        if self._is_full and self._number_bytes < 4:
            self._held[terms.COPIES] = self._number_bytes * self._trained

    @property
    def parameters(self) -> tuple[int, int]:
        """(all, trained) numbers of weights."""
        return self._total + (0 if self._is_full else self._trained), self._trained

    def step(self, examples: Sequence[tuple[int, int]], *, checkpointing: bool, accumulates: bool) -> Reading:
        """As Rehearsal.step."""
        tokens = sum(length for length, _ in examples)
        a_layer = ACTIVATION_BYTES_PER_WIDTH * self._number_bytes * self._width * tokens
        kept = (
            self._number_bytes * self._width * tokens * self._layers + a_layer
            if checkpointing
            else (a_layer * self._layers)
        )
        held = {**self._held, terms.GRADIENTS: 4 * self._trained, terms.ACTIVATIONS: kept}
        # Forward and backward through the weights 2 a token each, their gradients 2 more, recomputation another 2.
        passes = 4 + 2 * self._is_full + 2 * checkpointing
        return self._reading(held, passes * self._total * tokens)

    def update(self) -> Reading:
        """As Rehearsal.update."""
        reading = self._reading({**self._held, terms.GRADIENTS: 4 * self._trained}, 0)
        reading.work = Counter(
            {Work(0, 28 * self._trained, 28 * self._trained, False): 1}
        )  # reads 4, writes 3 float32 numbers a weight
        return reading

    def evaluate(self, examples: Sequence[tuple[int, int]]) -> Reading:
        """As Rehearsal.evaluate."""
        tokens = sum(length for length, _ in examples)
        a_layer = ACTIVATION_BYTES_PER_WIDTH * self._number_bytes * self._width * tokens
        return self._reading({**self._held, terms.ACTIVATIONS: a_layer}, 2 * self._total * tokens)

    def _reading(self, held: dict[str, int], flops: int) -> Reading:
        operations = OPERATIONS_PER_LAYER * self._layers
        each = Work(flops // operations, 0, 0, self._number_bytes < 4)
        return Reading(
            peak_bytes=sum(held.values()),
            held_bytes=sum(held.values()) - held.get(terms.ACTIVATIONS, 0),
            terms={term: size for term, size in held.items() if size},
            work=Counter({each: operations}),
        )
