"""What the house promises about itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import trimtab

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    "module",
    [
        "trimtab.config",
        "trimtab.records",
        "trimtab.plan.planner",
        "trimtab.report.progress",
        "trimtab.report.ending",
        "trimtab.api",
        "trimtab.cli.main",
    ],
)
def test_torch_free_stages_import_no_torch(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'transformers', 'peft'}} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_reference_is_what_the_code_says() -> None:
    ran = subprocess.run(
        [sys.executable, "scripts/write_reference.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_verb_is_a_function_of_the_api() -> None:
    from typer.main import get_command

    from trimtab import api
    from trimtab.cli.main import app

    verbs = get_command(app).commands  # type: ignore[attr-defined]
    assert set(verbs) <= set(api.__all__)


def test_the_design_page_names_every_package() -> None:
    page = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    for package in sorted(
        path.name for path in Path(trimtab.__file__).parent.iterdir() if (path / "__init__.py").exists()
    ):
        assert f"{package}/" in page, f"docs/design.md does not speak of {package}/"


def test_links_in_the_docs_lead_somewhere() -> None:
    import re

    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} points to {target}, which is not there"
