"""What a run trains, by the names it is saved under: PEFT's for an adapter, the model's own for full fine-tuning."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from trimtab.model.core import causal_lm

ADAPTER_FILE = "adapter_model.safetensors"


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters that learn, by the name under which they are saved."""
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not has_adapter(model):
        return learning
    from peft import get_peft_model_state_dict

    named: dict[str, nn.Parameter] = get_peft_model_state_dict(model, state_dict=learning, save_embedding_layers=False)
    assert len(named) == len(learning), "PEFT saves every parameter that learns"
    return named


def gathered(tensor: torch.Tensor) -> torch.Tensor:
    """The whole of a tensor of which this process may hold a part (FSDP). All processes must call it."""
    whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return whole.detach()


def assign(parameter: torch.Tensor, whole: torch.Tensor) -> None:
    """Overwrite `parameter` (or this process's part of it) with `whole`."""
    with torch.no_grad():
        if hasattr(parameter, "full_tensor"):
            from torch.distributed.tensor import distribute_tensor

            mesh, placements = parameter.device_mesh, parameter.placements  # type: ignore[attr-defined]
            whole = distribute_tensor(whole.to(mesh.device_type), mesh, placements)
        parameter.copy_(whole)


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """A copy on the CPU of everything that learns. All processes must call it."""
    return {name: gathered(p).to("cpu", copy=True).contiguous() for name, p in trained_parameters(model).items()}


def save_weights(model: nn.Module, saved: dict[str, torch.Tensor], folder: Path, tokenizer: Any | None) -> None:
    """Write `saved` so that PEFT (an adapter) or transformers (a full model) loads the folder."""
    if has_adapter(model):
        config = copy.deepcopy(cast(Any, model).peft_config["default"])
        config.inference_mode = True
        config.save_pretrained(folder)
        save_file(saved, folder / ADAPTER_FILE, metadata={"format": "pt"})
    else:
        core = causal_lm(model)
        attention = core.config._attn_implementation
        core.config._attn_implementation = "sdpa"  # ours exists only inside Trimtab
        try:
            core.save_pretrained(folder, state_dict=_with_tied(core, saved))
        finally:
            core.config._attn_implementation = attention
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


def load_weights(model: nn.Module, folder: Path) -> None:
    """Put the weights that `save_weights` wrote back into the model, to the last bit.

    Every saved tensor must have its parameter and the other way round.
    """
    saved = read_weights(model, folder)
    learning = trained_parameters(model)
    assert learning.keys() == saved.keys(), "the checkpoint is of another adapter"
    for name, parameter in learning.items():
        assign(parameter, saved[name])


def read_weights(model: nn.Module, folder: Path) -> dict[str, torch.Tensor]:
    """The saved tensors by name, as `weights` names them."""
    if has_adapter(model):
        return dict(load_file(folder / ADAPTER_FILE))
    # transformers may store a model's tensors under other names than its modules have (fused experts): let it read
    # what it wrote.
    core = causal_lm(model)
    loaded = type(core).from_pretrained(folder, dtype=next(core.parameters()).dtype, use_safetensors=True)
    return {name: p.detach() for name, p in loaded.named_parameters()}


def weights_bytes(model: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)


def has_adapter(model: nn.Module) -> bool:
    return hasattr(model, "peft_config")


def _with_tied(core: nn.Module, saved: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`save_pretrained` wants tied tensors under each of their names (and then writes one of them), and buffers.

    Without `state_dict()`: the main process alone calls this, and with FSDP that would gather, or put the weights of
    one process in another state than the others'.
    """
    by_parameter = {id(p): saved[name] for name, p in core.named_parameters()}
    complete = {name: by_parameter[id(p)] for name, p in core.named_parameters(remove_duplicate=False)}
    for prefix, module in core.named_modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                complete[f"{prefix}.{name}" if prefix else name] = buffer.detach().cpu()
    return complete
