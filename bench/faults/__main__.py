"""python -m bench.faults: run cases, judge them, write the table."""

from __future__ import annotations

import os

# Before torch is imported: one thread each, or sums are split another way and runs stop being comparable.
os.environ.update(
    OMP_NUM_THREADS="1",
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
    PYTHONWARNINGS="ignore",
)

from bench.faults.command import main

if __name__ == "__main__":
    raise SystemExit(main())
