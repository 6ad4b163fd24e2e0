"""What every test stands on: one thread, no network, a cache of its own, and tiny models made on the spot."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Before torch is imported anywhere: with two threads, sums are split another way and bit equality depends on load;
# and two OpenMP threads on a busy core are slower than one.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["TRIMTAB_CACHE"] = tempfile.mkdtemp(prefix="trimtab-test-cache-")

import pytest
from support.runs import straight
from support.tiny import TinyWorld, make_world


def pytest_sessionfinish(session: pytest.Session) -> None:
    import shutil

    shutil.rmtree(os.environ["TRIMTAB_CACHE"], ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not any("gpu" in item.keywords for item in items):
        return
    import torch

    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs a GPU"))


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyWorld]:
    """A tokenizer, a Llama, a GPT-2 and two sets of conversations on disk; made once a session."""
    import peft  # noqa: F401
    import torch

    torch.set_num_threads(1)
    made = make_world(tmp_path_factory.mktemp("world"))
    gc.freeze()  # what is imported stays: looking for garbage among it takes 2 s of 90
    return made


@pytest.fixture
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def straight_to_the_loop() -> Iterator[None]:
    """Neither rehearsal nor checks before a run of this process: for tests of what comes after them. They take three
    quarters of a tiny run's time."""
    with straight():
        yield
