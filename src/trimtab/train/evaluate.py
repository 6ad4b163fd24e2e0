"""The loss of a data set: the mean over all its target tokens, whatever the batch size (law 2)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from trimtab.data.collate import Batch
from trimtab.train.precision import Precision
from trimtab.train.processes import Processes


def evaluate(
    model: nn.Module, batches: Iterable[Batch], *, precision: Precision, processes: Processes
) -> tuple[list[float], int, float]:
    """Mean loss of each learner in nats, target tokens, seconds. `batches` are this process's share.

    Sums are added in float64 at the end, so that neither the batch size nor a large data set rounds the mean.
    """
    started = time.perf_counter()
    sums, counts = summed_losses(model, batches, precision)
    sums = sums.cpu().double()
    total_K, target_tokens = sums.sum(0), sum(counts)
    together = torch.cat([total_K, torch.tensor([float(target_tokens)], dtype=torch.float64)])
    together = processes.sum(together.to(processes.device) if processes.count > 1 else together).cpu()
    count = int(together[-1].item())
    return (together[:-1] / max(1, count)).tolist(), count, time.perf_counter() - started


def losses_of_each(model: nn.Module, batches: Iterable[Batch], *, precision: Precision) -> list[float]:
    """Mean loss of each batch in nats (the first learner's). With several processes all must have the same batches."""
    sums, counts = summed_losses(model, batches, precision)
    return [total / max(1, count) for total, count in zip(sums[:, 0].cpu().double().tolist(), counts, strict=True)]


def summed_losses(model: nn.Module, batches: Iterable[Batch], precision: Precision) -> tuple[torch.Tensor, list[int]]:
    """[batches, K] on the device, and the target tokens of each batch. Nothing waits for the device; the model is left
    as it was."""
    sums: list[torch.Tensor] = []
    counts: list[int] = []
    with evaluating(model), torch.no_grad():
        for batch in batches:
            with precision.autocast():
                sums.append(model(batch))
            counts.append(batch.target_tokens)
    return torch.stack(sums), counts


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout off within, whatever happens."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
