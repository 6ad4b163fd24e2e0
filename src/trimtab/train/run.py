"""From a plan, data and a model to a finished run folder."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from trimtab.config import RunConfig, TrainingConfig, dump_yaml, with_absolute_paths
from trimtab.data.order import Order
from trimtab.data.prepare import PreparedData
from trimtab.diagnose.case import Case
from trimtab.diagnose.causes.overfit import Overfit
from trimtab.diagnose.engine import diagnose
from trimtab.diagnose.of_records import verdict_of
from trimtab.diagnose.readers import read
from trimtab.diagnose.symptoms.eval_rising import EvalRising
from trimtab.diagnose.symptoms.memorised import Memorised
from trimtab.diagnose.symptoms.train_eval_gap_growing import TrainEvalGapGrowing
from trimtab.diagnose.trace import Trace
from trimtab.model.core import causal_lm
from trimtab.model.fit import fit
from trimtab.model.load import pad_id, weights_identity
from trimtab.model.target_loss import TargetLoss
from trimtab.model.weights import load_weights, trained_parameters
from trimtab.plan.schedule import schedule
from trimtab.records import CheckReport, Comparison, Plan, RunDir, RunEvent, ShownRows, Status, Verdict
from trimtab.records.diagnosis import CauseFound, Diagnosis, Repair, Violation
from trimtab.records.run_dir import RUN_FORMAT
from trimtab.train.before_after import Before, BeforeAfter
from trimtab.train.checkpoint import Checkpoint, Keeper
from trimtab.train.feed import Feed
from trimtab.train.first_steps import MemoryWatch, finding, intervention
from trimtab.train.interrupt import Interrupt
from trimtab.train.judge import judge
from trimtab.train.learner import Learner
from trimtab.train.loop import Ending, Loop
from trimtab.train.observer import CONTINUE, EarlyStopping, Intervention, Investigate, Observer, Stop, Watch
from trimtab.train.optimizer import build_optimizer
from trimtab.train.precision import Precision
from trimtab.train.processes import Processes
from trimtab.train.resume import WITHOUT_CONSEQUENCES, changes
from trimtab.train.rewind import apply_changes
from trimtab.train.speaker import Speaker
from trimtab.train.state import RunState
from trimtab.train.step import Stepper
from trimtab.train.telemetry import Telemetry, tensor_bytes
from trimtab.train.trackers import Trackers, tracker_names

Notify = Callable[[str], None]
OF_A_RISE = frozenset({EvalRising.name, TrainEvalGapGrowing.name, Memorised.name})
"""Symptoms that a later evaluation, the best of all, takes back."""


@dataclass(frozen=True)
class Run:
    """What is needed to train, all of it decided and loaded."""

    config: RunConfig
    origins: dict[str, str]
    plan: Plan
    data: PreparedData
    model: nn.Module
    tokenizer: Any
    run_dir: RunDir
    processes: Processes
    notices: list[str]
    """Lines that were told before the run's records existed."""
    accepted: Collection[str] = ()
    """Rules whose findings are let pass, before the run and in its first steps."""
    check: CheckReport | None = None
    """What the checks before the run found; None where it goes on from a checkpoint."""
    rows: ShownRows | None = None
    """The worst rows that they found; None where they did not look."""


