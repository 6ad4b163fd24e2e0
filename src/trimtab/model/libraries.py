"""torch, transformers and PEFT, brought in quickly."""

from __future__ import annotations

import gc
import importlib
import sys


def import_libraries(*, adapter: bool) -> None:
    """Import what loading a model needs, PEFT too for an `adapter`, with the garbage collector at rest.

    Importing makes about a million objects, all of which stay. Looking for garbage among them takes 1 of 4 seconds
    while they are imported and another afterwards, so what a fresh process has imported is taken out of the search.
    """
    is_fresh, was_collecting = "torch" not in sys.modules, gc.isenabled()
    gc.disable()
    try:
        import torch  # noqa: F401
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401 (transformers imports by attribute)

        if adapter:
            importlib.import_module("peft")
        if is_fresh:
            gc.freeze()
    finally:
        if was_collecting:
            gc.enable()
