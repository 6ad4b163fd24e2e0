"""How fast the audit of every row is against the bare tokenizer, and whether its memory grows with the rows.

    python bench/audit_rate.py --tokenizer FOLDER [--rows 10000 100000] [--data FILE] [--workers 2]

Rows and the bare rate are those of prepare_rate.py. For each size, in a process of its own:

- audit/s: rows per second of the audit of prepared data, one process: every token read and counted, exact and near
  duplicates, validation against train.
- bare/s: rows per second of the tokenizer alone, with all cores, the better of a run before and a run after.
- ratio: audit/s over bare/s; the target is 0.5 and more.
- of CPU: the same in CPU seconds per row, which a busy machine distorts less (and which credits the audit's one core).
- both: prepare and audit together over bare/s.
- anonymous MiB: peak of the memory that the audit holds for itself (not file pages), above what was held before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from prepare_rate import PeakMemory, bare_rate, made_rows, repeated_rows, write_rows


def measure(folder: str, data: Path | None, rows: int, workers: int, results: Any) -> None:
    from transformers import AutoTokenizer

    from trimtab.checks.audit import audit
    from trimtab.config import DataConfig
    from trimtab.data.prepare import prepare
    from trimtab.data.tokenize import TextTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "rows.jsonl"
        write_rows(path, repeated_rows(data) if data else made_rows(), rows)
        before = bare_rate(tokenizer, path)
        start = time.perf_counter()
        prepared = prepare(
            DataConfig(train=str(path)),
            tokenizer,
            seed=0,
            vocab_size=len(tokenizer),
            model_max_length=4096,
            cache_dir=Path(temporary) / "cache",
            workers=workers,
            notify=lambda line: None,
        )
        prepare_seconds = time.perf_counter() - start
        with PeakMemory() as memory:
            start, cpu_start = time.perf_counter(), time.process_time()
            found = audit(prepared, TextTokenizer(tokenizer))
            seconds, cpu = time.perf_counter() - start, (time.process_time() - cpu_start) / rows
        after = bare_rate(tokenizer, path)
        bare, bare_cpu = max(before[0], after[0]), min(before[1], after[1])
        near = found.near_duplicates.count
        both = rows / (prepare_seconds + seconds)
        results.put((rows / seconds, bare, bare_cpu / cpu, both / bare, memory.peak - memory.before, near, found.rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", action="append", required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    asked = parser.parse_args()
    heads = f"{'audit/s':>9} {'bare/s':>8} {'ratio':>6} {'of CPU':>7} {'both':>6} {'anonymous MiB':>14} {'near':>7}"
    print(f"load {os.getloadavg()[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    print(f"{'tokenizer':16} {'rows':>9} {heads}")
    for folder in asked.tokenizer:
        for rows in asked.rows:
            context = multiprocessing.get_context("spawn")
            results = context.Queue()
            process = context.Process(target=measure, args=(folder, asked.data, rows, asked.workers, results))
            process.start()
            rate, bare, of_cpu, both, above, near, kept = results.get()
            process.join()
            assert kept == rows
            figures = f"{rate:9,.0f} {bare:8,.0f} {rate / bare:6.2f} {of_cpu:7.2f} {both:6.2f} {above / 2**20:14,.0f}"
            print(f"{Path(folder).name:16} {rows:9,} {figures} {near:7,}", flush=True)


if __name__ == "__main__":
    main()
