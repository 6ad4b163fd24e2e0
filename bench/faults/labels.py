"""Faults of what is a target: masks, shifts, ends, templates, special tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from bench.faults.injector import Demand, Injector, Mend, Site, answer, pair, question
from bench.faults.sabotage import collated, fed, once

TURNS = "{%- for m in messages %}"
DEMO_ONLY = ("demo",)
"""The demo's base has tokens for turns and a template with generation marks."""


@dataclass(frozen=True)
class PromptFillsWindow(Injector):
    """Prompts so long that max_length leaves nothing of their answers."""

    name = "prompt-fills-window"
    cause = "labels-all-masked"
    threads = ("trl#6025", "trl#3927", "trl#6668")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "loss 0.0 on such rows; nothing is learnt from them"
    severities: ClassVar = {"mild": (0.15, 0.3), "plain": (0.6, 0.9), "wild": (1.0, 1.0)}
    strength_is = "share of the rows"
    also = ("truncated-responses",)

    def prepare(self, site: Site) -> None:
        for row in site.chosen(self.strength):
            asked = " ".join([question(site.train[row])] * 60)[: 6 * site.config["data"]["max_length"]]
            site.train[row] = pair(asked, answer(site.train[row]))


@dataclass(frozen=True)
class MarksAroundNothing(Injector):
    """A template whose generation marks enclose no text: the assistant mask is zero everywhere."""

    name = "marks-around-nothing"
    cause = "labels-all-masked"
    threads = ("marin-community/marin#7237", "unsloth#1128", "unsloth#2095")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "loss 0.0"
    severities: ClassVar = {"plain": (1, 1)}
    strength_is = "-"
    bases = DEMO_ONLY
    also = ("mask-span-wrong", "template-mismatch")

    def prepare(self, site: Site) -> None:
        text = _template(site.model)
        text = text.replace("{% generation %}{{- message['content'] + '<|im_end|>' }}{% endgeneration %}",
                            "{% generation %}{% endgeneration %}{{- message['content'] + '<|im_end|>' }}")  # fmt: skip
        _use(site, text)


@dataclass(frozen=True)
class TargetsDropped(Injector):
    """From some step on, batches come without their targets."""

    name = "targets-dropped"
    cause = "labels-all-masked"
    threads = ("NVIDIA-NeMo/Automodel#3797", "unsloth#2734", "Soup v0.73.3")
    demand = Demand.SILENT
    mend = Mend.NONE
    look = "loss 0.0 and gradient norm 0.0 while tokens are counted"
    severities: ClassVar = {"plain": (1.0, 1.0), "wild": (1.0, 1.0)}
    strength_is = "share of a batch's targets"
    has_onset = True
    also = ("guard-or-log-fault",)

    def during(self) -> Any:
        def emptied(batch: Any) -> Any:
            return replace(batch, target_positions_N=batch.target_positions_N[:0], target_ids_N=batch.target_ids_N[:0])

        return fed(self.onset, emptied) if self.severity == "plain" else collated(self.onset, emptied)


@dataclass(frozen=True)
class PromptTrained(Injector):
    """The template's marks enclose the question too."""

    name = "marks-around-everything"
    cause = "mask-span-wrong"
    threads = ("NVIDIA-NeMo/Megatron-Bridge#3359", "trl#4201", "axolotl#2227")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "indistinguishable"
    severities: ClassVar = {"plain": (1, 1)}
    strength_is = "-"
    bases = DEMO_ONLY
    harmless = ("plain",)

    def prepare(self, site: Site) -> None:
        turn = "'<|im_start|>user\\n' + messages[loop.index0 - 1]['content'] + '<|im_end|>\\n'"
        _use(site, (
            TURNS + "{%- if m['role'] == 'assistant' %}{% generation %}{{- " + turn + " }}"
            "{{- '<|im_start|>assistant\\n' + m['content'] + '<|im_end|>' }}{% endgeneration %}{{- '\\n' }}{%- endif %}"
            "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>user\\n' + messages[-1]['content'] }}"
            "{{- '<|im_end|>\\n<|im_start|>assistant\\n' }}{%- endif %}"
        ))  # fmt: skip


