"""A tokenizer and a base model, from a local folder or the Hub. safetensors only; no remote code unless asked for."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from trimtab.config import ModelConfig
from trimtab.errors import ModelError
from trimtab.model.well_known import well_known_config

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def load_tokenizer(model: ModelConfig) -> Any:
    """The tokenizer beside the model's weights.

    Raises:
        ModelError: there is no such folder or Hub name, or no tokenizer in it.
    """
    from transformers import AutoTokenizer

    if not (Path(model.name_or_path) / "tokenizer_config.json").exists():
        _find(model)
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(
                model.name_or_path, revision=model.revision, trust_remote_code=model.trust_remote_code
            )
    except Exception as error:
        raise ModelError(
            f"{model.name_or_path}: no tokenizer could be loaded ({_first_line(error)}).\n"
            "Training text must be cut into the tokens that the model was trained on. "
            "Put tokenizer.json and tokenizer_config.json of the base model beside its weights."
        ) from None


def has_tokenizer(model: ModelConfig) -> bool:
    """Whether a tokenizer is to be expected: a folder may hold a config alone, to plan with."""
    folder = Path(model.name_or_path).expanduser()
    files = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json", "tekken.json")
    return not folder.is_dir() or any((folder / name).exists() for name in files)


def longest_position(model: ModelConfig) -> int | None:
    """How far the model was made to count, in tokens; None if its config does not say.

    Raises:
        ModelError: as `load_config`.
    """
    known = getattr(load_config(model, or_known=True).get_text_config(), "max_position_embeddings", None)
    return None if known is None else int(known)


def pad_id(tokenizer: Any) -> int:
    """Any id will do: padding is masked from attention and never a target."""
    given = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return int(given or 0)


def weights_identity(model: ModelConfig) -> str:
    """Changes when the base's config or weights are replaced: file sizes of a folder, or the Hub's commit."""
    folder = Path(model.name_or_path).expanduser()
    if folder.is_dir():
        weights = sorted(f"{path.name}:{path.stat().st_size}" for path in folder.glob("*.safetensors"))
        described = (folder / "config.json").read_text(encoding="utf-8") + "\n".join(weights)
        return hashlib.sha256(described.encode()).hexdigest()
    return str(getattr(load_config(model), "_commit_hash", None))


def load_config(model: ModelConfig, *, or_known: bool = False) -> Any:
    """The model's `config.json` as transformers reads it, without weights. With `or_known`, a well-known model's shapes
    where the Hub cannot be reached: enough to plan with.

    Raises:
        ModelError: there is no such folder or Hub name, no config in it, or an architecture transformers does not know.
    """
    from transformers import AutoConfig

    _find(model)
    try:
        with quiet():
            return AutoConfig.from_pretrained(
                model.name_or_path, revision=model.revision, trust_remote_code=model.trust_remote_code
            )
    except Exception as error:
        is_local = Path(model.name_or_path).expanduser().is_dir()
        if or_known and not is_local and (known := well_known_config(model.name_or_path)) is not None:
            return known
        raise ModelError(f"{model.name_or_path}: no model config could be loaded ({_first_line(error)}).") from None


def load_base(model: ModelConfig, *, dtype: torch.dtype, compute_dtype: torch.dtype, device: torch.device) -> Any:
    """The base model on its device, its weights in `dtype`; in 4 bits it computes in `compute_dtype`.

    Raises:
        ModelError: weights are missing, incomplete, pickled, or the architecture has no causal language model.
    """
    from transformers import AutoModelForCausalLM

    _find(model)
    options: dict[str, Any] = {}
    if model.load_in_4bit:
        options["quantization_config"] = four_bits(model, compute_dtype)
    try:
        with quiet():
            base, loading = AutoModelForCausalLM.from_pretrained(
                model.name_or_path,
                revision=model.revision,
                trust_remote_code=model.trust_remote_code,
                use_safetensors=True,
                dtype=dtype,
                attn_implementation=None if model.attn_implementation == "auto" else model.attn_implementation,
                device_map={"": device},
                output_loading_info=True,
                **options,
            )
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(_why_not_loaded(model, error)) from None
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(
            f"{model.name_or_path}: {len(missing)} of the model's tensors are not among its weights "
            f"({', '.join(missing[:3])}{', …' if len(missing) > 3 else ''}).\n"
            "They would start from random numbers and spoil every answer. The download is incomplete, or config.json "
            "belongs to another model."
        )
    if model.load_in_4bit:
        keep_training_path(base)
    return base


def four_bits(model: ModelConfig, compute_dtype: torch.dtype) -> Any:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        raise ModelError(
            "model.load_in_4bit needs bitsandbytes, which is not installed: pip install 'trimtab[quant]'"
        ) from None
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=model.bnb_4bit_quant_type,
        bnb_4bit_use_double_quant=model.bnb_4bit_use_double_quant,
        bnb_4bit_compute_dtype=compute_dtype,
    )


def keep_training_path(base: torch.nn.Module) -> None:
    """On CPUs with AVX512-BF16, bitsandbytes 0.50 repacks a layer's weights in its first evaluation and from then on
    runs it without autograd: training gradients behind it are wrong by 93 % (docs/log.md). Off, they are exact."""
    import bitsandbytes as bnb

    for module in base.modules():
        if isinstance(module, bnb.nn.Linear4bit):
            module.support_avx512bf16_for_cpu = False


def _find(model: ModelConfig) -> None:
    """A name that looks like a path must be one: the Hub's error for a missing folder speaks of repository ids."""
    path = Path(model.name_or_path).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists():
            held = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
            raise ModelError(
                f"{path}: this folder holds no model: config.json is missing (it holds {held}).\n"
                "A model folder has config.json, model.safetensors (or shards with an index) and tokenizer.json."
            )
        return
    looks_local = path.is_absolute() or model.name_or_path.startswith((".", "~")) or model.name_or_path.count("/") > 1
    near = difflib.get_close_matches(path.name, _folders(path.parent), n=1)
    if path.exists() or looks_local or near:
        hint = f" Did you mean {path.parent / near[0]}?" if near else ""
        what = "is a file, not a model folder" if path.exists() else "there is no such folder"
        raise ModelError(f"model.name_or_path: {model.name_or_path}: {what}.{hint}")


def _folders(parent: Path) -> list[str]:
    return [p.name for p in parent.iterdir() if p.is_dir()] if parent.is_dir() else []


def _why_not_loaded(model: ModelConfig, error: Exception) -> str:
    path = Path(model.name_or_path)
    if path.is_dir():
        if not any(path.glob("*.safetensors")):
            pickled = sorted(p.name for p in [*path.glob("*.bin"), *path.glob("*.pt"), *path.glob("*.pth")])
            if pickled:
                return (
                    f"{path}: the weights are pickled ({', '.join(pickled[:3])}). A pickle can run any code when it is "
                    "opened, so only safetensors are read. Convert them once: AutoModelForCausalLM.from_pretrained(…)"
                    ".save_pretrained(…)"
                )
            return f"{path}: this folder holds a config but no weights (no *.safetensors). Is the download complete?"
    elif os.environ.get("HF_HUB_OFFLINE") == "1":
        return f"{model.name_or_path}: not a local folder, and the Hub is switched off (HF_HUB_OFFLINE=1)."
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return (
            f"{model.name_or_path}: the weights alone do not fit the device. model.load_in_4bit=true takes a quarter."
        )
    return f"{model.name_or_path}: the model could not be loaded: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """transformers' loading bars and notes would bury ours."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
