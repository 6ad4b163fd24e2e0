"""What the benchmarks train on, made on the spot from what every Python installation carries.

The text is the standard library's own: its sources teach a byte-level BPE tokenizer (32,000 entries), and its
language reference (`pydoc_data.topics`) is cut into instructions and answers as long as Alpaca's. Models have the
Llama architecture and random weights. Everything is a pure function of its seed.
"""

from __future__ import annotations

import json
import random
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}### Response:\n"
    "{% generation %}{{ message['content'] }}{{ eos_token }}{% endgeneration %}\n"
    "{% else %}### Instruction:\n{{ message['content'] }}\n\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}### Response:\n{% endif %}"
)
"""A chat template that marks its answers, so that any trainer can find the same target tokens."""

# Words in instructions, inputs (41 % of the rows have one) and answers of Alpaca: the deciles of 1,000 rows of the
# English alpaca-gpt4 demo set, 0 %, 10 %, … 100 %. Only these lengths are taken from it.
INSTRUCTION_WORDS = (4, 6, 7, 8, 9, 9, 10, 11, 13, 14, 73)
INPUT_WORDS = (1, 2, 3, 4, 5, 7, 8, 11, 13, 21, 121)
ANSWER_WORDS = (1, 8, 13, 24, 46, 81, 118, 170, 224, 279, 429)
SHARE_WITH_INPUT = 0.41


def library_text() -> Iterator[str]:
    """The sources of the standard library, tests left out; about 12 MB."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(folder.rglob("*.py")):
        if not {"site-packages", "dist-packages", "test", "tests", "idle_test"} & set(path.relative_to(folder).parts):
            yield path.read_text(encoding="utf-8", errors="ignore")


def make_tokenizer(folder: Path, *, entries: int = 32_000) -> None:
    """Train a byte-level BPE tokenizer on the standard library and save it with the template; about 5 s."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=entries,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bare.train_from_iterator(library_text(), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)


def take_tokenizer(source: Path, folder: Path) -> None:
    """Copy a tokenizer, with this module's template in place of its own."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.chat_template = TEMPLATE
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.unk_token or tokenizer.eos_token
    tokenizer.save_pretrained(folder)


def make_llama(
    folder: Path,
    *,
    vocabulary: int,
    hidden: int,
    layers: int,
    heads: int,
    feed_forward: int,
    key_value_heads: int | None = None,
    positions: int = 2048,
    dtype: str = "float32",
    device: str = "cpu",
    seed: int = 0,
) -> int:
    """A Llama with random weights, saved; returns its number of parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_value_heads or heads,
        max_position_embeddings=positions,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    with torch.device(device):
        model = LlamaForCausalLM(config).to(getattr(torch, dtype))
    model.save_pretrained(folder)
    return sum(p.numel() for p in model.parameters())


def _words(rng: random.Random, deciles: tuple[int, ...]) -> int:
    """A length drawn from `deciles`, linear between them."""
    place = rng.random() * (len(deciles) - 1)
    low, high = deciles[int(place)], deciles[int(place) + 1]
    return max(1, round(low + (place - int(place)) * (high - low)))


def made_rows(count: int, *, seed: int = 0) -> list[dict[str, str]]:
    """Alpaca rows (instruction, input, output) with Alpaca's lengths; the words are the language reference's."""
    from pydoc_data import topics

    words = "\n".join(topics.topics.values()).split(" ")
    rng = random.Random(seed)

    def run_of(length: int) -> str:
        start = rng.randrange(len(words) - length)
        return " ".join(words[start : start + length]).strip() or "the"

    rows = []
    for _ in range(count):
        instruction = run_of(_words(rng, INSTRUCTION_WORDS))
        context = run_of(_words(rng, INPUT_WORDS)) if rng.random() < SHARE_WITH_INPUT else ""
        rows.append({"instruction": instruction, "input": context, "output": run_of(_words(rng, ANSWER_WORDS))})
    return rows


def read_rows(path: Path) -> list[dict[str, str]]:
    """Alpaca rows of a JSON or JSONL file."""
    text = path.read_text(encoding="utf-8")
    if text.lstrip().startswith("["):
        rows = json.loads(text)
    else:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    return [row for row in rows if row.get("instruction") and row.get("output")]


def as_messages(row: dict[str, str]) -> dict[str, Any]:
    """The row as a conversation: what every trainer here is given."""
    question = f"{row['instruction']}\n\n{row['input']}" if row.get("input") else row["instruction"]
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": row["output"]}]}


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def fitting(rows: list[dict[str, str]], tokenizer: Any, *, max_length: int) -> list[dict[str, str]]:
    """Rows whose conversation is at most `max_length` tokens, so that no trainer's way of cutting plays a part."""
    texts = [tokenizer.apply_chat_template(as_messages(row)["messages"], tokenize=False) for row in rows]
    lengths = [len(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    return [row for row, length in zip(rows, lengths, strict=True) if length <= max_length]