@dataclass(frozen=True)
class MaskLost(Injector):
    """From some step on, every token of a batch is a target: the mask was dropped on its way to the loss."""

    name = "mask-lost-on-the-way"
    cause = "mask-span-wrong"
    threads = ("karpathy/nanochat#582", "axolotl#2123")
    demand = Demand.SILENT
    mend = Mend.NONE
    look = "the loss is another one from the onset on; held-out answers get a little worse"
    severities: ClassVar = {"mild": (0.3, 0.5), "plain": (1.0, 1.0)}
    strength_is = "share of the tokens that were no targets"
    has_onset = True

    def during(self) -> Any:
        import torch

        def unmasked(batch: Any) -> Any:
            flat = batch.input_ids_BT.reshape(-1)
            first = batch.position_ids_BT.reshape(-1) == 0
            real = torch.ones_like(first) if batch.attention_mask is None else batch.attention_mask.reshape(-1) > 0
            if real.shape != first.shape:
                real = torch.ones_like(first)
            is_target = real & ~first
            was = torch.zeros_like(first)
            was[batch.target_positions_N + 1] = True
            kept = torch.arange(len(flat)) % 100 < 100 * self.strength
            targets = torch.nonzero(was | (is_target & kept))[:, 0]
            return replace(batch, target_positions_N=targets - 1, target_ids_N=flat[targets])

        return fed(self.onset, unmasked)


@dataclass(frozen=True)
class ShiftedTwice(Injector):
    """Labels shifted by the collator and again by the loss: each position learns the token after the next."""

    name = "labels-shifted-twice"
    cause = "label-shift-wrong"
    threads = ("transformers#37830", "transformers#47394", "torchtune#2613", "allenai/open-instruct#1549")
    demand = Demand.SILENT
    mend = Mend.NONE
    look = "the loss jumps at the onset, then falls in a healthy shape"
    severities: ClassVar = {"plain": (1, 1), "wild": (2, 2)}
    strength_is = "places too far"
    has_onset = True

    def during(self) -> Any:
        return (fed if self.severity == "plain" else collated)(
            self.onset, lambda batch: shifted(batch, round(self.strength))
        )


def shifted(batch: Any, places: int) -> Any:
    """The same targets, each predicted from so many places earlier within its own example."""
    room = batch.position_ids_BT.reshape(-1)[batch.target_positions_N] >= places
    return replace(
        batch,
        target_positions_N=batch.target_positions_N[room] - places,
        target_ids_N=batch.target_ids_N[room],
    )


@dataclass(frozen=True)
class EndLeftOut(Injector):
    """The template does not render the token that ends a turn."""

    name = "end-not-rendered"
    cause = "eos-not-trained"
    threads = ("trl#1623", "trl#3091", "trl#734")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "indistinguishable; generations never stop"
    severities: ClassVar = {"plain": (1, 1)}
    strength_is = "-"
    also = ("template-mismatch",)

    def prepare(self, site: Site) -> None:
        if "im_start" in _template(site.model):
            text = (TURNS + "{{- '<|im_start|>' + m['role'] + '\\n' + m['content'] + '\\n' }}{%- endfor %}"
                    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}")  # fmt: skip
        else:
            text = _template(site.model).replace(" + eos_token", "")
        _use(site, text)


@dataclass(frozen=True)
class EndNotATarget(Injector):
    """The pad token is the end token, and the collator masks every pad."""

    name = "end-masked-as-padding"
    cause = "eos-not-trained"
    threads = ("huggingface/course#33", "unsloth#416", "trl#3200", "ibm-granite/granite-3.1-language-models#2")
    demand = Demand.SILENT
    mend = Mend.NONE
    look = "loss fine; generations never stop"
    severities: ClassVar = {"plain": (1, 1), "wild": (1, 1)}
    strength_is = "-"
    has_onset = True
    also = ("mask-span-wrong",)

    @contextmanager
    def during(self) -> Iterator[None]:
        ends: list[int] = []

        def without(batch: Any) -> Any:
            kept = batch.target_ids_N != ends[0]
            return replace(
                batch, target_positions_N=batch.target_positions_N[kept], target_ids_N=batch.target_ids_N[kept]
            )

        act = fed if self.severity == "plain" else collated
        with once(0, lambda loop: ends.append(int(loop.tokenizer.eos_token_id))), act(self.onset, without):
            yield


