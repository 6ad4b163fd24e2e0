"""What happens while code runs on fake tensors: which bytes live, by term, and which arithmetic is done.

A `TorchDispatchMode` sees every operation after autograd and autocast have done their part. Each storage that comes to
life is counted under the term that is current, and taken off again when Python lets go of it, as the caching allocator
would. (torch.distributed._tools.MemTracker does this too, and fails on frozen parameters.)
"""

from __future__ import annotations

import contextlib
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from trimtab.rehearsal.terms import ACTIVATIONS, COPIES, PERMANENT, TRAINED

HELD = "before"

HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Work:
    """One kind of operation: how much arithmetic it does and how many bytes it moves."""

    flops: int
    moved_bytes: int
    weight_bytes: int
    """Part of `moved_bytes` that does not grow with the micro batch: weights, gradients, optimizer state."""
    is_half: bool
    """Its matrix product is in bf16 or fp16, which tensor cores do."""


@dataclass
class Reading:
    """What one stretch of code did. `terms` are the live bytes at the moment of the peak; they add up to it."""

    peak_bytes: int = 0
    held_bytes: int = 0
    """What lived before."""
    terms: dict[str, int] = field(default_factory=dict)
    operations: dict[str, int] = field(default_factory=dict)
    """The same bytes by the operation that brought them to life ("aten.mm"); HELD is what lived before."""
    work: Counter[Work] = field(default_factory=Counter)

    @property
    def flops(self) -> int:
        return sum(work.flops * count for work, count in self.work.items())

    @property
    def kernels(self) -> int:
        """Operations that would be started on a device."""
        return sum(self.work.values())


