"""What a cause is: a name, the evidence that proves it, the look-alikes that must be out first, the ways out of it.

What a confidence means:

- 0.8 and more: confirmed. Its own experiment was made, or an exact fact is at hand, and every look-alike is refuted.
- from 0.3: something speaks for it; `needs` names the experiments that would tell.
- below: it could show like this. A symptom alone never says more than 0.6.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from trimtab.diagnose.case import Case
from trimtab.diagnose.remedy import Remedy
from trimtab.records import Severity

CERTAIN = 0.8
"""From here on a cause is confirmed, and the guard may act on it."""
EXACT = 0.97
"""An exact fact: a broken invariant, a blocking finding, a computation that should agree and does not."""
MEASURED = 0.9
"""An experiment, against its own noise."""
TREND = 0.85
"""A curve whose trend is beyond its noise."""
WARNED = 0.5
"""A rule of the checks thought that something was not meant."""
UNRELATED = 0.15
"""The same, where what was seen since is none of this cause's symptoms (guess)."""
SUSPECTED_AT_MOST = 0.6
"""A symptom has about a dozen causes (loss 0.0, NaN) or seven (flat): seeing it proves none of them."""

CHANCE = 0.001
"""How rare a difference must be by chance to be evidence: as for the first steps."""

Layer = Literal["check", "invariant", "statistic", "probe"]

SHOWS_AS = {
    "finite-loss": "non-finite-loss",
    "weights-finite": "non-finite-loss",
    "finite-gradient": "non-finite-gradient",
    "gradient-not-zero": "gradient-exactly-zero",
    "weights-move": "flat-from-the-start",
}
"""Broken invariant → the symptom that it is."""


@dataclass(frozen=True)
class Weight:
    """How much speaks for a cause in a case."""

    confidence: float
    """0 to 1; see above."""
    evidence: tuple[str, ...]
    """A sentence with its numbers each, the strongest first."""
    refutes: Mapping[str, str] = field(default_factory=dict)
    """Look-alike → why this evidence excludes it."""
    step: int | None = None
    """From which step on the run is affected; None where that is not known."""
    needs: tuple[str, ...] = ()
    """Probes that would settle it, the cheapest first."""
    is_warned: bool = False
    """A check warned of it before the run."""


class Cause(ABC):
    """One root cause. Its docstring is its manual page (`trimtab explain NAME`), with these headings, in this order:

    What it is · How it shows · What proves it · Look-alikes · Remedies · Source
    """

    name: ClassVar[str]
    layer: ClassVar[Layer]
    """Where it is cheapest to decide: before the run, at each step, from the curve, by experiment."""
    probes: ClassVar[tuple[str, ...]] = ()
    """Experiments that prove or refute it, the cheapest first."""
    decisive: ClassVar[str] = ""
    """The one of them that settles it, where that is not the first."""
    invariants: ClassVar[tuple[str, ...]] = ()
    """Exact invariants of a step whose breach proves it."""
    proving_symptoms: ClassVar[tuple[str, ...]] = ()
    """Symptoms that are its proof: a trend that is clear beyond noise."""
    reads_setup: ClassVar[bool] = False
    """The run's settings and its logged rates can prove it."""
    shows_as: ClassVar[Mapping[str, float]] = {}
    """Symptom → how plausible the cause is when it is all that is known (guesses, in the order of the catalogue of real
    failures; at most SUSPECTED_AT_MOST)."""
    told_apart: ClassVar[Mapping[str, str]]
    """Look-alike → why this cause's proof excludes it."""
    remedies: ClassVar[tuple[Remedy, ...]]
    """In order of likelihood."""

    @property
    def look_alikes(self) -> tuple[str, ...]:
        return tuple(self.told_apart)

    @abstractmethod
    def prove(self, case: Case) -> Weight | None:
        """What broken invariants and experiments say for it; None where they say nothing."""

    def refuted(self, case: Case) -> str | None:
        """What in the case excludes it, with numbers; None where nothing does."""
        return None

    def suspicion(self, case: Case) -> tuple[float, tuple[str, ...]]:
        """How plausible the symptoms alone make it, and their sentences."""
        shown = [symptom for symptom in symptoms(case) if symptom in self.shows_as]
        said = [sighting.sentence for sighting in case.sightings if sighting.symptom in shown]
        said += [violation.sentence for violation in case.violations if SHOWS_AS.get(violation.invariant) in shown]
        return max((self.shows_as[symptom] for symptom in shown), default=0.0), tuple(dict.fromkeys(said))

    def weigh(self, case: Case) -> Weight | None:
        """Exact evidence first, then experiments, then what was seen. None: nothing speaks for it, or it is out."""
        told = [finding for finding in case.findings if finding.cause == self.name]
        told = [finding for finding in told if finding.severity is not Severity.NOTES]
        sentences = tuple(f"{finding.rule}: {finding.value}. {finding.evidence}" for finding in told)
        if any(finding.blocks for finding in told):
            return Weight(EXACT, sentences, self.told_apart, step=0)
        proof = self.prove(case)
        if proof is not None and proof.confidence >= CERTAIN:
            return Weight(proof.confidence, (*proof.evidence, *sentences), proof.refutes, proof.step, proof.needs)
        if self.refuted(case) is not None:
            return None
        suspected, seen = self.suspicion(case)
        warned = (WARNED if seen or not symptoms(case) else UNRELATED) if told else 0.0
        confidence = max(warned, min(suspected, SUSPECTED_AT_MOST), proof.confidence if proof else 0.0)
        if not confidence:
            return None
        refutes = proof.refutes if proof else {}
        step = 0 if told else (proof.step if proof and proof.step is not None else first_seen(case, self.shows_as))
        said = (*(proof.evidence if proof else ()), *sentences, *seen)
        needs = tuple(name for name in self.probes if name not in case.probes)
        return Weight(confidence, said, refutes, step, needs, is_warned=bool(told))

    def proven(
        self,
        confidence: float,
        *evidence: str,
        refutes: Mapping[str, str] | None = None,
        leaves: Collection[str] = (),
        step: int | None = None,
    ) -> Weight:
        """A proof. It excludes every look-alike but those in `leaves`, which only their own experiments refute.

        Args:
            refutes: Better sentences, with the numbers at hand.
        """
        excluded = {alike: why for alike, why in self.told_apart.items() if alike not in leaves}
        excluded |= dict(refutes or {})
        return Weight(confidence, evidence, excluded, step)


