"""A trial of a search is the beginning of the run that `trimtab train` makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support.runs import losses, relative, sections, tensors, train
from support.tiny import TinyWorld

from trimtab.config import load_config
from trimtab.records import RunDir, Samples
from trimtab.search.onward import begin_run
from trimtab.search.shared import Shared, entrant_of
from trimtab.train.inputs import prepare_inputs

pytestmark = pytest.mark.usefixtures("straight_to_the_loop", "one_thread")


@pytest.mark.parametrize("lora_dropout", [0.0, 0.1])
@pytest.mark.parametrize("packing", ["auto", "off"])
def test_a_cohort_of_one_is_the_run(world: TinyWorld, tmp_path: Path, packing: str, lora_dropout: float) -> None:
    config: Any = sections(world, tmp_path / "run", learning_rate=3e-3, max_steps=8, warmup_steps=2, eval_strategy="no")
    config["training"] |= {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}
    config["adapter"] = {"r": 4, "lora_dropout": lora_dropout}
    config["data"]["packing"] = packing
    train(config)
    loaded = load_config(tmp_path / "run.yaml")
    plan = RunDir(tmp_path / "run").read_plan()
    tokenizer, data = prepare_inputs(loaded.config, lambda line: None)
    shared = Shared.load(loaded.config, plan, data, tokenizer, torch.device("cpu"))
    cohort = shared.cohort([entrant_of("it", loaded.config, plan)])
    for _ in range(8):
        cohort.tick()
    cohort.read()
    assert relative(cohort.progress["it"].losses, losses(tmp_path / "run")) < 1e-5
    learnt, expected = cohort.bank.tensors(0), tensors(tmp_path / "run" / "final")
    assert learnt.keys() == expected.keys()
    assert max(float((learnt[name] - expected[name]).abs().max()) for name in expected) < 1e-4


def test_the_run_goes_on_from_the_trial(world: TinyWorld, tmp_path: Path) -> None:
    """Five steps of a search and the rest of the run are the run."""
    config: Any = sections(world, tmp_path / "whole", learning_rate=3e-3, max_steps=10, warmup_steps=2, eval_steps=5)
    config["adapter"] = {"r": 4, "lora_dropout": 0.1}
    config["report"] = {"samples": 2, "max_new_tokens": 4, "recited": 2}
    train(config)
    loaded = load_config(tmp_path / "whole.yaml", [f"training.output_dir={tmp_path / 'onward'}"])
    plan = RunDir(tmp_path / "whole").read_plan()
    tokenizer, data = prepare_inputs(loaded.config, lambda line: None)
    cpu = torch.device("cpu")
    entrant = entrant_of("it", loaded.config, plan)
    cohort = Shared.load(loaded.config, plan, data, tokenizer, cpu).cohort([entrant])
    for _ in range(5):
        cohort.tick()
    steps = RunDir(tmp_path / "whole").read_metrics()[0][:5]
    state = cohort.state_of("it")
    begin_run(loaded.config, plan, data, tokenizer, state, steps, cpu, lambda line: None)
    written = yaml.safe_load((tmp_path / "whole.yaml").read_text())
    written["training"]["output_dir"] = str(tmp_path / "onward")
    result = train(written, resume=True)
    assert result.exit_status == 0
    assert relative(losses(tmp_path / "onward"), losses(tmp_path / "whole")) < 1e-5
    evals = [[record.loss for record in RunDir(tmp_path / name).read_metrics()[1]] for name in ("onward", "whole")]
    assert evals[0] == pytest.approx([evals[1][0], *evals[1][2:]], rel=1e-5)  # that of step 5 was the search's own
    assert result.verdict.base_eval_loss == pytest.approx(evals[1][0])
    said = [Samples.model_validate_json(RunDir(tmp_path / name).samples.read_text()) for name in ("onward", "whole")]
    assert [one.base for one in said[0].samples] == [one.base for one in said[1].samples]
    assert said[0].step and RunDir(tmp_path / "onward").memorised.exists()
