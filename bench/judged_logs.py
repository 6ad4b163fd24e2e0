"""Judges every log of a folder and compares with the labels in its labels.json.

    python bench/judged_logs.py ../shared/data/logs

labels.json: {"file": {"judgement": "healthy", "also_acceptable": ["flat"]}, …}. Prints each file's label, what Trimtab
says and whether that is right, then the totals. Exit status 1 if a log is judged wrongly.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

from trimtab.diagnose.judgement import judge
from trimtab.diagnose.readers import read
from trimtab.diagnose.symptoms import sight
from trimtab.errors import LogError

BROKEN = {"flat", "exploding-or-nan", "overfitting", "spike"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    confusion: Counter[tuple[str, str]] = Counter()
    right = exact = cried_wolf = 0
    began = time.perf_counter()
    for name, label in labels.items():
        accepted = {label["judgement"], *label.get("also_acceptable", [])}
        try:
            trace = read(folder / name).trace
            found, why = judge(trace, sight(trace))
            ours = found.value
        except LogError as error:
            ours, why = "unreadable", str(error).splitlines()[0]
        is_right = ours in accepted
        right += is_right
        exact += ours == label["judgement"]
        cried_wolf += label["judgement"] == "healthy" and ours in BROKEN - accepted
        confusion[label["judgement"], ours] += 1
        also = f" (or {', '.join(sorted(accepted - {label['judgement']}))})" if len(accepted) > 1 else ""
        print(f"{'ok   ' if is_right else 'WRONG'} {name}: {label['judgement']}{also}; ours: {ours}: {why}")
    print()
    for (label, ours), count in sorted(confusion.items()):
        print(f"{count:4} {label} judged {ours}")
    print(
        f"\n{right} of {len(labels)} as the label says or accepts ({right / max(1, len(labels)):.1%}); {exact} exactly"
    )
    print(f"{cried_wolf} healthy ones called broken; {time.perf_counter() - began:.1f} s")
    return int(right < len(labels))


if __name__ == "__main__":
    raise SystemExit(main())
