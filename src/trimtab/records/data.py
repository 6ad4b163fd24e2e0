"""What became of the data: every row that was read is counted once, in `kept` or in one of the reasons."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

DATA_REPORT_FORMAT = 1


class RowCount(BaseModel):
    """How many rows something happened to, and the first few places ("train.jsonl:17")."""

    model_config = ConfigDict(frozen=True)

    count: int
    first: tuple[str, ...] = ()


class LengthCount(BaseModel):
    """Tokens per example before cutting."""

    model_config = ConfigDict(frozen=True)

    mean_tokens: float
    median_tokens: int
    p95_tokens: int
    p99_tokens: int
    longest_tokens: int


class SplitCount(BaseModel):
    """One side of the split, as it is stored."""

    model_config = ConfigDict(frozen=True)

    examples: int
    tokens: int
    target_tokens: int
    longest_tokens: int


class SourceCount(BaseModel):
    """One file (or Hub set): how its rows were understood, and how many were kept."""

    model_config = ConfigDict(frozen=True)

    name: str
    role: str
    """"train" or "validation"."""
    format: str
    columns: dict[str, str]
    """Role in the format -> column in the file."""
    rows_read: int
    rows_kept: int
    content_hash: str


class DataReport(BaseModel):
    """Counts of everything that happened between the files and the token stores.

    `rows_read` = `rows_kept` + the sum of `dropped` (law: no silence). Rows that cannot be understood are not
    here: they are a `DataError`.
    """

    model_config = ConfigDict(frozen=True)

    format: int = DATA_REPORT_FORMAT

    sources: tuple[SourceCount, ...]
    rows_read: int
    rows_kept: int
    dropped: dict[str, RowCount]
    """Reason -> rows: "empty answer", "no assistant turn", "too long", "cut before its first target", ..."""

    train: SplitCount
    validation: SplitCount | None
    validation_rule: str
    """How the validation rows were chosen, in words."""

    max_length: int
    """The longest example that can be in the stores: the limit, or the longest row where that is shorter."""
    max_length_rule: str
    overflow: str
    lengths: LengthCount
    rows_cut: RowCount
    answers_cut: int
    """Assistant turns (or completions) that lost tokens to the cut."""
    tokens_cut: int

    chat_template: str
    """"tokenizer", "config", "default" or "none" (no chat in the data)."""
    mask: str
    """"generation marks", "prefix comparison", "given" or "whole text", joined by " + "."""
    train_on_turns: str
    proved_fully: int
    """Rows whose mask was built by full comparison, and whose target tokens were decoded and compared."""
    straddling_tokens: int
    """Targets that begin before the answer does: one token holds the last of the prompt and the first of the answer."""
    unended_turns: int
    """Trained turns that no token or text ends: a model trained on them alone does not learn to stop."""
    events: dict[str, RowCount]
    """Everything else that was done to rows, in words: "tool calls rendered as text", ..."""

    duplicates_in_train: RowCount
    """Rows whose tokens equal those of an earlier train row."""
    validation_in_train: RowCount
    """Validation rows whose tokens equal those of a train row."""
    validation_near_train: RowCount
    """Validation rows that are not equal to a train row but share most of their informative token n-grams with one."""

    example: str
    """The first train example decoded, its targets between ⟦ and ⟧."""
    seconds: float
    cache_dir: str
    notices: tuple[str, ...]

    @property
    def target_tokens(self) -> int:
        """Target tokens of the train split."""
        return self.train.target_tokens
