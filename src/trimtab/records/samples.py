"""What a run's model says, and what it knows by heart: `samples.json` and `memorised.json`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Sample(BaseModel):
    """One held-out prompt, answered greedily by the base and by the tuned model."""

    model_config = ConfigDict(frozen=True)

    place: str
    """"val.jsonl:17"."""
    prompt: str
    """As the model reads it, template and all."""
    reference: str
    """What the row answers."""
    base: str
    """By the model before its first step."""
    tuned: str | None = None
    """By the final weights; None while the run has none."""


class Samples(BaseModel):
    """`samples.json`."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    step: int = 0
    """Of the final weights, which answered; 0 while the run has none."""
    max_new_tokens: int
    samples: tuple[Sample, ...]


class RecitedRow(BaseModel):
    """How much of a row's targets greedy decoding from its prompt gives back word for word."""

    model_config = ConfigDict(frozen=True)

    place: str
    target_tokens: int
    base_tokens: int
    """Target tokens from the first on that the base gives back without an error."""
    tuned_tokens: int | None = None
    """The same of the final weights; None while the run has none."""
    text: str
    """The targets, as text, or the first 512 of them."""

    @property
    def is_whole(self) -> bool:
        """The tuned model recites all of it, and the base did not."""
        return self.base_tokens < self.target_tokens == self.tuned_tokens


class Memorisation(BaseModel):
    """`memorised.json`: rows that were trained on beside held-out ones. What of both is recited is no memory."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    step: int = 0
    """Of the final weights; 0 while the run has none."""
    train: tuple[RecitedRow, ...]
    """A sample of the training rows that is spread evenly over the data."""
    validation: tuple[RecitedRow, ...]
