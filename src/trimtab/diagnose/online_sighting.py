"""How a symptom that shows while the run goes on is put."""

from __future__ import annotations

from trimtab.records.diagnosis import Sighting

Words = tuple[str, str, str]
"""Value, limit, sentence."""


def sighting(symptom: str, step: int, value: str, limit: str, said: str) -> Sighting:
    return Sighting(symptom=symptom, step=step, value=value, limit=limit, sentence=f"step {step}: {said}")
