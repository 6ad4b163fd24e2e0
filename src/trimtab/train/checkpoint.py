"""Checkpoints: weights as PEFT or transformers writes them, the optimizer, and where the run is; whole or absent."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from trimtab.errors import ResumeError
from trimtab.model.weights import (
    assign,
    gathered,
    has_adapter,
    load_weights,
    save_weights,
    trained_parameters,
    weights,
    weights_bytes,
)
from trimtab.records import RunDir
from trimtab.records.whole_folder import about, faults, link_or_copy, write_folder
from trimtab.train.learner import Learner
from trimtab.train.processes import Processes
from trimtab.train.state import RunState

STATE_FILE = "trainer_state.json"
OPTIMIZER_FILE = "optimizer.pt"
BEST_LINK = "best"
TEMPLATE_FILE = "chat_template.jinja"


@dataclass(frozen=True)
class Keeper:
    """Writes the weights of a run, and never deletes the best. All processes call it; the main one writes."""

    run_dir: RunDir
    model: nn.Module
    learner: Learner
    scaler: torch.amp.GradScaler
    processes: Processes
    tokenizer: Any
    identity: dict[str, Any]
    """What a resumed run must share with this one: its resolved config and the fingerprint of its data."""
    limit: int | None
    """How many checkpoints stay (`save_total_limit`)."""

    def keep_best(self, state: RunState) -> None:
        """Write `best/`. It does not wait for the next save: the best evaluation may fall between two."""
        self._keep(self.run_dir.best, state.best_step, state.best_eval_loss)

    def keep_final(self, state: RunState, step: int) -> None:
        self._keep(self.run_dir.final, step, state.best_eval_loss if step == state.best_step else None)

    def unlike_final(self) -> str:
        """How `final/` differs from what learns here; "" where it holds just that. The main process calls it, on
        weights that no other holds a part of. Tensors of a whole model may have other names in its file (fused
        experts): of it only those that are found are compared."""
        found: dict[str, torch.Tensor] = {}
        for file in sorted(self.run_dir.final.glob("*.safetensors")):
            found |= load_file(file)
        wanted = trained_parameters(self.model)
        missing = [name for name in wanted if name not in found]
        if missing and has_adapter(self.model):
            return f"{len(missing)} of {len(wanted)} trained tensors are not in its file ({missing[0]} first)"
        other = [n for n, p in wanted.items() if n in found and not is_same(found[n], p.detach().cpu())]
        return (
            f"{len(other)} of {len(wanted)} tensors in its file are others than trained ({other[0]} first)"
            if other
            else ""
        )

    def _keep(self, path: Path, step: int | None, eval_loss: float | None) -> None:
        saved = weights(self.model)
        if self.processes.is_main:
            write_folder(
                path,
                lambda folder: save_weights(self.model, saved, folder, self.tokenizer),
                about={"step": step, "eval_loss": eval_loss},
                needed_bytes=weights_bytes(self.model),
            )
        self.processes.wait()

    def save(self, state: RunState) -> None:
        """Write `checkpoint-N`, then delete the oldest beyond the limit."""
        saved = weights(self.model)
        optimizer = _optimizer_state(self.learner.optimizer)
        if self.processes.is_main:

            def write(folder: Path) -> None:
                save_weights(self.model, saved, folder, tokenizer=None)
                torch.save({"optimizer": optimizer, "scaler": self.scaler.state_dict()}, folder / OPTIMIZER_FILE)
                (folder / STATE_FILE).write_text(state.model_dump_json(indent=1), encoding="utf-8")
                if isinstance(self.tokenizer.chat_template, str):
                    (folder / TEMPLATE_FILE).write_text(self.tokenizer.chat_template, encoding="utf-8")
                if state.best_step is not None and self.run_dir.best.exists():
                    # The best so far belongs to the checkpoint: a run resumed from here must not find a later one.
                    link_or_copy(self.run_dir.best, folder / BEST_LINK)

            path = self.run_dir.checkpoint(state.global_step)
            # AdamW keeps two numbers for each weight.
            needed_bytes = 3 * weights_bytes(self.model)
            write_folder(path, write, about={"step": state.global_step, **self.identity}, needed_bytes=needed_bytes)
            self._rotate(state.global_step)
        self.processes.wait()

    def load_best(self) -> int:
        """Put the best weights back into the model and prove it: returns the step they are from.

        Raises:
            ResumeError: `best/` is missing or damaged.
        """
        found = self.processes.from_main(faults(self.run_dir.best))
        if found:
            raise ResumeError(f"{self.run_dir.best}: the best weights are damaged: {'; '.join(found)}.")
        load_weights(self.model, self.run_dir.best)
        return int(about(self.run_dir.best)["step"])

    def _rotate(self, step: int) -> None:
        """Delete the oldest. What lies beyond this step is torn (it was passed over on resume) and does not count."""
        if self.limit is None:
            return
        so_far = [path for at, path in self.run_dir.checkpoints() if at <= step]
        for path in so_far[: -self.limit]:
            shutil.rmtree(path)


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint on disk."""

    path: Path
    state: RunState
    identity: dict[str, Any]

    def restore(self, learner: Learner, scaler: torch.amp.GradScaler) -> None:
        """Optimizer and scaler, to the last bit."""
        stored = torch.load(self.path / OPTIMIZER_FILE, map_location="cpu", weights_only=True)
        _restore_optimizer(learner.optimizer, stored["optimizer"])
        if stored["scaler"]:
            scaler.load_state_dict(stored["scaler"])

    def restore_best(self, run_dir: RunDir) -> None:
        """Make `best/` what it was when this checkpoint was written."""
        shutil.rmtree(run_dir.best, ignore_errors=True)
        if (self.path / BEST_LINK).exists():
            link_or_copy(self.path / BEST_LINK, run_dir.best)