@dataclass(frozen=True)
class DoubleBos(Injector):
    """The template writes the beginning token, and writes it again."""

    name = "double-bos"
    cause = "double-bos"
    threads = ("OpenRLHF#393", "huggingface/open-r1#462", "unsloth#10312")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "the loss does not show it"
    severities: ClassVar = {"plain": (2, 2), "wild": (3, 3)}
    strength_is = "beginning tokens"
    harmless = ("plain", "wild")
    also = ("template-mismatch",)

    def prepare(self, site: Site) -> None:
        _use(site, "{{- bos_token }}" * round(self.strength) + _template(site.model))


@dataclass(frozen=True)
class OtherTemplate(Injector):
    """A template of another family of models."""

    name = "template-of-another-family"
    cause = "template-mismatch"
    threads = ("LlamaFactory#2761", "LlamaFactory#7454", "LlamaFactory#7943")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "good training, bad chat: the model's own template finds it worse"
    severities: ClassVar = {"mild": (1, 1), "plain": (2, 2)}
    strength_is = "1: other words around turns, 2: Llama 2's"
    also = ("eos-not-trained",)

    def prepare(self, site: Site) -> None:
        if self.strength < 2:
            text = ("{% for m in messages %}{% if m['role'] == 'assistant' %}### Response:\n"
                    "{{ m['content'] + eos_token }}\n"
                    "{% else %}### Instruction:\n{{ m['content'] }}\n\n{% endif %}{% endfor %}"
                    "{% if add_generation_prompt %}### Response:\n{% endif %}")  # fmt: skip
        else:
            text = ("{% for m in messages %}{% if m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
                    "{% else %}{{ '[INST] ' + m['content'] + ' [/INST]' }}{% endif %}{% endfor %}")  # fmt: skip
        _use(site, text)


@dataclass(frozen=True)
class OtherEnd(Injector):
    """The trained end of a turn is not the token that generation stops at."""

    name = "end-token-of-another-template"
    cause = "template-mismatch"
    threads = ("LlamaFactory#2761", "LlamaFactory#9189", "QwenLM/Qwen3#1064")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "loss fine; generations run on"
    severities: ClassVar = {"plain": (1, 1)}
    strength_is = "-"
    bases = DEMO_ONLY
    also = ("eos-not-trained",)

    def prepare(self, site: Site) -> None:
        _use(site, _template(site.model).replace("'<|im_end|>'", "'<|endoftext|>'"))


@dataclass(frozen=True)
class ZeroEmbedding(Injector):
    """The template's own token has an embedding that nobody trained, and the adapter does not train it either."""

    name = "untrained-turn-token"
    cause = "untrained-special-token"
    threads = ("unsloth#1053", "unsloth#1056", "QwenLM/Qwen3#1064", "trl#2414")
    demand = Demand.STATIC
    mend = Mend.ASK
    look = "worse, or the token is never produced"
    severities: ClassVar = {"plain": (1, 1), "wild": (2, 2)}
    strength_is = "1: exactly zero, 2: not a number"
    bases = DEMO_ONLY

    def prepare(self, site: Site) -> None:
        row = 2 if self.severity == "plain" else 3  # the tokens that begin and end a turn
        value = 0.0 if self.severity == "plain" else float("nan")
        site.set("model", name_or_path=str(changed_embedding(site.model, site.folder / "base", row, value)))


def changed_embedding(base: Path, folder: Path, row: int, value: float) -> Path:
    """A copy of a base whose embedding (tied to its head) has one row overwritten."""
    from safetensors.torch import load_file, save_file

    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(base, folder)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.embed_tokens.weight"][row] = value
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


def _use(site: Site, template: str) -> None:
    file = site.folder / "template.jinja"
    file.write_text(template, encoding="utf-8")
    site.set("data", chat_template=str(file))


def _template(model: Path) -> str:
    file = model / "chat_template.jinja"
    if file.exists():
        return file.read_text(encoding="utf-8")
    return str(json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"])


LABELS: tuple[type[Injector], ...] = (
    PromptFillsWindow,
    MarksAroundNothing,
    TargetsDropped,
    PromptTrained,
    MaskLost,
    ShiftedTwice,
    EndLeftOut,
    EndNotATarget,
    DoubleBos,
    OtherTemplate,
    OtherEnd,
    ZeroEmbedding,
)
