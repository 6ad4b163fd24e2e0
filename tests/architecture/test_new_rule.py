"""The scaffold of a rule, in a copy of the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
COPIED = ("pyproject.toml", "scripts", "src", "tests")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors")
    for name in COPIED:
        source = ROOT / name
        shutil.copytree(source, tmp_path / name, ignore=ignored) if source.is_dir() else shutil.copy(source, tmp_path)
    return tmp_path


def _run(copy: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(copy / "src")}
    return subprocess.run(
        [sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )


def _scaffold(copy: Path, name: str = "answers-in-capitals") -> subprocess.CompletedProcess[str]:
    return _run(copy, "scripts/new_rule.py", name, "--severity", "warns", "--stage", "data")


def test_a_new_rule_is_listed_tidy_and_fails_until_it_is_written(copy: Path) -> None:
    for name in ("answers-in-capitals", "answers-in-rhymes"):
        made = _scaffold(copy, name)
        assert made.returncode == 0, made.stderr

    code = "from trimtab.checks.rules import RULES\nfor r in RULES[-2:]: print(r.name, r.severity, r.stage.name)"
    listed = _run(copy, "-c", code)
    assert listed.stdout.splitlines() == ["answers-in-capitals warns DATA", "answers-in-rhymes warns DATA"], listed

    files = ["src/trimtab/checks/rules/__init__.py"]
    for snake in ("answers_in_capitals", "answers_in_rhymes"):
        files += [f"src/trimtab/checks/rules/{snake}.py", f"tests/unit/checks/rules/test_{snake}.py"]
    for command in (["check"], ["format", "--check"]):
        linted = _run(copy, "-m", "ruff", *command, *files)
        assert linted.returncode == 0, linted.stdout

    tests = ["tests/unit/checks/rules/test_answers_in_capitals.py", "tests/conformance/test_rules.py"]
    chosen = "test_answers_in_capitals or (manual and answers-in-capitals)"
    tested = _run(copy, "-m", "pytest", "-q", *tests, "-k", chosen)
    assert "3 failed" in tested.stdout and "NotImplementedError" in tested.stdout, tested.stdout
    assert "is still to be written" in tested.stdout, tested.stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("check-labels", "name what the rule finds"),
        ("Answers", "lower case"),
        ("answers", "two or more words"),
        ("too-few-examples", "exists already"),
    ],
)
def test_a_bad_name_changes_nothing(copy: Path, name: str, said: str) -> None:
    listed = copy / "src" / "trimtab" / "checks" / "rules" / "__init__.py"
    before = listed.read_text()
    made = _scaffold(copy, name)
    assert made.returncode == 2
    assert said in made.stderr
    assert listed.read_text() == before
