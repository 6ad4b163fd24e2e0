"""Which invariants are broken: each is asked about once, and once more after the run went back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trimtab.records.diagnosis import Violation

Key = tuple[str, str, bool]


def key(violation: Violation) -> Key:
    """Violations of one key are one fault: told once, whatever steps it is in."""
    detail = violation.detail
    return violation.invariant, str(detail.get("what", "")), bool(detail.get("repeats"))


class Broken:
    """The first violation of each kind that has not been looked into."""

    def __init__(self) -> None:
        self.waiting: list[Violation] = []
        self._asked: set[Key] = set()
        self._lived_with: set[Key] = set()
        """The run went on with them; they are no news after it went back for another reason either."""

    def add(self, violations: Iterable[Violation]) -> None:
        for violation in violations:
            if key(violation) not in self._asked and all(key(violation) != key(other) for other in self.waiting):
                self.waiting.append(violation)

    def knows(self, invariant: str) -> bool:
        """Whether it was looked into."""
        return any(name == invariant for name, _, _ in self._asked)

    def looked_into(self, violations: Sequence[Violation], *, goes_on: bool) -> None:
        keys = {key(violation) for violation in violations}
        self._asked |= keys
        if goes_on:
            self._lived_with |= keys
        self.waiting.clear()

    def went_back(self) -> None:
        self._asked &= self._lived_with
        self.waiting.clear()
