"""Several runs side by side: how they did, and in what they differ."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator, Sequence
from typing import Any

from trimtab.records import Judgement, Status
from trimtab.records.units import duration, memory_size
from trimtab.report.views.headline import headline
from trimtab.report.views.material import Material
from trimtab.report.views.view import View

_ALWAYS_DIFFERENT = {"training.output_dir", "training.run_name", "data.cache_dir"}


class ResultRow(View):
    """One run's outcome, in the order of `RESULT_COLUMNS`."""

    name: str
    cells: tuple[str, ...]
    is_best: bool
    """The lowest validation loss of all, where these compare."""


class DifferenceRow(View):
    """A key that is not the same in all runs, with its value in each; "–" where it is not set."""

    key: str
    values: tuple[str, ...]


class ComparisonView(View):
    """Runs beside each other."""

    names: tuple[str, ...]
    columns: tuple[str, ...]
    results: tuple[ResultRow, ...]
    differences: tuple[DifferenceRow, ...]
    without_config: tuple[str, ...]
    """Runs of other tools, whose configs are not known."""
    sentence: str


RESULT_COLUMNS = ("status", "best validation loss", "at step", "base", "steps", "time", "tokens/s", "peak memory")


def comparison_view(materials: Sequence[Material], names: Sequence[str]) -> ComparisonView:
    losses = [_known_loss(material) for material in materials]
    sentence, best = _compared(
        [(name, loss, one) for name, loss, one in zip(names, losses, materials, strict=True) if loss is not None]
    )
    results = tuple(
        ResultRow(name=name, cells=tuple(_cells(material)), is_best=loss is not None and loss == best)
        for material, name, loss in zip(materials, names, losses, strict=True)
    )
    return ComparisonView(
        names=tuple(names),
        columns=RESULT_COLUMNS,
        results=results,
        differences=tuple(_differences([material.config for material in materials])),
        without_config=tuple(name for material, name in zip(materials, names, strict=True) if not material.config),
        sentence=sentence,
    )


def distinct_names(materials: Sequence[Material]) -> list[str]:
    """Folder names; with their parents' where two are the same."""
    names = [material.name for material in materials]
    found = []
    for number, (material, name) in enumerate(zip(materials, names, strict=True), 1):
        if names.count(name) == 1:
            found.append(name)
            continue
        parts = material.path.rstrip("/").split("/")
        longer = "/".join(parts[-3:])
        is_alone = sum("/".join(one.path.rstrip("/").split("/")[-3:]) == longer for one in materials) == 1
        found.append(longer if is_alone else f"{longer} ({number})")
    return found


def _cells(material: Material) -> Iterator[str]:
    verdict, trace, word = material.verdict, material.trace, headline(material).word
    if word == Status.HEALTHY and verdict.judgement not in (None, Judgement.HEALTHY):
        word = f"{word}, {verdict.judgement.value}"
    yield word
    yield _loss(verdict.best_eval_loss)
    yield f"{verdict.best_step:,}" if verdict.best_step else "–"
    yield _loss(verdict.base_eval_loss)
    yield f"{int(trace.step[-1]):,}" if len(trace.step) else "0"
    yield duration(verdict.train_seconds) if verdict.train_seconds else "–"
    yield f"{verdict.tokens_per_second:,.0f}" if verdict.tokens_per_second else "–"
    yield memory_size(verdict.peak_memory_bytes) if verdict.peak_memory_bytes else "–"


def _loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _differences(configs: Sequence[dict[str, Any]]) -> Iterator[DifferenceRow]:
    """Where a section is off in some run ("adapter: none"), that is told once, and of its keys those that differ among
    the others."""
    known = [config for config in configs if config]
    for key in dict.fromkeys(key for config in known for key in config):
        if key in _ALWAYS_DIFFERENT:
            continue
        section = key.rpartition(".")[0]
        if any(other.startswith(f"{key}.") for config in known for other in config):
            values = ["–" if not config else "off" if key in config else "on" for config in configs]
        else:
            values = [_value(config.get(key)) for config in configs]
        asked = [value for value, config in zip(values, configs, strict=True) if config and section not in config]
        if len(set(asked)) > 1:
            yield DifferenceRow(key=key, values=tuple(_without_common_folder(values)))


def _without_common_folder(values: list[str]) -> list[str]:
    """Absolute paths from where they part, so that what differs is seen."""
    if not all(value.startswith("/") for value in values):
        return values
    common = posixpath.commonpath(values)
    return values if common == "/" else [f"…/{posixpath.relpath(value, common)}" for value in values]


def _value(value: Any) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _known_loss(material: Material) -> float | None:
    loss = material.verdict.best_eval_loss
    return loss if loss is not None and math.isfinite(loss) else None


def _compared(validated: Sequence[tuple[str, float, Material]]) -> tuple[str, float | None]:
    """In a sentence, and the lowest loss where it may be called the best: on other rows a loss is another quantity."""
    if not validated:
        return "None of these runs was validated: only their training losses can be compared.", None
    ranked = sorted((loss, name) for name, loss, _ in validated)
    if len(ranked) == 1:
        return f"Only {ranked[0][1]} was validated: its best validation loss is {ranked[0][0]:.4f}.", None
    between = f"Validation losses from {ranked[0][0]:.4f} ({ranked[0][1]}) to {ranked[-1][0]:.4f} ({ranked[-1][1]})"
    measured = [material.data.validation for _, _, material in validated if material.data is not None]
    counts = {one.target_tokens for one in measured if one is not None}
    if len(counts) > 1:
        return f"{between}. They were validated on different rows, so these losses do not compare.", None
    is_known = len(measured) == len(validated) and None not in measured
    doubt = "It is not known whether they were validated on the same rows"
    if not is_known and not all(material.config for _, _, material in validated):
        return f"{between}. {doubt}, so none of them is called the best.", None
    (lowest, first), (higher, second) = ranked[:2]
    said = f"{first} has the lowest validation loss, {lowest:.4f}; next is {second} with {higher:.4f}"
    return f"{said}." if is_known else f"{said}. {doubt}.", lowest
