"""The Markdown pages as a reader follows them: their blocks in order, and what is to be typed.

A comment before a block, which the page does not show, says what is not plain:

    <!-- exit: 1 -->               the last command of the block ends with this status
    <!-- background -->            it goes on while the page does, as in a second terminal
    <!-- not run: a reason -->     it cannot be run where the tests run

A block with `title="name"` is a file that the reader saves under that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
NOT_FOLLOWED = ("design.md", "log.md", "fault-benchmark.md", "changelog.md")
"""Pages that ask for nothing to be typed; those of docs/reference are written from the code, but for these:"""
WRITTEN_REFERENCE = ("run-folder.md", "data-formats.md")

FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>```+)(?P<language>[\w-]*)\s*(?P<rest>.*)$")
COMMENT = re.compile(r"^\s*<!-- (exit|not run|background)(?:: (.*?))? -->\s*$")
TITLE = re.compile(r'title="([^"]+)"')
SHELLS = ("bash", "shell", "sh")


@dataclass(frozen=True)
class Block:
    """A fenced block, with what the comments before it say."""

    page: Path
    line: int
    language: str
    text: str
    title: str | None = None
    said: dict[str, str] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def not_run(self) -> str | None:
        return self.said.get("not run")

    @property
    def commands(self) -> list[str]:
        """What is to be typed; lines of a console block that do not begin with `$ ` are its output."""
        joined = self.text.replace("\\\n", " ")
        if self.language == "console":
            return [line[2:].strip() for line in joined.splitlines() if line.startswith("$ ")]
        if self.language in SHELLS:
            return [line.strip() for line in joined.splitlines() if line.strip() and not line.startswith("#")]
        return []

    def status_of(self, at: int) -> int:
        """What command number `at` of the block is to end with."""
        return int(self.said.get("exit", 0)) if at == len(self.commands) - 1 else 0


def followed_pages() -> list[Path]:
    """README and the pages of docs that a reader follows."""
    pages = [path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name not in NOT_FOLLOWED]
    reference = ROOT / "docs" / "reference"
    return [
        ROOT / "README.md",
        *(path for path in pages if path.parent != reference or path.name in WRITTEN_REFERENCE),
    ]


def blocks(page: Path) -> Iterator[Block]:
    said: dict[str, str] = {}
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        if comment := COMMENT.match(line):
            said[comment[1]] = comment[2] or ""
        elif fence := FENCE.match(line):
            indent, text = len(fence["indent"]), []
            for _, inner in lines:
                if inner.strip() == fence["ticks"]:
                    break
                text.append(inner[indent:])
            title = TITLE.search(fence["rest"])
            yield Block(page, number, fence["language"], "\n".join(text) + "\n", title and title[1], said)
            said = {}
        else:
            assert not (said and line.strip()), f"{page}:{number}: the comment before it belongs to no block"
