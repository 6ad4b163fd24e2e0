"""What a run's model says, and what it knows by heart: `samples.json` and `memorised.json`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Sample(BaseModel):
    """One held-out prompt, answered by the base alone and by the tuned model, greedily."""

    model_config = ConfigDict(frozen=True)

    place: str
    """"val.jsonl:17"."""
    prompt: str
    """As the model reads it, template and all."""
    reference: str
    """What the row answers."""
    base: str
    tuned: str


class Samples(BaseModel):
    """`samples.json`."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    step: int
    """After which the tuned model answered."""
    max_new_tokens: int
    samples: tuple[Sample, ...]


class RecitedRow(BaseModel):
    """How much of a row's targets greedy decoding from its prompt gives back word for word."""

    model_config = ConfigDict(frozen=True)

    place: str
    target_tokens: int
    base_tokens: int
    """Target tokens from the first on that the base gives back without an error."""
    tuned_tokens: int
    text: str
    """The targets, as text."""

    @property
    def is_whole(self) -> bool:
        """The tuned model recites all of it, and the base did not."""
        return self.base_tokens < self.target_tokens == self.tuned_tokens


class Memorisation(BaseModel):
    """`memorised.json`: rows that were trained on beside held-out ones. What of both is recited is no memory."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    step: int
    train: tuple[RecitedRow, ...]
    """A sample of the training rows that is spread evenly over the data."""
    validation: tuple[RecitedRow, ...]
