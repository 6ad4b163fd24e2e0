# ruff: noqa: E501 (tools print lines as long as they like)
"""What runs print. Each text is written for this test after the source of the tool that prints such lines."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from trimtab.diagnose.readers import read
from trimtab.diagnose.trace import Trace

TRAINER = """\
{'loss': 2.5, 'grad_norm': 1.25, 'learning_rate': 0.0001, 'epoch': 0.1}
{'loss': 1.5, 'grad_norm': nan, 'learning_rate': 5e-05, 'epoch': 0.2}
{'eval_loss': 1.75, 'eval_runtime': 1.2, 'epoch': 0.2}
{'train_runtime': 10.0, 'train_loss': 2.0, 'epoch': 0.2}
"""
QUOTED = """\
{'loss': '2.5', 'grad_norm': '1.25', 'learning_rate': '0.0001', 'epoch': '0.1'}
{'loss': '1.5', 'grad_norm': 'nan', 'learning_rate': '5e-05', 'epoch': '0.2'}
{'eval_loss': '1.75', 'eval_runtime': '1.2', 'epoch': '0.2'}
"""
MANGLED = (
    "\r  0%|          | 0/40 [00:00<?, ?it/s]\r 25%|██▌       | 10/40 [00:05<00:15,  2.00it/s]"
    "\x1b[A\r                                     \r{'loss': 2.5, 'learning_rate': 0.0001, 'epoch': 0.1}\n"
    "\r 50%|█████     | 20/40 [00:10<00:10,  2.00it/s]\r{'loss': 1.5, 'learning_rate': 5e-05, 'epoch': 0.2}\n"
    "\r100%|██████████| 8/8 [00:01<00:00,  8.00it/s]\r{'eval_loss': 1.75, 'epoch': 0.2}\n"
)
SPREAD = """\
{
    'loss': 2.5,
    'step': 10
}
{
    'loss': 1.5,
    'step': 20
}
{'eval_loss': 1.75, 'step': 20}
"""
AXOLOTL = """\
[2026-01-02 10:00:00,123] [INFO] [axolotl.train.train:211] [PID:1] Starting trainer...
{'loss': 2.5, 'grad_norm': 1.25, 'learning_rate': 0.0001, 'ppl': 12.2, 'memory/max_active (GiB)': 1.2, 'epoch': 0.1}
{'loss': 1.5, 'grad_norm': 1.0, 'learning_rate': 5e-05, 'ppl': 4.5, 'memory/max_active (GiB)': 1.2, 'epoch': 0.2}
{'eval_loss': 1.75, 'eval_ppl': 5.7, 'epoch': 0.2}
"""
LLAMA_FACTORY = """\
[INFO|2026-01-02 10:00:01] llamafactory.train.callbacks:143 >> {'loss': 2.5, 'learning_rate': 1.0e-04, 'epoch': 0.10}
[INFO|2026-01-02 10:00:02] llamafactory.train.callbacks:143 >> {'loss': 1.5, 'learning_rate': 5.0e-05, 'epoch': 0.20}
[INFO|2026-01-02 10:00:03] llamafactory.train.callbacks:143 >> {'eval_loss': 1.75, 'epoch': 0.20}
"""
MLX = """\
Iter 1: Val loss 1.750, Val took 2.0s
Iter 10: Train loss 2.500, Learning Rate 1.000e-04, It/sec 0.999, Tokens/sec 387.6, Peak mem 8.1 GB
Iter 20: Train loss 1.500, Learning Rate 1.000e-04, It/sec 0.942, Tokens/sec 369.7, Peak mem 8.1 GB
Iter 20: Saved adapter weights to adapters/20_adapters.safetensors.
"""
NANOGPT = """\
number of parameters: 10.65M
iter 10: loss 2.5000, time 33.10ms, mfu -100.00%
iter 20: loss 1.5000, time 33.10ms, mfu 11.00%
step 20: train loss 1.4000, val loss 1.7500
"""
FAIRSEQ = """\
| epoch 001:     10 / 500 loss=2.5, nll_loss=2.4, ppl=5.6, wps=1000, ups=2, wpb=500, num_updates=10, lr=0.0001, gnorm=1.25
| epoch 001:     20 / 500 loss=1.5, nll_loss=1.4, ppl=2.6, wps=1000, ups=2, wpb=500, num_updates=20, lr=0.0001, gnorm=1.2
| epoch 001 | valid on 'valid' subset | loss 1.75 | nll_loss 1.6 | ppl 3.03 | num_updates 20
"""
FAIRSEQ_JSON = """\
2026-01-02 10:00:00 | INFO | train_inner | {"epoch": 1, "update": 0.02, "loss": "2.5", "num_updates": "10", "lr": "0.1"}
2026-01-02 10:00:01 | INFO | train_inner | {"epoch": 1, "update": 0.04, "loss": "1.5", "num_updates": "20", "lr": "0.1"}
2026-01-02 10:00:02 | INFO | valid | {"epoch": 1, "valid_loss": "1.75", "valid_num_updates": "20"}
"""
TORCHTUNE = """\
Step 10 | loss:2.5 lr:0.0001 tokens_per_second_per_gpu:400.1 grad_norm:1.25
Step 20 | loss:1.5 lr:0.0001 tokens_per_second_per_gpu:401.3 grad_norm:1.2
Step 20 | val_loss:1.75
"""
TORCHTUNE_BAR = """\
\r1|10|Loss: 2.5:   2%|▏         | 10/500 [00:10<08:10,  1.00s/it]\r1|20|Loss: 1.5:   4%|▍         | 20/500 [00:20<08:00]
"""
TORCHTITAN = """\
\x1b[32m[rank0]:2026-01-02 10:00:00,1 - root - INFO - step: 10  loss:  2.5000  grad_norm:  1.25  memory: 10.2GiB(21%)\x1b[0m
\x1b[32m[rank0]:2026-01-02 10:00:09,1 - root - INFO - step: 20  loss:  1.5000  grad_norm:  1.20  memory: 10.2GiB(21%)\x1b[0m
"""
MEGATRON = """\
 iteration       10/     500 | consumed samples: 160 | elapsed time per iteration (ms): 100.0 | learning rate: 1.0E-04 | \
global batch size:    16 | lm loss: 2.500000E+00 | loss scale: 1.0 | grad norm: 1.250 | number of nan iterations:   0 |
 iteration       20/     500 | consumed samples: 320 | elapsed time per iteration (ms): 100.0 | learning rate: 1.0E-04 | \
global batch size:    16 | lm loss: 1.500000E+00 | loss scale: 1.0 | grad norm: 1.200 | number of nan iterations:   0 |
 validation loss at iteration 20 | lm loss value: 1.750000E+00 | lm loss PPL: 5.754603E+00 |
"""
LITGPT = """\
Epoch 1 | iter 10 step 10 | loss train: 2.500, val: n/a | iter time: 500.00 ms (step)
Epoch 1 | iter 20 step 20 | loss train: 1.500, val: 1.750 | iter time: 500.00 ms (step)
"""
LLAMA_CPP = """\
train_opt_callback: iter=    10 sample=41/1000 sched=0.100000 loss=2.500000 dt=00:00:10 eta=01:00:00 |->
train_opt_callback: iter=    20 sample=81/1000 sched=0.200000 loss=1.500000 dt=00:00:10 eta=01:00:00 |-->
"""
KERAS = """\
Epoch 1/2
10/10 [==============================] - 5s 2ms/step - loss: 2.5000 - accuracy: 0.5000 - val_loss: 2.2500
Epoch 2/2
10/10 [==============================] - 5s 2ms/step - loss: 1.5000 - accuracy: 0.6000 - val_loss: 1.7500
"""
PLAIN = """\
step 10 loss 2.5 lr 1e-4
step 20 loss 1.5 lr 1e-4
Eval loss at step 20: 1.75, tokens_seen: 400
"""
TRAINING_SCRIPT = """\
2026-01-02 10:00:00 - INFO - Epoch: 1 | Step: 10 | Train loss: 2.500 | Eval loss: 2.250 | Eval accuracy: 50.0%
2026-01-02 10:00:01 - INFO - Epoch: 1 | Step: 20 | Train loss: 1.500 | Eval loss: 1.750 | Eval accuracy: 60.0%
"""
COMPOSER = """\
[batch=10/500]:
\t Train time/batch: 9
\t Train loss/train/total: 2.5000
[batch=20/500]:
\t Train time/batch: 19
\t Train loss/train/total: 1.5000
"""
OLMO = """\
2026-01-02 10:00:00.1 host:0 olmo.train:885 INFO [step=10/500,epoch=0]
    optim/total_grad_norm=1.25
    train/CrossEntropyLoss=2.500
    train/Perplexity=12.18
2026-01-02 10:00:09.1 host:0 olmo.train:885 INFO [step=20/500,epoch=0]
    train/CrossEntropyLoss=1.500
"""
TENSOR = "step 10: loss=tensor(2.5000, device='cuda:0')\nstep 20: loss=tensor(1.5000, device='cuda:0')\n"

TEXTS = {name.lower(): text for name, text in list(globals().items()) if name.isupper() and isinstance(text, str)}
COUNTED = {"trainer", "quoted", "axolotl", "llama_factory", "keras"}
"""Those that do not tell steps."""


def traced(tmp_path: Path, text: str) -> Trace:
    path = tmp_path / "output.log"
    path.write_bytes(text.encode())
    return read(path).trace


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_lines_of(tmp_path: Path, name: str) -> None:
    trace = traced(tmp_path, TEXTS[name])
    assert trace.loss.tolist() == [2.5, 1.5]
    if name not in COUNTED:
        assert trace.step.tolist() == [10, 20]
    if len(trace.eval_loss):
        assert trace.eval_loss[-1] == 1.75


def test_what_stands_beside_the_loss(tmp_path: Path) -> None:
    trace = traced(tmp_path, TRAINER)
    assert trace.lost_norm.tolist() == [False, True]
    assert trace.learning_rate.tolist() == [1e-4, 5e-5]
    assert trace.epoch.tolist() == [0.1, 0.2]
    assert len(trace.eval_loss) == 1
    assert traced(tmp_path, TRAINING_SCRIPT).eval_accuracy.tolist() == pytest.approx([0.5, 0.6])
    assert traced(tmp_path, MEGATRON).grad_norm.tolist() == [1.25, 1.2]
    assert traced(tmp_path, MEGATRON).planned_steps == 500


@pytest.mark.parametrize("written", ["nan", "NaN", "inf", "-inf", "Infinity"])
def test_not_a_number_in_words(tmp_path: Path, written: str) -> None:
    trace = traced(tmp_path, f"INFO step 1 loss 2.0\nINFO step 2 loss {written}\nINFO step 3 loss {written}\n")
    assert trace.lost.tolist() == [False, True, True]
    assert math.isnan(trace.loss[1])


def test_other_losses_are_not_the_loss(tmp_path: Path) -> None:
    text = "".join(f"step {at} aux loss 0.{at} router loss 9.0 loss {at}.5 loss_scale 65536\n" for at in range(1, 5))
    assert traced(tmp_path, text).loss.tolist() == [1.5, 2.5, 3.5, 4.5]


def test_means_over_epochs_give_way_to_steps(tmp_path: Path) -> None:
    text = "Epoch 0, Batch 0, Loss: 3.0\nEpoch 0, Batch 10, Loss: 2.0\nEpoch 0 Average Loss: 2.5\n"
    text += "Epoch 1, Batch 0, Loss: 1.5\nEpoch 1, Batch 10, Loss: 1.0\nEpoch 1 Average Loss: 1.25\n"
    trace = traced(tmp_path, text)
    assert trace.loss.tolist() == [3.0, 2.0, 1.5, 1.0]
    assert trace.restarts == 0


def test_evaluations_that_count_other_steps_are_put_in_place(tmp_path: Path) -> None:
    text = ""
    for at in range(1, 81):
        text += f"loss at {at * 50} {4 - at / 40:.3f}\n"
        if at % 20 == 0:
            text += f"Eval loss at step {at * 50 // 4}: {5 - at / 40:.3f}\n"
    trace = traced(tmp_path, text)
    assert trace.eval_step.tolist() == [1000, 2000, 3000, 4000]
    assert any("other steps" in remark for remark in trace.remarks)


def test_a_summary_of_wandb_is_no_step(tmp_path: Path) -> None:
    text = "step 1 loss 2.0\nstep 2 loss 1.0\nwandb: Run summary:\nwandb:  train/loss 1.0\nwandb:  eval/loss 9.0\n"
    trace = traced(tmp_path, text)
    assert (trace.loss.tolist(), len(trace.eval_loss)) == ([2.0, 1.0], 0)
