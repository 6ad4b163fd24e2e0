"""More ways in which tools and people write down a loss."""

from __future__ import annotations

import gzip
import json
import os
import threading
from pathlib import Path

import pytest

from trimtab.diagnose.readers import read
from trimtab.errors import LogError

LOSSES = [round(2 - step / 40, 4) for step in range(20)]


def lines(form: str) -> str:
    return "".join(form.replace("STEP", str(step)).replace("LOSS", f"{loss:.4f}") for step, loss in enumerate(LOSSES))


FORMS = {
    "numpy": "step STEP {'loss': np.float64(LOSS), 'lr': 1e-4}\n",
    "array": "step STEP loss: array(LOSS, dtype=float32)\n",
    "tensor": "step STEP loss: tensor(LOSS, device='cuda:0')\n",
    "nll": "step=STEP train_nll=LOSS\n",
    "cross-entropy": "step STEP cross_entropy: LOSS\n",
    "nested": '{"step": STEP, "metrics": {"train": {"loss": LOSS}}}\n',
    "structured": '{"level": "info", "msg": "step STEP loss LOSS"}\n',
    "json ce": '{"step": STEP, "ce": LOSS}\n',
}


@pytest.mark.parametrize("kind", sorted(FORMS))
def test_each_is_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log"
    path.write_text(lines(FORMS[kind]))
    trace = read(path).trace
    assert trace.loss.tolist() == LOSSES
    assert trace.step.tolist() == list(range(20))


def test_downloads_of_the_web_pages(tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    header = '"Step","a - train/loss","a - train/loss__MIN","a - train/loss__MAX"\n'
    path.write_text(header + lines('"STEP","LOSS","0","9"\n'))
    assert read(path).trace.loss.tolist() == LOSSES
    path.write_text("Wall time,Step,Value\n" + lines("1700000000.0,STEP,LOSS\n"))
    trace = read(path).trace
    assert trace.loss.tolist() == LOSSES
    assert any("Value" in remark for remark in trace.remarks)
    path = path.rename(tmp_path / "run-a-tag-eval_loss.csv")
    assert read(path).trace.eval_loss.tolist() == LOSSES[1:]


def test_a_stray_quotation_mark_costs_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n" + lines("STEP,LOSS\n").replace("\n5,", '\n"5,'))
    assert read(path).trace.loss.tolist() == LOSSES


def test_a_cell_of_several_lines_is_one(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,sample,loss\n" + lines('STEP,"once, twice\nand 3,4,5",LOSS\n'))
    assert read(path).trace.loss.tolist() == LOSSES


def test_names_without_a_loss_are_told(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps({"step": 1, "perplexity": 8.0}) + "\n")
    with pytest.raises(LogError, match="perplexity"):
        read(path)


def test_a_pipe_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(lines(FORMS["tensor"])))
    writer.start()
    assert read(pipe).trace.loss.tolist() == LOSSES
    writer.join()


def test_a_small_gzip_that_is_cut_gives_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "log.gz"
    packed = gzip.compress(lines('{"step": STEP, "loss": LOSS}\n').encode())
    path.write_bytes(packed[:-12])
    trace = read(path).trace
    assert 0 < len(trace.step) <= 20
    assert "the compressed file is cut off" in trace.remarks


def test_a_folder_names_its_other_runs(tmp_path: Path) -> None:
    for name in "abcdefgh":
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.jsonl").write_text(lines('{"step": STEP, "loss": LOSS}\n'))
    remark = next(remark for remark in read(tmp_path).trace.remarks if "one of 8" in remark)
    assert remark.count("log.jsonl") == 5
    assert remark.endswith("and 2 more")


HOSTILE = {
    "max_steps": {"log_history": [{"step": 1, "loss": 2.0}], "max_steps": float("inf"), "train_batch_size": 8},
    "batch": {"log_history": [{"step": 1, "loss": 2.0}], "max_steps": 4, "train_batch_size": float("nan")},
    "train_info": {"train_info": [], "loss": [1, 2, 3]},
    "run_info": {"train_info": {"metrics": [{"step": 1, "train loss": 2.0}]}, "run_info": []},
    "peft": {"train_info": {"metrics": [{"loss": 2.0}]}, "run_info": {"train_config": {"batch_size": float("nan")}}},
    "epoch": {"step": 1, "loss": 2.0, "epoch": float("inf")},
}


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_numbers_that_are_no_counts(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "log.json"
    path.write_text((json.dumps(HOSTILE[kind]) + "\n") * (3 if kind == "epoch" else 1))
    assert len(read(path).trace.step) >= 1


def test_steps_of_infinity(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("step 1/inf loss 2.0\nstep 2/inf loss 1.9\n")
    assert read(path).trace.planned_steps is None


@pytest.mark.parametrize("name", ["x" * 300, "a\0b"])
def test_names_that_no_file_has(name: str) -> None:
    with pytest.raises(LogError):
        read(name)


@pytest.mark.parametrize(
    ("name", "is_policy"),
    [("reward", True), ("train/reward_std", True), ("rewards/chosen", False), ("mean_reward", False)],
)
def test_whose_loss_it_is(tmp_path: Path, name: str, is_policy: bool) -> None:
    path = tmp_path / "log"
    path.write_text(lines('{"step": STEP, "loss": LOSS, "' + name + '": 0.5}\n'))
    assert read(path).trace.has_rewards is is_policy
    path.write_text(lines("{'loss': LOSS, '" + name + "': 0.5, 'epoch': STEP}\n"))
    assert read(path).trace.has_rewards is is_policy
