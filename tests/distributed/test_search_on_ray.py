"""A search on a Ray cluster of two nodes, one of which dies in the middle, comes to what one machine comes to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.cli import trimtab
from support.runs import sections, write_config
from support.tiny import TinyWorld

ray = pytest.importorskip("ray")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes on this machine, each with room for one worker and a spare."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    made.second = made.add_node(num_cpus=2)
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    ray.shutdown()
    made.shutdown()


def board(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "leaderboard.json").read_text())
    return {key: value for key, value in found.items() if key not in ("seconds", "notes")}


def test_a_node_that_dies_costs_no_trial(
    world: TinyWorld, tmp_path: Path, cluster: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    def searched(name: str, *options: str) -> str:
        config = sections(world, tmp_path / name, warmup_steps=1, eval_strategy="no")
        space = {"training.learning_rate": [1e-3, 1e-2, 3e-2], "adapter.r": [2, 4]}
        config["search"] = {"space": space, "steps": 9, "rungs": [3, 6], "max_cohort": 2}
        ended = trimtab("search", str(write_config(tmp_path / f"{name}.yaml", config)), *options, capfd=capfd)
        assert ended.status == 0, ended.output
        return ended.output

    def kill() -> None:
        while not list((tmp_path / "many" / "trials").glob("*/outcome-3.json")):
            time.sleep(0.01)
        cluster.remove_node(cluster.second, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    said = searched("many", "--engine", "ray")
    killer.join()
    assert "Ray: 2 workers" in said
    assert "a machine died" in said
    searched("one")
    assert board(tmp_path / "many") == board(tmp_path / "one")