def newest_whole(run_dir: RunDir) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole, and one line for each newer one that is not.

    Raises:
        ResumeError: there are checkpoints, but none is whole.
    """
    torn = []
    for step, path in reversed(run_dir.checkpoints()):
        if found := faults(path):
            torn.append(f"{path.name} is torn and is passed over: {'; '.join(found[:3])}")
            continue
        state = RunState.model_validate_json((path / STATE_FILE).read_text(encoding="utf-8"))
        assert state.global_step == step, f"{path} says that it is of step {state.global_step}"
        identity = {key: value for key, value in about(path).items() if key != "step"}
        return Checkpoint(path, state, identity), torn
    if torn:
        raise ResumeError(
            "\n".join([f"{run_dir.path}: no checkpoint is whole.", *torn, "Start anew under another output_dir."])
        )
    return None, []


def _optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's state with whole tensors on the CPU. All processes must call it."""
    state = optimizer.state_dict()
    return {
        "state": {
            index: {name: gathered(v).cpu() if isinstance(v, torch.Tensor) else v for name, v in entry.items()}
            for index, entry in state["state"].items()
        },
        "param_groups": state["param_groups"],
    }


def _restore_optimizer(optimizer: torch.optim.Optimizer, stored: dict[str, Any]) -> None:
    """Moments and step counts only: learning rate, betas and weight decay are the config's (a resume that may change
    them must not get the old ones back)."""
    parameters: Sequence[torch.Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Any]] = {}
    for index, entry in stored["state"].items():
        like = parameters[index]
        state[index] = {}
        for name, value in entry.items():
            if isinstance(value, torch.Tensor) and hasattr(like, "full_tensor") and value.shape == like.shape:
                part = torch.zeros_like(like, dtype=value.dtype)
                assign(part, value)
                value = part
            state[index][name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def is_same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """To the last bit; NaN equals NaN."""
    first, second = (tensor.reshape(-1).view(torch.uint8) for tensor in (one, other))
    return one.dtype == other.dtype and torch.equal(first, second)
