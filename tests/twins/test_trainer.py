"""The loop's twin: transformers' own Trainer (with peft), on the same data and order, from the same weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.runs import largest_difference, losses, norms, relative, sections, tensors, train
from support.tiny import TinyWorld
from torch.utils.data import Dataset, Sampler

from trimtab.config import load_config
from trimtab.data.order import permutation
from trimtab.records import RunDir
from trimtab.train.inputs import prepare_inputs

pytestmark = pytest.mark.usefixtures("straight_to_the_loop")

STEPS = 50
SEED = 42
SETTINGS: dict[str, Any] = {
    "max_steps": STEPS,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 4,
    "learning_rate": 1e-3,
    "lr_scheduler_type": "cosine",
    "warmup_steps": 5,
    "weight_decay": 0.01,
    "max_grad_norm": 1.0,
    "optim": "adamw_torch",
    "seed": SEED,
    "save_strategy": "no",
    "eval_strategy": "no",
}
"""Names and values that both take. 37 examples in batches of 16: the last step of each epoch has 5."""


class Rows(Dataset):  # type: ignore[type-arg]
    def __init__(self, store: Any) -> None:
        self.store = store

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self.store.example(index)
        labels = np.where(example.is_target, example.input_ids, -100)
        return {"input_ids": example.input_ids.tolist(), "labels": labels.tolist()}


class OurOrder(Sampler):  # type: ignore[type-arg]
    """Each time it is asked, the next epoch's rows."""

    def __init__(self, examples: int) -> None:
        self.examples = examples
        self.epoch = 0

    def __len__(self) -> int:
        return self.examples

    def __iter__(self) -> Iterator[int]:
        rows = permutation(self.examples, SEED, self.epoch)
        self.epoch += 1
        return iter(rows.tolist())


def padded(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    longest = max(len(row["input_ids"]) for row in rows)

    def column(name: str, fill: int) -> torch.Tensor:
        return torch.tensor([row[name] + [fill] * (longest - len(row[name])) for row in rows])

    mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (longest - len(row["input_ids"])) for row in rows])
    return {"input_ids": column("input_ids", 0), "attention_mask": mask, "labels": column("labels", -100)}


def trained_by_trainer(model: Any, store: Any, folder: Path) -> tuple[list[float], list[float], list[float]]:
    """Losses (not as logged: those are rounded to four digits), gradient norms, learning rates."""
    from transformers import Trainer, TrainingArguments

    step_losses: list[float] = []
    logs: list[dict[str, float]] = []

    class Twin(Trainer):
        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return OurOrder(len(store))

        def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
            loss: torch.Tensor = super().training_step(*arguments, **options)
            if self.state.global_step == len(step_losses):
                step_losses.append(0.0)
            step_losses[-1] += float(loss)
            return loss

        def log(self, values: dict[str, float], *_: Any, **__: Any) -> None:
            if "grad_norm" in values:
                logs.append(dict(values))

    arguments = TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        report_to="none",
        logging_steps=1,
        disable_tqdm=True,
        dataloader_num_workers=0,
        remove_unused_columns=False,
        **SETTINGS,
    )
    trainer = Twin(model=model, args=arguments, train_dataset=Rows(store), data_collator=padded)
    trainer.train()
    return step_losses, [log["grad_norm"] for log in logs], [log["learning_rate"] for log in logs]


@pytest.mark.parametrize(("kind", "packing"), [("lora", "off"), ("full", "auto")], ids=["lora-padded", "full-packed"])
def test_the_loss_curve_is_the_trainers(world: TinyWorld, tmp_path: Path, kind: str, packing: str) -> None:
    from peft import LoraConfig, get_peft_model
    from peft.utils import get_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    config = sections(world, tmp_path / "run", **SETTINGS)
    config["training"].pop("num_train_epochs")
    config["data"]["packing"] = packing
    config["adapter"] = "none" if kind == "full" else {"r": 4, "lora_alpha": 8}
    train(config)

    _, data = prepare_inputs(load_config(tmp_path / "run.yaml").config, lambda line: None)
    twin = AutoModelForCausalLM.from_pretrained(world.llama)
    if kind == "lora":
        torch.manual_seed(SEED)
        twin = get_peft_model(twin, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    expected_losses, expected_norms, rates = trained_by_trainer(twin, data.train, tmp_path / "twin")

    assert len(expected_losses) == STEPS
    assert relative(losses(tmp_path / "run"), expected_losses) < 1e-4
    assert relative(norms(tmp_path / "run"), expected_norms) < 1e-3
    measured_rates = [record.learning_rate for record in RunDir(tmp_path / "run").read_metrics()[0]]
    assert measured_rates == pytest.approx(rates, rel=1e-9, abs=1e-12)
    assert expected_losses[-1] < expected_losses[0] - 0.2, (
        "it must have learnt something for the comparison to mean much"
    )
    final = tensors(tmp_path / "run" / "final")
    weights = (
        get_peft_model_state_dict(twin)
        if kind == "lora"
        else {k: v for k, v in twin.state_dict().items() if k in final}
    )
    assert (
        largest_difference(final, weights) < 1e-3
    )  # a few updates of 1e-3: AdamW's floor, see laws/test_accumulation.py
