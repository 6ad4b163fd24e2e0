"""TrimtabCallback in TRL's SFTTrainer, where TRL is installed. Its loss is made outside of the model's forward."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.demo_base import BASE, pairs

from trimtab.integrations import TrimtabCallback
from trimtab.records import RunDir, Status

trl = pytest.importorskip("trl")


def train(folder: Path, **settings: Any) -> Any:
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    data = Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": asked}], "completion": [{"role": "assistant", "content": said}]}
            for asked, said in pairs(100)
        ]
    )
    arguments = trl.SFTConfig(
        output_dir=str(folder.with_name("trl")),
        use_cpu=True,
        bf16=False,
        report_to="none",
        disable_tqdm=True,
        logging_steps=1,
        save_strategy="no",
        per_device_train_batch_size=4,
        **{"max_steps": 8, "learning_rate": 2e-3, **settings},
    )
    made = trl.SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32),
        processing_class=AutoTokenizer.from_pretrained(BASE),
        args=arguments,
        train_dataset=data,
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[TrimtabCallback(folder)],
    )
    made.train()
    return made


@pytest.mark.parametrize("settings", [{"gradient_accumulation_steps": 2}, {"packing": True, "max_length": 128}])
def test_the_records_are_its_own_numbers(tmp_path: Path, settings: dict[str, Any]) -> None:
    made = train(tmp_path / "run", **settings)
    steps = RunDir(tmp_path / "run").read_metrics()[0]
    logged = [line for line in made.state.log_history if "loss" in line]
    assert [record.loss for record in steps] == pytest.approx([line["loss"] for line in logged], rel=1e-5)
    assert [record.grad_norm for record in steps] == pytest.approx([line["grad_norm"] for line in logged], rel=1e-5)
    verdict = RunDir(tmp_path / "run").read_verdict()
    assert verdict is not None
    assert verdict.status is Status.HEALTHY
    assert not verdict.causes


def test_a_run_that_is_ruined_is_stopped(tmp_path: Path) -> None:
    made = train(tmp_path / "run", learning_rate=2.0, max_steps=20)
    assert made.state.global_step < 20
    verdict = RunDir(tmp_path / "run").read_verdict()
    assert verdict is not None
    assert verdict.stopped_by_guard
    assert verdict.causes[0].rule == "lr-too-high"
