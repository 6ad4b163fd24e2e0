from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, Cause, Layer, Weight, number
from trimtab.diagnose.remedies import FP32_ADAPTER, USE_BF16, USE_FP32
from trimtab.diagnose.remedy import Remedy


def _all_finite(values: list[float | None]) -> bool:
    return all(value is not None and math.isfinite(value) for value in values)


class Fp16Overflow(Cause):
    """
    What it is:
        A number beyond 65,504 in fp16, forward or only backward; or trained weights kept in fp16.

    How it shows:
        A loss or gradient that is infinite or NaN, a loss scale that shrinks at every step; a finite loss with a
        gradient that is not.

    What proves it:
        The same rows with the same weights in fp32 are finite. The first module that overflows is named.

    Source:
        google/gemma_pytorch#24; unslothai/unsloth-zoo#866 (backward only), #600; huggingface/transformers#12225,
        #11076, #30559.
    """

    name: ClassVar[str] = "fp16-overflow"
    layer: ClassVar[Layer] = "probe"
    probes: ClassVar[tuple[str, ...]] = ("precision",)
    shows_as: ClassVar[Mapping[str, float]] = {
        "non-finite-gradient": 0.4,
        "non-finite-loss": 0.4,
        "loss-at-zero": 0.1,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "empty-or-invalid-example": "the same rows are finite in fp32",
        "lr-too-high": "the same weights are finite in fp32: they are not destroyed",
        "nondeterministic-or-hardware": "it comes again with the same rows in the same precision",
        "kernel-or-mask-fault": "the same kernels are finite in fp32",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        USE_BF16,
        USE_FP32,
        FP32_ADAPTER,
    )

    def prove(self, case: Case) -> Weight | None:
        as_is = [number(case, "precision", f"as_is_{what}") for what in ("loss", "norm")]
        in_fp32 = [number(case, "precision", f"fp32_{what}") for what in ("loss", "norm")]
        if any(value is not None and not math.isfinite(value) for value in as_is) and _all_finite(in_fp32):
            module, phase = case.value("precision", "first_non_finite_module"), case.value("precision", "phase")
            where = f", {module} first" if module else ""
            where += f" ({phase})" if phase else ""
            said = f"the step is not finite as it is{where}, and finite in fp32: loss {in_fp32[0]:.3f}"
            return self.proven(EXACT, said)
        return None

    def refuted(self, case: Case) -> str | None:
        in_fp32 = [number(case, "precision", f"fp32_{what}") for what in ("loss", "norm")]
        as_is = [number(case, "precision", f"as_is_{what}") for what in ("loss", "norm")]
        if any(value is not None and not math.isfinite(value) for value in in_fp32):
            return "in fp32 the same step is not finite either"
        if _all_finite(as_is):
            return "the step is finite in the run's own precision"
        if not as_is[0] and case.setup.precision in ("bf16", "fp32"):
            return f"the run computes in {case.setup.precision}, which reaches as far as fp32"
        return None
