"""Good states to go back to: the start, and snapshots that lie the further apart the older they are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from trimtab.model.device import free_host_bytes
from trimtab.train.snapshot import Snapshot

EARLY_STEPS, EARLY_EVERY, EVERY = 20, 5, 10
"""A snapshot each 5 steps up to step 20, where ruin is likeliest, then each 10: going back costs that many steps."""
USUAL_BYTES = 1 << 30
"""Of an adapter with its moments, at most. What is larger takes longer to copy and is copied the more rarely: 6 GiB
take a quarter of a second to leave a GPU. A guess."""
RECENT = 4
"""So many of the newest are all kept; of older ones, the fewer the older they are."""
MEMORY_SHARE = 0.25
"""Of the host's free memory when the run begins, that snapshots may take: a guess."""


@dataclass
class Ring:
    """Snapshots, oldest first. Where even two do not fit, only the start is kept; where that does not, none."""

    room_bytes: int = field(default_factory=lambda: int(free_host_bytes() * MEMORY_SHARE))
    snapshots: list[Snapshot] = field(default_factory=list)

    def is_due(self, step: int) -> bool:
        if not self.snapshots:
            return True
        every = EARLY_EVERY if step < EARLY_STEPS else EVERY
        every *= math.ceil(self.snapshots[-1].nbytes / USUAL_BYTES)
        return step % every == 0 and self.snapshots[-1].step < step

    def has_room(self, nbytes: int) -> bool:
        """Whether another one of so many bytes fits, once old ones gave way."""
        return 2 * nbytes <= self.room_bytes or (not self.snapshots and nbytes <= self.room_bytes)

    def keep(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)
        self._thin(snapshot.step)
        while len(self.snapshots) > 2 and sum(kept.nbytes for kept in self.snapshots) > self.room_bytes:
            del self.snapshots[1]  # the oldest but the start

    def go_back_to(self, step: int) -> None:
        """Forget what came after `step`."""
        self.snapshots = [kept for kept in self.snapshots if kept.step <= step]

    def _thin(self, now: int) -> None:
        """Drop those of the old ones whose gap is no longer than the age of what comes after it."""
        old, recent = self.snapshots[1:-RECENT], self.snapshots[1:][-RECENT:]
        kept = self.snapshots[:1]
        for at, snapshot in enumerate(old):
            after = [*old, *recent][at + 1].step
            if after - kept[-1].step > now - after:
                kept.append(snapshot)
        self.snapshots = [*kept, *recent]
