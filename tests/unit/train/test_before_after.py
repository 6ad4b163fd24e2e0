"""What a run's model says, and what it knows by heart, before the first step and after the last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.runs import sections, train
from support.tiny import TinyWorld, write_messages

from trimtab import api
from trimtab.config import load_config
from trimtab.records import Memorisation, RunDir, Samples
from trimtab.train import answers, by_heart
from trimtab.train.inputs import prepare_inputs
from trimtab.train.observer import CONTINUE, Intervention
from trimtab.train.run import order_of

pytestmark = pytest.mark.usefixtures("straight_to_the_loop")


def config_of(world: TinyWorld, run: Path, **training: Any) -> dict[str, Any]:
    config = sections(world, run, **training)
    config["report"] = {"samples": 3, "max_new_tokens": 12, "recited": 10}
    return config


def _samples(run: Path) -> Samples:
    return Samples.model_validate_json(RunDir(run).samples.read_text())


def _memorised(run: Path) -> Memorisation:
    return Memorisation.model_validate_json(RunDir(run).memorised.read_text())


def _notices(run: Path) -> list[str]:
    return [event.message for event in RunDir(run).read_events() if event.kind == "notice"]


@pytest.mark.parametrize("adapter", [{"r": 4}, {"r": 4, "init_lora_weights": "pissa"}, "none"], ids=str)
def test_held_out_prompts_are_answered_by_the_base_and_by_the_final_weights(
    world: TinyWorld, run_folder: Path, adapter: Any
) -> None:
    config = config_of(world, run_folder, num_train_epochs=4)
    config["adapter"] = adapter
    verdict = train(config).verdict
    told = _samples(run_folder)
    assert f"step {told.step}" == verdict.final_weights
    assert [one.place for one in told.samples] == ["validation.jsonl:1", "validation.jsonl:4", "validation.jsonl:7"]
    first = told.samples[0]
    assert first.prompt.endswith("<|im_start|>assistant\n") and "What does" in first.prompt
    assert first.reference in world.validation.read_text()
    assert any(one.base != one.tuned for one in told.samples)


def test_what_is_written_is_what_generate_answers_from_disk(world: TinyWorld, run_folder: Path) -> None:
    train(config_of(world, run_folder, num_train_epochs=4))
    for one in _samples(run_folder).samples:
        said = {}
        for base in (True, False):
            [said[base]] = api.generate(run_folder, [one.prompt], base=base, chat=False, max_new_tokens=12)
        assert (said[True], said[False]) == (one.base, one.tuned)


def test_rows_that_were_learnt_by_heart_are_told_from_those_that_were_not(world: TinyWorld, tmp_path: Path) -> None:
    write_messages(tmp_path / "few.jsonl", 4, seed=7)
    config = config_of(world, tmp_path / "run", max_steps=200, learning_rate=5e-3, load_best_model_at_end=False)
    config["training"] |= {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "eval_strategy": "no"}
    config["data"]["train"] = str(tmp_path / "few.jsonl")
    config |= {"adapter": "none", "guard": {"mode": "off"}}
    train(config)
    recited = _memorised(tmp_path / "run")
    assert len(recited.train) == 4
    assert all(row.is_whole for row in recited.train), recited.train
    assert not any(row.is_whole for row in recited.validation)
    assert recited.step == 200


class Die(BaseException):
    """As a kill: nothing after it is done."""


class DieAt:
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, record: Any) -> Intervention:
        if record.step == self.step:
            raise Die
        return CONTINUE

    def on_eval(self, record: Any) -> Intervention:
        return CONTINUE


def test_a_resumed_run_compares_with_the_base_that_it_began_from(world: TinyWorld, tmp_path: Path) -> None:
    train(config_of(world, tmp_path / "whole"))
    died = config_of(world, tmp_path / "died", save_strategy="steps", save_steps=3)
    with pytest.raises(Die):
        train(died, observers=[DieAt(5)])
    begun = _samples(tmp_path / "died")
    assert begun.step == 0 and all(one.tuned is None for one in begun.samples)
    assert all(row.tuned_tokens is None and not row.is_whole for row in _memorised(tmp_path / "died").train)
    died["report"]["max_new_tokens"] = 7  # forbids nothing, and both must have as many to be compared
    train(died, resume=True)
    assert _samples(tmp_path / "died") == _samples(tmp_path / "whole")
    assert _memorised(tmp_path / "died") == _memorised(tmp_path / "whole")


def test_a_model_that_cannot_answer_is_trained_all_the_same(
    world: TinyWorld, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no cache\nfor this model")

    monkeypatch.setattr("trimtab.train.speaker.continued", fails)
    verdict = train(config_of(world, run_folder)).verdict
    assert verdict.final_weights
    assert not RunDir(run_folder).samples.exists()
    assert _memorised(run_folder).step
    assert _notices(run_folder)[-1:] == ["samples.json is left out, and the run goes on: RuntimeError: no cache"]


def test_without_held_out_rows_nothing_is_answered_and_it_is_told_once(world: TinyWorld, run_folder: Path) -> None:
    config = config_of(world, run_folder, max_steps=2)
    config["data"]["validation"] = "none"
    train(config)
    assert not RunDir(run_folder).samples.exists()
    assert _notices(run_folder).count("samples.json is left out: no rows are held out") == 1
    recited = _memorised(run_folder)
    assert recited.train and not recited.validation


def test_prompts_that_leave_no_place_for_an_answer_are_passed_over(
    world: TinyWorld, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LONGEST_PROMPT", 3)
    train(config_of(world, run_folder, max_steps=2))
    assert not RunDir(run_folder).samples.exists()
    assert any("no held-out row has a prompt of at most 3 tokens" in line for line in _notices(run_folder))


def test_a_run_that_ends_within_its_first_epoch_looks_at_rows_that_it_met(world: TinyWorld, run_folder: Path) -> None:
    train(config_of(world, run_folder, max_steps=2))
    run = RunDir(run_folder)
    config = load_config(run.config).config
    _, data = prepare_inputs(config, lambda line: None)
    order = order_of(config, run.read_plan())
    met = {data.train.place_name(int(row)) for step in range(2) for row in order.rows(step)}
    places = {row.place for row in _memorised(run_folder).train}
    assert len(places) == by_heart.FEWEST_ROWS and places <= met
