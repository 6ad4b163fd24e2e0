"""Every injector at every severity, and the cases that a half of the benchmark is made of.

Which subject, how strong, when it begins and with which seed is drawn from the hash of the half and the case's name:
the two halves share no seed and no strength, and the held-out half has a base and a data set of its own.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.faults.data import DATA
from bench.faults.injector import LATEST_ONSET, Injector
from bench.faults.labels import LABELS
from bench.faults.numerics import NUMERICS
from bench.faults.rates import RATES
from bench.faults.subjects import STEPS, Subject, subjects
from bench.faults.surroundings import SURROUNDINGS
from bench.faults.wiring import WIRING

INJECTORS: tuple[type[Injector], ...] = (*LABELS, *DATA, *RATES, *NUMERICS, *WIRING, *SURROUNDINGS)
HALVES = ("dev", "held-out")
SEEDS = {"dev": (0, 1), "held-out": (2, 3)}
QLORA_SHARE = 0.25
"""How much likelier than a 4-bit subject another one is drawn: on a CPU each such step takes several times as long."""


@dataclass(frozen=True)
class Case:
    """One faulty run, with everything drawn."""

    half: str
    fault: Injector
    subject: Subject
    seed: int
    replicate: int = 0

    @property
    def name(self) -> str:
        return f"{self.fault.name}.{self.fault.severity}.{self.replicate}"

    def folder(self, out: Path) -> Path:
        return out / self.half / self.name


def cases(half: str, *, replicates: int = 1, steps: int = STEPS) -> Iterator[Case]:
    """The cases of a half, in the order of the taxonomy."""
    for injector in INJECTORS:
        for severity in injector.severities:
            for replicate in range(replicates):
                yield case(half, injector, severity, replicate, steps=steps)


def case(half: str, injector: type[Injector], severity: str, replicate: int = 0, *, steps: int = STEPS) -> Case:
    key = f"{half}/{injector.name}/{severity}/{replicate}"
    draw = random.Random(hashlib.blake2b(key.encode(), digest_size=8).digest())
    low, high = injector.severities[severity]
    strength = math.exp(draw.uniform(math.log(low), math.log(high)))
    onset = round(draw.uniform(0, LATEST_ONSET) * steps) if injector.has_onset else 0
    chosen = subjects(held_out=half == "held-out", bases=injector.bases)
    weights = [QLORA_SHARE if subject.kind == "qlora" else 1.0 for subject in chosen]
    subject = draw.choices(chosen, weights)[0]
    seed = draw.choice(SEEDS[half])
    return Case(half, injector(severity, float(f"{strength:.4g}"), onset, seed), subject, seed, replicate)


def injector(name: str) -> type[Injector]:
    return next(one for one in INJECTORS if one.name == name)
