"""A table of positions ends; rotated positions only get worse."""

from __future__ import annotations

import pytest
from support.tiny import TinyWorld

from trimtab.errors import ModelError
from trimtab.model.positions import check_positions


def test_learnt_positions_are_a_limit(world: TinyWorld) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(world.gpt2)
    check_positions(model, 512, pytest.fail)
    with pytest.raises(ModelError, match=r"513 tokens.*512"):
        check_positions(model, 513, pytest.fail)


def test_rotated_positions_go_on_and_it_is_said(world: TinyWorld) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(world.llama)
    said: list[str] = []
    check_positions(model, 512, said.append)
    assert not said
    check_positions(model, 600, said.append)
    assert "600 tokens" in said[0] and "512 positions" in said[0]
