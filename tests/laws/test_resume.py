"""Law 4: a resumed run is the run, bit for bit; and what cannot go on as it was says so."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from support.runs import curve, event_kinds, relative, same_bits, sections, straight, tensors, train, write_config
from support.steps import example_loss
from support.tiny import TinyWorld, write_messages

from trimtab.config import load_config
from trimtab.errors import ConfigError, OutputError, ResumeError
from trimtab.records import RunDir, Status
from trimtab.records.whole_folder import faults
from trimtab.train.checkpoint import newest_whole
from trimtab.train.inputs import prepare_inputs
from trimtab.train.observer import CONTINUE, Intervention

pytestmark = pytest.mark.usefixtures("straight_to_the_loop")

ROOT = Path(__file__).parents[2]
KILLS = 7

KINDS: dict[str, dict[str, Any]] = {
    "lora with dropout": {"adapter": {"r": 4, "lora_dropout": 0.1}},
    "full": {"adapter": "none"},
    "qlora": {"adapter": {"r": 4, "lora_dropout": 0.1}, "model": {"load_in_4bit": True}},
    "rslora, dora, gaussian": {
        "adapter": {"r": 4, "use_rslora": True, "use_dora": True, "init_lora_weights": "gaussian"}
    },
    "pissa": {"adapter": {"r": 4, "init_lora_weights": "pissa"}},
    "embeddings saved whole": {"adapter": {"r": 4, "target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]}},
    "sgd, linear": {"training": {"optim": "sgd", "lr_scheduler_type": "linear"}},
    "bf16": {"training": {"bf16": True}},
}


class Die(BaseException):
    """Ends a run as a kill would: nothing after it is done."""


class DieAt:
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, record: Any) -> Intervention:
        if record.step == self.step:
            raise Die
        return CONTINUE

    def on_eval(self, record: Any) -> Intervention:
        return CONTINUE


class SignalAt(DieAt):
    """A signal to this process while it trains, as Ctrl-C or a scheduler would send it."""

    def __init__(self, step: int, number: int) -> None:
        super().__init__(step)
        self.number = number

    def on_step(self, record: Any) -> Intervention:
        if record.step == self.step:
            os.kill(os.getpid(), self.number)
        return CONTINUE


def config_of(world: TinyWorld, run: Path, kind: str = "lora with dropout", **training: Any) -> dict[str, Any]:
    """10 steps of 2 × 4 over two epochs, cosine, a checkpoint each 3 steps, an evaluation each 2."""
    config = sections(world, run, eval_steps=2, save_strategy="steps", save_steps=3, **training)
    for section, values in KINDS[kind].items():
        if isinstance(values, dict):
            config[section] = {**config[section], **values} if section != "adapter" else values
        else:
            config[section] = values
    return config


def die(config: dict[str, Any], step: int) -> None:
    with pytest.raises(Die):
        train(config, observers=[DieAt(step)])


@pytest.fixture(scope="module")
def whole(world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that `config_of` asks for, left alone."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with straight():
        train(config_of(world, folder))
    return folder


@pytest.fixture(scope="module")
def dead(world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, dead in step 7; to be copied."""
    folder = tmp_path_factory.mktemp("dead") / "run"
    with straight():
        die(config_of(world, folder), 7)
    return folder


@pytest.fixture
def died(world: TinyWorld, dead: Path, tmp_path: Path) -> dict[str, Any]:
    """The config of a run in `tmp_path` that died in step 7."""
    shutil.copytree(dead, tmp_path / "run")
    return config_of(world, tmp_path / "run")


# ── bit-identical ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_that_died_and_was_resumed_is_bit_identical(world: TinyWorld, tmp_path: Path, kind: str) -> None:
    train(config_of(world, tmp_path / "whole", kind))
    died = config_of(world, tmp_path / "died", kind)
    die(died, 5)
    assert not (tmp_path / "died" / "final").exists()
    train(died, resume=True)
    assert same_bits(tmp_path / "died" / "final", tmp_path / "whole" / "final")
    assert same_bits(tmp_path / "died" / "best", tmp_path / "whole" / "best")
    assert curve(tmp_path / "died") == curve(tmp_path / "whole")


