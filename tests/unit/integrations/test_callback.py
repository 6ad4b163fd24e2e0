"""TrimtabCallback in transformers.Trainer: what it records, what it finds, what it stops."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support.demo_base import BASE, pairs
from support.trainer_runs import make_model, rows, trainer
from transformers import Trainer, TrainerCallback

from trimtab.errors import OutputError, TrimtabError
from trimtab.integrations import TrimtabCallback
from trimtab.integrations.taps import Taps
from trimtab.integrations.watching import Watching
from trimtab.records import Judgement, RunDir, Status, StepRecord, Verdict

pytestmark = pytest.mark.usefixtures("one_thread")


def run(folder: Path, **options: Any) -> tuple[Verdict, list[StepRecord], Any]:
    made = trainer(folder, **options)
    made.train()
    run_dir = RunDir(folder)
    verdict = run_dir.read_verdict()
    assert verdict is not None
    return verdict, run_dir.read_metrics()[0], made


def logged(made: Any, name: str) -> list[float]:
    return [line[name] for line in made.state.log_history if name in line]


def messages(folder: Path) -> str:
    return "\n".join(event.message for event in RunDir(folder).read_events())


class LossesOf(Trainer):  # type: ignore[misc]
    """Loses a number once."""

    at = 5

    def training_step(self, *given: Any, **more: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*given, **more)
        if self.state.global_step == self.at - 1:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad *= math.nan
            return loss * math.nan
        return loss


# ── a run that nothing is wrong with ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("accumulated", [1, 3])
def test_the_records_are_the_trainers_own_numbers_unrounded(tmp_path: Path, accumulated: int) -> None:
    verdict, steps, made = run(tmp_path / "run", gradient_accumulation_steps=accumulated)
    assert [record.step for record in steps] == list(range(1, 13))
    assert [record.loss for record in steps] == pytest.approx(logged(made, "loss"), rel=1e-6)
    assert [record.grad_norm for record in steps] == pytest.approx(logged(made, "grad_norm"), rel=1e-6)
    assert [record.learning_rate for record in steps] == pytest.approx(logged(made, "learning_rate"))
    full = [record for record in steps if record.step % math.ceil(16 / accumulated)]  # but the last of an epoch
    assert {record.target_tokens for record in full} == {4 * 11 * accumulated}
    assert {record.tokens for record in full} == {4 * 12 * accumulated}
    assert verdict.status is Status.HEALTHY
    assert not verdict.causes
    assert [event.kind for event in RunDir(tmp_path / "run").read_events()] == ["started", "finished"]


def test_a_mean_of_micro_batches_is_recorded_as_one_where_targets_are_not_counted(tmp_path: Path) -> None:
    """A loss function of one's own, without num_items_in_batch: the Trainer divides by the micro steps."""

    class Plain(Trainer):  # type: ignore[misc]
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            self.model_accepts_loss_kwargs = False

    _, steps, made = run(tmp_path / "run", kind=Plain, gradient_accumulation_steps=2)
    assert [record.loss for record in steps] == pytest.approx(logged(made, "loss"), rel=1e-6)
    assert steps[0].loss == pytest.approx(math.log(64), rel=0.1)


def test_what_is_logged_seldom_is_recorded_at_every_step(tmp_path: Path) -> None:
    _, steps, made = run(tmp_path / "run", logging_steps=6)
    means = [sum(record.loss for record in steps[start : start + 6]) / 6 for start in (0, 6)]
    assert means == pytest.approx(logged(made, "loss"), rel=1e-6)


def test_evaluations_are_recorded_and_the_base_asked_for(tmp_path: Path) -> None:
    verdict, _, _ = run(tmp_path / "a", held_out=rows(8), eval_strategy="steps", eval_steps=4, eval_on_start=True)
    evals = RunDir(tmp_path / "a").read_metrics()[1]
    assert [record.step for record in evals] == [0, 4, 8, 12]
    assert verdict.base_eval_loss == evals[0].loss
    assert "eval_on_start" not in messages(tmp_path / "a")
    verdict, _, _ = run(tmp_path / "b", held_out=rows(8), eval_strategy="steps", eval_steps=4)
    assert "eval_on_start" in messages(tmp_path / "b")
    assert verdict.base_eval_loss is None
    assert "the base's own is not known" in verdict.reason


def test_a_run_without_clipping_has_a_gradient_norm_too(tmp_path: Path) -> None:
    _, steps, made = run(tmp_path / "run", max_grad_norm=0.0)
    assert [record.grad_norm for record in steps] == pytest.approx(logged(made, "grad_norm"), rel=1e-6)


def test_a_folder_with_a_run_is_not_written_into(tmp_path: Path) -> None:
    run(tmp_path / "run")
    with pytest.raises(OutputError, match="holds a run already"):
        trainer(tmp_path / "run").train()


