"""Each decision with its reason and its source; and a line for each that is not what was asked."""

from __future__ import annotations

from typing import Any

import pytest

from trimtab.config import RunConfig
from trimtab.errors import ConfigError
from trimtab.plan.planner import DataSize, plan
from trimtab.records import Device, Plan

CPU = Device(kind="cpu", name="a CPU", memory_bytes=2**34, native_bf16=True)
OLD_CPU = Device(kind="cpu", name="an old CPU", memory_bytes=2**34, native_bf16=False)
T4 = Device(kind="cuda", name="T4", memory_bytes=15 * 2**30, native_bf16=False)
A100 = Device(kind="cuda", name="A100", memory_bytes=80 * 2**30, native_bf16=True)
DATA = DataSize(examples=1000, validation_examples=100, tokens=50_000, target_tokens=20_000, max_length=512)


def planned(
    device: Device = CPU,
    data: DataSize = DATA,
    *,
    adapter: Any = "default",
    origins: dict[str, str] | None = None,
    **training: Any,
) -> tuple[Plan, list[str]]:
    sections: dict[str, Any] = {
        "model": {"name_or_path": "m"},
        "data": {"train": "t"},
        "training": {"output_dir": "o", **training},
    }
    sections["adapter"] = {} if adapter == "default" else adapter
    config = RunConfig.model_validate(sections)
    found = {f"training.{key}": f"run.yaml:{number}" for number, key in enumerate(training, 1)}
    return plan(config, found if origins is None else origins, data, device)


def test_everything_has_a_reason_and_a_source() -> None:
    made, notices = planned()
    assert not notices
    for name, decision in made.decisions().items():
        assert decision.reason, name
    assert made.total_steps.value == 189
    assert made.total_steps.source == "derived"
    assert made.warmup_steps.value == 6
    assert made.effective_batch_size.value == 16


def test_what_the_user_said_names_its_line() -> None:
    made, _ = planned(learning_rate=3e-4, num_train_epochs=2)
    assert (made.learning_rate.source, made.learning_rate.reason) == ("user", "run.yaml:1")
    assert (made.num_train_epochs.source, made.num_train_epochs.reason) == ("user", "run.yaml:2")
    assert made.optim.source == "default"


def test_a_plan_survives_its_file() -> None:
    made, _ = planned()
    assert Plan.model_validate_json(made.model_dump_json()) == made


@pytest.mark.parametrize(
    ("asked", "processes", "batch"),
    [
        ({}, 1, (4, 4, 16)),
        ({}, 2, (4, 2, 16)),
        ({}, 8, (2, 1, 16)),
        ({}, 32, (1, 1, 32)),
        ({"per_device_train_batch_size": 3}, 1, (3, 6, 18)),
        ({"gradient_accumulation_steps": 16}, 1, (1, 16, 16)),
        ({"gradient_accumulation_steps": 1}, 1, (4, 1, 4)),
        ({"per_device_train_batch_size": 2, "gradient_accumulation_steps": 5}, 3, (2, 5, 30)),
    ],
)
def test_the_effective_batch_is_micro_times_accumulation_times_processes(
    asked: dict[str, int], processes: int, batch: tuple[int, int, int]
) -> None:
    made, _ = planned(CPU.model_copy(update={"processes": processes}), **asked)
    micro, accumulation, effective = (
        made.per_device_train_batch_size.value,
        made.gradient_accumulation_steps.value,
        made.effective_batch_size.value,
    )
    assert (micro, accumulation, effective) == batch
    assert micro * accumulation * processes == effective


@pytest.mark.parametrize(
    ("examples", "epochs"), [(500, 3), (4_999, 3), (5_000, 2), (49_999, 2), (50_000, 1), (10**6, 1)]
)
def test_more_examples_need_fewer_epochs(examples: int, epochs: float) -> None:
    made, _ = planned(data=DataSize(examples, 0, 10 * examples, 5 * examples, 64))
    assert made.num_train_epochs.value == epochs


def test_lora_and_full_fine_tuning_have_different_usual_learning_rates() -> None:
    assert planned()[0].learning_rate.value == 2e-4
    assert planned(adapter=None)[0].learning_rate.value == 2e-5


@pytest.mark.parametrize("optim", ["paged_adamw_32bit", "paged_adamw_8bit", "adamw_8bit", "paged_adamw"])
def test_a_gpus_optimizer_on_a_cpu_is_replaced_in_one_line(optim: str) -> None:
    made, notices = planned(optim=optim)
    assert made.optim.value == "adamw_torch_fused"
    assert [line for line in notices if optim in line and "adamw_torch_fused" in line]
    assert planned(A100, optim=optim) == (planned(A100, optim=optim)[0], [])
    assert planned(A100, optim=optim)[0].optim.value == optim


@pytest.mark.parametrize(
    ("device", "asked", "precision", "told"),
    [
        (CPU, {}, "fp32", False),
        (OLD_CPU, {}, "fp32", False),
        (T4, {}, "fp16", False),
        (A100, {}, "bf16", False),
        (CPU, {"bf16": True}, "bf16", False),
        (OLD_CPU, {"bf16": True}, "fp32", True),
        (T4, {"bf16": True}, "fp16", True),
        (CPU, {"fp16": True}, "fp32", True),
        (T4, {"fp16": True}, "fp16", False),
        (A100, {"fp16": True}, "fp16", False),
        (A100, {"bf16": False, "fp16": False}, "fp32", False),
        (T4, {"bf16": False, "fp16": False}, "fp32", False),
        (A100, {"bf16": True, "fp16": False}, "bf16", False),
    ],
)
def test_precision_is_what_was_asked_or_the_nearest_that_the_device_has(
    device: Device, asked: dict[str, bool], precision: str, told: bool
) -> None:
    made, notices = planned(device, **asked)
    assert made.precision.value == precision
    assert bool(notices) is told
    if told:
        assert precision in notices[0]


def test_no_validation_data_means_no_evaluations_and_asking_for_them_is_told() -> None:
    without = DataSize(1000, 0, 50_000, 20_000, 512)
    assert planned(data=without)[0].eval_points.value == ()
    assert planned(data=without)[1] == []
    assert any("eval_strategy" in line for line in planned(data=without, eval_strategy="steps", eval_steps=10)[1])


def test_the_first_evaluation_is_no_point_of_the_plan_but_the_last_step_is() -> None:
    made, _ = planned()
    assert made.eval_points.value[-1] == made.total_steps.value
    assert 8 <= len(made.eval_points.value) <= 12
    assert set(made.save_points.value) <= set(range(1, 190))


def test_constant_with_a_warmup_says_that_it_has_none() -> None:
    made, notices = planned(lr_scheduler_type="constant", warmup_steps=10)
    assert made.warmup_steps.value == 0
    assert any("constant_with_warmup" in line for line in notices)
    assert planned(lr_scheduler_type="constant")[1] == []


def test_a_schedules_unknown_option_is_the_users_mistake() -> None:
    with pytest.raises(ConfigError, match="num_cylces"):
        planned(lr_scheduler_kwargs={"num_cylces": 2})


def test_max_steps_decides_whatever_the_epochs_say() -> None:
    made, _ = planned(max_steps=100, num_train_epochs=3)
    assert made.total_steps.value == 100
    assert made.num_train_epochs.value == pytest.approx(100 / 63)


def test_planning_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, trimtab.plan.planner; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
