"""K adapters in one step on this device, beside what two probes predict, for 1 B and 7 B random weights of the Llama
architecture, in bf16 and NF4.

Part of measure.py. Each base has a process of its own.
"""

from __future__ import annotations

import importlib.util
import time
from typing import Any

from child import in_own_process
from rehearsed import SHAPES

COUNTS, TOKENS = (1, 3, 9), (128, 512, 2048)
COLUMNS = ("base", "tokens", "K", "step s", "gain", "predicted", "peak GiB")
WARMING, TIMED = 2, 5


def together_rows(device: str, tiny: bool) -> list[list[object]]:
    kinds = ["bf16", *(["NF4"] if importlib.util.find_spec("bitsandbytes") else [])]
    rows: list[list[object]] = []
    for name in ["tiny"] if tiny else ["1B", "7B"]:
        for kind in kinds:
            rows += in_own_process(_base_rows, name, kind, device, tiny)
    return rows


def _base_rows(name: str, kind: str, device: str, tiny: bool) -> list[list[object]]:
    import torch

    from trimtab.search.gain import Gain

    where = torch.device(device)
    base = _base(SHAPES[name], kind, where)
    rows: list[list[object]] = []
    for tokens in (32, 64) if tiny else TOKENS:
        seconds: dict[int, float] = {}
        peaks: dict[int, float] = {}
        for count in COUNTS:
            try:
                seconds[count], peaks[count] = _measured(base, count, tokens, where)
            except torch.OutOfMemoryError:
                rows.append([f"{name} {kind}", tokens, count, "out of memory", "", "", ""])
                torch.cuda.empty_cache()
        for count in seconds:
            last = max(seconds)
            predicted = Gain.measured(one=seconds[1], many=seconds[last], count=last, tokens=tokens).of(count)
            gain = count * seconds[1] / seconds[count]
            row = [f"{name} {kind}", tokens, count, f"{seconds[count]:.4f}", f"{gain:.2f}", f"{predicted:.2f}"]
            rows.append([*row, f"{peaks[count]:.2f}"])
    return rows


def _base(shape: dict[str, int], kind: str, device: Any) -> Any:
    import torch
    from cohort import quantise
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape["vocabulary"],
        hidden_size=shape["hidden"],
        intermediate_size=shape["feed_forward"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["key_value_heads"],
    )
    torch.set_default_dtype(torch.bfloat16)
    try:
        with device:
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)
    if kind == "NF4":
        quantise(model, device, torch.bfloat16)
    return model


def _measured(base: Any, count: int, tokens: int, device: Any) -> tuple[float, float]:
    """(seconds of a step of all, peak GiB)."""
    import numpy as np
    import torch

    from trimtab.config import AdapterConfig
    from trimtab.data.collate import collate
    from trimtab.data.store import Example
    from trimtab.model.adapter_bank import AdapterBank, Member
    from trimtab.model.cohort_loss import CohortLoss
    from trimtab.model.fit import fit
    from trimtab.train.stacked_adamw import Settings, StackedAdamW

    def autocast() -> Any:
        return torch.autocast(device.type, dtype=torch.bfloat16)

    fitted = fit(base, packing=True, own_attention=False, device=device, autocast=autocast)
    bank = AdapterBank(base, [Member(str(k), AdapterConfig(r=8), k) for k in range(count)])
    try:
        loss = CohortLoss(bank, fitted.head).train()
        optimizer = StackedAdamW.of(bank, [Settings(0.0, 1.0, 0.9, 0.999, 1e-8)] * count)
        draw, each = np.random.default_rng(0), tokens // 4
        words = int(base.config.vocab_size)
        made = [Example(draw.integers(0, words, each).astype(np.int32), np.arange(each) >= each // 2) for _ in range(4)]
        batch = collate(made, fitted.layout).to(device)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        took = []
        for _ in range(WARMING + TIMED):
            started = time.perf_counter()
            bank.slots.begin([0] * count)
            with autocast():
                loss_K = loss(batch)
            (loss_K / batch.target_tokens).sum().backward()
            optimizer.update([1e-4] * count)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            took.append(time.perf_counter() - started)
        peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else float("nan")
        return sorted(took[WARMING:])[TIMED // 2], peak
    finally:
        bank.remove()
