"""From a trial to the run that goes on with it: a run folder with the trial's steps in its records and its state as a
checkpoint, which `trimtab train --resume` takes on like any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from trimtab.config import RunConfig, dump_yaml, with_absolute_paths
from trimtab.data.prepare import PreparedData
from trimtab.model.fit import Fit, fit
from trimtab.model.load import pad_id
from trimtab.model.target_loss import TargetLoss
from trimtab.model.weights import assign, trained_parameters
from trimtab.records import EvalRecord, Plan, RunDir, RunEvent, StepRecord
from trimtab.records.run_dir import RUN_FORMAT
from trimtab.train.assemble import load_model
from trimtab.train.before_after import BeforeAfter
from trimtab.train.checkpoint import Keeper
from trimtab.train.evaluate import evaluate
from trimtab.train.feed import Feed
from trimtab.train.learner import Learner
from trimtab.train.member_state import MemberState
from trimtab.train.output import check_output
from trimtab.train.precision import Precision
from trimtab.train.processes import Processes
from trimtab.train.run import identity, learner_of, order_of
from trimtab.train.speaker import Speaker
from trimtab.train.state import RunState


def begin_run(
    config: RunConfig,
    plan: Plan,
    data: PreparedData,
    tokenizer: object,
    state: MemberState,
    steps: Sequence[StepRecord],
    device: torch.device,
    notify: Callable[[str], None],
) -> RunDir:
    """Into `training.output_dir`. `steps` are the trial's own so far.

    Raises:
        OutputError: the folder holds a run already, or cannot be written to.
    """
    run_dir = RunDir(config.training.output_dir)
    check_output(run_dir, resume=False)
    model = load_model(config, plan, device)
    precision, processes = Precision.named(plan.precision.value, device), Processes.alone(device)
    learner = learner_of(model, plan, config.training)
    started = RunState(global_step=state.progress.steps, tokens_seen=state.progress.tokens)
    fitted = fit(
        model,
        packing=plan.packing.value,
        own_attention=config.model.attn_implementation != "auto",
        device=device,
        autocast=precision.autocast,
    )
    speaker = Speaker(model, tokenizer, fitted, precision, device, plan.per_device_eval_batch_size.value)
    before = BeforeAfter(config.report, speaker, plan, data, order_of(config, plan), notify).before()
    base = _base_evaluation(plan, data, tokenizer, model, fitted, precision, processes)
    if base is not None:
        started.base_eval_loss = base.loss
    started.had_gradient = any(norm > 0 for norm in state.progress.grad_norms)
    started.train_seconds = sum(record.seconds for record in steps)
    restore(learner, state)
    scaler = precision.scaler()
    if scaler.is_enabled():
        grown = {"scale": state.counts.scale, "_growth_tracker": int(state.counts.clean_steps)}
        scaler.load_state_dict({**scaler.state_dict(), **grown})

    run_dir.path.mkdir(parents=True, exist_ok=True)
    run_dir.write_text(run_dir.config, dump_yaml(with_absolute_paths(config)))
    run_dir.write_json(run_dir.plan, plan)
    run_dir.write_json(run_dir.data_report, data.report)
    before.write(run_dir)
    detail = {"format": RUN_FORMAT, "torch": torch.__version__, "processes": 1}
    message = f"the first {started.global_step} steps are a search's"
    run_dir.append_event(RunEvent(kind="started", step=0, message=message, detail=detail))
    for record in ([base] if base is not None else []) + list(steps):
        run_dir.append_metric(record)
    Keeper(
        run_dir=run_dir,
        model=model,
        learner=learner,
        scaler=scaler,
        processes=processes,
        tokenizer=tokenizer,
        identity=identity(config, plan, data.fingerprint),
        limit=None,
    ).save(started)
    notify(f"{run_dir.path}: begun, from the search's step {started.global_step}")
    return run_dir


def restore(learner: Learner, state: MemberState) -> None:
    """Weights and moments of a plain run's learner: those of the trial."""
    assert learner.parameters.keys() == state.weights.keys(), "they are another adapter's"
    for name, parameter in learner.parameters.items():
        assign(parameter, state.weights[name])
        learner.optimizer.state[parameter] = {
            "step": torch.tensor(state.counts.updates, dtype=torch.float32),
            "exp_avg": state.first_moments[name].to(parameter.device, copy=True),
            "exp_avg_sq": state.second_moments[name].to(parameter.device, copy=True),
        }


def _base_evaluation(
    plan: Plan,
    data: PreparedData,
    tokenizer: object,
    model: torch.nn.Module,
    fitted: Fit,
    precision: Precision,
    processes: Processes,
) -> EvalRecord | None:
    """Of the whole validation set, before anything was learnt: an adapter's B is zero then."""
    if data.validation is None or not plan.eval_points.value:
        return None
    assert trained_parameters(model), "an adapter learns"
    batches = Feed(fitted.layout, pad_id(tokenizer), processes.device, 0, 1).all(
        data.validation, plan.per_device_eval_batch_size.value
    )
    [loss], tokens, seconds = evaluate(
        TargetLoss(model, fitted.head), batches, precision=precision, processes=processes
    )
    return EvalRecord(step=0, epoch=0.0, loss=loss, target_tokens=tokens, seconds=seconds)
