"""Writes a new rule of the checks: its file, its test, its place in the list. What is left to write fails until it is.

python scripts/new_rule.py answers-in-capitals --severity warns --stage data
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "src" / "trimtab" / "checks" / "rules"
TESTS = ROOT / "tests" / "unit" / "checks" / "rules"
SEVERITIES = ("blocks", "warns", "notes")
STAGES = ("config", "data", "rehearsal", "weights", "base")

RULE = '''\
from __future__ import annotations

from typing import ClassVar

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, Rule, Stage
from trimtab.records import Severity

MOST = 0
"""(to write) Where the number comes from, or that it is a guess."""


class {class_name}(Rule):
    """
    What it finds:
        (to write) One sentence: what was seen that should not be. It is the rule's line in `trimtab explain`.

    Why it matters:
        (to write) What the run would do, or lose.

    Example:
        (to write) A config or a row in which it fires, and what follows from it.

    Fix:
        (to write) Keys to set or rows to look at.

    What it cannot see:
        (to write) The nearest fault that it misses, and the honest run that it might accuse.

    Source:
        (to write) A paper, an issue, a measurement of our own.
    """

    name: ClassVar[str] = "{name}"
    severity: ClassVar[Severity] = Severity.{severity}
    stage: ClassVar[Stage] = Stage.{stage}

    def judge(self, seen: Evidence) -> Judgement:
        found = self.count(seen)
        limit = f"at most {{MOST:,}}"
        if found <= MOST:
            return Good(value=f"{{found:,}}", limit=limit)
        return Bad(value=f"{{found:,}}", limit=limit, evidence="(to write)", fix="(to write)")

    def count(self, seen: Evidence) -> int:
        raise NotImplementedError("count what the rule is named for")
'''

TEST = '''\
"""{name}: when it speaks, and when it must not."""

from __future__ import annotations

from pathlib import Path

from support.evidence import judge
from support.runs import sections
from support.tiny import TinyWorld

from trimtab.checks.rule import Bad, Good
from trimtab.checks.rules.{snake} import {class_name}


def test_it_fires_on_a_run_with_the_fault(world: TinyWorld, tmp_path: Path) -> None:
    config = sections(world, tmp_path / "run")
    # put the fault in: change the config, or write data that has it and name it in config["data"]["train"]
    judged = judge({class_name}(), config, tmp_path)
    assert isinstance(judged, Bad)
    assert "the number that you put in" in judged.value


def test_it_is_silent_on_a_healthy_run(world: TinyWorld, tmp_path: Path) -> None:
    assert isinstance(judge({class_name}(), sections(world, tmp_path / "run"), tmp_path), Good)
'''


def write_rule(name: str, severity: str, stage: str) -> list[Path]:
    """The files that were written or changed.

    Raises:
        ValueError: the name is no name for a rule, or is taken.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)+", name):
        raise ValueError(f"{name!r}: write a rule's name in lower case, two or more words joined by hyphens")
    if re.match(r"(check|prevent|verify|validate|ensure|test|no-check)-", name):
        raise ValueError(f"{name!r}: name what the rule finds, not what it does: empty-loss-mask, not check-labels")
    snake = name.replace("-", "_")
    words = {
        "name": name,
        "snake": snake,
        "class_name": "".join(word.capitalize() for word in name.split("-")),
        "severity": severity.upper(),
        "stage": stage.upper(),
    }
    rule, test, listed = RULES / f"{snake}.py", TESTS / f"test_{snake}.py", RULES / "__init__.py"
    for path in (rule, test):
        if path.exists():
            raise ValueError(f"{path.relative_to(ROOT)} exists already")
    test.parent.mkdir(parents=True, exist_ok=True)
    rule.write_text(RULE.format(**words), encoding="utf-8")
    test.write_text(TEST.format(**words), encoding="utf-8")
    listed.write_text(with_rule(listed.read_text(encoding="utf-8"), snake, words["class_name"]), encoding="utf-8")
    return [rule, test, listed]


def with_rule(source: str, snake: str, class_name: str) -> str:
    """The list of rules with one more at its end, imported."""
    tree = ast.parse(source)
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    rules = next(
        node.value for node in tree.body if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "RULES"
    )
    assert isinstance(rules, ast.Tuple)
    lines = source.splitlines(keepends=True)
    last = rules.elts[-1]
    assert last.end_lineno is not None
    # ast counts columns in bytes
    line = lines[last.end_lineno - 1].encode()
    lines[last.end_lineno - 1] = (
        line[: last.end_col_offset] + f", {class_name}()".encode() + line[last.end_col_offset :]
    ).decode()
    lines.insert(imports[-1].end_lineno or 0, f"from trimtab.checks.rules.{snake} import {class_name}\n")
    return "".join(lines)


def tidy(paths: list[Path]) -> None:
    """As `make format` would."""
    files = [str(path) for path in paths]
    for command in (["check", "--quiet", "--fix", "--select", "I"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *command, *files], check=True, cwd=ROOT)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help="what it finds, in lower case with hyphens: empty-loss-mask")
    parser.add_argument("--severity", required=True, choices=SEVERITIES, help="the worst that it can say")
    parser.add_argument("--stage", required=True, choices=STAGES, help="what it looks at")
    asked = parser.parse_args()
    try:
        written = write_rule(asked.name, asked.severity, asked.stage)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    tidy(written)
    for path in written:
        print(f"wrote {path.relative_to(ROOT)}")
    print(f"next: write them; {written[1].relative_to(ROOT)} and tests/conformance fail until then")
    return 0


if __name__ == "__main__":
    sys.exit(main())
