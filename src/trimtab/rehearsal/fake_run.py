"""A run's model, adapter, optimizer and stepper without a byte of weights: `train`'s own parts on fake tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from trimtab.config import RunConfig
from trimtab.model.adapter import add_adapter, train_everything
from trimtab.model.core import causal_lm, plain_head
from trimtab.model.load import DTYPES, four_bits, keep_training_path, quiet
from trimtab.model.skeleton import build_skeleton
from trimtab.model.target_loss import TargetLoss
from trimtab.model.weights import trained_parameters

CPU = torch.device("cpu")
"""Fake tensors say that they are here, whatever device is planned for: a PyTorch without CUDA cannot make others."""


@dataclass
class FakeRun:
    """What `train` would have loaded, without its bytes."""

    mode: FakeTensorMode
    model: nn.Module
    loss: TargetLoss
    trained: dict[str, nn.Parameter]


def build(config: RunConfig, *, precision: str) -> FakeRun:
    """
    Raises:
        ModelError: the architecture cannot be built without its weights, or the adapter does not fit it.
    """
    compute = DTYPES[precision]
    skeleton = build_skeleton(config.model, dtype=compute if config.adapter is not None else torch.float32)
    if config.model.load_in_4bit:
        _quantise_skeleton(skeleton, config, compute)
    with torch.device("meta"):
        model = (
            train_everything(skeleton)
            if config.adapter is None
            else add_adapter(skeleton, config.adapter, seed=config.training.seed)
        )
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with mode:
        _fill(model)
    return FakeRun(mode, model, TargetLoss(model, plain_head(causal_lm(model))), trained_parameters(model))


def _quantise_skeleton(skeleton: Any, config: RunConfig, compute: torch.dtype) -> None:
    """The linear layers that transformers would load in 4 bits, as it chooses them."""
    import bitsandbytes as bnb
    from transformers.quantizers import AutoHfQuantizer

    quantizer = AutoHfQuantizer.from_config(four_bits(config.model, compute))
    # Its table for 8-bit constants is made at the first use and kept for the process: a fake one would spoil it.
    bnb.functional.quantize_4bit(torch.zeros(4096), compress_statistics=True)
    with quiet():
        quantizer.preprocess_model(model=skeleton, device_map=None, dtype=compute)
    keep_training_path(skeleton)
    skeleton.quantization_config = skeleton.config.quantization_config = quantizer.quantization_config
    skeleton.is_loaded_in_4bit = True


def _fill(model: nn.Module) -> None:
    """A fake tensor for each parameter and buffer; tied ones stay tied. Call within the fake mode."""
    made: dict[int, Any] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in made:
                made[id(parameter)] = _fake_parameter(module, parameter)
            module._parameters[name] = made[id(parameter)]
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device=CPU)


def _fake_parameter(module: nn.Module, parameter: nn.Parameter) -> nn.Parameter:
    is_4bit = type(parameter).__name__ == "Params4bit"
    dtype = getattr(module, "compute_dtype", parameter.dtype) if is_4bit else parameter.dtype
    values = torch.empty(parameter.shape, dtype=dtype, device=CPU)
    if not is_4bit:
        return nn.Parameter(values, requires_grad=parameter.requires_grad)
    from bitsandbytes import functional

    packed, constants = functional.quantize_4bit(
        values,
        compress_statistics=parameter.compress_statistics,  # type: ignore[attr-defined]
        quant_type=parameter.quant_type,  # type: ignore[attr-defined]
    )
    held = nn.Parameter(packed, requires_grad=False)
    held.quant_state = constants  # type: ignore[attr-defined]
    return held


def constants_of(parameter: nn.Parameter) -> list[torch.Tensor]:
    """The tensors that a 4-bit parameter is decoded with."""
    state = getattr(parameter, "quant_state", None)
    if state is None:
        return []
    found = [state.absmax, state.code]
    if state.nested:
        found += [state.offset, state.state2.absmax, state.state2.code]
    return found
