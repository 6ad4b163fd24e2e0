"""What the planner is told of a run: rehearsed where a step can be, by formulas where not (and then it says so)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property

from trimtab.config import RunConfig
from trimtab.errors import ModelError
from trimtab.plan.choice import LIMIT_SHARE, Cut, Settled, Weighed
from trimtab.records import CostEstimate, Device, MemoryEstimate
from trimtab.records.estimate import Method
from trimtab.rehearsal import terms
from trimtab.rehearsal.arithmetic import Arithmetic
from trimtab.rehearsal.recorder import HELD, Reading, Work
from trimtab.rehearsal.rehearse import Refused, Rehearsal
from trimtab.rehearsal.shapes import Shapes, Sizes, evaluation_shapes, training_shapes
from trimtab.rehearsal.speed import Speed
from trimtab.rehearsal.terms import GROWING

CUDA_OVERHEAD_BYTES = int(0.6 * 2**30)
"""CUDA context with PyTorch's kernels (0.3–0.5 GiB), cuBLAS workspaces, blocks the allocator cannot use. Guess until
measured with bench/gpu."""


LITTLE_TRAINED = 0.05
"""Share of the weights below which it hardly matters whether gradients are there: all cuts are rehearsed alike."""


class Estimator:
    """Answers the planner's questions (plan.choice.Rehearser), each rehearsal once."""

    def __init__(
        self,
        config: RunConfig,
        device: Device,
        settled: Settled,
        train: Sizes,
        validation: Sizes | None,
        *,
        choosing: Speed,
        timing: Speed,
    ) -> None:
        """`choosing` are nominal rates, so that the same run is always cut alike; `timing` are the best known ones."""
        self.config = config
        self.device = device
        self.settled = settled
        self.train = train
        self.validation = validation
        self._choosing = choosing
        self._timing = timing
        self._rehearsals: dict[str, Rehearsal | Arithmetic] = {}
        self._shapes_of: dict[int, Shapes] = {}
        self._readings: dict[tuple[str, bool, bool, object], Reading] = {}
        self.remarks: list[str] = []

    # ── what the planner asks ────────────────────────────────────────────────────────────────────────────────

    def weigh(self, cut: Cut) -> Weighed:
        """From one rehearsal of the largest micro batch of all cuts: its activations and logits, and the work it does,
        shrink with the tokens; what has to do with weights stays."""
        shapes = self._shapes(cut.micro)
        largest, reading = self._largest(cut)
        held = self._on_one_device(reading.terms, cut)
        growing = sum(size for term, size in held.items() if term in GROWING)
        needed = sum(held.values()) - growing + round(growing * shapes.worst_tokens / largest.worst_tokens)
        update = Counter(self._update(cut))
        scale = shapes.mean_tokens / largest.worst_tokens
        seconds = shapes.count * self._choosing.seconds(reading.work - update, scale=scale)
        seconds += self._choosing.seconds(update)
        needed += self.overhead_bytes
        return Weighed(cut, needed, seconds, needed <= self.limit_bytes)

    def confirm(self, weighed: Weighed) -> Weighed:
        cut = weighed.cut
        reading = self._reading(cut, self._shapes(cut.micro).worst)
        needed = sum(self._on_one_device(reading.terms, cut).values()) + self.overhead_bytes
        return Weighed(cut, needed, weighed.step_seconds, needed <= self.limit_bytes)

    def eval_batch_fits(self, cut: Cut, size: int) -> bool:
        reading = self._evaluation(cut, size)
        if reading is None:
            return True
        return sum(self._on_one_device(reading.terms, cut).values()) + self.overhead_bytes <= self.limit_bytes

    def estimate(
        self, cut: Cut, *, eval_batch: int, total_steps: int, evaluations: int
    ) -> tuple[MemoryEstimate, CostEstimate]:
        shapes = self._shapes(cut.micro)
        worst = self._reading(cut, shapes.worst)
        evaluation = self._evaluation(cut, eval_batch) if evaluations else None
        held = self._on_one_device(worst.terms, cut)
        method: Method = "rehearsal" if isinstance(self._rehearsal(cut.optim), Rehearsal) else "arithmetic"
        memory = MemoryEstimate(
            method=method,
            peak_bytes=sum(held.values()),
            terms=dict(sorted(held.items(), key=lambda term: -term[1])),
            operations=_largest_operations(worst),
            eval_peak_bytes=sum(self._on_one_device(evaluation.terms, cut).values()) if evaluation else 0,
            overhead_bytes=self.overhead_bytes,
            device_bytes=self.device.memory_bytes,
            limit_bytes=self.limit_bytes,
            worst_tokens=shapes.worst_tokens,
            remarks=tuple(self.remarks),
        )
        return memory, self._cost(cut, shapes, eval_batch, total_steps, evaluations, method)

    @property
    def limit_bytes(self) -> int:
        return int(LIMIT_SHARE * self.device.memory_bytes)

    @property
    def overhead_bytes(self) -> int:
        return CUDA_OVERHEAD_BYTES if self.device.kind == "cuda" else 0

    # ── how it is answered ───────────────────────────────────────────────────────────────────────────────────

    def _cost(
        self, cut: Cut, shapes: Shapes, eval_batch: int, total_steps: int, evaluations: int, method: Method
    ) -> CostEstimate:
        processes = self.device.processes
        reading, update = self._reading(cut, shapes.worst), Counter(self._update(cut))
        scale = shapes.mean_tokens / shapes.worst_tokens
        flops = scale * (reading.flops - sum(work.flops * count for work, count in update.items()))
        seconds = self._timing.seconds(reading.work - update, scale=scale)
        step_seconds = shapes.count * seconds + self._timing.seconds(update)
        eval_flops = eval_seconds = 0.0
        if evaluations and self.validation is not None and (one := self._evaluation(cut, eval_batch)) is not None:
            of = self._eval_shapes(eval_batch)
            share = of.mean_tokens / of.worst_tokens
            eval_flops = one.flops * share * of.count * processes * (evaluations + 1)
            eval_seconds = self._timing.seconds(one.work, scale=share) * of.count * (evaluations + 1)
        train_seconds = step_seconds * total_steps
        return CostEstimate(
            method=method,
            flops_per_token=flops / shapes.mean_tokens,
            total_flops=flops * shapes.count * processes * total_steps + eval_flops,
            train_seconds=train_seconds,
            eval_seconds=eval_seconds,
            device_hours=(train_seconds + eval_seconds) * processes / 3600,
            speed=self._timing.words,
        )

    def _shapes(self, micro: int) -> Shapes:
        if micro not in self._shapes_of:
            self._shapes_of[micro] = training_shapes(
                self.train,
                effective=self.settled.effective,
                micro=micro,
                processes=self.device.processes,
                total_steps=self.settled.total_steps,
                steps_per_epoch=self.settled.steps_per_epoch,
                seed=self.settled.seed,
                padded=self._is_padded,
            )
        return self._shapes_of[micro]

    def _eval_shapes(self, size: int) -> Shapes:
        assert self.validation is not None
        return evaluation_shapes(self.validation, size=size, processes=self.device.processes, padded=self._is_padded)

    @cached_property
    def _is_padded(self) -> bool:
        return not self.settled.packing or self._rehearsal(self.settled.optim).is_padded

    def _largest(self, cut: Cut) -> tuple[Shapes, Reading]:
        """The micro batch that a cut is judged from: the whole step at once, or its own where that is all there is."""
        micro = cut.micro
        if self.settled.several_cuts:
            micro = max(micro, self.settled.effective // self.device.processes)
        shapes = self._shapes(micro)
        return shapes, self._reading(cut, shapes.worst)

    def _reading(self, cut: Cut, examples: tuple[tuple[int, int], ...]) -> Reading:
        total, trained = self._rehearsal(cut.optim).parameters
        accumulates = cut.accumulation > 1 or trained < LITTLE_TRAINED * total
        key = (cut.optim, accumulates, cut.checkpointing, examples)
        if key not in self._readings:
            self._readings[key] = self._ask(
                cut.optim,
                lambda run: run.step(examples, checkpointing=cut.checkpointing, accumulates=accumulates),
            )
        return self._readings[key]

    def _update(self, cut: Cut) -> Mapping[Work, int]:
        key = (cut.optim, False, False, "update")
        if key not in self._readings:
            self._readings[key] = self._ask(cut.optim, lambda run: run.update())
        return self._readings[key].work

    def _evaluation(self, cut: Cut, size: int) -> Reading | None:
        if self.validation is None:
            return None
        examples = self._eval_shapes(size).worst
        key = (cut.optim, False, False, ("evaluation", examples))
        if key not in self._readings:
            self._readings[key] = self._ask(cut.optim, lambda run: run.evaluate(examples))
        return self._readings[key]

    def _ask(self, optim: str, question: Callable[[Rehearsal | Arithmetic], Reading]) -> Reading:
        """The rehearsal's answer; where it refuses, the formulas', and from then on theirs to everything."""
        try:
            return question(self._rehearsal(optim))
        except Refused as refusal:
            made = self._fall_back(optim, refusal)
            self._readings = {key: reading for key, reading in self._readings.items() if key[0] != optim}
            return question(made)

    def _rehearsal(self, optim: str) -> Rehearsal | Arithmetic:
        if optim not in self._rehearsals:
            try:
                self._rehearsals[optim] = Rehearsal(
                    self.config,
                    precision=self.settled.precision,
                    optim=optim,
                    packing=self.settled.packing,
                    on_cpu=self.device.kind == "cpu",
                )
            except (Refused, ModelError) as refusal:
                self._fall_back(optim, refusal)
        return self._rehearsals[optim]

    def _fall_back(self, optim: str, refusal: Exception) -> Arithmetic:
        line = f"not rehearsed but estimated by formulas: {refusal}"
        if line not in self.remarks:
            self.remarks.append(line)
        self._rehearsals[optim] = made = Arithmetic(self.config, precision=self.settled.precision, optim=optim)
        return made

    def _on_one_device(self, held: Mapping[str, int], cut: Cut) -> dict[str, int]:
        """The terms of one of several processes: DDP copies each gradient into a bucket of its own; FSDP2 keeps a part
        of everything and gathers a layer, the next one, and what is outside of layers. By formula, not rehearsed."""
        held, processes = dict(held), self.device.processes
        if processes == 1:
            return held
        if not self.config.training.fsdp:
            return {**held, terms.BUCKETS: 4 * self._rehearsal(cut.optim).parameters[1]}
        for term in (terms.BASE, terms.TRAINED, terms.GRADIENTS, terms.OPTIMIZER):
            if term in held:
                held[term] = -(-held[term] // processes)
        return {**held, terms.GATHERED: self._rehearsal(cut.optim).gathered_bytes}


SHOWN_OPERATIONS = 8  # guess: as many as one reads


def _largest_operations(reading: Reading) -> dict[str, int]:
    made = {name: size for name, size in reading.operations.items() if name != HELD}
    return dict(sorted(made.items(), key=lambda one: -one[1])[:SHOWN_OPERATIONS])
