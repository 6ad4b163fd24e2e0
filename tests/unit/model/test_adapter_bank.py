"""Which adapters a bank takes."""

from __future__ import annotations

import pytest
import torch
from support.cohorts import base_model

from trimtab.config import AdapterConfig
from trimtab.errors import ModelError
from trimtab.model.adapter_bank import AdapterBank, Member


def test_an_adapter_on_the_head_is_refused_and_the_base_left() -> None:
    base = base_model("fp32")
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    with pytest.raises(ModelError, match=r"lm_head is the head.*exclude_modules=\[lm_head\]"):
        AdapterBank(base, [Member("trial-0", AdapterConfig(target_modules=["q_proj", "lm_head"]), 0)])
    assert base.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in base.state_dict().items())


@pytest.mark.parametrize(
    ("settings", "because"),
    [
        ({"use_dora": True}, "use_dora"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
    ],
)
def test_what_changes_the_base_is_refused(settings: dict[str, object], because: str) -> None:
    with pytest.raises(ModelError, match=f"trial-0: cannot share a base: .*{because}"):
        AdapterBank(base_model("fp32"), [Member("trial-0", AdapterConfig(**settings), 0)])  # type: ignore[arg-type]
