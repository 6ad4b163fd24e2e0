"""One optimizer step: the effective batch forward and backward, then one update. Rehearsal runs this very code."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from trimtab.data.collate import FINGERPRINTS, Batch
from trimtab.train.learner import Learner
from trimtab.train.precision import Precision
from trimtab.train.processes import Processes, exchange


class Row(enum.IntEnum):
    """What a step measures, row by row. All of it stays on the device until somebody reads it, a step late."""

    LOSS = 0
    GRAD_NORM = 1
    WITHOUT_GRADIENT = 2
    """Trainable tensors whose gradient is missing or exactly zero."""
    UNMOVED = 3
    """Share of the elements with a gradient that the update left as they were, by a sample; -1 where none has one."""
    UPDATE_RATIO = 4
    """Norm of what the update changed ÷ norm of the weights before it, by a sample; -1 where there is none."""
    FED = 5
    """The fingerprint of this process's batches (data/collate.py): what was trained on is what was planned."""


@dataclass(frozen=True)
class Stepper:
    """Everything a step needs but its data. K learners share one forward and backward; here K = 1 (train) or more."""

    model: nn.Module
    """Maps a batch to the summed loss of each learner's targets, [K]."""
    learners: Sequence[Learner]
    precision: Precision
    scaler: torch.amp.GradScaler
    processes: Processes
    seed: int

    def step(self, batches: Iterable[Batch], *, updates_done: int, target_tokens: int) -> torch.Tensor:
        """Train on the effective batch that `batches` (this process's micro batches) is a part of.

        `target_tokens` counts the whole effective batch, over all micro batches and processes: the loss is the mean
        over them, so it does not matter how the batch is cut (law 1).

        Returns [6, K] on the device, see `Row`: each learner's loss before the update, its gradient's norm before
        clipping, and what must hold of every step.
        """
        batches = list(batches)
        summed_K = None
        for number, batch in enumerate(batches):
            with exchange(self.model, now=number == len(batches) - 1):
                seed_micro_step(self.seed, updates_done, number, self.processes.index)
                with self.precision.autocast():
                    loss_K = self.model(batch)
                # Exchanged gradients are averaged over processes; the mean over target tokens wants their sum.
                mean_K = loss_K * (self.processes.count / max(1, target_tokens))
                self.scaler.scale(mean_K.sum()).backward()
            summed_K = loss_K.detach() if summed_K is None else summed_K + loss_K.detach()
        assert summed_K is not None
        updates_4K = [self.update(learner, updates_done=updates_done) for learner in self.learners]
        self.scaler.update()
        mean_loss_K = self.processes.sum(summed_K) / max(1, target_tokens)
        fed = torch.stack([batch.fingerprint() for batch in batches]).sum() % FINGERPRINTS
        rows = [
            mean_loss_K,
            *torch.stack(updates_4K, dim=1).to(mean_loss_K),
            fed.to(mean_loss_K).expand_as(mean_loss_K),
        ]
        return torch.stack(rows)

    def update(self, learner: Learner, *, updates_done: int) -> torch.Tensor:
        """Clip, set the learning rate, update. Returns [4]: the rows of `Row` after the loss."""
        self.scaler.unscale_(learner.optimizer)
        norm, without_gradient = learner.clip()
        learner.set_learning_rate(updates_done)
        moved = learner.moving(updates_done)
        self.scaler.step(learner.optimizer)
        movement = moved().to(norm)
        learner.optimizer.zero_grad(set_to_none=True)
        return torch.stack([norm, without_gradient.to(norm), *movement])


def seed_micro_step(seed: int, updates_done: int, micro_step: int, process: int) -> None:
    """Dropout draws are a pure function of where the run is, so a resumed run needs no random state to go on, and an
    evaluation cannot disturb the training that follows it."""
    torch.manual_seed(micro_step_seed(seed, updates_done, micro_step, process))


def micro_step_seed(seed: int, updates_done: int, micro_step: int, process: int = 0) -> int:
    key = hashlib.blake2b(f"{seed}/{updates_done}/{micro_step}/{process}".encode(), digest_size=7).digest()
    return int.from_bytes(key, "big")
