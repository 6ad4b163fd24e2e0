from __future__ import annotations

import re
from typing import ClassVar

import numpy as np

from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.trace import Trace
from trimtab.records.diagnosis import Sighting
from trimtab.records.units import memory_size

_RAN_OUT = re.compile(r"out of memory|OutOfMemoryError|\bMemoryError|not enough memory", re.IGNORECASE)


def ran_out(trace: Trace) -> bool:
    """Whether the run says that it ended for want of memory."""
    return _RAN_OUT.search(trace.ended_by) is not None


class MemoryOverLimit(Symptom):
    """
    What it is:
        The run takes more than 90 % of its device's memory.

    How it is told:
        The peak that a step recorded, against the device's; or the run ended by saying that there was none left.

    What it is not:
        Memory that other processes hold; what a longer row than any so far will need.

    Source:
        The rule of the same name among the checks, which foretells it.
    """

    name: ClassVar[str] = "memory-over-limit"

    def look(self, trace: Trace) -> Sighting | None:
        if ran_out(trace):
            step = trace.step[-1] if len(trace.step) else 0
            return self.seen(step, "all of it", "what the device has", f"the memory ran out after step {step}")
        if trace.memory_limit_bytes is None:
            return None
        over = np.flatnonzero(trace.memory_bytes > trace.memory_limit_bytes)
        if not len(over):
            return None
        step, most = trace.step[over[0]], float(np.nanmax(trace.memory_bytes))
        sentence = f"step {step} takes {memory_size(trace.memory_bytes[over[0]])}: one longer row will not fit"
        return self.seen(step, memory_size(most), memory_size(trace.memory_limit_bytes), sentence)