def symptoms(case: Case) -> frozenset[str]:
    """Everything that was seen: sightings, and broken invariants as the symptoms that they are."""
    broken = {SHOWS_AS[violation.invariant] for violation in case.violations if violation.invariant in SHOWS_AS}
    return frozenset({sighting.symptom for sighting in case.sightings} | broken)


def first_seen(case: Case, among: Collection[str]) -> int | None:
    """The step from which on any of these symptoms shows."""
    steps = [sighting.step for sighting in case.sightings if sighting.symptom in among]
    steps += [violation.step for violation in case.violations if SHOWS_AS.get(violation.invariant) in among]
    return min(steps, default=None)


def number(case: Case, probe: str, name: str) -> float | None:
    """A number that a probe measured, non-finite ones too ("nan" as in metrics.jsonl); None where there is none."""
    value = case.value(probe, name)
    if value is None or isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def numbers(case: Case, probe: str, name: str) -> list[float]:
    """A list of them; empty where there is none."""
    values = listed(case, probe, name)
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError):
        return []


def listed(case: Case, probe: str, name: str) -> list[Any]:
    value = case.value(probe, name)
    return list(value) if isinstance(value, list | tuple) else []


def said_yes(case: Case, probe: str, name: str) -> bool:
    """The probe says so in as many words."""
    return case.value(probe, name) is True


def said_no(case: Case, probe: str, name: str) -> bool:
    return case.value(probe, name) is False


def unharmed(case: Case) -> str | None:
    """Why the state cannot be damaged: held-out examples are no worse than at the base and at the last good state."""
    now, base = number(case, "held-out", "now"), number(case, "held-out", "base")
    if now is None or base is None or not math.isfinite(now) or said_yes(case, "replay", "state_damaged"):
        return None
    chances = [number(case, "held-out", name) for name in ("worse_than_base_p", "worse_than_good_p")]
    if any(chance is not None and not chance > HARM_CHANCE for chance in chances) or chances[0] is None:
        return None
    return f"held-out loss is {now:.3f}, the base's {base:.3f}: no worse than chance allows"


def learned_by_heart(case: Case) -> str | None:
    """Held-out rows are worse than at the last good state, and training rows are not: the model bends to its rows."""
    now, good = numbers(case, "replay", "peers_now"), numbers(case, "replay", "peers_good")
    worse = number(case, "held-out", "worse_than_good_p")
    if not now or not good or worse is None or not worse < CHANCE or not all(map(math.isfinite, [*now, *good])):
        return None
    if said_yes(case, "replay", "state_damaged") or not math.isfinite(number(case, "held-out", "now") or 0.0):
        return None
    trained, before = sum(now) / len(now), sum(good) / len(good)
    if trained > before:
        return None
    return f"training rows have a loss of {trained:.3f}, {before:.3f} at the last good state, while held-out ones rose"


def unequal_from(case: Case) -> float:
    """Relative difference from which on two computations that must agree do not: 16 bits round to 1e-2 and better, fp32
    to 1e-5."""
    return 1e-3 if case.setup.precision == "fp32" else 2e-2


HARM_CHANCE = 0.01
"""Above it the held-out examples do not speak of harm; between it and CHANCE nothing is concluded either way."""


def harmed(case: Case) -> str | None:
    """How the state is damaged: held-out or training examples are worse than at the base or at the last good state."""
    now = number(case, "held-out", "now")
    for name, what in (("base", "the base's"), ("good", "the last good state's")):
        before, chance = number(case, "held-out", name), number(case, "held-out", f"worse_than_{name}_p")
        if now is None or before is None or not math.isfinite(before):
            continue
        if not math.isfinite(now):
            return f"held-out loss is no number any more; {what} is {before:.3f}"
        if chance is not None and chance < CHANCE and now > before:
            return f"held-out loss is {now:.3f}, {what} {before:.3f} (by chance in {chance:.1g} of cases)"
    if said_yes(case, "replay", "state_damaged"):
        now_peers, base_peers = numbers(case, "replay", "peers_now"), numbers(case, "replay", "peers_base")
        if now_peers and base_peers:
            means = sum(now_peers) / len(now_peers), sum(base_peers) / len(base_peers)
            return f"other training rows have a loss of {means[0]:.3f} now and of {means[1]:.3f} at the base"
        return "other training rows have a higher loss now than at the base"
    return None
