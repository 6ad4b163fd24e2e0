"""The small stratum, from its command line to its table: real runs, guarded and not, judged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.mark.timeout(900)
def test_the_small_stratum_runs(tmp_path: Path, one_thread: None, capsys: pytest.CaptureFixture[str]) -> None:
    """What is demanded of a table needs many runs; of these few: all are told, and the healthy one is left alone."""
    from bench.faults.command import SMALL, main
    from bench.faults.page import write_page

    assert main(["--stratum", "small", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "FAILED" not in said
    outcomes = {path.parent.name: json.loads(path.read_text()) for path in (tmp_path / "dev").glob("*/outcome.json")}
    assert outcomes.keys() == {f"{name}.{severity}.0" for name, severity in SMALL}
    for name, outcome in outcomes.items():
        assert outcome["harmed"], f"{name}: the fault does no harm"
        assert outcome["guarded"]["exit"] != 70, outcome["guarded"]["error"]
    assert outcomes["stale-optimizer.plain.0"]["guarded"]["latency"] <= 2
    (healthy,) = (tmp_path / "dev" / "healthy").glob("*/outcome.json")
    seen = json.loads(healthy.read_text())
    assert seen["same_weights"] and not seen["interventions"] and not seen["warned"]
    page = write_page(tmp_path, "dev", "repair", page=tmp_path / "page.md").read_text()
    assert "## Figures" in page and "stale-optimizer.plain" in page
