"""From judged cases to the table: what was reached, how sure that is, what was missed and what was a false alarm."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.faults.baselines import RULES
from bench.faults.injector import Demand, Mend
from bench.faults.policies import POLICIES

Z = 1.96
"""Of a 95 % interval."""

Found = dict[str, Any]


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): sane at 0 and at 1, and for few trials."""
    if not trials:
        return 0.0, 1.0
    share = hits / trials
    centre = share + Z * Z / (2 * trials)
    spread = Z * math.sqrt(share * (1 - share) / trials + Z * Z / (4 * trials * trials))
    scale = 1 + Z * Z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def share(values: Iterable[bool]) -> str:
    """ "57/60 = 95 % (86–98)"."""
    seen = [bool(value) for value in values]
    if not seen:
        return "none run"
    low, high = wilson(sum(seen), len(seen))
    return f"{sum(seen)}/{len(seen)} = {sum(seen) / len(seen):.0%} ({100 * low:.0f}–{100 * high:.0f})"


@dataclass(frozen=True)
class Results:
    """Outcomes of one half."""

    faulty: list[Found]
    healthy: list[Found]

    @classmethod
    def read(cls, out: Path, half: str) -> Results:
        faulty, healthy = [], []
        for path in sorted((out / half).glob("*/outcome.json")):
            faulty.append(loaded(path))
        for path in sorted((out / half / "healthy").glob("*/outcome.json")):
            healthy.append(loaded(path))
        return cls(faulty, healthy)

    @property
    def guarded(self) -> list[Found]:
        return [case for case in self.faulty if case["guarded"] is not None]

    @property
    def harmful(self) -> list[Found]:
        return [case for case in self.faulty if case["harmed"]]

    @property
    def repairable(self) -> list[Found]:
        """What the guard may put right by itself, and where there is something to put right: a run that was refused
        for the right reason needs no repair."""
        mine = [c for c in self.guarded if c["mend"] == Mend.SAFE and c["harmed"]]
        return [c for c in mine if not (c["guarded"]["refused"] and c["guarded"]["top1"])]

    def of(self, demand: Demand) -> list[Found]:
        return [case for case in self.guarded if case["demand"] == demand.value]


def loaded(path: Path) -> Found:
    found: Found = json.loads(path.read_text(encoding="utf-8"))
    return found


def latencies(cases: Sequence[Found]) -> list[float]:
    """In steps after the onset; a case that was never detected has an infinite one."""
    return [math.inf if (late := c["guarded"]["latency"]) is None else max(0, late) for c in cases]


def _steps(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.0f}"


def _median_and_ninth(values: Sequence[float]) -> str:
    if not values:
        return "none run"
    ranked = sorted(values)
    ninth = ranked[min(len(ranked) - 1, math.ceil(0.9 * len(ranked)) - 1)]
    middle = ranked[(len(ranked) - 1) // 2]  # the lower one: a median of a number and "never" is no number
    return f"median {_steps(middle)}, 90th percentile {_steps(ninth)} ({len(ranked)} cases)"


def figures(found: Results) -> list[tuple[str, str, str]]:
    """(figure, must reach, reached)."""
    guarded = found.guarded
    static, divergence, silent = (found.of(d) for d in (Demand.STATIC, Demand.DIVERGENCE, Demand.SILENT))
    seconds = [c for c in found.repairable if c["guarded"]["repaired"] and c["guarded"]["clean_seconds"]]
    cost = [c["guarded"]["train_seconds"] / c["guarded"]["clean_seconds"] for c in seconds]
    on, off = (sum(h[which] for h in found.healthy) for which in ("on_seconds", "off_seconds"))
    not_abstained = [c for c in guarded if c["guarded"]["causes"] and not c["guarded"]["abstains"]]
    proposals = [c for c in guarded if c["mend"] == Mend.ASK]
    quiet = [c for c in guarded if not c["harmed"]]
    return [
        ("static faults found before step 1", "100 %", share(c["guarded"]["before_step_1"] for c in static)),
        ("divergence found, steps after onset", "median ≤ 5, 90th ≤ 20", _median_and_ninth(latencies(divergence))),
        ("silent wiring faults found within 2 steps", "all", share(late <= 2 for late in latencies(silent))),
        ("top-1 cause, undetected counted wrong", "≥ 90 %", share(c["guarded"]["top1"] for c in guarded)),
        ("top-3", "≥ 97 %", share(c["guarded"]["top3"] for c in guarded)),
        ("top-1 where it did not abstain", "-", share(c["guarded"]["top1"] for c in not_abstained)),
        ("repaired: within 2 % or 2 standard errors of the clean run", "≥ 90 % of the repairable",
         share(c["guarded"]["repaired"] for c in found.repairable)),
        ("never worse than without the guard", "-",
         share(c["guarded"]["no_worse_than_unguarded"] for c in found.repairable)),
        ("right proposal where it must ask", "-", share(c["guarded"]["top1"] for c in proposals)),
        ("harmless faults left alone", "-", share(not any(r[4] for r in c["guarded"]["repairs"]) for c in quiet)),
        ("healthy runs changed by an intervention", "0",
         _count(not h["same_weights"] or h["interventions"] for h in found.healthy)),
        ("healthy runs with a warning", "≤ 2 %", share(bool(h["warned"]) or h["exit"] != 0 for h in found.healthy)),
        ("time of watching healthy runs", "≤ 1 %",
         f"{on / off - 1:+.1%} over {len(found.healthy)} runs" if off else "none run"),
        ("cost of a repaired run", "≤ 1.15 ×",
         f"median {statistics.median(cost):.2f} ×, at most {max(cost):.2f} × ({len(cost)})" if cost else "none run"),
    ]  # fmt: skip


def _count(values: Iterable[Any]) -> str:
    seen = [bool(value) for value in values]
    return f"{sum(seen)} of {len(seen)}" if seen else "none run"


def rivals(found: Results) -> list[tuple[str, str, str, str]]:
    """Baselines: (name, faults alarmed, healthy runs alarmed, repaired)."""
    rows = []
    for name in RULES:
        hit = share(c["naive"][name] is not None for c in found.faulty)
        rows.append((name, hit, share(h["naive"][name] is not None for h in found.healthy), "-"))
    for name in POLICIES:
        tried = [c["policies"][name]["repaired"] for c in found.harmful if name in c["policies"]]
        rows.append((name, "-", "-", share(tried)))
    if found.guarded:
        rows.append((
            "**Trimtab's guard**",
            share(c["guarded"]["detected"] for c in found.guarded),
            share(bool(h["warned"]) for h in found.healthy),
            share(c["guarded"]["repaired"] for c in found.repairable),
        ))  # fmt: skip
    return rows


def calibration(found: Results) -> float | None:
    """Expected calibration error of the first cause's confidence, five bins."""
    pairs = [
        (c["guarded"]["confidences"][0], c["guarded"]["top1"]) for c in found.guarded if c["guarded"]["confidences"]
    ]
    if not pairs:
        return None
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, right in pairs:
        bins.setdefault(min(4, int(5 * confidence)), []).append((confidence, right))
    apart = [
        len(held) * abs(statistics.fmean(c for c, _ in held) - statistics.fmean(float(r) for _, r in held))
        for held in bins.values()
    ]
    return math.fsum(apart) / len(pairs)


def confusions(found: Results) -> Counter[tuple[str, str]]:
    """(true cause, what was said first) of the cases that were not named rightly."""
    wrong = [c for c in found.guarded if not c["guarded"]["top1"]]
    return Counter((c["cause"], c["guarded"]["causes"][0] if c["guarded"]["causes"] else "nothing") for c in wrong)
