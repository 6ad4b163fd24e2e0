"""Makes the demo's base model: tokenizer, pretraining on the world's text, bfloat16 safetensors.

Run ``python -m trimtab.demo.make_base --out DIR --minutes N``. The learning rate follows the clock (warm
up, hold, decay to zero over the last 30 %), so the run ends when it was asked to, on any machine.
``DIR/base`` holds a usable model at any time; ``DIR/state.pt`` lets an interrupted run continue with the
same command.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from trimtab.demo.pretraining_text import PretrainingText, pack
from trimtab.demo.tokenizer import END_OF_TEXT, train_tokenizer
from trimtab.demo.world import SEED, World

VOCABULARY, CONTEXT_TOKENS, BLOCK_TOKENS = 2048, 512, 256
WARMUP_SHARE, DECAY_SHARE = 0.02, 0.30
SAVE_EVERY_SECONDS, LOG_EVERY_STEPS, HELD_OUT_BLOCKS = 240.0, 50, 32


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A Llama of 2.2 million parameters: as many as a busy CPU core can feed in an hour."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def new_optimizers(model: LlamaForCausalLM, peak: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the embedding and the norms.

    Muon's updates are scaled to AdamW's size, so that one learning rate serves both.
    """
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=peak, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=peak, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def learning_rate_factor(elapsed_share: float) -> float:
    """The share of the peak learning rate when this share of the time has gone: warm up, hold, decay to
    zero.
    """
    warm = min(1.0, elapsed_share / WARMUP_SHARE)
    return max(0.0, min(warm, (1.0 - elapsed_share) / DECAY_SHARE))


@torch.no_grad()
def held_out_losses(model: LlamaForCausalLM, blocks: dict[str, np.ndarray]) -> dict[str, float]:
    """Mean loss in nats per token on held-out text of each sort."""
    model.eval()
    losses = {}
    for sort, rows in blocks.items():
        batches = torch.from_numpy(rows).split(32)
        total = sum(model(input_ids=batch, labels=batch).loss.item() * len(batch) for batch in batches)
        losses[sort] = total / len(rows)
    model.train()
    return losses


def save_base(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, path: Path) -> None:
    """Writes the shipped files beside their place, then swaps them in, so that a reader never sees half a
    model.
    """
    fresh = path.with_name(path.name + ".new")
    copy = LlamaForCausalLM(model.config).to(torch.bfloat16)
    copy.load_state_dict(model.state_dict())
    copy.config.dtype = torch.bfloat16
    copy.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(END_OF_TEXT)],
        pad_token_id=tokenizer.pad_token_id,
    )
    copy.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    path.mkdir(parents=True, exist_ok=True)
    for file in fresh.iterdir():
        file.chmod(0o644)  # safetensors writes for its owner alone; the package is for everybody
        file.replace(path / file.name)
    fresh.rmdir()


def _new_tokenizer(text: PretrainingText) -> PreTrainedTokenizerFast:
    sample = text.chunk(-1)[:6000]
    for paragraphs in text.held_out().values():
        sample += paragraphs
    return train_tokenizer(sample, VOCABULARY, CONTEXT_TOKENS)


class Pretraining:
    """A run: the model, its optimizers, and how far it has come. ``state.pt`` holds all of it.

    The vocabulary must exist before the model, so a fresh run begins by learning its tokenizer.
    """

    def __init__(self, out: Path, text: PretrainingText, peak: float) -> None:
        self.base, self.state_file = out / "base", out / "state.pt"
        self.resumed = self.state_file.exists()
        self.tokenizer = AutoTokenizer.from_pretrained(self.base) if self.resumed else _new_tokenizer(text)
        self.model = new_model(self.tokenizer)
        self.optimizers = new_optimizers(self.model, peak)
        self.step, self.chunk, self.spent_seconds = 0, 0, 0.0
        self.held_out = {
            sort: pack(documents, self.tokenizer, BLOCK_TOKENS)[:HELD_OUT_BLOCKS]
            for sort, documents in text.held_out().items()
        }

    def restore(self) -> None:
        """Goes on from ``state.pt``, with the chunk after the one that was interrupted."""
        state = torch.load(self.state_file)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.chunk, self.spent_seconds = state["step"], state["chunk"] + 1, state["spent_seconds"]

    def save(self) -> None:
        """Writes a usable base and the state of the run, and says how good the base is."""
        save_base(self.model, self.tokenizer, self.base)
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "chunk": self.chunk,
            "spent_seconds": self.spent_seconds,
        }
        fresh = self.state_file.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(self.state_file)
        losses = held_out_losses(self.model, self.held_out)
        told = ", ".join(f"{sort} {loss:.3f}" for sort, loss in losses.items())
        print(f"saved at step {self.step}, {self.spent_seconds / 60:.1f} min; held-out nats/token: {told}", flush=True)

    def update(self, forward: Callable[..., Any], rows: np.ndarray, learning_rate: float) -> float:
        """One optimizer step on one batch; its loss."""
        batch = torch.from_numpy(rows)
        with torch.autocast("cpu", torch.bfloat16):
            loss: torch.Tensor = forward(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        return loss.item()


def pretrain(out: Path, minutes: float, peak: float, batch_blocks: int, seed: int, compiled: bool) -> None:
    """Trains until the time is spent; continues from ``out/state.pt`` where there is one."""
    torch.manual_seed(seed)
    text = PretrainingText(World(SEED), seed)
    run = Pretraining(out, text, peak)
    if run.resumed:
        run.restore()
    forward = torch.compile(run.model) if compiled else run.model
    last_save, clock = run.spent_seconds, time.monotonic()
    while True:
        rows = pack(text.chunk(run.chunk), run.tokenizer, BLOCK_TOKENS)
        order = np.random.default_rng(run.chunk).permutation(len(rows))
        for picked in np.array_split(order, len(rows) // batch_blocks):
            learning_rate = peak * learning_rate_factor(run.spent_seconds / (minutes * 60))
            loss = run.update(forward, rows[picked[:batch_blocks]], learning_rate)
            now = time.monotonic()
            run.spent_seconds, clock = run.spent_seconds + now - clock, now
            if run.step % LOG_EVERY_STEPS == 0:
                when = f"step {run.step} chunk {run.chunk} {run.spent_seconds / 60:.1f} min"
                print(f"{when} lr {learning_rate:.2e} loss {loss:.3f}", flush=True)
            if run.spent_seconds >= minutes * 60:
                run.save()
                return
            if run.spent_seconds - last_save > SAVE_EVERY_SECONDS:
                last_save = run.spent_seconds
                run.save()
        run.chunk += 1


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for base/ and state.pt")
    parser.add_argument("--minutes", type=float, required=True, help="training time; the schedule follows it")
    parser.add_argument("--learning-rate", type=float, default=2.5e-3, help="peak")
    parser.add_argument("--batch-blocks", type=int, default=16, help=f"rows of {BLOCK_TOKENS} tokens per step")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--threads", type=int, default=1, help="more only on an idle machine")
    parser.add_argument("--no-compile", action="store_true", help="without a C++ compiler; slower")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    pretrain(asked.out, asked.minutes, asked.learning_rate, asked.batch_blocks, asked.seed, not asked.no_compile)


if __name__ == "__main__":
    main()