def test_a_run_may_die_many_times(world: TinyWorld, tmp_path: Path, whole: Path) -> None:
    died = config_of(world, tmp_path / "died")
    die(died, 1)
    for step in (4, 4, 6, 10):
        with pytest.raises(Die):
            train(died, resume=True, observers=[DieAt(step)])
    train(died, resume=True)
    assert same_bits(tmp_path / "died" / "final", whole / "final")
    assert curve(tmp_path / "died") == curve(whole)
    assert "resumed" in event_kinds(tmp_path / "died")


def test_resuming_a_finished_run_changes_nothing(world: TinyWorld, tmp_path: Path) -> None:
    config = config_of(world, tmp_path / "run")
    first = train(config)
    before = tensors(tmp_path / "run" / "final")
    again = train(config, resume=True)
    assert all(torch.equal(before[name], tensor) for name, tensor in tensors(tmp_path / "run" / "final").items())
    assert again.verdict.status is first.verdict.status
    assert again.verdict.best_eval_loss == first.verdict.best_eval_loss


# ── kill -9 ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_kill_9_at_any_instant_then_resume_is_bit_identical(world: TinyWorld, tmp_path: Path) -> None:
    """Real processes, real kills, most of them aimed at a checkpoint that is being written (scripts/kill_resume.py)."""
    config = config_of(world, tmp_path / "run", save_total_limit=2)
    config["training"] |= {"save_steps": 1, "max_steps": 12}
    command = [
        sys.executable,
        str(ROOT / "scripts" / "kill_resume.py"),
        str(write_config(tmp_path / "run.yaml", config)),
    ]
    done = subprocess.run(
        [*command, f"--kills={KILLS}", "--folder", str(tmp_path / "runs")],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads(done.stdout)
    assert summary["kills"] >= KILLS
    assert summary["differences"] == {}
    torn = sum(count for what, count in summary["hit"].items() if what.startswith(("writing", "replacing")))
    assert torn >= 2, f"too few kills hit a folder that was being written: {summary['hit']}"


def test_the_command_line_survives_kill_9_and_ctrl_c(world: TinyWorld, tmp_path: Path) -> None:
    config = config_of(world, tmp_path / "whole")
    config["training"] |= {"save_steps": 4, "max_steps": 60, "eval_steps": 20}
    train(config)
    config["training"]["output_dir"] = str(run := tmp_path / "run")
    file = write_config(tmp_path / "cli.yaml", config)

    killed = command_line(file, run, until_step=6, number=signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    stopped = command_line(file, run, "--resume", until_step=15, number=signal.SIGINT)
    assert stopped.returncode == 130, stopped.stderr
    assert "--resume" in stopped.stdout
    assert str(file) in stopped.stdout
    verdict = RunDir(run).read_verdict()
    assert verdict is not None
    assert verdict.status is Status.STOPPED
    assert RunDir(run).checkpoints()[-1][0] >= 15
    finished = command_line(file, run, "--resume")
    assert finished.returncode == 0, finished.stderr
    assert same_bits(run / "final", tmp_path / "whole" / "final")
    assert curve(run) == curve(tmp_path / "whole")


def command_line(
    file: Path, run: Path, *options: str, until_step: int | None = None, number: int = 0
) -> subprocess.CompletedProcess[str]:
    """`trimtab train`; when the run has measured `until_step`, it gets a signal."""
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab", "train", str(file), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if until_step is not None:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if max((s.step for s in RunDir(run).read_metrics()[0]), default=0) >= until_step:
                process.send_signal(number)
                break
            time.sleep(0.005)
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_where_the_run_is_and_going_on_is_bit_identical(
    world: TinyWorld, tmp_path: Path, number: int, whole: Path
) -> None:
    config = config_of(world, tmp_path / "run")
    stopped = train(config, observers=[SignalAt(4, number)])
    assert stopped.exit_status == 130
    assert stopped.verdict.status is Status.STOPPED
    newest, torn = newest_whole(RunDir(tmp_path / "run"))
    assert newest is not None
    assert not torn
    assert newest.state.global_step == RunDir(tmp_path / "run").read_metrics()[0][-1].step
    assert train(config, resume=True).exit_status == 0
    assert same_bits(tmp_path / "run" / "final", whole / "final")
    assert curve(tmp_path / "run") == curve(whole)


# ── torn checkpoints ─────────────────────────────────────────────────────────────────────────────────────────────


def truncate(file: Path) -> None:
    with file.open("rb+") as opened:
        opened.truncate(file.stat().st_size // 2)


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x01
    file.write_bytes(content)


DAMAGES = {"deleted": Path.unlink, "cut": truncate, "one bit flipped": flip_a_byte}


@pytest.mark.usefixtures("died")
def test_a_torn_checkpoint_is_never_resumed_from(tmp_path: Path) -> None:
    """Whatever file is damaged, in whatever way, the one before it is taken."""
    newest, _ = newest_whole(RunDir(tmp_path / "run"))
    assert newest is not None
    assert newest.state.global_step == 6
    files = [file.relative_to(newest.path) for file in sorted(newest.path.rglob("*")) if file.is_file()]
    assert {"adapter_model.safetensors", "optimizer.pt", "trainer_state.json", "manifest.json"} <= {
        str(f) for f in files
    }
    for file in files:
        for damage in DAMAGES.values():
            shutil.rmtree(tmp_path / "copy", ignore_errors=True)
            shutil.copytree(tmp_path / "run", tmp_path / "copy")
            damage(tmp_path / "copy" / newest.path.name / file)
            found, torn = newest_whole(RunDir(tmp_path / "copy"))
            assert found is not None
            assert found.state.global_step == 3, f"{file} {damage}"
            assert len(torn) == 1
            assert "checkpoint-6" in torn[0]


@pytest.mark.usefixtures("died")
def test_no_bit_of_a_manifest_may_differ(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "checkpoint-3"
    whole = (folder / "manifest.json").read_bytes()
    for position in range(0, len(whole), 41):
        damaged = bytearray(whole)
        damaged[position] ^= 0x04
        (folder / "manifest.json").write_bytes(damaged)
        assert faults(folder), f"byte {position} of the manifest differs, and nobody saw it"


def test_resuming_past_a_torn_checkpoint_is_bit_identical(died: dict[str, Any], tmp_path: Path, whole: Path) -> None:
    flip_a_byte(tmp_path / "run" / "checkpoint-6" / "optimizer.pt")
    train(died, resume=True)
    assert same_bits(tmp_path / "run" / "final", whole / "final")
    assert curve(tmp_path / "run") == curve(whole)
    notices = [e.message for e in RunDir(tmp_path / "run").read_events() if e.kind == "notice"]
    assert any("checkpoint-6 is torn" in notice for notice in notices)


def test_where_all_checkpoints_are_torn_the_run_is_refused(died: dict[str, Any], tmp_path: Path) -> None:
    for _, path in RunDir(tmp_path / "run").checkpoints():
        truncate(path / "optimizer.pt")
    with pytest.raises(ResumeError, match="no checkpoint is whole") as refused:
        train(died, resume=True)
    assert refused.value.exit_status == 2
    assert "checkpoint-3" in str(refused.value)
    assert "checkpoint-6" in str(refused.value)


# ── what changed ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_changed_learning_rate_is_refused_and_allowed_by_name(world: TinyWorld, tmp_path: Path) -> None:
    config = config_of(world, tmp_path / "run")
    die(config, 5)
    config["training"] |= {"learning_rate": 0.002, "weight_decay": 0.1}
    with pytest.raises(ResumeError) as refused:
        train(config, resume=True)
    message = str(refused.value)
    assert refused.value.exit_status == 2
    assert "training.learning_rate: 0.01 → 0.002" in message
    assert "training.weight_decay: 0.0 → 0.1" in message
    assert "--allow-change training.learning_rate" in message
    with pytest.raises(ResumeError, match=r"training\.weight_decay"):
        train(config, resume=True, allow_changes=["training.learning_rate"])
    train(config, resume=True, allow_changes=["training.learning_rate", "training.weight_decay"])
    steps, _ = RunDir(tmp_path / "run").read_metrics()
    assert steps[2].learning_rate > 0.005
    assert max(s.learning_rate for s in steps[3:]) <= 0.002  # the Trainer would have gone on with the old one


def test_changed_data_is_refused_and_allowed_by_name(world: TinyWorld, tmp_path: Path) -> None:
    config = config_of(world, tmp_path / "run")
    rows = tmp_path / "rows.jsonl"
    shutil.copy(world.train, rows)
    config["data"]["train"] = str(rows)
    die(config, 5)
    write_messages(rows, 37, seed=77)
    with pytest.raises(ResumeError, match="the prepared data is not the same"):
        train(config, resume=True)
    train(config, resume=True, allow_changes=["data"])
    assert (tmp_path / "run" / "final").is_dir()


def test_a_change_that_is_no_key_is_refused(died: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"training\.lerning_rate"):
        train(died, resume=True, allow_changes=["training.lerning_rate"])


def test_a_moved_run_folder_goes_on(died: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run").rename(tmp_path / "moved")
    died["training"]["output_dir"] = str(tmp_path / "moved")
    assert train(died, resume=True).verdict.status is Status.HEALTHY


def test_a_folder_that_holds_a_run_is_not_trained_into_again(died: dict[str, Any]) -> None:
    with pytest.raises(OutputError, match="--resume"):
        train(died)


# ── the best ─────────────────────────────────────────────────────────────────────────────────────────────────────


def rising(world: TinyWorld, run: Path, **training: Any) -> dict[str, Any]:
    """Unguarded: a learning rate that rises until it ruins the weights. The best evaluation lies in the middle."""
    config = config_of(world, run, eval_strategy="steps", max_steps=24, learning_rate=0.9, **training)
    config["training"] |= {"lr_scheduler_type": "constant_with_warmup", "warmup_steps": 24, "eval_steps": 1}
    config["adapter"] = {"r": 4, "lora_dropout": 0.1, "lora_alpha": 64}
    config["guard"] = {"mode": "off"}  # it would be put right
    return config


def test_the_best_between_two_saves_is_kept_and_is_what_final_holds(world: TinyWorld, tmp_path: Path) -> None:
    config = rising(world, tmp_path / "run", save_total_limit=1)
    config["training"]["save_steps"] = 100
    result = train(config)
    _, evals = RunDir(tmp_path / "run").read_metrics()
    best = min(evals[1:], key=lambda e: e.loss)
    assert 1 < best.step < 23, "the case is not the one that is meant"
    assert [step for step, _ in RunDir(tmp_path / "run").checkpoints()] == [24]
    assert (result.verdict.best_step, result.verdict.best_eval_loss) == (best.step, best.loss)
    assert result.verdict.final_weights == f"step {best.step}"
    assert same_bits(tmp_path / "run" / "best", tmp_path / "run" / "final")
    assert evaluated_by_plain_peft(config, tmp_path / "run" / "final") == pytest.approx(best.loss, rel=1e-6)


def evaluated_by_plain_peft(config: dict[str, Any], folder: Path) -> float:
    """The validation loss of an adapter folder, with nothing of ours but the data."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    loaded = load_config(Path(config["training"]["output_dir"]).parent / "run.yaml").config
    _, data = prepare_inputs(loaded, lambda line: None)
    model = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(loaded.model.name_or_path), str(folder)
    ).eval()
    assert data.validation is not None
    with torch.no_grad():
        total = sum(float(example_loss(model, data.validation.example(i))) for i in range(len(data.validation)))
    return total / int(data.validation.target_counts.sum())


def test_a_full_models_best_is_loaded_and_loads_in_plain_transformers(world: TinyWorld, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config = rising(world, tmp_path / "run", save_total_limit=1)
    config["adapter"] = "none"
    result = train(config)
    assert result.verdict.best_step < 23
    assert same_bits(tmp_path / "run" / "best", tmp_path / "run" / "final")
    loaded = load_config(tmp_path / "run.yaml").config
    _, data = prepare_inputs(loaded, lambda line: None)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "final").eval()
    assert model.config._attn_implementation == "sdpa"
    assert AutoTokenizer.from_pretrained(tmp_path / "run" / "final").chat_template
    with torch.no_grad():
        total = sum(float(example_loss(model, data.validation.example(i))) for i in range(len(data.validation)))
    assert total / int(data.validation.target_counts.sum()) == pytest.approx(result.verdict.best_eval_loss, rel=1e-6)


@pytest.mark.parametrize("death", [9])
def test_best_after_a_resume_is_that_of_the_whole_run(world: TinyWorld, tmp_path: Path, death: int) -> None:
    """A later best than the checkpoint's must be forgotten, and an earlier one must survive."""
    train(rising(world, tmp_path / "whole"))
    config = rising(world, tmp_path / "run", save_total_limit=1)
    config["training"]["save_total_limit"] = 1
    whole = rising(world, tmp_path / "whole-limited", save_total_limit=1)
    train(whole)
    die(config, death)
    train(config, resume=True)
    assert same_bits(tmp_path / "run" / "best", tmp_path / "whole" / "best")
    assert same_bits(tmp_path / "run" / "best", tmp_path / "whole-limited" / "best")
    assert same_bits(tmp_path / "run" / "final", tmp_path / "whole" / "final")
    assert RunDir(tmp_path / "run").read_verdict().best_step == RunDir(tmp_path / "whole").read_verdict().best_step


def test_without_load_best_final_holds_the_last_weights(world: TinyWorld, tmp_path: Path) -> None:
    config = rising(world, tmp_path / "run", load_best_model_at_end=False)
    result = train(config)
    assert result.verdict.final_weights == "step 24"
    assert not same_bits(tmp_path / "run" / "best", tmp_path / "run" / "final")
    assert same_bits(tmp_path / "run" / "checkpoint-24", tmp_path / "run" / "final")


def test_save_strategy_best_saves_when_the_loss_fell_and_only_then(world: TinyWorld, tmp_path: Path) -> None:
    config = rising(world, tmp_path / "run", save_total_limit=None)
    config["training"] |= {"save_strategy": "best"}
    del config["training"]["save_steps"]
    train(config)
    best, falls = float("inf"), []
    for record in RunDir(tmp_path / "run").read_metrics()[1][1:]:
        if record.loss < best:
            best = record.loss
            falls.append(record.step)
    assert [step for step, _ in RunDir(tmp_path / "run").checkpoints()] == falls


def test_early_stopping_goes_on_counting_after_a_resume(world: TinyWorld, tmp_path: Path) -> None:
    config = rising(world, tmp_path / "whole", early_stopping_patience=3)
    config["training"] |= {"save_steps": 1}
    whole = train(config)
    stopped_at = RunDir(tmp_path / "whole").read_metrics()[0][-1].step
    assert stopped_at < 24
    config["training"]["output_dir"] = str(tmp_path / "run")
    die(config, stopped_at - 1)
    resumed = train(config, resume=True)
    assert RunDir(tmp_path / "run").read_metrics()[0][-1].step == stopped_at
    assert resumed.verdict.reason == whole.verdict.reason
    assert relative([resumed.verdict.best_eval_loss], [whole.verdict.best_eval_loss]) == 0.0
