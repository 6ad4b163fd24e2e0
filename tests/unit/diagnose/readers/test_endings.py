"""How a run ended, as what it printed tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab import api
from trimtab.records import Judgement

LINES = "".join(f"step {step} loss {3 / (1 + step / 20):.3f}\n" for step in range(20))
NAN = "ValueError: Function 'CrossEntropyBackward0' returned nan values in its 0th output.\n"
MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n"
CHILD = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"


@pytest.mark.parametrize(
    ("ending", "judgement"),
    [
        ("RuntimeError: CUDA error: device-side assert triggered\n", Judgement.OTHER),
        ("Traceback (most recent call last):\n", Judgement.OTHER),
        (NAN, Judgement.EXPLODING_OR_NAN),
        (NAN + CHILD, Judgement.EXPLODING_OR_NAN),
        (MEMORY, Judgement.OTHER),
    ],
)
def test_a_run_that_an_error_ended_is_not_healthy(tmp_path: Path, ending: str, judgement: Judgement) -> None:
    path = tmp_path / "run.log"
    path.write_text(LINES + ending)
    result = api.diagnose(path)
    assert result.verdict.judgement is judgement
    assert result.exit_status == 1
    assert any(ending.splitlines()[0].strip() in remark for remark in result.remarks)


def test_memory_that_ran_out_suggests_its_cause(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_text(LINES + MEMORY + CHILD)
    cause = api.diagnose(path).verdict.causes[0]
    assert cause.rule == "memory-longest-batch"
    assert cause.confidence <= 0.6


def test_an_error_after_which_the_run_went_on_is_a_remark(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = LINES.splitlines(keepends=True)
    path.write_text("".join([*lines[:10], "requests.exceptions.ConnectionError: no network\n", *lines[10:]]))
    result = api.diagnose(path)
    assert result.verdict.judgement is Judgement.HEALTHY
    assert any("on the way" in remark for remark in result.remarks)


def test_talk_of_errors_is_none(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_text(LINES + "0 errors, no Exception was seen\nError bars: 0.1\n")
    assert api.diagnose(path).verdict.judgement is Judgement.HEALTHY
