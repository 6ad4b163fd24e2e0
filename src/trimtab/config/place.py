"""Where a value was written, and what has to be said about it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Place:
    """A line of a file, or the command line. `was` is another name under which the key was written there."""

    file: str | None = None
    line: int | None = None
    was: str | None = None

    def __str__(self) -> str:
        """As a complaint starts, so that an editor or a terminal can jump to it: `configs/run.yaml:12`."""
        if self.file is None:
            return "command line"
        return self.file if self.line is None else f"{self.file}:{self.line}"

    def origin(self) -> str:
        """As records keep it: `run.yaml:12`, `command line`, `run.yaml:9 (was evaluation_strategy)`."""
        name = str(replace(self, file=self.file.replace("\\", "/").rsplit("/", 1)[-1]) if self.file else self)
        return f"{name} (was {self.was})" if self.was else name

    def order(self) -> tuple[int, int]:
        """Files before the command line, top to bottom."""
        return (1, 0) if self.file is None else (0, self.line or 0)


COMMAND_LINE = Place()


@dataclass
class Remarks:
    """Collects everything wrong (complaints) and everything that became something else (notices)."""

    _complaints: list[tuple[Place, str]] = field(default_factory=list)
    _notices: list[tuple[Place, str]] = field(default_factory=list)
    explained: set[str] = field(default_factory=set)
    """Keys and sections that a complaint already accounts for: `trian` explains that `data.train` is missing."""

    def complain(self, place: Place, text: str, *, explains: str = "") -> None:
        """Something that stops the run."""
        self._complaints.append((place, text))
        self.explained.add(explains)

    def notice(self, place: Place, text: str) -> None:
        """Something that is told."""
        self._notices.append((place, text))

    def complaints(self) -> list[str]:
        """One text each, in the order of the file, the command line last."""
        return _in_order(self._complaints)

    def notices(self) -> list[str]:
        """As for complaints."""
        return _in_order(self._notices)


def _in_order(remarks: list[tuple[Place, str]]) -> list[str]:
    ordered = sorted(remarks, key=lambda remark: remark[0].order())
    return list(dict.fromkeys(f"{place}: {text}" for place, text in ordered))
