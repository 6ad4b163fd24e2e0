"""Many trials at once over one base, and the best of them. `trimtab.search(config, space=…)` is `trimtab.api.search`:
the name is this package's too, so the package can be called."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        # By name: what the package is made of knows nothing of the verbs.
        return import_module("trimtab.api").search(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