def train_run(
    run: Run,
    checkpoint: Checkpoint | None,
    observers: Sequence[Observer],
    notify: Notify,
    watch: Watch | None = None,
) -> Verdict:
    """Train, from `checkpoint` on if there is one, under `watch`; leave the best weights in the model and in
    `final/`."""
    training, plan, processes = run.config.training, run.plan, run.processes
    precision = Precision.named(plan.precision.value, processes.device)
    fitted = fit(
        run.model,
        packing=plan.packing.value,
        own_attention=run.config.model.attn_implementation != "auto",
        device=processes.device,
        autocast=precision.autocast,
    )
    order = order_of(run.config, plan)
    eval_batch_size = plan.per_device_eval_batch_size.value
    speaker = Speaker(run.model, run.tokenizer, fitted, precision, processes.device, eval_batch_size)
    compared = BeforeAfter(run.config.report, speaker, plan, run.data, order, notify)
    if checkpoint is not None:
        before = None
    elif _is_in_parts(run):
        before = Before()
        if run.config.report.samples or run.config.report.recited:
            notify("fsdp: no process holds the whole model, so samples.json and memorised.json are left out")
    else:
        before = processes.by_main(compared.before)
    telemetry = Telemetry(processes.device, held_bytes=tensor_bytes(run.model))
    if plan.packing.value and not fitted.packs:
        notify(f"packing: this model cannot keep packed examples apart, so they are padded ({fitted.reason})")
    if checkpoint is not None:
        load_weights(run.model, checkpoint.path)  # before sharding: then each process keeps its part of it
    wrapped = processes.wrap(TargetLoss(run.model, fitted.head), fsdp=training.fsdp)
    learner = learner_of(run.model, plan, training)
    stepper = Stepper(wrapped, [learner], precision, precision.scaler(), processes, seed=training.seed)
    state = RunState()
    if checkpoint is not None:
        state = checkpoint.state
        stepper = apply_changes(stepper, state.changes, training)
        checkpoint.restore(learner, stepper.scaler)

    trackers: list[Trackers] = []
    processes.by_main(lambda: trackers.extend(_trackers(run, state, notify)))
    processes.by_main(lambda: _write_records(run, checkpoint, before, fitted.layout.value))
    keeper = Keeper(
        run_dir=run.run_dir,
        model=run.model,
        learner=learner,
        scaler=stepper.scaler,
        processes=processes,
        tokenizer=run.tokenizer,
        identity=identity(run.config, run.plan, run.data.fingerprint),
        limit=training.save_total_limit,
    )
    if checkpoint is not None and not _is_same(checkpoint.identity, keeper.identity):
        state.losses_before = []  # of other examples, or of another model
    stopping, pending = _early_stopping(run, state)
    loop = Loop(
        plan=plan,
        stepper=stepper,
        feed=Feed(fitted.layout, pad_id(run.tokenizer), processes.device, processes.index, processes.count),
        train=run.data.train,
        validation=run.data.validation if plan.eval_points.value else None,
        order=order,
        state=state,
        keeper=keeper,
        run_dir=run.run_dir,
        observers=[*observers, *trackers, *([stopping] if stopping else [])],
        memory=MemoryWatch(plan.device, accepted=run.accepted),
        telemetry=telemetry,
        vocabulary=int(causal_lm(run.model).config.get_text_config().vocab_size),
        notify=notify,
        config=run.config,
        data=run.data,
        tokenizer=run.tokenizer,
        watch=watch,
        findings=run.check.findings if run.check is not None else (),
        accepted=run.accepted,
        save_on_best=training.save_strategy == "best",
        pending=[*pending, *_first_steps_again(run, state, is_watched=watch is not None)],
    )
    with Interrupt() as interrupt:
        ending = loop.run(interrupt)
        for tracker in trackers:
            tracker.close()
        return _finish(run, loop, ending, compared)  # within: a signal must not cut the final weights


def learner_of(model: nn.Module, plan: Plan, training: TrainingConfig) -> Learner:
    """What learns in `model`, by the plan: optimizer, schedule, clipping."""
    parameters = trained_parameters(model)
    return Learner(
        trial="",
        parameters=parameters,
        optimizer=build_optimizer(plan.optim.value, parameters, training),
        schedule=schedule(
            plan.lr_scheduler_type.value,
            warmup_steps=plan.warmup_steps.value,
            total_steps=plan.total_steps.value,
            options=plan.lr_scheduler_kwargs.value,
        ),
        peak_learning_rate=plan.learning_rate.value,
        max_grad_norm=training.max_grad_norm,
    )


def order_of(config: RunConfig, plan: Plan) -> Order:
    return Order(
        examples=plan.examples.value,
        effective_batch_size=plan.effective_batch_size.value,
        steps_per_epoch=plan.steps_per_epoch.value,
        seed=config.training.order_seed,
    )


