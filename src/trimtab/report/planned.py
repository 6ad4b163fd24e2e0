"""The plan in a few lines, before the first step."""

from __future__ import annotations

from trimtab.records import Plan, RunDir


def plan_lines(plan: Plan, run_dir: RunDir) -> list[str]:
    value = {name: decision.value for name, decision in plan.decisions().items()}
    to_validate = f"{value['validation_examples']:,} examples" if value["validation_examples"] else "nothing"
    batch = " × ".join(
        str(value[name]) for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "processes")
    )
    checkpointing = ", gradient checkpointing" if value["gradient_checkpointing"] else ""
    return [
        f"{value['examples']:,} examples, {value['target_tokens']:,} of {value['tokens']:,} tokens are targets; "
        f"{to_validate} to validate on",
        f"{value['total_steps']:,} steps: {value['num_train_epochs']:g} epochs × {value['steps_per_epoch']:,}, "
        f"each {batch} = {value['effective_batch_size']} examples",
        f"learning rate {value['learning_rate']:g}, {value['lr_scheduler_type']}, {value['warmup_steps']} warmup steps"
        f"; {value['precision']}, {value['optim']}{checkpointing}",
        f"{len(value['eval_points'])} evaluations and {len(value['save_points'])} saves into {run_dir.path}",
    ]