class Recorder(TorchDispatchMode):
    """Counts while it is entered; `hold` tells it of what lived before."""

    def __init__(self, *, granule_bytes: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.granule_bytes = granule_bytes
        """Blocks are rounded up to this: 512 in CUDA's caching allocator, 64 in PyTorch's on a CPU."""
        self.reading = Reading()
        self.refusing = ""
        """The operation that refused, if one did."""
        self._live: dict[int, tuple[str, str, int]] = {}
        self._refs: dict[int, weakref.ref[Any]] = {}
        self._by_term: Counter[str] = Counter()
        self._by_operation: Counter[str] = Counter()
        self._total = 0
        self._term = ACTIVATIONS

    def hold(self, tensor: torch.Tensor, term: str) -> None:
        """Count a tensor's storage under `term` from now on, whatever it was counted as."""
        storage = tensor.untyped_storage()
        if (known := self._live.get(id(storage))) is not None:
            before, operation, size = known
            self._by_term[before] -= size
            self._by_term[term] += size
            self._live[id(storage)] = (term, operation, size)
        else:
            self._add(storage, term, HELD)

    @contextlib.contextmanager
    def term(self, name: str) -> Iterator[None]:
        """What comes to life within is counted under `name`."""
        before, self._term = self._term, name
        try:
            yield
        finally:
            self._term = before

    def start(self) -> None:
        """Forget what was read; what lives goes on living, and is the first peak."""
        self.reading = Reading(held_bytes=self._total)
        self._look()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if (parts := _OPENED.get(func._overloadpacket._qualified_op_name)) is not None:
            with self:  # an operation made of others: its temporaries are seen
                return parts(*args, **kwargs)
        try:
            made = func(*args, **kwargs)
        except Exception:
            self.refusing = self.refusing or func._overloadpacket._qualified_op_name
            raise
        outputs = [leaf for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        for output in outputs:
            storage = output.untyped_storage()
            if id(storage) not in self._live:
                term = COPIES if self._copies_trained_weight(func, args) else self._term
                self._add(storage, term, str(func._overloadpacket))
        if not func.is_view and outputs:
            self._count(func, args, kwargs, made, outputs)
        return made

    def _count(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any, outputs: list[torch.Tensor]
    ) -> None:
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        moved = weights = 0
        for tensor in (*inputs, *outputs):
            size = tensor.numel() * tensor.element_size()
            moved += size
            if self._live.get(id(tensor.untyped_storage()), ("", "", 0))[0] in PERMANENT:
                weights += size
        flops = 0
        if (formula := _formula(func)) is not None:
            flops = int(formula(*args, **kwargs, out_val=made))
        is_half = flops > 0 and inputs[0].dtype in HALF
        self.reading.work[Work(flops, moved, weights, is_half)] += 1

    def _copies_trained_weight(self, func: Any, args: tuple[Any, ...]) -> bool:
        """Autocast makes each trained weight anew in half precision and keeps it until the forward pass ends."""
        if func is not torch.ops.aten._to_copy.default:
            return False
        return self._live.get(id(args[0].untyped_storage()), ("", "", 0))[0] == TRAINED

    def _add(self, storage: Any, term: str, operation: str) -> None:
        key = id(storage)
        size = -(-storage.nbytes() // self.granule_bytes) * self.granule_bytes
        self._live[key] = (term, operation, size)
        self._refs[key] = weakref.ref(storage, partial(self._remove, key))
        self._by_term[term] += size
        self._by_operation[operation] += size
        self._total += size
        if self._total > self.reading.peak_bytes:
            self._look()

    def _remove(self, key: int, _: object) -> None:
        term, operation, size = self._live.pop(key)
        del self._refs[key]
        self._by_term[term] -= size
        self._by_operation[operation] -= size
        self._total -= size

    def _look(self) -> None:
        self.reading.peak_bytes = self._total
        self.reading.terms = {term: size for term, size in self._by_term.items() if size}
        self.reading.operations = {name: size for name, size in self._by_operation.items() if size}


def _formula(func: Any) -> Callable[..., int] | None:
    return _OWN_FLOPS.get(func._overloadpacket.__name__) or flop_registry.get(func._overloadpacket)


def _attention_flops(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: Any, **_: Any) -> int:
    """Scores and their product with the values: 2 × 2 × B·H·Tq·Tk·D. A causal kernel does half of it."""
    is_causal = len(rest) > 1 and rest[1] is True
    batch, heads, queries, width = query.shape
    return 4 * batch * heads * queries * key.shape[2] * width // (2 if is_causal else 1)


def _attention_backward_flops(
    grad: torch.Tensor, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: Any, **_: Any
) -> int:
    """Five products of that size instead of two: the scores again, and four gradients."""
    is_causal = len(rest) > 3 and rest[3] is True
    batch, heads, queries, width = query.shape
    return 10 * batch * heads * queries * key.shape[2] * width // (2 if is_causal else 1)


def _linear_flops(inputs: torch.Tensor, weight: torch.Tensor, *_: Any, **__: Any) -> int:
    return 2 * inputs.numel() * weight.shape[0]


_OWN_FLOPS: dict[str, Callable[..., int]] = {
    "linear": _linear_flops,
    "_scaled_dot_product_flash_attention_for_cpu": _attention_flops,
    "_scaled_dot_product_flash_attention_for_cpu_backward": _attention_backward_flops,
}


def _gemm_4bit(*args: Any, **kwargs: Any) -> torch.Tensor:
    """bitsandbytes multiplies by a 4-bit weight by making it whole first (its kernels for a few rows apart)."""
    from bitsandbytes.backends.default.ops import _gemm_4bit_default_impl

    made: torch.Tensor = _gemm_4bit_default_impl(*args, **kwargs)
    return made


def _grouped_mm(mat_a: torch.Tensor, mat_b: torch.Tensor, offs: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    """Experts' products, rows in groups: as much arithmetic as one product of all rows. Its own fake version takes bf16
    alone."""
    if mat_a.dim() == 2 and mat_b.dim() == 2:  # the weights' gradient: one matrix for each group
        return mat_a.new_empty(offs.numel(), mat_a.shape[0], mat_b.shape[1]).copy_((mat_a @ mat_b)[None])
    if mat_a.dim() == 2:
        return mat_a @ mat_b[0]
    return mat_a[0] @ mat_b if mat_b.dim() == 2 else mat_a @ mat_b


_OPENED: dict[str, Callable[..., Any]] = {"bitsandbytes::gemm_4bit": _gemm_4bit, "aten::_grouped_mm": _grouped_mm}
