"""What training together saves here, from two probes: a step costs a fixed part and a part for each token.

    seconds(k) = a + b · k · tokens          gain(k) = k · seconds(1) / seconds(k)

Within 7 % of what was measured at 32 to 512 tokens (docs/log.md).
"""

from __future__ import annotations

from dataclasses import dataclass

WORTH = 1.05
"""Below it trials run in turn: what is shared saves nothing, and each alone has its own log sooner."""


@dataclass(frozen=True)
class Gain:
    fixed_seconds: float
    token_seconds: float
    tokens: float
    """Of one trial's step."""

    @classmethod
    def measured(cls, *, one: float, many: float, count: int, tokens: float) -> Gain:
        """From the seconds of a step of one trial, and of `count` at once."""
        each = max(0.0, (many - one) / (count - 1) / tokens) if count > 1 else one / tokens
        return cls(max(0.0, one - each * tokens), each, tokens)

    def seconds(self, count: int) -> float:
        return self.fixed_seconds + self.token_seconds * count * self.tokens

    def of(self, count: int) -> float:
        """Times as quick as in turn."""
        return count * self.seconds(1) / max(1e-12, self.seconds(count))

    def is_worth_it(self, count: int) -> bool:
        return self.of(count) >= WORTH

    def __str__(self) -> str:
        return f"{1e3 * self.fixed_seconds:.3g} ms a step and {1e6 * self.token_seconds:.3g} µs a token"
