"""What a model gives back word for word: counted in one forward, and decoded greedily token by token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.runs import sections, train
from support.tiny import TinyWorld, write_messages

from trimtab.config import load_config
from trimtab.data.collate import Layout, collate
from trimtab.data.exchange import exchange_of
from trimtab.model.core import causal_lm, plain_head
from trimtab.model.fit import fit
from trimtab.model.generate import Sampling, continued
from trimtab.model.recited import recited_tokens
from trimtab.model.trained import load_trained
from trimtab.records import RunDir
from trimtab.train.inputs import prepare_inputs

ROWS = 12
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def half_learnt(world: TinyWorld, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """Model, tokenizer, data of a run that knows some of its rows, and of others the beginning."""
    folder = tmp_path_factory.mktemp("half")
    write_messages(folder / "rows.jsonl", ROWS, seed=5)
    config = sections(world, folder / "run", max_steps=60, learning_rate=4e-3, load_best_model_at_end=False)
    config["training"] |= {"per_device_train_batch_size": 6, "gradient_accumulation_steps": 1, "eval_strategy": "no"}
    config["data"]["train"] = str(folder / "rows.jsonl")
    config |= {"adapter": "none", "guard": {"mode": "off"}}
    train(config)
    settings = load_config(RunDir(folder / "run").config).config
    _, data = prepare_inputs(settings, lambda line: None)
    model, tokenizer = load_trained(settings, folder / "run" / "final", compute=torch.float32, device=CPU)
    return model, tokenizer, data.train


@pytest.mark.parametrize("packing", [True, False])
def test_counted_in_one_forward_equals_decoded_token_by_token(half_learnt: tuple[Any, Any, Any], packing: bool) -> None:
    model, tokenizer, store = half_learnt
    found = [exchange for row in range(len(store)) if (exchange := exchange_of(store, row)) is not None]
    made = continued(
        model,
        tokenizer,
        [exchange.prompt.tolist() for exchange in found],
        Sampling(max_new_tokens=max(len(exchange.answer) for exchange in found)),
    )
    decoded = [_leading(said, exchange.answer.tolist()) for said, exchange in zip(made, found, strict=True)]
    fitted = fit(model, packing=packing, own_attention=False, device=CPU)
    batch = collate([exchange.example() for exchange in found], fitted.layout)
    counted = recited_tokens(model, fitted.head, batch, [len(exchange.answer) for exchange in found])
    assert counted == decoded
    assert len(set(counted)) > 3, "some are known further than others"


def test_what_follows_the_first_error_does_not_count(world: TinyWorld) -> None:
    """By hand: the count is that of the first likeliest tokens in a row."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(world.llama).eval()
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        for _ in range(5):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
    from trimtab.data.store import Example

    wrong = ids.clone()
    wrong[0, 6] = (wrong[0, 6] + 1) % 50
    is_target = torch.arange(9).numpy() >= 4
    examples = [Example(one[0].numpy(), is_target) for one in (ids, wrong)]
    batch = collate(examples, Layout.PADDED)
    assert recited_tokens(model, plain_head(causal_lm(model)), batch, [5, 5]) == [5, 2]


def _leading(said: list[int], wanted: list[int]) -> int:
    return next(
        (at for at, (a, b) in enumerate(zip(said, wanted, strict=False)) if a != b), min(len(said), len(wanted))
    )
