from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from trimtab.diagnose.case import Case
from trimtab.diagnose.cause import EXACT, SUSPECTED_AT_MOST, Cause, Layer, Weight
from trimtab.diagnose.remedies import CHECKPOINT_ACTIVATIONS, HALVE_MICRO_BATCH, SHORTER_EXAMPLES
from trimtab.diagnose.remedy import Remedy
from trimtab.diagnose.symptoms.memory_over_limit import ran_out


class MemoryLongestBatch(Cause):
    """
    What it is:
        The longest batch does not fit: it may come late, and stop the run there.

    How it shows:
        More than 90 % of the device's memory at the first step, or the memory runs out in the middle of an epoch.

    What proves it:
        The rehearsal of the longest batch; or the memory that a step took.

    Source:
        pytorch/torchtune#1965; litgpt#592; huggingface/transformers#8476, #12878 (in evaluation).
    """

    name: ClassVar[str] = "memory-longest-batch"
    layer: ClassVar[Layer] = "check"
    proving_symptoms: ClassVar[tuple[str, ...]] = ("memory-over-limit",)
    shows_as: ClassVar[Mapping[str, float]] = {
        "memory-over-limit": 0.6,
    }
    told_apart: ClassVar[Mapping[str, str]] = {
        "nondeterministic-or-hardware": "the bytes are the run's own, counted by its allocator",
    }
    remedies: ClassVar[tuple[Remedy, ...]] = (
        HALVE_MICRO_BATCH,
        CHECKPOINT_ACTIVATIONS,
        SHORTER_EXAMPLES,
    )

    def prove(self, case: Case) -> Weight | None:
        seen = next((sighting for sighting in case.sightings if sighting.symptom == "memory-over-limit"), None)
        if seen is not None and ran_out(case.trace):  # whether by its longest batch, the log does not tell
            return Weight(SUSPECTED_AT_MOST, (seen.sentence,), step=seen.step)
        return None if seen is None else self.proven(EXACT, seen.sentence, step=seen.step)
