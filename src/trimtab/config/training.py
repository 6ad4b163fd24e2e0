"""`training:` — how the weights move, and how the run is watched and kept."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from trimtab.config.base import Auto, Cadence, Count, Section, Share, Text

Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]


class TrainingConfig(Section):
    """The run. Names are those of `transformers.TrainingArguments`."""

    # Where it goes
    output_dir: Text = Field(
        default="runs/run",
        description="The run's folder; a config file without it gets runs/<name of the file>.",
    )
    run_name: Text | None = Field(
        default=None,
        description="The run's name in trackers; the folder's name when unset.",
        examples=["first"],
    )

    # How long
    num_train_epochs: Annotated[float, Field(gt=0)] | Auto = Field(
        default="auto",
        description="Passes over the training data, in epochs; 1–3 is usual, more overfits.",
        examples=[3],
    )
    max_steps: Literal[-1] | Count = Field(
        default=-1,
        description="Length of the run in steps, whatever num_train_epochs says; -1 leaves it to the epochs.",
        examples=[500],
    )

    # How much at a time
    per_device_train_batch_size: Count | Auto = Field(
        default="auto",
        description="Micro batch size: sequences per forward on one device; more is faster and takes more memory.",
        examples=[4],
    )
    gradient_accumulation_steps: Count | Auto = Field(
        default="auto",
        description="Micro batches per step; the effective batch is micro batch × this × devices, and more costs no "
        "memory.",
        examples=[4],
    )
    per_device_eval_batch_size: Count | Auto = Field(
        default="auto",
        description="Sequences per forward in evaluation; changes its speed and memory, never the eval loss.",
        examples=[8],
    )

    # How far each step goes
    learning_rate: Annotated[float, Field(gt=0, lt=1)] | Auto = Field(
        default="auto",
        description="Peak learning rate: LoRA 1e-4 … 3e-4, full 1e-5 … 5e-5; higher learns faster until it diverges.",
        examples=[2e-4],
    )
    lr_scheduler_type: Literal["cosine", "linear", "constant", "constant_with_warmup", "warmup_stable_decay"] = Field(
        default="cosine",
        description="How the learning rate falls from its peak to the end of the run; the constant ones stay up.",
    )
    lr_scheduler_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of the schedule, as transformers names them.",
        examples=[{"num_cycles": 0.5}],
    )
    warmup_steps: Annotated[int, Field(ge=0)] | Share | Auto = Field(
        default="auto",
        description="Steps over which the learning rate rises from 0, below 1 a share of the run; more protects a "
        "shaky start.",
        examples=[0.03],
    )
    weight_decay: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.0,
        description="Share of each weight (norms and biases excepted) taken off per step, times the "
        "learning rate; more regularises.",
    )
    max_grad_norm: Annotated[float, Field(ge=0)] = Field(
        default=1.0,
        description="Gradients with a larger norm are scaled down to it; lower is calmer and slower, 0 turns "
        "clipping off.",
    )
    optim: Literal[
        "auto",
        "adamw_torch",
        "adamw_torch_fused",
        "adamw_8bit",
        "adamw_bnb_8bit",
        "paged_adamw",
        "paged_adamw_32bit",
        "paged_adamw_8bit",
        "sgd",
    ] = Field(
        default="auto",
        description="The optimizer; the 8bit ones need a quarter of AdamW's memory, the paged ones spill "
        "into the host's when the GPU is full.",
    )
    adam_beta1: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.9, description="AdamW's memory of the gradient; higher smooths more and reacts later."
    )
    adam_beta2: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.999,
        description="AdamW's memory of the squared gradient; 0.95–0.99 reacts faster after a spike.",
    )
    adam_epsilon: Annotated[float, Field(gt=0)] = Field(
        default=1e-8,
        description="Added to AdamW's denominator; higher damps weights whose gradients are tiny.",
    )

    # How it computes
    bf16: bool | Auto = Field(
        default="auto",
        description="Compute in bfloat16: half the memory of fp32; needs Ampere or later to be fast.",
    )
    fp16: bool | Auto = Field(
        default="auto",
        description="Compute in float16 with a loss scaler: for GPUs without bf16, such as T4 and V100; can overflow.",
    )
    gradient_checkpointing: bool | Auto = Field(
        default="auto",
        description="Recompute activations instead of keeping them: far less memory, a third (full) to a "
        "half (LoRA) more compute.",
    )
    use_cpu: bool = Field(default=False, description="Train on the CPU even where there is a GPU.")
    fsdp: bool = Field(
        default=False, description="Shard the model over the processes (FSDP2) instead of copying it to each."
    )
    dataloader_drop_last: bool = Field(
        default=False,
        description="Leave out an epoch's last, incomplete step instead of training it with fewer examples.",
    )

    # When it looks up
    logging_steps: Cadence = Field(
        default="auto", description="Steps between log lines, below 1 a share of the run.", examples=[10]
    )
    eval_strategy: Literal["auto", "no", "steps", "epoch"] = Field(
        default="auto",
        description="When the validation loss is measured; auto is about ten times a run, if there is validation data.",
    )
    eval_steps: Cadence = Field(
        default="auto",
        description="Steps between evaluations, below 1 a share of the run; fewer costs time and shows more.",
        examples=[50],
    )
    save_strategy: Literal["auto", "no", "steps", "epoch", "best"] = Field(
        default="auto",
        description="When a checkpoint is written; auto is with each evaluation, best only when the eval loss fell.",
    )
    save_steps: Cadence = Field(
        default="auto",
        description="Steps between checkpoints, below 1 a share of the run; fewer loses less to a crash.",
        examples=[100],
    )
    save_total_limit: Count | None = Field(
        default=3,
        description="Checkpoints kept; null keeps all, and the disk fills. The best weights are kept apart, in best/.",
    )
    load_best_model_at_end: bool = Field(
        default=True, description="End with the weights of the lowest eval loss instead of the last ones."
    )
    metric_for_best_model: Literal["eval_loss"] = Field(
        default="eval_loss",
        description="What decides which weights are best; the eval loss, lower is better.",
    )
    early_stopping_patience: Count | None = Field(
        default=None,
        description="Evaluations without improvement after which the run stops; lower stops sooner, null never.",
        examples=[3],
    )
    early_stopping_threshold: Annotated[float, Field(ge=0)] = Field(
        default=0.0,
        description="By how much the eval loss must fall to count as improvement; higher stops sooner.",
    )

    # How it is repeated and shown
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        default=42,
        description="Seed of everything random: adapter, dropout, and the data's order unless data_seed is given.",
    )
    data_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = Field(
        default=None, description="Seed of the data's order and split alone; seed when unset.", examples=[42]
    )
    train_sampling_strategy: Literal["random", "sequential"] = Field(
        default="random",
        description="random: each epoch in an order of its own. sequential: each epoch as the file has the rows, for a "
        "curriculum; rows sorted by what they are about are then forgotten in turn.",
    )
    report_to: Tracker | Literal["none", "all"] | Annotated[list[Tracker], Field(min_length=1)] = Field(
        default="tensorboard",
        description="Trackers that receive the metrics: one, a list, none, or all that are installed.",
    )

    @property
    def data_seed_or_seed(self) -> int:
        return self.seed if self.data_seed is None else self.data_seed

    @property
    def order_seed(self) -> int | None:
        """Of each epoch's order; None where the rows come as the file has them."""
        return self.data_seed_or_seed if self.train_sampling_strategy == "random" else None
