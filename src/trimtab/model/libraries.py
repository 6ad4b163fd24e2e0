"""torch, transformers and PEFT, brought in quickly."""

from __future__ import annotations

import gc
import importlib


def import_libraries(*, adapter: bool) -> None:
    """Import what loading a model needs, PEFT too for an `adapter`, with the garbage collector at rest.

    Importing makes about a million objects, all of which stay. Looking for garbage among them again and again takes
    1 of 4 seconds (docs/log.md).
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        import torch  # noqa: F401
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401 (transformers imports by attribute)

        if adapter:
            importlib.import_module("peft")
    finally:
        if collecting:
            gc.enable()
