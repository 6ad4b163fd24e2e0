"""Answers from a model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from trimtab.errors import DataError
from trimtab.model import attention
from trimtab.model.checkpointing import is_checkpointing, start_checkpointing, stop_checkpointing
from trimtab.model.core import causal_lm
from trimtab.model.load import pad_id

PROMPTS_AT_ONCE = 16  # guess: a small batch shares each pass over the weights


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. Temperature 0 is greedy: always the likeliest."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 42


def answer(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str | list[dict[str, Any]]],
    sampling: Sampling,
    *,
    chat: bool,
) -> list[str]:
    """One answer for each prompt: a user's message (or a whole conversation), or raw text to go on from.

    Raises:
        DataError: `chat` is asked for and the tokenizer has no chat template.
    """
    if chat and not tokenizer.chat_template:
        raise DataError("this model has no chat template; prompts can only be continued as raw text (--raw).")
    made = continued(model, tokenizer, [_prompt_ids(tokenizer, prompt, chat) for prompt in prompts], sampling)
    return [tokenizer.decode(row, skip_special_tokens=True).strip() for row in made]


def continued(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[list[int]]:
    """The tokens that each prompt, given as tokens, is continued with; shorter ones are padded at their end."""
    options: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    if sampling.temperature > 0:
        options = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    stops = stop_ids(tokenizer)
    pad = pad_id(tokenizer)
    answers: list[list[int]] = []
    torch.manual_seed(sampling.seed)
    with _generating(model):
        for start in range(0, len(prompts), PROMPTS_AT_ONCE):
            ids = [list(prompt) for prompt in prompts[start : start + PROMPTS_AT_ONCE]]
            longest = max(len(one) for one in ids)
            made = model.generate(
                input_ids=torch.tensor([[pad] * (longest - len(one)) + one for one in ids], device=model.device),
                attention_mask=torch.tensor(
                    [[0] * (longest - len(one)) + [1] * len(one) for one in ids], device=model.device
                ),
                max_new_tokens=sampling.max_new_tokens,
                eos_token_id=stops or None,
                pad_token_id=pad,
                **options,
            )
            answers += made[:, longest:].tolist()
    return answers


def stop_ids(tokenizer: Any) -> list[int]:
    """Tokens that end an answer: the end of text, and the token that ends a turn in the chat template (they differ
    in Llama 3, Gemma and others)."""
    ids = {tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set()
    if tokenizer.chat_template:
        mark = "trimtab"
        with contextlib.suppress(Exception):  # a template that takes no such conversation has no turn to end either
            turn = [{"role": "user", "content": "a"}, {"role": "assistant", "content": mark}]
            tail = tokenizer.apply_chat_template(turn, tokenize=False).rpartition(mark)[2]
            special = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
            ids |= {next(i for i in tokenizer.encode(tail, add_special_tokens=False) if i in special)}
    return sorted(ids)


def _prompt_ids(tokenizer: Any, prompt: str | list[dict[str, Any]], chat: bool) -> list[int]:
    if not chat:
        assert isinstance(prompt, str), "raw text goes on from text"
        return list(tokenizer.encode(prompt))
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return list(tokenizer.encode(text, add_special_tokens=False))  # as in training: the template writes every token


@contextlib.contextmanager
def _generating(model: Any) -> Iterator[None]:
    """Evaluation mode and an attention that knows a cache, while it lasts."""
    core = causal_lm(model)
    training, implementation = model.training, core.config._attn_implementation
    checkpointing = is_checkpointing(core)
    model.eval()
    if implementation == attention.NAME:
        core.set_attn_implementation("sdpa")
    if checkpointing:
        stop_checkpointing(core)
    try:
        with torch.no_grad():
            yield
    finally:
        core.set_attn_implementation(implementation)
        if checkpointing:
            start_checkpointing(core)
        model.train(training)
