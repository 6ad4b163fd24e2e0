"""Data that cannot be prepared says which fault it shows, where it shows one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.demo_base import config, pairs
from support.runs import write_config

from trimtab import api
from trimtab.diagnose.causes import BY_NAME
from trimtab.errors import DataError

UNMARKED = (
    "{% for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}{% if m.role == 'assistant' %}"
    "{% generation %}{% endgeneration %}{% endif %}{{- m.content + '<|im_end|>\\n' }}{% endfor %}"
)


@pytest.mark.parametrize(
    ("rows", "data", "cause"),
    [
        ([(question, " ") for question, _ in pairs(20)], {}, "empty-or-invalid-example"),
        ([(question * 200, answer) for question, answer in pairs(20)], {"max_length": 64}, "labels-all-masked"),
        (pairs(20), {"chat_template": UNMARKED}, "template-mismatch"),
    ],
    ids=["empty answers", "prompts fill the window", "marks around nothing"],
)
def test_a_run_without_usable_rows_is_told_its_cause(
    tmp_path: Path, rows: Any, data: dict[str, Any], cause: str
) -> None:
    file = write_config(tmp_path / "config.yaml", config(tmp_path, rows, **data))
    with pytest.raises(DataError) as raised:
        api.train(file)
    assert raised.value.cause == cause
    assert cause in BY_NAME
    assert f"trimtab explain {cause}" in str(raised.value)
    assert not (tmp_path / "run").exists()


def test_a_file_that_is_not_there_is_no_fault_of_a_run(tmp_path: Path) -> None:
    asked = config(tmp_path, pairs(3))
    asked["data"]["train"] = str(tmp_path / "nowhere.jsonl")
    with pytest.raises(DataError) as raised:
        api.train(write_config(tmp_path / "config.yaml", asked))
    assert raised.value.cause == ""
