"""What every symptom keeps to, whoever wrote it. A new symptom is held to it by being in the list."""

from __future__ import annotations

import copy
import inspect
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import curves
from support.curves import Drawn, noisy, trace

import trimtab.diagnose.symptoms as symptoms_package
from trimtab.diagnose.symptom import Symptom
from trimtab.diagnose.symptoms import SYMPTOMS, sight
from trimtab.diagnose.trace import Trace

FOLDER = Path(symptoms_package.__file__).parent
HEADINGS = ["What it is", "How it is told", "What it is not", "Source"]
every_symptom = pytest.mark.parametrize("symptom", SYMPTOMS, ids=lambda symptom: symptom.name)


def falling(count: int = 200, spread: float = 0.03, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return noisy(rng, 1 + 2 * (1 + np.arange(count)) ** -0.5, spread, "normal")


def _with(losses: np.ndarray, **changes: object) -> Trace:
    return trace(losses, **changes)  # type: ignore[arg-type]


def _put(values: np.ndarray, at: slice, value: float) -> np.ndarray:
    changed = values.copy()
    changed[at] = value
    return changed


def _norms(count: int, at: slice, value: float) -> np.ndarray:
    return _put(np.ones(count), at, value)


FLAT = noisy(np.random.default_rng(1), np.full(200, 1.5), 0.03, "normal")
SINKING = np.linspace(1.0, 0.96, 400)
STANDS = np.concatenate([np.linspace(3, 2, 200), np.full(200, 2.0)]) * (1 + 0.002 * np.sin(np.arange(400)))
SWINGS = 2 + 0.8 * np.sin(np.arange(800) / 40)
RATES = np.full(400, 1e-4)

FIRES: dict[str, Callable[[], Trace]] = {
    "non-finite-loss": lambda: _with(_put(falling(), slice(150, 200), math.nan)),
    "non-finite-gradient": lambda: _with(
        falling(),
        grad_norm=_norms(200, slice(150, 200), math.nan),
        lost_norm=_put(np.zeros(200), slice(150, 200), 1).astype(bool),
    ),
    "loss-at-zero": lambda: _with(_put(falling(), slice(150, 200), 0.0)),
    "gradient-exactly-zero": lambda: _with(falling(), grad_norm=_norms(200, slice(20, 200), 0.0)),
    "divergence": lambda: _with(np.concatenate([falling(100), 2 * falling(100)[:1].repeat(100)])),
    "flat-from-the-start": lambda: _with(FLAT),
    "base-not-beaten": lambda: _with(FLAT, evals=np.array([2.0, 1.9, 1.8]), base_eval_loss=1.7),
    "loss-not-falling-at-step-10": lambda: _with(
        np.array([2.0, 2.01, 2.0, 2.5, 2.9, 3.1, 3.2, 3.1, 3.2, 3.1, 3.15, 3.1])
    ),
    "eval-rising": lambda: _with(falling(), evals=np.array([2.0, 1.5, 1.4, 1.45, 1.6, 1.7])),
    "train-eval-gap-growing": lambda: _with(
        np.linspace(2, 0.5, 200), evals=np.array([2.0, 1.8, 1.7, 1.7, 1.7, 1.7, 1.7, 1.7])
    ),
    "memorised": lambda: _with(3 * np.exp(-np.arange(300) / 50) + 0.02, epochs=20.0),
    "spike": lambda: _with(_put(falling(), slice(120, 123), 6.0)),
    "oscillating": lambda: _with(SWINGS),
    "slow": lambda: _with(SINKING),
    "stalled-later": lambda: _with(STANDS, learning_rate=RATES),
    "all-steps-clipped": lambda: _with(falling(), grad_norm=_norms(200, slice(0, 200), 80.0), max_grad_norm=1.0),
    "memory-over-limit": lambda: _with(falling(), memory_bytes=np.full(200, 9e9), memory_limit_bytes=8e9),
    "throughput-drop": lambda: _with(falling(), seconds=_put(np.full(200, 0.1), slice(150, 200), 0.5)),
}
"""A curve that shows it, for each."""

CHRONIC = {"slow", "train-eval-gap-growing"}
"""Mild ones that a healthy run may show: they are no judgement."""


@pytest.mark.parametrize("path", sorted(FOLDER.glob("[!_]*.py")), ids=lambda path: path.stem)
def test_every_file_is_in_the_list(path: Path) -> None:
    assert path.stem in {_file(symptom) for symptom in SYMPTOMS}, f"append it to {FOLDER.name}/__init__.py"


@every_symptom
def test_its_docstring_is_its_manual_page(symptom: Symptom) -> None:
    page = inspect.cleandoc(type(symptom).__doc__ or "")
    assert [line.rstrip(":") for line in page.splitlines() if line.endswith(":") and line[0] != " "] == HEADINGS
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", symptom.name)


@every_symptom
def test_it_is_seen_where_it_is(symptom: Symptom) -> None:
    shown = FIRES[symptom.name]()
    sighting = symptom.look(shown)
    assert sighting is not None
    assert sighting.symptom == symptom.name
    assert sighting.step in {*shown.step.tolist(), *shown.eval_step.tolist()}
    assert sighting.value
    assert sighting.limit
    assert sighting.sentence[0].islower()
    assert not sighting.sentence.endswith(".")


@every_symptom
def test_nothing_is_seen_where_there_is_nothing(symptom: Symptom) -> None:
    nothing = Trace(source="nothing")
    assert symptom.look(nothing) is None
    assert symptom.look(trace(np.array([2.0]))) is None
    unknown = trace(np.full(60, 1.0))
    unknown = replace(unknown, loss=np.full(60, np.nan), lost=np.zeros(60, dtype=bool))
    assert symptom.look(unknown) is None, "NaN that was not logged is no sign of anything"


@every_symptom
def test_looking_changes_nothing(symptom: Symptom) -> None:
    shown = FIRES[symptom.name]()
    before = copy.deepcopy(shown)
    first, second = symptom.look(shown), symptom.look(shown)
    assert first == second
    for field in fields(Trace):
        kept, now = getattr(before, field.name), getattr(shown, field.name)
        assert (
            np.array_equal(kept, now, equal_nan=True)
            if isinstance(kept, np.ndarray) and kept.dtype.kind == "f"
            else (np.array_equal(kept, now))
        )


@every_symptom
@given(kind=st.sampled_from(curves.HEALTHY), seed=st.integers(min_value=0, max_value=2**32))
@settings(max_examples=25, deadline=None)
def test_healthy_noise_is_not_seen_as_it(
    symptom: Symptom, kind: Callable[[np.random.Generator], Drawn], seed: int
) -> None:
    drawn = kind(np.random.default_rng(seed))
    if symptom.name in CHRONIC or "flat" in drawn.right:
        return
    if _is_buried(drawn.trace):
        return
    assert symptom.look(drawn.trace) is None


def _is_buried(shown: Trace) -> bool:
    """Whether few points with noise of a fifth and more hide what the curve does: chance then decides what is seen."""
    return (
        len(shown.step) < 100 and float(np.nanstd(np.diff(np.log(shown.loss)))) > 0.2 if len(shown.step) > 2 else False
    )


@given(scale=st.sampled_from([0.01, 0.125, 1.0, 8.0]), seed=st.integers(min_value=0, max_value=2**32))
@settings(max_examples=25, deadline=None)
def test_a_curve_divided_by_its_accumulation_is_the_same_curve(scale: float, seed: int) -> None:
    """What is told of shape, not of nats, does not mind the scale."""
    drawn = curves.power_law(np.random.default_rng(seed)).trace
    of_shape = {"spike", "flat-from-the-start", "oscillating", "slow"}
    seen = {sighting.symptom for sighting in sight(drawn)} & of_shape
    assert {sighting.symptom for sighting in sight(replace(drawn, loss=drawn.loss * scale))} & of_shape == seen


def test_a_million_points_are_looked_at_at_once() -> None:
    """All symptoms together, within a few times the memory of the curve itself (8 MB a column)."""
    import tracemalloc

    count = 200_000
    rng = np.random.default_rng(0)
    shown = trace(noisy(rng, 1 + 2 * (1 + np.arange(count)) ** -0.3, 0.1, "normal"))
    tracemalloc.start()
    assert sight(shown) == ()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * shown.loss.nbytes


def test_no_symptom_needs_torch() -> None:
    code = "import sys, trimtab.diagnose.symptoms, trimtab.diagnose.readers; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def _file(symptom: Symptom) -> str:
    return symptom.name.replace("-", "_")
