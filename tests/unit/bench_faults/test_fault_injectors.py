"""Hands in the loop: nothing before their onset, something after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STEPS = 14
"""Of conftest's run."""
ONSET = 4
MADE_OF_CONFIG = {"rate-too-high"}
"""Its onset is when a warmup passes a limit: no hand in the loop."""


def sabotages() -> list[Any]:
    from bench.faults.catalogue import INJECTORS

    return [one for one in INJECTORS if one.has_onset and one.name not in MADE_OF_CONFIG]


def made(injector: Any, *, onset: int = ONSET) -> Any:
    severity = list(injector.severities)[-1]
    return injector(severity, injector.severities[severity][1], onset, 1)


def run(make: Callable[[], Any], fault: Any, folder: Path, *, with_fault: bool) -> Path:
    from bench.faults.execute import Plan, execute

    site, rows = make()
    (fault.prepare if with_fault else fault.reference)(site)
    plan = Plan(site, rows, fault if with_fault else None, "off")
    return execute(plan, folder if with_fault else folder / plan.key)


def log(folder: Path, until: int | None = None) -> list[tuple[Any, ...]]:
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    kept = [line for line in lines if until is None or line["step"] <= until]
    return [
        (line["kind"], line["step"], line["loss"], line.get("grad_norm"), line.get("learning_rate")) for line in kept
    ]


@pytest.fixture(scope="module")
def clean_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where most faults find the same clean twin."""
    return tmp_path_factory.mktemp("clean")


@pytest.mark.parametrize("injector", sabotages(), ids=lambda one: one.name)
def test_a_sabotaged_run_is_its_clean_twin_until_the_onset(
    injector: Any, tiny_site: Callable[[], Any], tmp_path: Path, clean_runs: Path
) -> None:
    from bench.faults import judge

    fault = made(injector)
    clean = run(tiny_site, fault, clean_runs, with_fault=False)
    faulty = run(tiny_site, fault, tmp_path / "faulty", with_fault=True)
    about = json.loads((faulty / "run.json").read_text())
    assert about["exit"] != 70, about["error"]
    onset = fault.begins(tiny_site()[0])
    # Records are written a step late: the rate in the record of the step before the onset is already the wrong one.
    assert log(faulty, onset - 1) == log(clean, onset - 1) or onset == 0
    events = (faulty / "run" / "events.jsonl").read_text()
    differs = log(faulty) != log(clean) or not judge.same_weights(clean, faulty) or "amendment" in events
    assert differs, "the fault does nothing"
    if fault.name != "not-shuffled":
        assert len(log(faulty)) == len(log(clean)) >= STEPS


def symptoms(folder: Path) -> dict[str, Any]:
    steps = [line for line in log(folder) if line[0] == "step"]
    return {"losses": [float(s[2]) for s in steps], "norms": [float(s[3]) for s in steps]}


@pytest.mark.parametrize(
    ("name", "shows"),
    [
        ("targets-dropped", lambda seen: set(seen["losses"][ONSET:]) == {0.0} == set(seen["norms"][ONSET:])),
        ("nan-once", lambda seen: all(loss != loss for loss in seen["losses"][ONSET + 1 :])),
        ("labels-shifted-twice", lambda seen: seen["losses"][ONSET] != seen["losses"][ONSET - 1]),
        ("log-shows-zero", lambda seen: set(seen["losses"][ONSET:]) == {0.0}),
        ("adapter-frozen", lambda seen: set(seen["norms"][ONSET:]) == {0.0}),
    ],
)
def test_the_log_shows_what_the_threads_report(
    name: str, shows: Callable[[dict[str, Any]], bool], tiny_site: Callable[[], Any], tmp_path: Path
) -> None:
    from bench.faults.catalogue import injector

    seen = symptoms(run(tiny_site, made(injector(name)), tmp_path / "faulty", with_fault=True))
    assert shows(seen), seen


def test_stale_tensors_do_not_move(tiny_site: Callable[[], Any], tmp_path: Path) -> None:
    """From the first step on: the final adapter is the one that the run began with."""
    from bench.faults.catalogue import injector
    from safetensors.torch import load_file

    folder = run(tiny_site, made(injector("stale-optimizer"), onset=0), tmp_path / "faulty", with_fault=True)
    tensors = load_file(folder / "run" / "final" / "adapter_model.safetensors")
    assert all(not tensor.any() for name, tensor in tensors.items() if "lora_B" in name)


def test_what_was_replaced_is_put_back(tiny_site: Callable[[], Any], tmp_path: Path) -> None:
    """A clean run after all of them is the clean run before."""
    from torch.nn import functional

    from trimtab.data.order import Order
    from trimtab.train.loop import Loop

    before = Loop._step, Order.rows, functional.scaled_dot_product_attention
    for injector in sabotages():
        with made(injector).during():
            pass
    assert before == (Loop._step, Order.rows, functional.scaled_dot_product_attention)
