"""The page of a run that goes on."""

from __future__ import annotations

import threading
from pathlib import Path
from unittest import mock

import pytest
from support import run_folders

from trimtab.records import EvalRecord
from trimtab.report import live_page
from trimtab.report.live_page import LivePage
from trimtab.report.views import page_of
from trimtab.report.written import write_page

EVALUATION = EvalRecord(step=1, epoch=0.1, loss=1.0, target_tokens=9, seconds=0.1)


def test_it_is_written_at_an_evaluation_and_at_the_end(tmp_path: Path) -> None:
    run = run_folders.write_run(tmp_path / "run", steps=30)
    said: list[str] = []
    page = LivePage(run, said.append)
    page.on_eval(EVALUATION)
    assert 'data-live="yes"' in run.report.read_text() and "Step 30" in run.report.read_text()
    run_folders.write_healthy(tmp_path / "run")
    page.end()
    assert 'data-live="no"' in run.report.read_text() and "Evaluation loss 3.0000" in run.report.read_text()
    assert said == []


def test_it_takes_a_hundredth_of_the_time_at_most(tmp_path: Path) -> None:
    run = run_folders.write_run(tmp_path / "run", steps=30)
    clock = [0.0, 0.0, 2.0, 199.0, 202.0, 202.0, 203.0]
    with mock.patch.object(live_page.time, "monotonic", side_effect=clock):
        page = LivePage(run, lambda line: None)
        page.on_eval(EVALUATION)  # takes two seconds
        run.report.unlink()
        page.on_eval(EVALUATION)  # at 199
        assert not run.report.exists()
        page.on_eval(EVALUATION)  # at 202
        assert run.report.exists()


@pytest.mark.parametrize("fault", ["a folder in its place", "a file of somebody's"])
def test_a_page_that_cannot_be_written_is_told_once_and_costs_nothing(fault: str, tmp_path: Path) -> None:
    run = run_folders.write_run(tmp_path / "run", steps=30)
    if fault.startswith("a folder"):
        run.report.mkdir()
    else:
        run.report.write_text("mine")
    said: list[str] = []
    page = LivePage(run, said.append)
    page.on_eval(EVALUATION)
    page.end()
    assert len(said) == 1 and "report.html could not be written" in said[0]


def test_a_view_that_fails_costs_nothing_either(tmp_path: Path) -> None:
    run = run_folders.write_run(tmp_path / "run", steps=30)
    said: list[str] = []
    page = LivePage(run, said.append)
    with mock.patch("trimtab.report.views.page.read_material", side_effect=TypeError("a view of the future")):
        page.on_eval(EVALUATION)
    assert len(said) == 1 and "could not be written (TypeError: a view of the future)" in said[0]
    page.end()  # what passed has passed
    assert 'data-live="no"' in run.report.read_text()


def test_a_run_that_is_never_evaluated_has_a_page_all_the_same(tmp_path: Path) -> None:
    run = run_folders.write_run(tmp_path / "run", steps=30)
    step = run.read_metrics()[0][-1]
    page = LivePage(run, lambda line: None)
    with mock.patch.object(live_page.time, "monotonic", return_value=1000.0) as clock:
        page.on_step(step)
        clock.return_value = 1059.0
        page.on_step(step)
        assert not run.report.exists()
        clock.return_value = 1061.0
        page.on_step(step)
        assert run.report.exists()


def test_a_run_that_breaks_off_leaves_no_page_that_says_it_goes_on(tmp_path: Path) -> None:
    run = run_folders.write_run(tmp_path / "run", steps=30)
    page = LivePage(run, lambda line: None)
    page.close()
    assert not run.report.exists(), "somebody else's folder is left alone"
    page.on_eval(EVALUATION)
    page.close()
    assert 'data-live="no"' in run.report.read_text() and "ended without a verdict" in run.report.read_text()


def test_two_may_write_one_page(tmp_path: Path) -> None:
    run = run_folders.write_healthy(tmp_path / "run")
    page = page_of([run.path])
    failed: list[Exception] = []

    def write() -> None:
        try:
            for _ in range(20):
                write_page(page, run.report)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [] and not list(run.path.glob(".*.tmp"))