def identity(config: RunConfig, plan: Plan, data_fingerprint: str) -> dict[str, Any]:
    """What two runs must share for one to be the other's continuation."""
    decided = (
        "packing",
        "gradient_checkpointing",
        "total_steps",
        "effective_batch_size",
        "warmup_steps",
        "learning_rate",
        "precision",
        "optim",
        "max_length",
    )
    return {
        "config": {key: value for key, value in config.flat().items() if not key.startswith("search.")},
        "data": data_fingerprint,
        "base": weights_identity(config.model),
        "plan": {name: getattr(plan, name).value for name in decided},
    }


def _is_same(before: dict[str, Any], now: dict[str, Any]) -> bool:
    same_config = not changes(before["config"], now["config"]).keys() - WITHOUT_CONSEQUENCES
    return same_config and all(before[key] == now[key] for key in ("data", "base", "plan"))


def _write_records(run: Run, checkpoint: Checkpoint | None, before: Before | None, layout: str) -> None:
    run.run_dir.path.mkdir(parents=True, exist_ok=True)
    run.run_dir.lock()
    step = 0 if checkpoint is None else checkpoint.state.global_step
    run.run_dir.go_back_to(step if checkpoint is not None else -1)
    run.run_dir.verdict.unlink(missing_ok=True)
    run.run_dir.write_text(run.run_dir.config, dump_yaml(with_absolute_paths(run.config), run.origins))
    run.run_dir.write_json(run.run_dir.plan, run.plan)
    run.run_dir.write_json(run.run_dir.data_report, run.data.report)
    if run.check is not None:
        run.run_dir.write_json(run.run_dir.check, run.check)
    if run.rows is not None:
        run.run_dir.write_rows(run.rows)
    if before is not None:
        before.write(run.run_dir)
    if checkpoint is not None:
        checkpoint.restore_best(run.run_dir)
    message = f"resumed from step {step}" if checkpoint is not None else "started"
    detail = {"format": RUN_FORMAT, "torch": torch.__version__, "layout": layout, "processes": run.processes.count}
    event = RunEvent(kind="resumed" if checkpoint is not None else "started", step=step, message=message, detail=detail)
    run.run_dir.append_event(event)
    for notice in run.notices:
        run.run_dir.append_event(RunEvent(kind="notice", step=step, message=notice))


def _trackers(run: Run, state: RunState, notify: Notify) -> list[Trackers]:
    names = tracker_names(run.config.training.report_to)
    if not names:
        return []
    name = run.config.training.run_name or run.run_dir.path.name
    every = run.plan.logging_steps.value
    first_step = state.global_step
    return [Trackers(names, run.run_dir, name, run.config.flat(), every=every, first_step=first_step, notify=notify)]


def _early_stopping(run: Run, state: RunState) -> tuple[EarlyStopping | None, list[Intervention]]:
    """The observer as it was when the checkpoint was written, and what it answered last."""
    training = run.config.training
    if training.early_stopping_patience is None:
        return None, []
    stopping = EarlyStopping(training.early_stopping_patience, training.early_stopping_threshold)
    answer: Intervention = CONTINUE
    if state.global_step:
        for record in run.run_dir.read_metrics()[1]:
            if record.step <= state.global_step:
                answer = stopping.on_eval(record)
    return stopping, [answer]


def _first_steps_again(run: Run, state: RunState, *, is_watched: bool) -> list[Intervention]:
    """What was answered when the first steps were judged: a kill may have come before it was carried out."""
    if state.first_steps is None:
        return []
    answer = intervention(finding(state.first_steps, accepted=run.accepted))
    return [Investigate(answer.reason, otherwise=answer) if isinstance(answer, Stop) and is_watched else answer]


