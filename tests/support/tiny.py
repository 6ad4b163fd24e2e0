"""A world small enough that a whole run takes a second: tokenizer, models, conversations."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{%- for m in messages %}{%- if m['role'] == 'assistant' %}{{- '<|im_start|>assistant\\n' }}"
    "{% generation %}{{- m['content'] + '<|im_end|>' }}{% endgeneration %}{{- '\\n' }}"
    "{%- else %}{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
"""A chat template in which the end of the assistant's turn is trained."""

VOCABULARY = 300
THINGS = [
    "a lamp",
    "the harbour",
    "one small key",
    "bread",
    "seven maps",
    "the river",
    "old boots",
    "a quiet street",
    "salt",
    "some rope",
]
DEEDS = ["finds", "carries", "hides", "sells", "counts", "forgets", "paints", "mends", "follows", "breaks"]
NAMES = ["Ada", "Bo", "Cleo", "Dov", "Eve", "Finn", "Gus", "Hana"]


@dataclass(frozen=True)
class TinyWorld:
    """Paths of what a config names."""

    folder: Path
    llama: Path
    gpt2: Path
    train: Path
    validation: Path


def make_world(folder: Path) -> TinyWorld:
    """Everything in `folder`; the same bytes each time."""
    folder.mkdir(parents=True, exist_ok=True)
    world = TinyWorld(folder, folder / "llama", folder / "gpt2", folder / "train.jsonl", folder / "validation.jsonl")
    write_messages(world.train, 37, seed=1)
    write_messages(world.validation, 11, seed=2)
    tokenizer = make_tokenizer(
        [line for path in (world.train, world.validation) for line in path.read_text().splitlines()]
    )
    save_llama(world.llama, tokenizer)
    save_gpt2(world.gpt2, tokenizer)
    return world


def write_messages(path: Path, count: int, *, seed: int) -> None:
    """Conversations of one to three exchanges, answers of 1 to about 40 words, some with a system turn."""
    draw = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        for row in range(count):
            messages = [{"role": "system", "content": "Be brief."}] if row % 5 == 0 else []
            for _ in range(draw.choice([1, 1, 1, 2, 3])):
                messages.append({"role": "user", "content": f"What does {draw.choice(NAMES)} do, {row}?"})
                messages.append({"role": "assistant", "content": _answer(draw)})
            file.write(json.dumps({"messages": messages}) + "\n")


def _answer(draw: random.Random) -> str:
    sentences = [
        f"{draw.choice(NAMES)} {draw.choice(DEEDS)} {draw.choice(THINGS)}" for _ in range(draw.choice([1, 1, 2, 4, 8]))
    ]
    return ". ".join(sentences) + "."


def make_tokenizer(corpus: list[str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def llama_config(**changes: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        **{
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": 512,
            "tie_word_embeddings": True,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 4,
            "initializer_range": 0.1,  # wide enough that gradients are not all rounding
            **changes,
        }
    )


def save_llama(folder: Path, tokenizer: Any, **changes: Any) -> None:
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    LlamaForCausalLM(llama_config(**changes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def save_gpt2(folder: Path, tokenizer: Any) -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        n_embd=32,
        n_layer=2,
        n_head=4,
        vocab_size=VOCABULARY,
        n_positions=512,
        bos_token_id=1,
        eos_token_id=4,
        attn_pdrop=0.0,
        embd_pdrop=0.0,
        resid_pdrop=0.0,
        initializer_range=0.1,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