def test_a_resumed_run_goes_on_in_its_folder(tmp_path: Path) -> None:
    class Leave(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            control.should_training_stop = state.global_step == 6

    saves = {"save_strategy": "steps", "save_steps": 6}
    first = trainer(tmp_path / "run", **saves)
    first.add_callback(Leave())
    first.train()
    assert len(RunDir(tmp_path / "run").read_metrics()[0]) == 6
    trainer(tmp_path / "run", **saves).train(resume_from_checkpoint=True)
    steps = RunDir(tmp_path / "run").read_metrics()[0]
    assert [record.step for record in steps] == list(range(1, 13))
    assert "resumed" in [event.kind for event in RunDir(tmp_path / "run").read_events()]
    verdict = RunDir(tmp_path / "run").read_verdict()
    assert verdict is not None
    assert verdict.status is Status.HEALTHY


def test_records_that_cannot_be_written_do_not_end_the_training(tmp_path: Path, monkeypatch: Any) -> None:
    made = trainer(tmp_path / "run")

    def full(self: RunDir, record: object) -> None:
        raise OutputError("no room")

    monkeypatch.setattr(RunDir, "append_metric", full)
    made.train()
    assert made.state.global_step == 12
    assert "training_step" not in vars(made)


def test_only_trainers_are_watched(tmp_path: Path) -> None:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    callback = TrimtabCallback(tmp_path / "run")
    with pytest.raises(TrimtabError, match="Trainer"):
        callback.on_train_begin(TrainingArguments(output_dir=str(tmp_path)), TrainerState(), TrainerControl())
    with pytest.raises(ValueError, match="mode"):
        TrimtabCallback(tmp_path / "run", mode="halt")  # type: ignore[arg-type]


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_number_that_was_lost_once_is_told_where_the_log_says_zero(tmp_path: Path) -> None:
    verdict, steps, made = run(tmp_path / "run", kind=LossesOf)
    assert math.isnan(steps[4].loss)
    assert all(map(math.isfinite, logged(made, "loss")))  # the filter: it looks well
    assert made.state.global_step <= 6
    assert verdict.status is Status.FAILED
    assert verdict.stopped_by_guard
    assert "step 5" in verdict.reason
    assert "nan" in verdict.reason


def test_watching_alone_stops_nothing(tmp_path: Path) -> None:
    verdict, _, made = run(tmp_path / "run", kind=LossesOf, mode="watch")
    assert made.state.global_step == 12
    assert verdict.status is Status.FAILED
    assert not verdict.stopped_by_guard
    assert verdict.diagnosis is not None
    assert {"finite-loss", "weights-finite"} <= {broken.invariant for broken in verdict.diagnosis.violations}


def test_labels_that_are_all_masked(tmp_path: Path) -> None:
    verdict, steps, made = run(tmp_path / "run", data=rows(masked=range(64)))
    assert steps[0].target_tokens == 0
    assert logged(made, "loss") == [0.0]
    assert made.state.global_step <= 2
    assert verdict.causes[0].rule == "labels-all-masked"


def test_one_step_without_targets_is_told_and_ends_nothing(tmp_path: Path) -> None:
    class Sized(Trainer):  # type: ignore[misc]
        """Such as TRL's, whose loss of no targets is 0 and not NaN."""

        def training_step(self, *given: Any, **more: Any) -> torch.Tensor:
            loss: torch.Tensor = super().training_step(*given, **more)
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    torch.nan_to_num_(parameter.grad)
            return torch.nan_to_num(loss)

        def _get_train_sampler(self, *_: Any, **__: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    verdict, _, made = run(tmp_path / "run", kind=Sized, data=rows(masked=range(8, 12)))
    assert made.state.global_step == 12
    assert "step 3 has no target token" in messages(tmp_path / "run")
    assert verdict.causes[0].rule == "labels-all-masked"


def test_an_optimizer_that_was_built_before_the_model_was_wrapped(tmp_path: Path) -> None:
    other = [p for p in make_model().parameters() if p.requires_grad]
    verdict, _, made = run(tmp_path / "run", optimizer=torch.optim.AdamW(other, lr=1e-3))
    assert made.state.global_step == 1
    assert verdict.causes[0].rule == "stale-optimizer-params"


def test_a_frozen_half_of_the_adapter(tmp_path: Path) -> None:
    model = make_model()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.requires_grad_(False)
    verdict, _, made = run(tmp_path / "run", model=model)
    assert made.state.global_step <= 3
    assert verdict.causes[0].rule == "adapter-not-trainable"


def test_tensors_that_are_frozen_on_the_way(tmp_path: Path) -> None:
    half = make_model(lora=False)

    class FreezeOne(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            half.model.layers[0].self_attn.q_proj.weight.requires_grad_(state.global_step < 4)  # type: ignore[union-attr]

    made = trainer(tmp_path / "other", model=half)
    made.add_callback(FreezeOne())
    made.train()
    assert "changed whether they are trained" in messages(tmp_path / "other")


def test_trained_tensors_that_never_get_a_gradient(tmp_path: Path) -> None:
    model = make_model(lora=False)
    model.register_parameter("beside", torch.nn.Parameter(torch.zeros(3)))
    verdict, _, made = run(tmp_path / "run", model=model)
    assert made.state.global_step == 12  # the others learn
    assert "beside first" in messages(tmp_path / "run")
    assert verdict.causes[0].rule == "adapter-not-trainable"


def test_a_scheduler_that_is_stepped_twice(tmp_path: Path) -> None:
    class Twice(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            given["lr_scheduler"].step()

    made = trainer(tmp_path / "run", max_steps=20)
    made.add_callback(Twice())
    made.train()
    verdict = RunDir(tmp_path / "run").read_verdict()
    assert verdict is not None
    assert verdict.causes[0].rule == "schedule-wrong"


def test_updates_that_bf16_weights_swallow(tmp_path: Path) -> None:
    verdict, _, _ = run(
        tmp_path / "run", model=make_model(lora=False, dtype=torch.bfloat16), learning_rate=1e-6, warmup_steps=0
    )
    assert verdict.causes[0].rule == "bf16-update-lost"


def demo(folder: Path, **settings: Any) -> tuple[Verdict, Any]:
    """LoRA on the embedded base, which is really pretrained."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(BASE)
    data = []
    for asked, said in pairs(108):
        prompt = tokenizer(asked)["input_ids"]
        answer = tokenizer(said + tokenizer.eos_token)["input_ids"]
        ids = torch.tensor(prompt + answer)
        labels = torch.cat([torch.full((len(prompt),), -100), ids[len(prompt) :]])
        data.append({"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)})
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    wanted = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    verdict, _, made = run(
        folder,
        model=get_peft_model(base, wanted),
        data=data[:100],
        held_out=data[100:],
        per_device_train_batch_size=1,
        gradient_accumulation_steps=4,
        max_steps=12,
        eval_strategy="steps",
        eval_steps=12,
        eval_on_start=True,
        per_device_eval_batch_size=1,
        **settings,
    )
    return verdict, made


def test_a_learning_rate_a_thousand_times_too_high(tmp_path: Path) -> None:
    verdict, made = demo(tmp_path / "run", learning_rate=2.0)
    assert made.state.global_step < 12
    assert verdict.stopped_by_guard
    assert verdict.causes[0].rule == "lr-too-high"
    assert verdict.diagnosis is not None
    assert verdict.diagnosis.abstains  # there is nothing here to experiment on


def test_a_learning_rate_that_is_right(tmp_path: Path) -> None:
    verdict, made = demo(tmp_path / "run", learning_rate=2e-3)
    assert made.state.global_step == 12
    assert verdict.status is Status.HEALTHY
    assert not verdict.causes


def test_a_run_that_learns_nothing_has_failed_though_nothing_was_stopped(tmp_path: Path) -> None:
    verdict, _, made = run(tmp_path / "run", learning_rate=1e-5, max_steps=64, per_device_train_batch_size=16)
    assert made.state.global_step == 64
    assert verdict.status is Status.FAILED
    assert verdict.judgement is Judgement.FLAT
    assert "lr-too-low" in {cause.rule for cause in verdict.causes}
    short, _, _ = run(tmp_path / "short", learning_rate=1e-5)  # too short to say so
    assert short.status is Status.HEALTHY


def test_a_verdict_is_what_the_file_holds(tmp_path: Path) -> None:
    run(tmp_path / "run")
    held = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert held["status"] == "healthy"
    assert held["tokens_per_second"] > 0


# ── what must never end somebody's training ──────────────────────────────────────────────────────────────────────


class WithLists(Trainer):  # type: ignore[misc]
    """Is given its rows as a list, as GRPO's trainer is."""

    def training_step(self, model: Any, inputs: Any, *given: Any, **more: Any) -> torch.Tensor:
        batch = {name: torch.stack([row[name] for row in inputs]) for name in inputs[0]}
        loss: torch.Tensor = super().training_step(model, batch, *given, **more)
        return loss


def test_inputs_that_are_a_list(tmp_path: Path) -> None:
    made = trainer(tmp_path / "run", kind=WithLists)
    made.data_collator = list
    made.train()
    steps = RunDir(tmp_path / "run").read_metrics()[0]
    assert [record.loss for record in steps] == pytest.approx(logged(made, "loss"), rel=1e-6)


@pytest.mark.parametrize("where", ["begin", "before_update", "after_update", "after_step", "finish"])
def test_a_bug_of_the_watching_ends_the_watching_alone(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*given: Any, **more: Any) -> None:
        raise IndexError("a bug")

    monkeypatch.setattr(Watching, where, breaks)
    made = trainer(tmp_path / "run")
    made.train()
    assert made.state.global_step == made.state.max_steps
    assert sum("no longer watching: IndexError: a bug" in message for message in caplog.messages) == 1
    assert "training_step" not in vars(made)


def test_a_bug_of_the_taps_ends_the_watching_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*given: Any) -> None:
        raise KeyError("labels")

    monkeypatch.setattr(Taps, "_count", breaks)
    made = trainer(tmp_path / "run")
    made.train()
    assert made.state.global_step == made.state.max_steps
    assert sum("no longer watching: KeyError" in message for message in caplog.messages) == 1


def test_nothing_that_was_tapped_is_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Taps, "_keep_loss", lambda *given: None)
    made = trainer(tmp_path / "run")
    made.train()
    assert made.state.global_step == made.state.max_steps
    assert not RunDir(tmp_path / "run").read_metrics()[0]
