"""Tables, JSON documents, TensorBoard and W&B files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from trimtab.diagnose.readers import read

FIXTURES = Path(__file__).parents[3] / "fixtures" / "logs"


def test_lightnings_metrics_are_sparse(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", "lr-AdamW", "step", "train_loss_step", "train_loss_epoch", "val_loss"])
        writer.writeheader()
        for step in range(9, 100, 10):
            writer.writerow({"lr-AdamW": 1e-3, "step": step})
            writer.writerow({"epoch": step // 50, "step": step, "train_loss_step": 10 / step})
            if step in (49, 99):
                writer.writerow({"epoch": step // 50, "step": step, "val_loss": 20 / step})
                writer.writerow({"epoch": step // 50, "step": step, "train_loss_epoch": 0.7})
    trace = read(path).trace
    assert trace.step.tolist() == list(range(9, 100, 10))
    assert trace.eval_step.tolist() == [49, 99]
    assert trace.learning_rate[0] == 1e-3
    assert trace.restarts == 0


@pytest.mark.parametrize(
    "text",
    [
        "Step\tTraining Loss\tValidation Loss\n10\t2.5\tNo log\n20\t1.5\t1.75\n",
        "Step;Training Loss;Validation Loss\n10;2,5;\n20;1,5;1,75\n",
        "| Step | Training Loss | Validation Loss |\n|---|---|---|\n| 10 | 2.5 | - |\n| 20 | 1.5 | 1.75 |\n",
        "step,train_loss,val_loss\r\n10,2.5,\r\n20,1.5,1.75\r\n",
    ],
)
def test_tables_as_people_write_them(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table"
    path.write_bytes(text.encode())
    trace = read(path).trace
    assert trace.step.tolist() == [10, 20]
    assert trace.loss.tolist() == [2.5, 1.5]
    assert trace.eval_loss.tolist() == [1.75]


def test_epochs_alone_and_not_a_number(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("Epoch,Training Loss,Accuracy,Validation Loss\n1,0.5,0.8,0.6\n2,nan,0.1,nan\n3,short\n")
    trace = read(path).trace
    assert trace.step.tolist() == [1, 2]
    assert trace.epoch.tolist() == [1, 2]
    assert trace.lost.tolist() == [False, True]
    assert trace.eval_accuracy.tolist() == [0.8, 0.1]
    assert any("shorter than the header" in remark for remark in trace.remarks)


def test_a_peft_comparison_result(tmp_path: Path) -> None:
    metrics = [{"step": 250 * at, "train loss": 1.0 / at, "valid accuracy": 0.1 * at} for at in range(1, 5)]
    config = {"max_steps": 1000, "optimizer_kwargs": {"lr": 1e-4}, "grad_norm_clip": 1.0, "dtype": "bfloat16"}
    document = {
        "run_info": {"train_config": config, "peft_config": {"peft_type": "LORA", "r": 32, "lora_alpha": 64}},
        "train_info": {"metrics": metrics},
    }
    path = tmp_path / "result.json"
    path.write_text(json.dumps(document, indent=2))
    reading = read(path)
    assert reading.trace.step.tolist() == [250, 500, 750, 1000]
    assert reading.trace.accuracy.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert (reading.setup.learning_rate, reading.setup.r, reading.setup.is_lora) == (1e-4, 32, True)
    assert reading.trace.max_grad_norm == 1.0


@pytest.mark.parametrize(
    "document",
    [
        [{"loss": 2.0, "step": 1}, {"loss": 1.0, "step": 2}],
        {"loss": [2.0, 1.0], "val_loss": [2.5, 1.5]},
        {"params": {}, "history": {"loss": [2.0, 1.0]}},
    ],
)
def test_documents_as_people_write_them(tmp_path: Path, document: object) -> None:
    path = tmp_path / "history.json"
    path.write_text(json.dumps(document))
    assert read(path).trace.loss.tolist() == [2.0, 1.0]


def events(folder: Path, count: int, purge: int | None = None) -> Path:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder), purge_step=purge)
    for step in range(purge or 1, count + 1):
        writer.add_scalar("train/loss", 3 / step, step)
        writer.add_scalar("train/grad_norm", float("nan") if step == 5 else 1.0, step)
        if step % 10 == 0:
            writer.add_scalar("eval/loss", 4 / step, step)
    writer.add_text("args", "{}")
    writer.close()
    return folder


def test_event_files_of_tensorboard(tmp_path: Path) -> None:
    trace = read(events(tmp_path / "runs" / "Nov21", 40)).trace
    assert trace.source == "TensorBoard events"
    assert trace.step.tolist() == list(range(1, 41))
    assert trace.loss[3] == pytest.approx(0.75)
    assert trace.lost_norm.tolist() == [step == 5 for step in range(1, 41)]
    assert trace.eval_step.tolist() == [10, 20, 30, 40]
    assert read(next((tmp_path / "runs" / "Nov21").iterdir())).trace.step.tolist() == list(range(1, 41))


def test_an_event_file_that_was_cut_off(tmp_path: Path) -> None:
    path = next(events(tmp_path / "logs", 200).iterdir())
    for kept in (0.3, 0.77):
        cut = tmp_path / f"cut-{kept}"
        cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
        trace = read(cut).trace
        assert 0 < len(trace.step) < 200
        assert trace.remarks


def test_what_a_second_start_measured_anew_replaces_what_was_there(tmp_path: Path) -> None:
    import time

    events(tmp_path / "logs", 30)
    time.sleep(1.1)  # file names have seconds
    events(tmp_path / "logs", 25, purge=20)
    trace = read(tmp_path / "logs").trace
    assert trace.step.tolist() == list(range(1, 26))


def test_wandbs_offline_file() -> None:
    reading = read(FIXTURES / "offline.wandb")
    trace = reading.trace
    assert trace.source == "W&B offline file"
    assert trace.step.tolist() == list(range(1, 41))
    assert np.allclose(trace.loss, 1 + 2 / np.sqrt(trace.step))
    assert trace.eval_step.tolist() == [10, 20, 30, 40]
    assert (reading.setup.learning_rate, trace.planned_steps, trace.warmup_steps) == (2e-4, 40, 4)


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_wandb_file_that_is_damaged_gives_what_stands_before(tmp_path: Path, damage: str) -> None:
    content = bytearray((FIXTURES / "offline.wandb").read_bytes())
    if damage == "cut":
        del content[12_000:]
    else:
        content[12_000] ^= 0xFF
    path = tmp_path / "run.wandb"
    path.write_bytes(content)
    trace = read(path).trace
    assert 0 < len(trace.step) < 40
    assert any("cut off or damaged" in remark for remark in trace.remarks)
