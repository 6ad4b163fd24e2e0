"""Answers: prompts as in training, the same alone or together, and an end."""

from __future__ import annotations

import pytest
from support.tiny import TinyWorld

from trimtab.errors import DataError
from trimtab.model.generate import Sampling, answer, stop_ids


@pytest.fixture(scope="module")
def parts(world: TinyWorld):  # type: ignore[no-untyped-def]
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(world.llama), AutoTokenizer.from_pretrained(world.llama)


def test_prompts_answer_together_as_alone(parts) -> None:  # type: ignore[no-untyped-def]
    model, tokenizer = parts
    prompts = ["What does Ada do?", "Hi", "What does Bo do, and where, and with whom?"]
    sampling = Sampling(max_new_tokens=8)
    together = answer(model, tokenizer, prompts, sampling, chat=True)
    assert together == [answer(model, tokenizer, [prompt], sampling, chat=True)[0] for prompt in prompts]


def test_greedy_is_what_the_model_finds_likeliest(parts) -> None:  # type: ignore[no-untyped-def]
    import torch

    model, tokenizer = parts
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )["input_ids"]
    start = ids.shape[1]
    with torch.no_grad():
        while ids.shape[1] < start + 5 and ids[0, -1].item() not in stop_ids(tokenizer):
            ids = torch.cat([ids, model(ids).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    expected = tokenizer.decode(ids[0, start:], skip_special_tokens=True).strip()
    assert answer(model, tokenizer, ["Hi"], Sampling(max_new_tokens=5), chat=True) == [expected]


def test_sampling_is_repeatable_by_its_seed(parts) -> None:  # type: ignore[no-untyped-def]
    model, tokenizer = parts
    drawn = [answer(model, tokenizer, ["Hi"], Sampling(8, temperature=1.0, seed=s), chat=True) for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_token_that_ends_a_turn_ends_an_answer(parts) -> None:  # type: ignore[no-untyped-def]
    _, tokenizer = parts
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") in stop_ids(tokenizer)


def test_without_a_template_only_raw_text_goes_on(parts, world: TinyWorld) -> None:  # type: ignore[no-untyped-def]
    from transformers import AutoTokenizer

    model, _ = parts
    bare = AutoTokenizer.from_pretrained(world.llama)
    bare.chat_template = None
    with pytest.raises(DataError, match="--raw"):
        answer(model, bare, ["Hi"], Sampling(2), chat=True)
    assert answer(model, bare, ["Hi"], Sampling(2), chat=False)


def test_a_prompt_begins_as_in_training_without_a_token_the_template_does_not_write(world: TinyWorld) -> None:
    from tokenizers import processors
    from transformers import AutoTokenizer

    from trimtab.model.generate import _prompt_ids

    tokenizer = AutoTokenizer.from_pretrained(world.llama)
    tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    assert tokenizer.encode("a")[0] == 1
    assert _prompt_ids(tokenizer, "Hi", chat=True)[0] == tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert _prompt_ids(tokenizer, "Hi", chat=False)[0] == 1
