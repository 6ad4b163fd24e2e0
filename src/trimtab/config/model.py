"""`model:` — which weights are trained, and how they are loaded."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trimtab.config.base import Section, Text


class ModelConfig(Section):
    """The base model. Names are those of `from_pretrained` and `BitsAndBytesConfig`."""

    name_or_path: Text = Field(
        description="The base model: a local folder, or a name on the Hugging Face Hub.",
        examples=["mistralai/Mistral-7B-v0.3"],
    )
    revision: Text | None = Field(
        default=None,
        description="Branch, tag or commit of a Hub model; a commit makes the run repeatable.",
        examples=["main"],
    )
    load_in_4bit: bool = Field(
        default=False,
        description="Hold the frozen base in 4 bits (QLoRA): about a quarter of bf16's memory, somewhat "
        "slower; needs an adapter.",
    )
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = Field(
        default="nf4", description="The 4-bit number format; nf4 loses less on normally distributed weights."
    )
    bnb_4bit_use_double_quant: bool = Field(
        default=True,
        description="Quantise the quantisation constants too: saves about 0.4 bits per parameter, costs next to "
        "nothing.",
    )
    attn_implementation: Literal[
        "auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention"
    ] = Field(
        default="auto",
        description="The attention kernel; eager is the slowest and plainest, flash_attention_* need their package "
        "and a GPU.",
    )
    trust_remote_code: bool = Field(
        default=False,
        description="Run Python code that comes with the model; only for repositories that you have read.",
    )