def _finish(run: Run, loop: Loop, ending: Ending, compared: BeforeAfter) -> Verdict:
    """Best weights into the model and into `final/`, and what they say; the verdict into its file."""
    state, keeper = loop.state, loop.keeper
    step = state.global_step
    if not ending.interrupted:
        _withdraw_overfitting(state)
        _restore_best(loop)
        if _ends_with_best(run, ending, state) and state.best_step is not None:
            step = keeper.load_best()
            assert step == state.best_step, f"best/ is of step {step}, the best evaluation was at {state.best_step}"
        keeper.keep_final(state, step)
        if lost := run.processes.by_main(lambda: _unlike_final(loop)):
            state.diagnoses.append(lost)
            if run.processes.is_main:
                event = {"kind": "diagnosis", "step": state.global_step, "message": lost.sentence}
                run.run_dir.append_event(RunEvent.model_validate(event | {"detail": lost.model_dump(mode="json")}))
            ending = ending if ending.is_failure else Ending(lost.sentence, is_failure=True)
        if not _is_in_parts(run):
            run.processes.by_main(lambda: _compare(compared, loop, step))
    status, reason = run.processes.by_main(lambda: _judge(run, ending, state))
    if status is Status.HEALTHY and any(repair.kept for repair in state.repairs):
        status = Status.REPAIRED
    told = state.first_steps and finding(state.first_steps, accepted=run.accepted)
    verdict = Verdict(
        status=status,
        reason=reason,
        base_eval_loss=state.base_eval_loss,
        best_eval_loss=state.best_eval_loss,
        best_step=state.best_step,
        final_weights="" if ending.interrupted else f"step {step}",
        train_seconds=state.train_seconds,
        peak_memory_bytes=state.peak_memory_bytes,
        skipped_updates=run.processes.by_main(lambda: _skipped_updates(run)),
        tokens_per_second=state.tokens_seen / state.train_seconds if state.train_seconds else 0.0,
        predicted_vs_measured=_predicted_vs_measured(run.plan, loop),
        first_steps=state.first_steps,
        accepted=tuple(sorted(run.accepted)),
        findings=(*(run.check.findings if run.check else ()), *([told] if told else [])),
        causes=_causes(state),
        repairs=tuple(state.repairs),
        diagnosis=state.diagnoses[-1] if state.diagnoses else None,
        stopped_by_guard=ending.by_guard and ending.is_failure,
        reproduce=f"trimtab train {shlex.quote(str(run.run_dir.config))} training.output_dir=again",
    )
    if run.processes.is_main:
        planned = run.plan.total_steps.value
        if state.global_step != planned and not ending.interrupted:
            loop.amend(f"{state.global_step} steps instead of {planned}: {ending.reason}")
        run.run_dir.write_json(run.run_dir.verdict, verdict)
        if not ending.interrupted:
            verdict = _as_the_records_say(run.run_dir, verdict)
            run.run_dir.write_json(run.run_dir.verdict, verdict)
        kind = "stopped" if ending.interrupted else "finished"
        run.run_dir.append_event(RunEvent.model_validate({"kind": kind, "step": state.global_step, "message": reason}))
    run.processes.wait()
    return verdict


def _is_in_parts(run: Run) -> bool:
    return run.config.training.fsdp and run.processes.count > 1


def _compare(compared: BeforeAfter, loop: Loop, step: int) -> None:
    """By what a repair or an amendment made of the run's precision and batches."""
    speaker = replace(compared.speaker, precision=loop.stepper.precision, batch_size=loop.eval_batch_size)
    replace(compared, speaker=speaker, notify=loop.note).after(loop.run_dir, step)


def _as_the_records_say(run_dir: RunDir, verdict: Verdict) -> Verdict:
    """With the curve in a word; and, of a run that failed without an incident, what its records point at."""
    told, _, _ = verdict_of(read(run_dir.path))
    update: dict[str, Any] = {"judgement": told.judgement}
    if verdict.status is Status.FAILED:
        update |= {"causes": told.causes, "diagnosis": told.diagnosis}
    return verdict.model_copy(update=update)


def _withdraw_overfitting(state: RunState) -> None:
    """An evaluation that rose and then fell below its best, as the learning rate decayed, was no overfitting, nor
    anything else that might have made it rise."""
    if state.best_step is None or state.best_step != state.global_step:
        return
    state.changes = state.changes.model_copy(update={"ends_with_best": ""})
    state.diagnoses = [diagnosis for diagnosis in state.diagnoses if not _is_of_a_rise(diagnosis)]


