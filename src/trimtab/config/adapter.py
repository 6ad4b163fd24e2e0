"""`adapter:` — the small weights that are trained on top of the frozen base (LoRA)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from trimtab.config.base import Auto, Count, Section, Text

Layer = Annotated[int, Field(ge=0)]


class AdapterConfig(Section):
    """A LoRA adapter. Names are those of `peft.LoraConfig`. `adapter: none` is full fine-tuning."""

    r: Count = Field(
        default=8,
        description="LoRA rank: adapter parameters grow in proportion; 8–16 for style and format, 32–64 for new "
        "skills.",
    )
    lora_alpha: Count | Auto = Field(
        default="auto",
        description="The adapter's output is scaled by lora_alpha / r; higher acts like a higher learning rate; auto "
        "is 2 r.",
        examples=[16],
    )
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="Share of adapter inputs zeroed while training; 0.05–0.1 slows overfitting on small data.",
    )
    target_modules: Text | Annotated[list[Text], Field(min_length=1)] = Field(
        default="all-linear",
        description="Layers that get an adapter: all-linear, a list of name endings, or a regular expression.",
        examples=[["q_proj", "v_proj"]],
    )
    exclude_modules: Text | list[Text] | None = Field(
        default=None,
        description="Layers that get none, though target_modules matches them.",
        examples=[["lm_head"]],
    )
    modules_to_save: list[Text] | None = Field(
        default=None,
        description="Layers trained and saved in full beside the adapter, such as embeddings after adding tokens; "
        "large.",
        examples=[["embed_tokens"]],
    )
    use_rslora: bool = Field(
        default=False,
        description="Scale by lora_alpha / √r instead of lora_alpha / r, which keeps high ranks learning.",
    )
    use_dora: bool = Field(
        default=False,
        description="Train magnitude and direction apart (DoRA): a little better at low rank, noticeably slower.",
    )
    init_lora_weights: bool | Annotated[str, Field(pattern=r"^(gaussian|olora|orthogonal|pissa)$")] = Field(
        default=True,
        description="Where the adapter starts: true is a random A and a zero B, so that step 0 is exactly "
        "the base; "
        "else gaussian, olora, orthogonal or pissa.",
        examples=["gaussian"],
    )
    bias: Literal["none", "all", "lora_only"] = Field(
        default="none",
        description="Which biases are trained too; with any but none the adapter changes the base's own output.",
    )
    rank_pattern: dict[str, Count] = Field(
        default_factory=dict,
        description="Layer name or regular expression → a LoRA rank of its own.",
        examples=[{"down_proj": 16}],
    )
    alpha_pattern: dict[str, Count] = Field(
        default_factory=dict,
        description="Layer name or regular expression → a lora_alpha of its own.",
        examples=[{"down_proj": 32}],
    )
    layers_to_transform: Layer | list[Layer] | None = Field(
        default=None,
        description="Numbers of the transformer layers that get an adapter, from 0; all when unset.",
        examples=[[0, 1]],
    )
    layers_pattern: Text | list[Text] | None = Field(
        default=None,
        description="Name of the list of layers in the model, where layers_to_transform does not find it itself.",
        examples=["layers"],
    )
