"""What is said of several runs beside each other, and what is not."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import run_folders

from trimtab.records import CheckReport, Finding, RunDir, Severity, Status
from trimtab.report.terminal import page_lines
from trimtab.report.views import page_of
from trimtab.report.views.comparison import ComparisonView, comparison_view
from trimtab.report.views.material import Material, read_material


@pytest.fixture
def runs(tmp_path: Path) -> list[Material]:
    found = []
    for number, name in enumerate(("one", "two", "three")):
        ended = run_folders.verdict(best_eval_loss=1.4 + number)
        run_folders.write_run(tmp_path / name, verdict=ended)
        found.append(read_material(tmp_path / name))
    return found


def compared(materials: list[Material]) -> ComparisonView:
    return comparison_view(materials, [one.name for one in materials])


def measured_on(target_tokens: int) -> Any:
    return SimpleNamespace(validation=SimpleNamespace(target_tokens=target_tokens))


def test_runs_on_the_same_rows_are_ranked_without_a_caveat(runs: list[Material]) -> None:
    view = compared([dataclasses.replace(one, data=measured_on(5000)) for one in runs])
    assert view.sentence == "one has the lowest validation loss, 1.4000; next is two with 2.4000."
    assert [row.is_best for row in view.results] == [True, False, False]


def test_runs_on_other_rows_are_not(runs: list[Material]) -> None:
    view = compared([dataclasses.replace(one, data=measured_on(at)) for at, one in enumerate(runs)])
    assert "validated on different rows, so these losses do not compare" in view.sentence
    assert "has the lowest" not in view.sentence and not any(row.is_best for row in view.results)


def test_where_data_records_are_missing_that_is_said(runs: list[Material]) -> None:
    view = compared([dataclasses.replace(runs[0], data=measured_on(5000)), *runs[1:]])
    assert "one has the lowest" in view.sentence
    assert view.sentence.endswith("It is not known whether they were validated on the same rows.")


def test_logs_of_who_knows_what_have_no_best(tmp_path: Path) -> None:
    paths = []
    for name, loss in (("a", 0.4), ("b", 0.2)):
        entries = [{"step": step, "loss": 3 / step} for step in range(1, 40)] + [{"step": 39, "eval_loss": loss}]
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps({"log_history": entries, "global_step": 39}))
    page = page_of(paths)
    assert page.comparison is not None
    assert page.comparison.sentence == (
        "Validation losses from 0.2000 (b.json) to 0.4000 (a.json). It is not known whether they were validated on the "
        "same rows, so none of them is called the best."
    )
    assert not any(row.is_best for row in page.comparison.results)
    assert not any(line.startswith("* ") for line in page_lines(page))


def test_one_that_was_validated_has_beaten_nobody(runs: list[Material]) -> None:
    verdicts = [runs[1].verdict.model_copy(update={"best_eval_loss": loss}) for loss in (None, math.nan)]
    others = [dataclasses.replace(runs[1], verdict=verdict) for verdict in verdicts]
    view = compared([runs[0], *others])
    assert view.sentence == "Only one was validated: its best validation loss is 1.4000."
    assert not any(row.is_best for row in view.results)


def test_each_row_has_the_word_of_its_own_page(runs: list[Material], tmp_path: Path) -> None:
    refused = RunDir(tmp_path / "refused")
    refused.path.mkdir()
    finding = Finding(
        rule="empty-loss-mask", severity=Severity.BLOCKS, value="9 rows", limit="0", evidence="no targets", fix="look"
    )
    refused.write_json(
        refused.check, CheckReport(verdict="blocked", findings=(finding,), passed=(), not_looked=(), seconds=1)
    )
    ended = run_folders.verdict(Status.FAILED, "refused by empty-loss-mask", best_eval_loss=None, best_step=None)
    refused.write_json(refused.verdict, ended)
    run_folders.write_run(tmp_path / "killed")
    run_folders.write_overfitted(tmp_path / "overfitted")
    kinds = [read_material(tmp_path / name) for name in ("refused", "killed", "overfitted")]
    view = compared([*kinds, dataclasses.replace(runs[0], is_live=True)])
    assert [row.cells[0] for row in view.results] == ["refused", "unfinished", "healthy, overfitting", "running"]
