"""Hands in the running loop. Each replaces one attribute of Trimtab's training code while a run lasts and puts it back.

`once` and `from_step_on` act on the real loop only; what is done to batches, losses and updates (`fed`, `collated`,
`lossy`) acts wherever the program's own code does the same, in an experiment on a copy too, as a bug in it would.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

Act = Callable[[Any], None]
"""Given the run's trimtab.train.loop.Loop."""


@dataclass
class Switch:
    """Off until the run reaches the fault's onset. A rollback does not mend a program: it stays on."""

    on: bool = False


@contextmanager
def replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """`owner.name` is `make(what it was)` within."""
    original = owner.__dict__[name] if isinstance(owner, type) else getattr(owner, name)
    setattr(owner, name, make(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def before_steps(act: Callable[[Any, int], None]) -> Iterator[None]:
    """`act(loop, updates done)` before each step of the real loop."""
    from trimtab.train.loop import Loop

    def make(original: Any) -> Any:
        def stepped(self: Any, *args: Any, **options: Any) -> Any:
            act(self, self.state.global_step)
            return original(self, *args, **options)

        return stepped

    with replaced(Loop, "_step", make):
        yield


@contextmanager
def once(onset: int, act: Act) -> Iterator[None]:
    """`act(loop)` before the step that follows `onset` updates, and never again."""
    done = Switch()

    def maybe(loop: Any, updates_done: int) -> None:
        if updates_done >= onset and not done.on:
            done.on = True
            act(loop)

    with before_steps(maybe):
        yield


@contextmanager
def from_step_on(onset: int, act: Act) -> Iterator[None]:
    """`act(loop)` before each step from there on."""

    def maybe(loop: Any, updates_done: int) -> None:
        if updates_done >= onset:
            act(loop)

    with before_steps(maybe):
        yield


@contextmanager
def switched(onset: int) -> Iterator[Switch]:
    switch = Switch()

    def turn(loop: Any) -> None:
        switch.on = True

    with once(onset, turn):
        yield switch


@contextmanager
def fed(onset: int, change: Callable[[Any], Any]) -> Iterator[None]:
    """Each training batch is `change`d from `onset` on; what is evaluated is not."""
    from trimtab.train.feed import Feed

    with ExitStack() as stack:
        switch = stack.enter_context(switched(onset))

        def make(original: Any) -> Any:
            def of_rows(self: Any, *args: Any, **options: Any) -> Any:
                for batch in original(self, *args, **options):
                    yield change(batch) if switch.on else batch

            return of_rows

        stack.enter_context(replaced(Feed, "of_rows", make))
        yield


@contextmanager
def collated(onset: int, change: Callable[[Any], Any]) -> Iterator[None]:
    """Every batch is `change`d from `onset` on, evaluations' too: the collator itself is wrong."""
    from trimtab.train import feed

    with ExitStack() as stack:
        switch = stack.enter_context(switched(onset))

        def make(original: Any) -> Any:
            def collate(*args: Any, **options: Any) -> Any:
                batch = original(*args, **options)
                return change(batch) if switch.on else batch

            return collate

        stack.enter_context(replaced(feed, "collate", make))
        yield


@contextmanager
def lossy(onset: int, change: Callable[[Any, Any, Callable[[Any], Any]], Any]) -> Iterator[None]:
    """`change(module, batch, forward)` takes the place of the loss's forward from `onset` on."""
    from trimtab.model.target_loss import TargetLoss

    with ExitStack() as stack:
        switch = stack.enter_context(switched(onset))

        def make(original: Any) -> Any:
            def forward(self: Any, batch: Any) -> Any:
                if not switch.on:
                    return original(self, batch)
                return change(self, batch, lambda given: original(self, given))

            return forward

        stack.enter_context(replaced(TargetLoss, "forward", make))
        yield


def learner(loop: Any) -> Any:
    return loop.stepper.learners[0]


def parameters(loop: Any, ending: str = "") -> dict[str, Any]:
    """What learns, by name; with `ending`, only names that contain it."""
    return {name: p for name, p in learner(loop).parameters.items() if ending in name}
