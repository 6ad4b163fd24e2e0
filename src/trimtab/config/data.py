"""`data:` — what is learned from, and how rows become tokens."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from trimtab.config.base import Auto, Count, Section, Share, Text


class DataConfig(Section):
    """Training and validation data. Relative paths start at the current directory, not the config's."""

    train: Text | Annotated[list[Text], Field(min_length=1)] = Field(
        description="Training data: a file or folder (JSONL, JSON, CSV, Parquet), a list of them, or a Hub dataset's "
        "name.",
        examples=["train.jsonl"],
    )
    validation: Share | Literal["auto", "none"] | Text | Annotated[list[Text], Field(min_length=1)] = Field(
        default="auto",
        description="Validation data: files as for train, a share of the training rows such as 0.1, or none; "
        "auto takes a split that exists, else a share.",
        examples=[0.1],
    )
    format: Literal["auto", "alpaca", "messages", "sharegpt", "prompt_completion", "text", "tokenized"] = Field(
        default="auto", description="What the rows look like; auto recognises it by their columns."
    )
    columns: dict[str, Text] = Field(
        default_factory=dict,
        description="Role → column name, where the file's columns have other names than the format's.",
        examples=[{"prompt": "question", "completion": "answer"}],
    )
    split: Text = Field(default="train", description="Which split of a Hub dataset is trained on.")
    subset: Text | None = Field(
        default=None,
        description="Which configuration of a Hub dataset, where it has several.",
        examples=["main"],
    )
    max_length: Annotated[int, Field(ge=2)] | Auto = Field(
        default="auto",
        description="Tokens per example after cutting; memory and time per step grow with it, too little cuts "
        "answers off.",
        examples=[1024],
    )
    overflow: Literal["cut", "drop"] = Field(
        default="cut",
        description="What happens to examples longer than max_length: the end is cut off, or they are dropped.",
    )
    packing: Literal["auto", "off"] = Field(
        default="auto",
        description="auto lays the examples of a batch end to end, without padding and isolated from each other; off "
        "pads.",
    )
    chat_template: Text | None = Field(
        default=None,
        description="A Jinja chat template, as a file or as text, in place of the tokenizer's own.",
        examples=["template.jinja"],
    )
    train_on_turns: Literal["all", "last"] = Field(
        default="all",
        description="Which of the assistant's turns carry loss: all of them, or only the last of each conversation.",
    )
    workers: Count | Auto = Field(
        default="auto",
        description="Processes that tokenize; more is faster until the cores are used up.",
        examples=[4],
    )
    cache_dir: Text | None = Field(
        default=None,
        description="Folder for prepared data, reused while data, tokenizer and settings stay the same.",
        examples=["cache"],
    )

    @field_validator("validation", mode="before")
    @classmethod
    def _share_as_text(cls, value: Any) -> Any:
        # "0.1" is a share that YAML or a shell turned into text, not a file of that name.
        if isinstance(value, str):
            try:
                return float(value)
            except ValueError:
                return value
        return value
