"""Runs of the real thing in the tiny world, and what they left."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from support.tiny import TinyWorld

Sections = Mapping[str, Any]


def sections(world: TinyWorld, run: Path, **training: Any) -> dict[str, Any]:
    """A LoRA run of the tiny Llama: 37 examples in batches of 2 × 4, which is 5 steps an epoch, the last with 5."""
    return {
        "model": {"name_or_path": str(world.llama)},
        "data": {"train": str(world.train), "validation": str(world.validation), "max_length": 256, "workers": 1},
        "adapter": {"r": 4},
        "training": {
            "output_dir": str(run),
            "num_train_epochs": 2,
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 4,
            "learning_rate": 0.01,
            "report_to": "none",
            "use_cpu": True,
            **training,
        },
        "checks": {"ignore": "all"},  # 37 examples are too few for any real run
        "report": {"page": False, "samples": 0, "recited": 0},  # hundreds of tiny runs do without
    }


def write_config(path: Path, config: Sections) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
    return path


def train(config: Sections, **options: Any) -> Any:
    """`api.train` of a config given as a dict; the file lies beside the run's folder."""
    from trimtab import api

    run = Path(config["training"]["output_dir"])
    return api.train(write_config(run.parent / f"{run.name}.yaml", config), **options)


@contextlib.contextmanager
def straight() -> Iterator[None]:
    """Runs within go straight to the loop, without rehearsal and checks (conftest's `straight_to_the_loop`)."""
    from trimtab import preflight
    from trimtab.plan.planner import plan

    def unrehearsed(loaded: Any, size: Any, train: Any, validation: Any, device: Any, *, here: Any, keep: Any) -> Any:
        return plan(loaded.config, loaded.origins, size, device, keep=keep)

    with mock.patch.object(preflight, "rehearsed_plan", unrehearsed), mock.patch.object(preflight, "RULES", ()):
        yield


def tensors(folder: Path) -> dict[str, Any]:
    """Every tensor of a folder of weights."""
    from safetensors.torch import load_file

    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    assert found, f"{folder} holds no weights"
    return found


def same_bits(one: Path, other: Path) -> bool:
    import torch

    first, second = tensors(one), tensors(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def largest_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def curve(run: Path) -> list[tuple[Any, ...]]:
    """What a run measured that must not depend on the clock: steps and evaluations, de-duplicated."""
    from trimtab.records import RunDir

    steps, evals = RunDir(run).read_metrics()
    return [(s.step, s.epoch, s.loss, s.grad_norm, s.learning_rate, s.target_tokens, s.tokens) for s in steps] + [
        (e.step, e.epoch, e.loss, e.target_tokens) for e in evals
    ]


def losses(run: Path) -> list[float]:
    from trimtab.records import RunDir

    return [record.loss for record in RunDir(run).read_metrics()[0]]


def norms(run: Path) -> list[float]:
    from trimtab.records import RunDir

    return [record.grad_norm for record in RunDir(run).read_metrics()[0]]


def relative(measured: Sequence[float], expected: Sequence[float]) -> float:
    """The largest relative difference of two curves of equal length."""
    assert len(measured) == len(expected), f"{len(measured)} values against {len(expected)}"
    return max(abs(a - b) / max(abs(b), 1e-30) for a, b in zip(measured, expected, strict=True))


def event_kinds(run: Path) -> list[str]:
    return [json.loads(line)["kind"] for line in (run / "events.jsonl").read_text().splitlines()]
