"""What the docs site shows besides the files of docs/: the changes and the way to contribute, which lie beside them in
the repository. A hook of MkDocs; see mkdocs.yml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
BESIDE = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
DOCS_LINK = re.compile(r"\]\(docs/")
SOURCE_LINK = re.compile(r"\[([^\]]+)\]\((?:\.\./)*(?:src|bench|tests|scripts|README)[^)]*\)")
"""To a file of the repository, which the site does not hold: its words stay."""


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for name, page in BESIDE.items():
        text = DOCS_LINK.sub("](", (ROOT / name).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return SOURCE_LINK.sub(r"\1", markdown)
