from __future__ import annotations

import shutil
from pathlib import Path
from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage, Unavailable
from trimtab.checks.trainable import on_disk
from trimtab.records import Severity
from trimtab.records.units import memory_size


class DiskTooSmall(Rule):
    """
    What it finds:
        Less free disk space than the run's checkpoints, best and final weights will take.

    Why it matters:
        The disk fills in the middle of the run, at a save. What was saved before is whole; what came after is lost.

    Example:
        Full fine-tuning of 1B with AdamW: 12 bytes a weight are 12 GB a checkpoint, and save_total_limit: 3 keeps
        three, with best and final weights 45 GB in all.

    Fix:
        Another training.output_dir, a smaller training.save_total_limit, or an adapter: its checkpoints are small.

    What it cannot see:
        What other programs write meanwhile, quotas, and TensorBoard's files.

    Source:
        The sizes are those of docs/reference/run-folder.md: weights in float32, and AdamW's two moments.
    """

    name: ClassVar[str] = "disk-too-small"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.REHEARSAL

    def judge(self, seen: Evidence) -> Judgement:
        kept = on_disk(seen)
        folder = Path(seen.config.training.output_dir).expanduser().absolute()
        try:
            free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
        except OSError as error:
            raise Unavailable(f"the free space of {folder} cannot be told: {error.strerror}") from None
        value, limit = f"up to {memory_size(kept.most_bytes)}", "what is free on the disk"
        if kept.most_bytes <= free:
            return Good(value=value, limit=limit)
        fits = max(0, int((free - kept.weights_bytes) // max(1, kept.checkpoint_bytes)) - 2)
        limit_key = f"training.save_total_limit: {fits}, or " if 0 < fits < kept.checkpoints else ""
        return Bad(
            value=value,
            limit=limit,
            evidence=f"{memory_size(free)} are free at {folder}; {kept.checkpoints} checkpoints of "
            f"{memory_size(kept.checkpoint_bytes)} each are kept, and best and final weights of "
            f"{memory_size(kept.weights_bytes)}",
            fix=f"set {limit_key}training.output_dir to a disk with {memory_size(1.1 * kept.most_bytes)} free",
            severity=Severity.BLOCKS if kept.least_bytes > free else Severity.WARNS,
        )
