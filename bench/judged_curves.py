"""Judges drawn curves of runs with a known end (tests/support/curves.py) and prints who was taken for what.

    python bench/judged_curves.py --each 200 --seed 1

Seed 0 is the one to look at while rules are written; any other is as good as unseen.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path

from trimtab.diagnose.judgement import judge
from trimtab.diagnose.symptoms import sight

BROKEN = {"flat", "exploding-or-nan", "overfitting", "spike"}


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    from support.curves import draw_all

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=100, help="Curves of every kind.")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    by_kind: dict[str, Counter[str]] = defaultdict(Counter)
    right: Counter[str] = Counter()
    matrix: Counter[tuple[str, str]] = Counter()
    symptoms: Counter[str] = Counter()
    cried_wolf = healthy = 0
    for drawn in draw_all(asked.each, asked.seed):
        sightings = sight(drawn.trace)
        ours = judge(drawn.trace, sightings)[0].value
        by_kind[drawn.kind][ours] += 1
        right[drawn.kind] += ours in drawn.right
        matrix[drawn.right[0], ours] += 1
        if drawn.right[0] == "healthy":
            healthy += 1
            cried_wolf += ours in BROKEN - set(drawn.right)
            symptoms.update(sighting.symptom for sighting in sightings)
    for kind, said in by_kind.items():
        print(f"{right[kind] / said.total():6.1%} {kind}: {', '.join(f'{c} {w}' for w, c in said.most_common())}")
    total = sum(said.total() for said in by_kind.values())
    words = sorted({word for pair in matrix for word in pair})
    print("\n" + f"{'':18}" + "".join(f"{word:>18}" for word in words))
    for truth in words:
        print(f"{truth:18}" + "".join(f"{matrix[truth, word]:18}" for word in words))
    print(f"\n{sum(right.values())} of {total} right ({sum(right.values()) / total:.1%})")
    print(f"{cried_wolf} of {healthy} healthy ones called broken ({cried_wolf / healthy:.2%})")
    print(f"symptoms seen in healthy ones: {', '.join(f'{n} {s}' for s, n in symptoms.most_common()) or 'none'}")


if __name__ == "__main__":
    main()
