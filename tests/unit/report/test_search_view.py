"""What a page tells of a search, whole, going on, broken off and damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from support import run_folders

from trimtab.errors import LogError
from trimtab.records import RunDir
from trimtab.records.search import Leaderboard
from trimtab.report.html.render import html_of
from trimtab.report.leaderboard import grid_lines, leaderboard_lines
from trimtab.report.terminal import page_lines
from trimtab.report.views import page_of
from trimtab.report.views.search import SearchView, is_search, search_view


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return run_folders.write_search(tmp_path / "search")


def changed(folder: Path, **update: Any) -> SearchView:
    path = folder / "leaderboard.json"
    board = Leaderboard.model_validate_json(path.read_text()).model_copy(update=update)
    RunDir(folder).write_json(path, board)
    return search_view(folder)


def places(folder: Path, **of_trial_4: Any) -> tuple[Any, ...]:
    board = Leaderboard.model_validate_json((folder / "leaderboard.json").read_text())
    return tuple(place.model_copy(update=of_trial_4) if place.trial == "trial-4" else place for place in board.places)


def test_a_winner_that_is_not_the_lowest_says_why_it_was_taken(folder: Path) -> None:
    params = {"training.learning_rate": 1e-4, "adapter.r": 16}
    view = changed(folder, best="trial-2", best_params=params, ties=("trial-4", "trial-2"))
    assert "trial-2 (learning_rate 0.0001, r 16) is best with a loss of 1.2000 (base 3.1000)" in view.sentence
    assert "chance explains how trial-4 differs" in view.sentence and "behind" not in view.sentence
    assert "the smallest rank of them, then the lowest rate" in view.sentence
    assert "the lowest loss, as it is early" in changed(folder, is_early=True).sentence


def test_tied_means_the_same_in_the_table_and_in_the_grid(folder: Path) -> None:
    def tied() -> tuple[set[str], set[str]]:
        view = search_view(folder)
        assert view.heatmap is not None
        cells = [cell for row in view.heatmap.cells for cell in row if cell is not None]
        return {place.trial for place in view.places if place.is_tied}, {cell.trial for cell in cells if cell.is_tied}

    # trial-1 left at step 10, and tied there with the best of that step.
    left = [one.model_copy(update={"is_tied": True}) if one.trial == "trial-1" else one for one in places(folder)]
    changed(folder, places=tuple(left), ties=("trial-4", "trial-5"))
    assert tied() == ({"trial-5"}, {"trial-5"})
    lines = leaderboard_lines(Leaderboard.model_validate_json((folder / "leaderboard.json").read_text()))
    assert [line.split(":")[0][3:] for line in lines if "· tie" in line] == ["trial-5"]
    changed(folder, is_over=False, ties=())
    assert tied() == ({"trial-3"}, {"trial-3"})


def test_a_search_is_over_goes_on_or_was_broken_off(folder: Path) -> None:
    assert search_view(folder).word == "over"
    broken_off = changed(folder, is_over=False, best_params={}, ties=())
    assert broken_off.word == "unfinished" and not broken_off.is_live
    assert ["--resume" in step for step in broken_off.next] == [True]
    assert broken_off.sentence.startswith("trial-4 (learning_rate 0.0002, r 8) leads with a loss of 1.0000")
    page = page_of([folder])
    assert "! unfinished" in html_of(page) and page_lines(page)[0].startswith("unfinished: trial-4")
    run = RunDir(folder)
    run.lock()
    try:
        going_on = search_view(folder)
    finally:
        run.unlock()
    assert going_on.word == "going on" and going_on.next == ()
    assert search_view(folder, is_live=True).is_live


def test_what_the_table_means_is_told_once_and_whole(folder: Path) -> None:
    view = changed(folder, notes=("a note",), is_over=False, lost=("trial-8",), ties=())
    assert view.conclusion[-1].startswith("another seed moves a loss") and view.notes == ("a note",)
    assert "\n".join(page_lines(page_of([folder]))).count("a note") == 1
    lost = changed(folder, is_over=True, best=None, places=())
    assert lost.sentence.startswith("The one trial was lost")
    assert lost.conclusion == ("try learning rates a tenth and a hundredth as high, and trimtab check",)


def test_damaged_lines_are_left_out_and_counted(folder: Path) -> None:
    metrics, trials = folder / "metrics.jsonl", folder / "trials.jsonl"
    whole = search_view(folder)
    first, *rest = metrics.read_text().splitlines()
    null = json.dumps(json.loads(first) | {"trial": "trial-0", "step": 99, "loss": None})
    metrics.write_text("\n".join([first[:30] + first, null, "[1]", "", *rest, '{"kind": "ste']))
    with trials.open("a") as file:
        file.write('{"trial": "trial-9", "params": {}, "losses": {"10": null}}\n{"trial": "tri')
    view = search_view(folder)
    assert view.notes == (
        "1 line of trials.jsonl cannot be read and was left out",
        "3 lines of metrics.jsonl cannot be read and were left out",
    )
    assert [curve.trial for curve in view.curves] == [curve.trial for curve in whole.curves]
    assert view.curves[0].step == whole.curves[0].step[1:]


def test_a_loss_that_is_no_number_leads_nothing_and_has_no_colour(folder: Path) -> None:
    view = changed(folder, places=places(folder, loss=math.nan, behind=math.inf, error=math.nan), is_over=False)
    assert view.sentence == "9 trials; none has been measured yet."
    page = page_of([folder])
    html, text = html_of(page), "\n".join(page_lines(page))
    for shown in (html.partition('id="data"')[0].partition("<main")[2], text):
        assert "nan" not in shown.lower().replace("another", "") and "+inf" not in shown


def test_paths_in_advice_can_be_pasted(tmp_path: Path) -> None:
    folder = run_folders.write_search(tmp_path / "my search")
    (folder / "best.yaml").write_text("")
    assert search_view(folder).next[0] == f"Train it in full: trimtab train '{folder}/best.yaml'"


@pytest.mark.parametrize("name", ["leaderboard.json", "trials.jsonl", "metrics.jsonl"])
def test_a_file_that_may_not_be_read_is_told_in_one_sentence(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for how in ("read_text", "read_bytes"):
        read = getattr(Path, how)

        def refused(path: Path, *args: Any, read: Any = read, **more: Any) -> Any:
            if path.name == name:
                raise PermissionError(13, "Permission denied", str(path))
            return read(path, *args, **more)

        monkeypatch.setattr(Path, how, refused)
    with pytest.raises(LogError, match=rf"{name}: cannot be read: Permission denied$"):
        page_of([folder])
    with pytest.raises(LogError, match="cannot be read: File name too long"):
        is_search(Path("a" * 300))


def test_the_printed_grid_is_the_pages(folder: Path) -> None:
    view = search_view(folder)
    assert view.heatmap is not None
    board = Leaderboard.model_validate_json((folder / "leaderboard.json").read_text())
    head, *lines = grid_lines(board)
    assert head.split() == ["lr", "\\", "r", *view.heatmap.columns]
    for row, cells, line in zip(view.heatmap.rows, view.heatmap.cells, lines, strict=True):
        losses = ["–" if cell is None or cell.loss is None else f"{cell.loss:.3f}" for cell in cells]
        assert [row, *losses] == [part.strip("*").partition("@")[0] for part in line.split()]
    assert "*1.000" in lines[1] and "1.400@10" in lines[0]
    assert grid_lines(board.model_copy(update={"places": board.places[:1]})) == []
