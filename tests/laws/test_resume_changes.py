"""A resumed run is the run: what may change, what takes effect, what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.runs import curve, losses, same_bits, sections, train
from support.tiny import TinyWorld

from trimtab.errors import ResumeError
from trimtab.records import RunDir

pytestmark = pytest.mark.usefixtures("straight_to_the_loop")


def _forget_after(run: Path, step: int) -> None:
    """As if the run had been killed just after this checkpoint."""
    for at, path in RunDir(run).checkpoints():
        if at > step:
            shutil.rmtree(path)
    shutil.rmtree(run / "final")
    (run / "verdict.json").unlink()


def test_an_allowed_weight_decay_takes_effect(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "run", save_steps=4)
    train(config)
    unchanged = losses(tmp_path / "run")
    _forget_after(tmp_path / "run", 4)
    config["training"]["weight_decay"] = 1.0
    train(config, resume=True, allow_changes=["training.weight_decay"])
    changed = losses(tmp_path / "run")
    assert changed[:4] == unchanged[:4]
    assert changed[-1] != unchanged[-1]


def test_early_stopping_is_not_forgotten(world: TinyWorld, tmp_path: Path) -> None:
    settings = {"learning_rate": 1e-9, "eval_steps": 1, "save_steps": 1, "early_stopping_patience": 2}
    config = sections(world, tmp_path / "run", early_stopping_threshold=0.1, **settings)
    train(config)
    stopped_at = len(losses(tmp_path / "run"))
    assert stopped_at < 10
    before = curve(tmp_path / "run")
    _forget_after(tmp_path / "run", stopped_at)
    train(config, resume=True)
    assert curve(tmp_path / "run") == before


def test_an_unimportant_change_does_not_hide_an_important_one(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "run", save_steps=4)
    train(config)
    _forget_after(tmp_path / "run", 4)
    config["training"] |= {"save_total_limit": 2, "gradient_accumulation_steps": 2}
    with pytest.raises(ResumeError, match="gradient_accumulation_steps"):
        train(config, resume=True, allow_changes=["training.save_total_limit"])


def test_a_replaced_base_is_another_run(world: TinyWorld, tmp_path: Path) -> None:
    shutil.copytree(world.llama, tmp_path / "base")
    config = sections(world, tmp_path / "run", save_steps=4)
    config["model"]["name_or_path"] = str(tmp_path / "base")
    train(config)
    _forget_after(tmp_path / "run", 4)
    with (tmp_path / "base" / "config.json").open("a") as file:
        file.write(" ")
    with pytest.raises(ResumeError, match="are not those it was started with"):
        train(config, resume=True)


def test_a_run_that_ended_without_checkpoints_is_not_trained_again(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "run", save_strategy="no")
    train(config)
    with pytest.raises(ResumeError, match="nothing to go"):
        train(config, resume=True)


def test_a_run_killed_before_its_first_checkpoint_starts_again_as_it_was(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "run", save_strategy="no")
    train(config)
    shutil.copytree(tmp_path / "run" / "final", tmp_path / "first")
    _forget_after(tmp_path / "run", 0)
    changed = sections(world, tmp_path / "run", save_strategy="no", learning_rate=0.02)
    with pytest.raises(ResumeError, match="learning_rate"):
        train(changed, resume=True)
    train(config, resume=True)
    assert same_bits(tmp_path / "first", tmp_path / "run" / "final")
    assert len(losses(tmp_path / "run")) == 10


def test_torn_newer_checkpoints_do_not_push_out_whole_ones(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "run", save_steps=2, save_total_limit=4, eval_strategy="no")
    train(config)
    for step in (8, 10):
        (tmp_path / "run" / f"checkpoint-{step}" / "optimizer.pt").write_bytes(b"")
    train(config, resume=True)
    from trimtab.records.whole_folder import faults

    assert not [path for _, path in RunDir(tmp_path / "run").checkpoints() if faults(path)]


def test_two_processes_cannot_train_into_one_folder(world: TinyWorld, tmp_path: Path) -> None:
    from trimtab.errors import OutputError

    train(sections(world, tmp_path / "run"))
    holder = RunDir(tmp_path / "run")
    holder.lock()
    try:
        with pytest.raises(OutputError, match="another process"):
            train(sections(world, tmp_path / "run"), resume=True)
    finally:
        holder.unlock()
