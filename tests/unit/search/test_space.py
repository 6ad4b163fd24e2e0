"""What a search tries."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.errors import ConfigError
from trimtab.search.space import Axis, Space, overrides

RATES, RANKS = ["1e-4", "2e-4", "5e-4"], [4, 8, 16]


def test_a_grid_is_all_combinations() -> None:
    grid = Space.parse({"training.learning_rate": RATES, "adapter.r": RANKS}).grid()
    assert len(grid) == 9
    assert grid[0] == {"training.learning_rate": 1e-4, "adapter.r": 4}
    assert grid[1] == {"training.learning_rate": 1e-4, "adapter.r": 8}
    assert overrides(grid[-1]) == ["training.learning_rate=0.0005", "adapter.r=16"]


def test_sections_may_be_nested_and_one_value_is_the_same_in_all_trials() -> None:
    grid = Space.parse({"training": {"learning_rate": RATES, "warmup_steps": 5}}).grid()
    assert [params["training.learning_rate"] for params in grid] == [1e-4, 2e-4, 5e-4]
    assert {params["training.warmup_steps"] for params in grid} == {5}


def test_ranges_have_the_grid_that_they_say() -> None:
    space = Space.parse(
        {
            "training.learning_rate": {"low": 1e-5, "high": 1e-3, "log": True, "n": 3},
            "adapter.r": {"low": 4, "high": 16, "step": 4},
            "adapter.lora_dropout": {"low": 0.0, "high": 0.1, "n": 3},
        }
    )
    values = [axis.values() for axis in space.axes]
    assert values == [(1e-5, 1e-4, 1e-3), (4, 8, 12, 16), (0.0, 0.05, 0.1)]


def test_a_key_with_a_condition_counts_only_under_it() -> None:
    raw = {
        "adapter.use_rslora": [True, False],
        "adapter.lora_alpha": {"choices": [8, 16], "when": {"adapter.use_rslora": True}},
    }
    grid = Space.parse(raw).grid()
    assert grid == [
        {"adapter.use_rslora": True, "adapter.lora_alpha": 8},
        {"adapter.use_rslora": True, "adapter.lora_alpha": 16},
        {"adapter.use_rslora": False},
    ]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({}, "nothing varies"),
        ({"adapter.r": 8}, "nothing varies"),
        ({"adapter.r": []}, "holds no values"),
        ({"adapter.r": [8, 8]}, "comes twice"),
        ({"adapter.r": [[8], 4]}, "a value is a number"),
        ({"adapter.rank": [4, 8]}, "did you mean r?"),
        ({"optimizer.lr": [1, 2]}, "optimizer"),
        ({"search.steps": [10, 20]}, "the search itself"),
        ({"training.output_dir": ["a", "b"]}, "a folder of its own"),
        ({"adapter.r": {"low": 16, "high": 4}}, "must be below"),
        ({"adapter.r": {"low": 4}}, "high: None is no number"),
        ({"adapter.r": {"low": 4, "high": 8, "lo": 1}}, "adapter.r.lo"),
        ({"training.learning_rate": {"low": 0, "high": 1e-3, "log": True, "n": 3}}, "must be above 0"),
        ({"training.learning_rate": {"low": 1e-4, "high": 1e-3, "n": 1}}, "two values or more"),
        ({"training.learning_rate": {"low": 1e-4, "high": 1e-3, "step": -1}}, "is no step"),
        ({"training.learning_rate": {"low": "a", "high": 1e-3}}, "'a' is no number"),
        ({"adapter.r": {"choices": [4, 8], "when": {"adapter.lora_alpha": 8}}}, "does not have"),
        ({"adapter.r": {"choices": [4, 8], "when": 3}}, "no mapping"),
    ],
)
def test_what_makes_no_space_is_said(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=r"search\.space") as refused:
        Space.parse(raw)
    assert said in str(refused.value)


def test_all_complaints_come_at_once() -> None:
    with pytest.raises(ConfigError) as refused:
        Space.parse({"adapter.rank": [4], "adapter.r": [], "training.learning_rate": {"low": 1, "high": 0}})
    assert str(refused.value).count("search.space.") == 3


@pytest.mark.parametrize("raw", [{"low": 1e-4, "high": 1e-3}, {"low": 1e-4, "high": 1e-3, "log": True}])
def test_a_range_without_steps_has_no_grid(raw: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="give n or step"):
        Space.parse({"training.learning_rate": raw}).grid()


def test_a_grid_that_nobody_meant_is_refused() -> None:
    many = {key: list(range(1, 200)) for key in ("adapter.r", "training.max_steps", "adapter.lora_alpha")}
    with pytest.raises(ConfigError, match="combinations"):
        Space.parse(many).grid()


@pytest.mark.parametrize(
    ("values", "best", "beyond"),
    [
        ((1e-4, 2e-4, 5e-4), 5e-4, (1.25e-3, 3.125e-3)),
        ((1e-4, 2e-4, 5e-4), 1e-4, (5e-5, 2.5e-5)),
        ((1e-4, 2e-4, 5e-4), 2e-4, ()),
        ((4, 8, 16), 16, (32, 64)),
        ((4, 8, 16), 4, (2, 1)),
        ((1, 2, 4), 1, ()),
        ((0.0, 0.05, 0.1), 0.1, (0.15, 0.2)),
        ((0.0, 0.05, 0.1), 0.0, ()),
        (("cosine", "linear"), "linear", ()),
        ((True, False), False, ()),
    ],
)
def test_beyond_the_edge(values: tuple[Any, ...], best: Any, beyond: tuple[Any, ...]) -> None:
    assert Axis("training.x", values).beyond(best, values) == pytest.approx(beyond)


@given(st.floats(1e-7, 1e-2), st.floats(1.5, 1e3), st.integers(2, 12))
def test_a_logarithmic_grid_keeps_its_ends_and_its_ratio(low: float, times: float, n: int) -> None:
    values = Axis("training.learning_rate", low=low, high=low * times, log=True, n=n).values()
    assert values[0] == pytest.approx(low, rel=1e-5)
    assert values[-1] == pytest.approx(low * times, rel=1e-5)
    ratios = [later / earlier for earlier, later in itertools.pairwise(values)]  # type: ignore[operator]
    assert max(ratios) == pytest.approx(min(ratios), rel=1e-4)


def test_a_seed_has_no_edge() -> None:
    assert Axis("training.seed", (1, 2, 3)).beyond(3, (1, 2, 3)) == ()


@pytest.mark.parametrize(
    ("key", "raw", "expected"),
    [
        ("training.warmup_steps", {"low": 0, "high": 20, "step": 10}, (0, 10, 20)),
        ("training.weight_decay", {"low": 0, "high": 1, "n": 5}, (0, 0.25, 0.5, 0.75, 1)),
        ("adapter.r", {"low": 4, "high": 64, "log": True, "n": 5}, (4, 8, 16, 32, 64)),
    ],
)
def test_whole_numbers_where_the_key_takes_them(key: str, raw: dict[str, Any], expected: tuple[float, ...]) -> None:
    assert Space.parse({key: raw}).axes[0].values() == pytest.approx(expected)
