from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.records import Severity
from trimtab.records.units import memory_size


class UnreadableWeights(Rule):
    """
    What it finds:
        A base whose weights cannot be loaded: a folder without safetensors or with pickled weights only, an index that
        names files which are not there, a file that was cut or is damaged.

    Why it matters:
        The run cannot start, and it would find out only after the data is prepared and the device is waited for.

    Example:
        model.safetensors.index.json names 4 files and model-00003-of-00004.safetensors is missing: the download broke.

    Fix:
        Download what is missing or damaged again. Convert pickled weights once, with save_pretrained.

    What it cannot see:
        A Hub model that is not on this machine yet. Files that can be read and belong to another model; loading says
        so. Values that changed in place.

    Source:
        The safetensors format: a header with each tensor's place, which must agree with the size of the file.
    """

    name: ClassVar[str] = "unreadable-weights"
    severity: ClassVar[Severity] = Severity.BLOCKS
    stage: ClassVar[Stage] = Stage.WEIGHTS
    cause: ClassVar[str] = "save-load-merge-mismatch"

    def judge(self, seen: Evidence) -> Judgement:
        from trimtab.checks.weights import Unreadable

        limit = "every weight file is there and can be read"
        try:
            files = seen.weights
        except Unreadable as found:
            return Bad(value=found.value, limit=limit, evidence=found.evidence, fix=found.fix)
        size = sum(path.stat().st_size for path in files.paths)
        count = len(files.paths)
        return Good(value=f"{count} file{'s' if count > 1 else ''}, {memory_size(size)}", limit=limit)
