from __future__ import annotations

import re

import pytest

from trimtab.guard.probe import CannotProbe, Probe
from trimtab.guard.probes import PROBES, by_name

NAMES = {
    *("held-out", "replay", "learning-rate-search", "one-batch", "row-bisection", "precision", "rerun", "equality"),
    *("dependence", "shift", "labels", "wiring", "evaluation", "optimizer-swap", "clip", "capacity", "memorisation"),
    *("rephrase", "order", "duplicates"),
}


def test_every_probe_is_in_the_list_once() -> None:
    assert sorted(probe.name for probe in PROBES) == sorted(NAMES)
    assert all(by_name(probe.name) is probe for probe in PROBES)
    assert by_name("no such probe") is None


@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_its_docstring_is_a_manual_page(probe: Probe) -> None:
    page = probe.__doc__ or ""
    assert re.search(r"\bCost: ", page)
    assert re.search(r"\bSource: ", page)
    assert probe.default_steps >= 0


def test_its_docstring_names_every_number(tiny, subtests) -> None:  # type: ignore[no-untyped-def]
    run = tiny(20)
    lab = run.lab()
    for probe in PROBES:
        with subtests.test(probe.name):
            try:
                result = probe.run(lab, run.suspect(good=run.snapshots[-1]), 40.0)
            except CannotProbe:
                continue
            missing = [key for key in result.values if not re.search(rf"\b{key}\b", probe.__doc__ or "")]
            assert not missing
            assert result.cost_steps >= 0
            assert result.sentence
