"""The judge: what it reads of a folder, and that it stands alone."""

from __future__ import annotations

import ast
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st


def test_the_judge_imports_nothing_of_the_project() -> None:
    from bench.faults import judge

    for node in ast.walk(ast.parse(Path(judge.__file__).read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        assert not any(str(name).startswith(("trimtab", "bench")) for name in names)


@given(hits=st.integers(0, 400), more=st.integers(0, 400))
def test_an_interval_holds_its_share(hits: int, more: int) -> None:
    from bench.faults.figures import wilson

    low, high = wilson(hits, hits + more)
    assert 0 <= low <= high <= 1
    if hits + more:
        assert low - 1e-9 <= hits / (hits + more) <= high + 1e-9


@given(
    sums=st.lists(st.floats(0.1, 50), min_size=3, max_size=20),
    factor=st.floats(0.5, 3),
)
def test_a_run_is_repaired_or_harmed_never_both(sums: list[float], factor: float) -> None:
    from bench.faults.judge import Loss, compare

    tokens = tuple(5 + at % 3 for at in range(len(sums)))
    clean = Loss(tuple(sums), tokens)
    compared = compare(clean, Loss(tuple(factor * value for value in sums), tokens))
    assert not (compared.is_repaired and compared.is_harmed)
    assert compare(clean, clean).is_repaired
    assert compare(clean, None).is_harmed and not compare(clean, None).is_repaired
    assert math.isclose(compared.worse, (factor - 1) * clean.mean, rel_tol=1e-6, abs_tol=1e-9)


def said(folder: Path, *, verdict: dict[str, Any] | None, check: dict[str, Any] | None, events: list[Any]) -> Any:
    from bench.faults.judge import read

    run = folder / "run"
    run.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"exit": 3}))
    for name, value in (("verdict.json", verdict), ("check.json", check)):
        if value is not None:
            (run / name).write_text(json.dumps(value))
    (run / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return read(folder)


def test_a_healthy_folder_says_nothing(tmp_path: Path) -> None:
    found = said(tmp_path, verdict={"status": "healthy"}, check=None, events=[{"kind": "started", "step": 0}])
    assert (found.words, found.causes, found.repairs) == ((), (), ())


def test_the_guards_causes_come_before_the_checks(tmp_path: Path) -> None:
    finding = {"rule": "learning-rate-unusual", "severity": "warns", "cause": "lr-too-low", "limit": "1e-4"}
    cause = {"rule": "lr-too-high", "confidence": 0.9, "step": 7, "ruled_out": [{"cause": "bad-example", "why": "no"}]}
    found = said(
        tmp_path,
        verdict={"status": "failed", "causes": [cause], "findings": [finding]},
        check={"findings": [finding]},
        events=[{"kind": "diagnosis", "step": 9}],
    )
    assert found.causes == ("lr-too-high", "lr-too-low")
    assert found.words == ((0, "lr-too-low"), (9, ""))
    assert found.found_at(5, ["lr-too-high"]) == 9  # what was said before the onset was wrong
    assert found.found_at(5, ["lr-too-low"]) == 0
    assert found.found_at(10, ["lr-too-high"]) is None
    assert found.evidence == 1


def test_a_note_is_no_warning(tmp_path: Path) -> None:
    finding = {"rule": "few-target-tokens", "severity": "notes", "cause": "bad-example", "limit": ""}
    found = said(tmp_path, verdict=None, check={"findings": [finding]}, events=[])
    assert (found.words, found.causes, found.notes) == ((), (), ("few-target-tokens",))


@pytest.mark.parametrize(
    ("name", "losses", "alarmed"),
    [
        ("loss is NaN", [1.0, 0.9, math.nan], True),
        ("loss is NaN", [1.0, 0.9, 0.8], False),
        ("loss is 0.0", [1.0, 0.0], True),
        ("loss does not fall", [1.0] * 12, True),
        ("loss > 10 × mean", [1.0, 1.0, 21.0], True),
        ("2 × mean of window", [1.0] * 10 + [2.1], True),
        ("2 × mean of window", [1.0] * 10 + [1.9], False),
        ("6 sigma", [1.0, 1.1] * 10 + [9.0], True),
        ("6 sigma", [1.0, 1.1] * 12, False),
    ],
)
def test_simple_rules_say_what_they_are_known_to_say(name: str, losses: list[float], alarmed: bool) -> None:
    from bench.faults.baselines import RULES

    steps = [{"step": at + 1, "loss": loss, "grad_norm": 1.0} for at, loss in enumerate(losses)]
    assert (RULES[name](steps, []) is not None) == alarmed
