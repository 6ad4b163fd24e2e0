"""The pages that are written from the code have all of it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from support.pages import ROOT

from trimtab import api
from trimtab.records import RunDir

REFERENCE = ROOT / "docs" / "reference"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])


def headings(name: str) -> set[str]:
    return set(re.findall(r"^#+ (.+)$", (REFERENCE / name).read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.usefixtures("scripts")
def test_every_record_has_its_table() -> None:
    from reference_pages.records import all_records

    assert set(all_records()) - headings("records.md") == set()


def test_every_file_of_a_run_has_its_record() -> None:
    run = RunDir(Path("run"))
    kept = [getattr(run, name) for name, kind in vars(RunDir).items() if isinstance(kind, property)]
    files = {path.name for path in kept if isinstance(path, Path) and path.suffix in (".json", ".jsonl")}
    assert files, "a run keeps records"
    assert files - headings("records.md") == {"abandoned.jsonl"}, "of metrics.jsonl's format; it is told there"


def test_every_verb_of_the_api_is_told() -> None:
    told = headings("python.md")
    assert {name for name in api.__all__ if name not in told and f"api.{name}" not in told} == set()
