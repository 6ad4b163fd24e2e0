"""Faults of number formats, kernels and machines."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from bench.faults.injector import Demand, Injector, Mend, Site
from bench.faults.sabotage import Switch, learner, lossy, once, parameters, replaced, switched


@contextmanager
def hooked(onset: int, ending: str, change: Any) -> Iterator[None]:
    """The output of the base's modules whose name ends so is `change`d from `onset` on."""
    handles: list[Any] = []

    def hang(loop: Any) -> None:
        for name, module in loop.stepper.model.named_modules():
            if name.endswith(ending):
                handles.append(module.register_forward_hook(lambda module, given, out: change(out)))

    try:
        with once(onset, hang):
            yield
    finally:
        for handle in handles:
            handle.remove()


def in_half_precision() -> bool:
    """Whether autocast is on: an experiment in float32 turns it off, and is spared."""
    import torch

    return bool(torch.is_autocast_enabled("cpu"))


class Half:
    """Autograd functions that pass through float16, whose largest number is 65,504."""

    @staticmethod
    def forward(out: Any, scale: float) -> Any:
        if not in_half_precision():
            return out
        return (out.float() * scale).half().float().div(scale).to(out.dtype)

    @staticmethod
    def backward(out: Any, scale: float) -> Any:
        if in_half_precision() and out.requires_grad:
            out.register_hook(lambda grad: (grad.float() * scale).half().float().div(scale).to(grad.dtype))
        return out


@dataclass(frozen=True)
class ForwardOverflow(Injector):
    """From some step on a layer's output passes through float16 with a scale that it overflows at."""

    name = "forward-overflow"
    cause = "fp16-overflow"
    threads = ("google/gemma_pytorch#24", "unsloth-zoo#600")
    demand = Demand.DIVERGENCE
    mend = Mend.SAFE
    look = "the loss is not a number"
    severities: ClassVar = {"plain": (2e5, 1e6), "wild": (1e7, 1e8)}
    strength_is = "times its size; 65,504 is the largest number"
    has_onset = True

    def prepare(self, site: Site) -> None:
        site.set("training", bf16=True)

    reference = prepare

    def during(self) -> Any:
        return hooked(self.onset, "mlp.down_proj", lambda out: Half.forward(out, self.strength))


@dataclass(frozen=True)
class BackwardOverflow(Injector):
    """The forward is finite and the gradient of a layer's output is not."""

    name = "backward-overflow"
    cause = "fp16-overflow"
    threads = ("unsloth-zoo#866",)
    demand = Demand.DIVERGENCE
    mend = Mend.SAFE
    look = "a finite loss, a gradient norm that is not a number, then neither"
    severities: ClassVar = {"plain": (1e10, 1e12)}
    strength_is = "times its size"
    has_onset = True

    def prepare(self, site: Site) -> None:
        site.set("training", bf16=True)

    reference = prepare

    def during(self) -> Any:
        return hooked(self.onset, "mlp.down_proj", lambda out: Half.backward(out, self.strength))


@dataclass(frozen=True)
class UpdatesLostInBf16(Injector):
    """The weights that learn become bfloat16, whose neighbours are 0.4 % apart: small updates round to nothing.

    Of a LoRA adapter only A is so large that they do, and B learns all the same: no harm was measured there (at 1/100
    of the best rate, 3.578 against 3.575). So all weights are trained, as in the threads.
    """

    name = "weights-in-bf16"
    cause = "bf16-update-lost"
    threads = ("torchtune#2254", "pytorch/ao#1124", "OneTrainer#996")
    demand = Demand.SILENT
    mend = Mend.SAFE
    look = "flat with normal gradients"
    severities: ClassVar = {"mild": (15, 30), "plain": (40, 80)}
    strength_is = "times below an adapter's best learning rate"
    has_onset = True
    also = ("lr-too-low",)

    def prepare(self, site: Site) -> None:
        site.config["adapter"] = "none"
        site.set("model", load_in_4bit=False)
        site.set("training", learning_rate=site.learning_rate / self.strength, warmup_steps=1)

    reference = prepare

    def during(self) -> Any:
        import torch

        def cast(loop: Any) -> None:
            for parameter in parameters(loop).values():
                parameter.data = parameter.data.to(torch.bfloat16)
                parameter.grad = None
                entry = learner(loop).optimizer.state.get(parameter, {})
                for key in ("exp_avg", "exp_avg_sq"):
                    if key in entry:
                        entry[key] = entry[key].to(torch.bfloat16)

        return once(self.onset, cast)


@dataclass(frozen=True)
class AttentionSeesAhead(Injector):
    """An attention kernel forgets the causal mask: each token sees the ones after it."""

    name = "attention-not-causal"
    cause = "kernel-or-mask-fault"
    threads = ("LlamaFactory#8088", "axolotl#3453", "unsloth#3385")
    demand = Demand.SILENT
    mend = Mend.NONE
    look = "the loss is far too good; the weights are useless with the right mask"
    severities: ClassVar = {"plain": (1, 1)}
    strength_is = "-"
    has_onset = True
    also = ("packing-leak",)

    @contextmanager
    def during(self) -> Iterator[None]:
        from torch.nn import functional

        with ExitStack() as stack:
            switch = stack.enter_context(switched(self.onset))

            def make(original: Any) -> Any:
                def attend(*args: Any, **options: Any) -> Any:
                    if switch.on:
                        options |= {"is_causal": False, "attn_mask": None}
                    return original(*args, **options)

                return attend

            stack.enter_context(replaced(functional, "scaled_dot_product_attention", make))
            yield


