"""The peak of real tensors is this run's own."""

from __future__ import annotations


def test_memory_that_earlier_work_frees_meanwhile_is_not_taken_off() -> None:
    """A profiler remembers the blocks that an earlier one saw being made, and counts their release."""
    import torch

    from trimtab.rehearsal.reality import _peak

    kept: list[torch.Tensor] = []
    device = torch.device("cpu")
    _peak(lambda: kept.append(torch.zeros(1000)), [], device)

    def run() -> None:
        kept.clear()
        torch.zeros(3000).sum()

    assert 12_000 <= _peak(run, [], device) < 13_000