def _is_of_a_rise(diagnosis: Diagnosis) -> bool:
    """It says overfitting, and saw no more than that evaluations rose."""
    return (
        any(cause.rule == Overfit.name for cause in diagnosis.causes)
        and not diagnosis.violations
        and all(sighting.symptom in OF_A_RISE for sighting in diagnosis.symptoms)
    )


def _restore_best(loop: Loop) -> None:
    """A repair, where the guard asked for it and nothing took that back."""
    state, cause = loop.state, loop.state.changes.ends_with_best
    if not cause or state.best_step is None:
        return
    sentence = f"restore-best-checkpoint for {cause}: the best weights, of step {state.best_step}, end it"
    repair = Repair(
        number=len(state.repairs) + 1,
        step=state.global_step,
        back_to_step=state.best_step,
        cause=cause,
        remedy="restore-best-checkpoint",
        changed={"training.load_best_model_at_end": [False, True]},
        after=state.best_eval_loss,
        kept=True,
        sentence=sentence,
    )
    state.repairs.append(repair)
    loop.amend(sentence, {"training.load_best_model_at_end": True})


def _ends_with_best(run: Run, ending: Ending, state: RunState) -> bool:
    """As asked; or the guard found that the last weights are not the ones to keep."""
    stopped = ending.by_guard and ending.is_failure
    return run.config.training.load_best_model_at_end or stopped or bool(state.changes.ends_with_best)


def _unlike_final(loop: Loop) -> Diagnosis | None:
    """What is wrong with the weights that were just saved."""
    if any(hasattr(p, "full_tensor") for p in loop.stepper.model.parameters()):
        return None  # no process holds them whole
    fault = loop.keeper.unlike_final()
    if not fault:
        return None
    step = loop.state.global_step
    broken = Violation(invariant="saved-as-trained", step=step, sentence=f"{loop.run_dir.final.name}/: {fault}")
    return diagnose(Case(step=step, trace=Trace(source="run folder"), violations=(broken,)))


def _causes(state: RunState) -> tuple[CauseFound, ...]:
    """Of all incidents, each cause once, the likeliest first."""
    best: dict[str, CauseFound] = {}
    for diagnosis in state.diagnoses:
        for found in diagnosis.causes:
            if found.rule not in best or best[found.rule].confidence < found.confidence:
                best[found.rule] = found
    return tuple(sorted(best.values(), key=lambda found: -found.confidence))


def _predicted_vs_measured(plan: Plan, loop: Loop) -> dict[str, Comparison]:
    """Time is compared over the steps that were done; memory by what can be counted on the device."""
    done, planned = loop.state.global_step, plan.total_steps.value
    compared = {"steps": Comparison(predicted=planned, measured=done, unit="steps")}
    if plan.memory is not None:
        peak = max(plan.memory.peak_bytes, plan.memory.eval_peak_bytes)
        measured, how = loop.telemetry.peak_tensor_bytes(loop.state.peak_memory_bytes)
        compared["peak_memory"] = Comparison(predicted=peak, measured=measured, unit=f"bytes of tensors{how}")
    if plan.cost is not None:
        seconds = plan.cost.train_seconds * done / planned
        compared["train_seconds"] = Comparison(predicted=seconds, measured=loop.state.train_seconds, unit="s")
    return compared


def _judge(run: Run, ending: Ending, state: RunState) -> tuple[Status, str]:
    if ending.interrupted:
        return Status.STOPPED, ending.reason
    if ending.is_failure:
        return Status.FAILED, ending.reason
    steps, evals = run.run_dir.read_metrics()
    return judge(steps, evals, best_is_final=_ends_with_best(run, ending, state), why_it_ended=ending.reason)


def _skipped_updates(run: Run) -> int:
    """fp16's scaler leaves an update out when a gradient overflows, and lowers its scale."""
    if run.plan.precision.value != "fp16":
        return 0
    return sum(not math.isfinite(record.grad_norm) for record in run.run_dir.read_metrics()[0])