@dataclass(frozen=True)
class KernelGivesNan(Injector):
    """An attention kernel gives NaN for queries of sequences longer than some length."""

    name = "kernel-gives-nan"
    cause = "kernel-or-mask-fault"
    threads = ("pytorch#103749", "transformers#32390", "allenai/OLMo#323", "LlamaFactory#8088")
    demand = Demand.DIVERGENCE
    mend = Mend.NONE
    look = "not a number, in batches that hold a long row"
    severities: ClassVar = {"plain": (0.7, 0.9), "wild": (0.1, 0.4)}
    strength_is = "share of the longest length in its training batches"
    has_onset = True
    also = ("empty-or-invalid-example", "bad-example")

    @contextmanager
    def during(self) -> Iterator[None]:
        from torch.nn import functional

        with ExitStack() as stack:
            switch, limit = Switch(), [10**9]

            def start(loop: Any) -> None:
                switch.on = True
                limit[0] = int(self.strength * int(loop.train.lengths.max()))

            stack.enter_context(once(self.onset, start))

            def make(original: Any) -> Any:
                def attend(query: Any, *args: Any, **options: Any) -> Any:
                    out = original(query, *args, **options)
                    return out * float("nan") if switch.on and query.shape[-2] > limit[0] else out

                return attend

            stack.enter_context(replaced(functional, "scaled_dot_product_attention", make))
            yield


@dataclass(frozen=True)
class BitFlip(Injector):
    """One bit of one weight of the adapter changes, once: the highest of its exponent."""

    name = "bit-flip"
    cause = "nondeterministic-or-hardware"
    threads = ("peft#1927", "NVIDIA/nccl-tests#117", "Megatron-LM rerun machine")
    demand = Demand.DIVERGENCE
    mend = Mend.SAFE
    look = "the loss jumps, or is not a number, and stays so"
    severities: ClassVar = {"mild": (1, 1), "plain": (4, 16)}
    strength_is = "weights"
    has_onset = True

    def during(self) -> Any:
        import torch

        def flip(loop: Any) -> None:
            draw = random.Random(self.seed)
            found = [p for name, p in parameters(loop).items() if "lora_B" in name or not parameters(loop, "lora_B")]
            for _ in range(round(self.strength)):
                flat = draw.choice(found).data.view(-1)
                place = draw.randrange(flat.numel())
                bits = flat[place : place + 1].view(torch.int32)
                bits.bitwise_xor_(torch.tensor([1 << 30], dtype=torch.int32))

        return once(max(1, self.onset), flip)


@dataclass(frozen=True)
class NanOnce(Injector):
    """One gradient is not a number, once; with AdamW the weights then never are again."""

    name = "nan-once"
    cause = "nondeterministic-or-hardware"
    threads = ("NVIDIA-NeMo/Automodel#2362", "trl#6702", "transformers#13758")
    demand = Demand.DIVERGENCE
    mend = Mend.SAFE
    look = "not a number from the onset to the end"
    severities: ClassVar = {"mild": (1, 1), "plain": (2, 2)}
    strength_is = "1: in a gradient, 2: in a weight"
    has_onset = True

    def during(self) -> Any:
        if self.strength >= 2:

            def spoil(loop: Any) -> None:
                next(iter(parameters(loop).values())).data.view(-1)[0] = float("nan")

            return once(self.onset, spoil)
        fired = Switch()

        def change(module: Any, batch: Any, forward: Any) -> Any:
            loss = forward(batch)
            if fired.on or not loss.requires_grad:
                return loss
            fired.on = True
            # The loss is right, its gradient is not.
            return loss + (loss * 0.0).sqrt().sum() * 0.0

        return lossy(self.onset, change)


@dataclass(frozen=True)
class Flaky(Injector):
    """From some step on a forward now and then gives another result for the same input: a broken machine."""

    name = "flaky-machine"
    cause = "nondeterministic-or-hardware"
    threads = ("peft#1927", "pytorch#84803", "openpi#822")
    demand = Demand.DIVERGENCE
    mend = Mend.NONE
    look = "not a number now and then, never twice at the same place"
    severities: ClassVar = {"mild": (0.05, 0.1), "plain": (0.3, 0.5)}
    strength_is = "share of the forwards in training"
    has_onset = True
    also = ("kernel-or-mask-fault",)

    def during(self) -> Any:
        draw = random.Random(self.seed)

        def change(module: Any, batch: Any, forward: Any) -> Any:
            loss = forward(batch)
            return loss * float("nan") if loss.requires_grad and draw.random() < self.strength else loss

        return lossy(self.onset, change)


NUMERICS: tuple[type[Injector], ...] = (
    ForwardOverflow,
    BackwardOverflow,
    UpdatesLostInBf16,
    AttentionSeesAhead,
    KernelGivesNan,
    BitFlip,
    NanOnce,
    Flaky,
)
