"""What a page tells of runs of every kind, whole and half-written; each renderer draws each of them."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import run_folders

from trimtab.diagnose.trace import Trace
from trimtab.errors import LogError, OutputError
from trimtab.records import (
    CheckReport,
    Finding,
    Judgement,
    Memorisation,
    RecitedRow,
    RunDir,
    RunEvent,
    Severity,
    ShownRow,
    ShownToken,
    Status,
    TokenKind,
)
from trimtab.report.html.render import html_of, stretches
from trimtab.report.terminal import page_lines
from trimtab.report.views import Page, page_of
from trimtab.report.views.columns import kept_steps, smoothed
from trimtab.report.views.epochs import read_curve
from trimtab.report.written import default_output, write_page

KINDS: dict[str, Callable[[Path], Any]] = {
    "healthy": run_folders.write_healthy,
    "repaired": run_folders.write_repaired,
    "exploded": run_folders.write_exploded,
    "overfitted": run_folders.write_overfitted,
    "search": run_folders.write_search,
}


def drawn_everywhere(page: Page) -> tuple[str, str]:
    """HTML and terminal text; JSON goes there and back."""
    again = Page.model_validate_json(page.model_dump_json())
    assert again.model_dump_json() == page.model_dump_json()
    text = "\n".join(page_lines(page, width=60))
    assert html_of(again).startswith("<!doctype html>") and text
    return html_of(page), text


@pytest.mark.parametrize("kind", KINDS)
def test_every_renderer_draws_every_kind(kind: str, tmp_path: Path) -> None:
    KINDS[kind](tmp_path / kind)
    html, text = drawn_everywhere(page_of([tmp_path / kind]))
    for sentence in {
        "healthy": ["Evaluation loss 3.0000 → 0.9500", "Training loss went from"],
        "repaired": ["lower-learning-rate for lr-too-high helped", "0.9000 after"],
        "exploded": ["The loss is not a number since step 101. Why: lr-too-high (93%)", "Lower the learning rate"],
        "overfitted": ["after that it overfitted, and the best weights were kept", "It overfits from epoch 2"],
        "search": ["trial-4 (learning_rate 0.0002, r 8) is best", "trial-3"],
    }[kind]:
        assert sentence in html
        assert sentence in text or kind == "repaired"


def test_runs_side_by_side(tmp_path: Path) -> None:
    run_folders.write_healthy(
        tmp_path / "one" / "run", config={"training": {"learning_rate": 1e-4}, "adapter": {"r": 8}}
    )
    run_folders.write_exploded(tmp_path / "two" / "run")
    run_folders.write_healthy(tmp_path / "full", config={"training": {"learning_rate": 1e-4}, "adapter": None})
    page = page_of([tmp_path / "one" / "run", tmp_path / "two" / "run", tmp_path / "full"])
    assert page.comparison is not None
    assert [name.endswith(end) for name, end in zip(page.comparison.names, ("one/run", "two/run", "full"), strict=True)]
    told = {row.key: row.values for row in page.comparison.differences}
    assert told == {"training.learning_rate": ("0.0001", "0.0002", "0.0001"), "adapter": ("on", "on", "off")}
    html, text = drawn_everywhere(page)
    assert "lowest validation loss, 0.9500" in html and "lowest validation loss, 0.9500" in text


def test_another_tools_log(tmp_path: Path) -> None:
    entries = [{"step": step, "loss": 3 / step, "grad_norm": 1.0, "learning_rate": 1e-4} for step in range(1, 40)]
    entries += [{"step": 20, "eval_loss": 0.4}, {"step": 39, "eval_loss": 0.2}]
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps({"log_history": entries, "global_step": 39}))
    page = page_of([path])
    html, text = drawn_everywhere(page)
    assert "trainer_state.json" in html and page.runs[0].headline.word == "healthy"
    assert "0.2000" in text and page.runs[0].check is None and page.runs[0].decisions == ()
    assert default_output([path]) == Path("report.html")


# ── folders that are not whole ───────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_was_killed_says_so_and_how_it_goes_on(tmp_path: Path) -> None:
    run = run_folders.write_run(tmp_path / "run", steps=60)
    with run.metrics.open("a") as file:
        file.write('{"kind": "step", "step": 61, "lo')
    with run.events.open("a") as file:
        file.write('{"kind": "sym')
    page = page_of([run.path])
    html, text = drawn_everywhere(page)
    assert page.runs[0].headline.word == "unfinished" and page.runs[0].curve.columns.step[-1] == 60
    assert "ended without a verdict after step 60" in text and "--resume" in html


@pytest.mark.parametrize(
    "file", ["plan.json", "check.json", "config.yaml", "events.jsonl", "verdict.json", "rows.json"]
)
def test_a_damaged_record_is_told_and_the_rest_is_shown(file: str, tmp_path: Path) -> None:
    run = run_folders.write_healthy(tmp_path / "run")
    (run.path / file).write_bytes(b'{"a": [1, \xff\x00\n{"b"')
    page = page_of([run.path])
    html, _ = drawn_everywhere(page)
    assert file in html and "cannot be read and was left out" in html
    assert page.runs[0].curve.columns.step


def test_a_folder_of_an_older_version_gives_a_page(tmp_path: Path) -> None:
    run = run_folders.write_healthy(tmp_path / "run")
    for newer in (run.rows, run.samples, run.memorised, run.check):
        newer.unlink()
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    run.metrics.write_text(
        "".join(json.dumps({k: v for k, v in line.items() if k != "update_ratio"}) + "\n" for line in lines)
    )
    page = page_of([run.path])
    drawn_everywhere(page)
    assert "update_ratio" not in page.runs[0].curve.columns.values


def test_a_refused_run_gives_a_page_of_what_refused_it(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    finding = Finding(
        rule="empty-loss-mask", severity=Severity.BLOCKS, value="9 rows", limit="0", evidence="no targets", fix="look"
    )
    run.write_json(run.check, CheckReport(verdict="blocked", findings=(finding,), passed=(), not_looked=(), seconds=1))
    ended = run_folders.verdict(Status.FAILED, "refused by empty-loss-mask", best_eval_loss=None, best_step=None)
    run.write_json(run.verdict, ended)
    page = page_of([tmp_path])
    html, text = drawn_everywhere(page)
    assert page.runs[0].headline.word == "refused" and page.runs[0].headline.next == ("Look",)
    assert "empty-loss-mask: 9 rows (limit: 0)" in text and "no finite loss" not in text and 'id="loss-0"' not in html


def test_a_search_that_has_only_begun(tmp_path: Path) -> None:
    run_folders.write_search(tmp_path)
    (tmp_path / "leaderboard.json").unlink()
    with (tmp_path / "trials.jsonl").open("a") as file:
        file.write('{"trial": "tri')
    page = page_of([tmp_path])
    drawn_everywhere(page)
    assert page.search is not None and not page.search.is_over and len(page.search.places) == 9
    shutil.copy(tmp_path / "trials.jsonl", tmp_path / "leaderboard.json")
    with pytest.raises(LogError, match=r"leaderboard\.json: cannot be read"):
        page_of([tmp_path])


def test_what_is_no_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("nothing here")
    for path in (tmp_path / "nowhere", tmp_path / "empty", tmp_path / "notes.txt"):
        with pytest.raises(LogError, match=path.name):
            page_of([path])
    run_folders.write_search(tmp_path / "search")
    run_folders.write_healthy(tmp_path / "run")
    with pytest.raises(LogError, match="a report shows one search, or runs side by side"):
        page_of([tmp_path / "search", tmp_path / "run"])


def test_a_page_is_never_written_over_what_is_no_report(tmp_path: Path) -> None:
    run = run_folders.write_healthy(tmp_path / "run")
    page = page_of([run.path])
    write_page(page, run.report)
    write_page(page, run.report)
    mine = tmp_path / "mine.html"
    mine.write_text("<p>mine")
    for output, why in (
        (mine, "no report"),
        (tmp_path, "is a folder"),
        (tmp_path / "no" / "a.html", "there is no folder"),
    ):
        with pytest.raises(OutputError, match=why):
            write_page(page, output)
    assert mine.read_text() == "<p>mine" and default_output([run.path]) == run.report


def test_what_was_left_out_of_a_very_long_row_is_counted_where_it_stood() -> None:
    tokens = (
        ShownToken("a\n", TokenKind.CONTEXT),
        ShownToken("b", TokenKind.CONTEXT),
        ShownToken("c", TokenKind.TARGET),
    )
    row = ShownRow("train.jsonl:1", "long", tokens, left_out_at=1, left_out_tokens=1234)
    assert list(stretches(row)) == [
        ("context", "a↵\n"),
        ("left out", " […1,234 tokens…] "),
        ("context", "b"),
        ("target", "c"),
    ]
    assert [kind for kind, _ in stretches(ShownRow("x:1", "short", tokens))] == ["context", "target"]


def test_a_damaged_number_is_no_number(tmp_path: Path) -> None:
    run = run_folders.write_repaired(tmp_path / "run")
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    for line, (key, value) in zip(
        lines[1:], (("tokens", "abc"), ("tokens", [1]), ("update_ratio", None)), strict=False
    ):
        line[key] = value
    run.metrics.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    run.abandoned.write_text(run.abandoned.read_text() + '{"kind": "step", "step": 71, "loss": null}\n')
    drawn_everywhere(page_of([run.path]))


def test_a_folder_that_may_not_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = run_folders.write_healthy(tmp_path / "run")

    def refuse(path: Path, *args: Any, **kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(LogError, match="cannot be read: Permission denied"):
        page_of([run.path])


def test_a_verdict_that_cannot_be_read_is_not_taken_for_a_kill(tmp_path: Path) -> None:
    run = run_folders.write_healthy(tmp_path / "run")
    run.verdict.write_text("{")
    told = page_of([run.path]).runs[0].headline
    assert "its verdict cannot be read" in told.sentence and not any("--resume" in step for step in told.next)


def test_the_weightiest_marks_stay_where_there_are_too_many(tmp_path: Path) -> None:
    symptoms = [RunEvent(kind="symptom", step=step, message="a spike") for step in range(1, 100)]
    run = run_folders.write_run(tmp_path / "run", run_folders.exploding, events=symptoms)
    run.append_event(RunEvent(kind="repair", step=110, message="helped"))
    kinds = [mark.kind for mark in page_of([run.path]).runs[0].curve.marks]
    assert len(kinds) == 60 and {"not a number", "repair", "best", "symptom"} == set(kinds)


def test_what_is_not_certain_is_advised_with_an_if(tmp_path: Path) -> None:
    run = run_folders.write_exploded(tmp_path / "run")
    ended = run.read_verdict()
    assert ended is not None
    unsure = [ended.causes[0].model_copy(update={"rule": rule, "confidence": 0.6}) for rule in ("one", "other")]
    run.write_json(run.verdict, ended.model_copy(update={"causes": tuple(unsure)}))
    told = page_of([run.path]).runs[0].headline
    assert [step.split(":")[0] for step in told.next] == ["If it is one (60%)", "If it is other (60%)"]


def test_the_run_that_a_search_began_was_not_killed(tmp_path: Path) -> None:
    run_folders.write_search(tmp_path / "search")
    run_folders.write_run(tmp_path / "search" / "best", steps=20)
    told = page_of([tmp_path / "search"]).runs[0].headline
    assert told.word == "begun" and "best.yaml --resume" in told.next[0]


def test_by_heart_is_said_only_of_enough_rows_beside_held_out_ones(tmp_path: Path) -> None:
    run = run_folders.write_healthy(tmp_path / "run")
    rows = [RecitedRow(place=f"x:{n}", target_tokens=9, base_tokens=1, tuned_tokens=9, text="a") for n in range(10)]
    others = [row.model_copy(update={"tuned_tokens": 2}) for row in rows]
    for train, validation, said in ((rows, others, "by heart"), (rows, [], "too little"), (rows, rows, "learnt, not")):
        run.write_json(run.memorised, Memorisation(step=9, train=tuple(train), validation=tuple(validation)))
        told = page_of([run.path]).runs[0].memory
        assert told is not None and said in told.sentence


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([3.62, 3.4, 3.1, 2.9, 2.6, 2.4, 2.3, 2.1, 1.9, 1.86, 1.8, 1.76], ["no fall yet"]),
        ([1.5, 1.5, 1.4, 1.5, 2.0, 3.0, 4.0, 4.9], ["stands still"]),
        ([*np.geomspace(12, 4, 16)], ["no fall yet"]),
    ],
)
def test_few_or_steep_points_are_not_taken_for_noise(losses: list[float], words: list[str]) -> None:
    told = [epoch.words for epoch in read_curve(curve_of(losses, {}, epochs=1)).epochs]
    assert not any(word in told[0] or word in told[-1] for word in words), told


def test_overfitting_begins_after_the_best_evaluation(tmp_path: Path) -> None:
    losses = level(3.0, 1.0) + level(1.0, 0.7) + level(0.7, 0.4) + level(0.4, 0.2)
    reading = read_curve(curve_of(losses, {40: 1.2, 80: 1.0, 120: 1.1, 160: 1.4}, epochs=4))
    assert reading.overfits_from == "epoch 3" and "best evaluation was at step 80 (1)" in reading.sentences[-1]
    falls = read_curve(curve_of(losses, {40: 1.2, 80: 1.1, 120: 1.05, 160: 1.0}, epochs=4))
    assert falls.overfits_from == "", "the last evaluation is the best"
    ruined = read_curve(curve_of(losses, {40: 1.2, 160: 1.0}, epochs=4), Judgement.EXPLODING_OR_NAN)
    assert not any("healthy" in epoch.words for epoch in ruined.epochs)


# ── its parts ────────────────────────────────────────────────────────────────────────────────────────────────────


@given(
    values=st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan)), min_size=1, max_size=300),
    buckets=st.integers(1, 20),
)
def test_no_spike_is_lost_in_drawing(values: list[float], buckets: int) -> None:
    column = np.asarray(values)
    kept = kept_steps([column], len(column), buckets=buckets)
    assert list(kept) == sorted(set(kept.tolist())) and kept[0] == 0 and kept[-1] == len(column) - 1
    if len(column) <= 2 * buckets:
        assert len(kept) == len(column)
    assert len(kept) <= 2 * buckets + 2 or len(column) <= 2 * buckets
    edges = np.linspace(0, len(column), buckets + 1).astype(int)
    for start, end in itertools.pairwise(edges):
        part = column[start:end]
        finite = part[np.isfinite(part)]
        shown = column[kept[(kept >= start) & (kept < end)]]
        if len(finite):
            assert np.nanmax(shown) == finite.max() and np.nanmin(shown) == finite.min()


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=60), st.integers(0, 59))
def test_smoothing_stays_between_the_extremes_and_skips_what_is_no_number(values: list[float], at: int) -> None:
    whole = smoothed(np.asarray(values))
    assert whole[0] == pytest.approx(values[0])
    assert min(values) - 1e-9 <= whole.min() and whole.max() <= max(values) + 1e-9
    at %= len(values)
    holed = np.insert(np.asarray(values), at, math.inf)
    again = smoothed(holed)
    assert math.isnan(again[at]) and np.isfinite(np.delete(again, at)).all()


def curve_of(losses: list[float], evaluations: dict[int, float], *, epochs: float, base: float | None = 3.0) -> Trace:
    steps = np.arange(1, len(losses) + 1)
    return Trace(
        source="test",
        step=steps,
        loss=np.asarray(losses),
        epoch=epochs * steps / len(losses),
        eval_step=np.asarray(list(evaluations), dtype=np.int64),
        eval_loss=np.asarray(list(evaluations.values())),
        base_eval_loss=base,
    )


def level(start: float, end: float, count: int = 40) -> list[float]:
    return np.linspace(start, end, count).tolist()


def test_a_curve_is_read_epoch_by_epoch() -> None:
    losses = level(3.0, 1.0) + level(1.0, 0.7) + level(0.7, 0.6)
    reading = read_curve(curve_of(losses, {40: 1.15, 80: 0.87, 120: 0.8}, epochs=3))
    assert [epoch.label for epoch in reading.epochs] == ["epoch 1", "epoch 2", "epoch 3"]
    first, second, third = (epoch.words for epoch in reading.epochs)
    assert "sharp initial fall" in first and "slower" in second and "diminishing returns" in third
    assert reading.overfits_from == ""
    assert reading.epochs[0].gap == pytest.approx(0.12, abs=0.06)


def test_a_gap_that_grows_while_validation_rises_is_overfitting() -> None:
    losses = level(3.0, 1.0) + level(1.0, 0.6) + level(0.6, 0.3)
    reading = read_curve(curve_of(losses, {40: 1.12, 80: 1.12, 120: 1.3}, epochs=3))
    assert reading.overfits_from == "epoch 2"
    assert "the gap grew from" in reading.epochs[1].words and "overfitting from epoch 2" in reading.epochs[1].words
    assert any("overfits from epoch 2" in sentence for sentence in reading.sentences)


def test_a_wide_gap_is_no_overfitting_while_validation_falls() -> None:
    losses = level(3.0, 1.0) + level(1.0, 0.4)
    reading = read_curve(curve_of(losses, {40: 1.1, 80: 0.9}, epochs=2))
    assert reading.overfits_from == "" and "validation still falls" in reading.epochs[1].words


def test_a_run_that_stands_still_does_not_overfit() -> None:
    """Its training loss goes up and down by the batch; rows that are harder to foretell lie above it all the while."""
    noise = np.random.default_rng(0).normal(0, 0.4, 32)
    reading = read_curve(curve_of((4 + noise).tolist(), {8: 4.3, 16: 4.3, 24: 4.3, 32: 4.3}, epochs=1, base=4.3))
    assert reading.overfits_from == "" and not any("overfit" in epoch.words for epoch in reading.epochs)


def test_one_epoch_is_read_in_quarters_and_a_ruined_run_is_not_praised() -> None:
    assert [epoch.first_step for epoch in read_curve(curve_of(level(3, 1), {}, epochs=1)).epochs] == [1, 11, 21, 31]
    ruined = read_curve(curve_of(level(1.0, 1.0) + level(1.0, 9.0), {80: 9.4}, epochs=2))
    assert "no fall yet" in ruined.epochs[0].words and "the training loss rose by" in ruined.epochs[1].words
    assert not any("healthy" in sentence for sentence in ruined.sentences)
    nothing = read_curve(curve_of([math.nan] * 40, {}, epochs=2))
    assert all(epoch.words == "no finite loss" for epoch in nothing.epochs)
    assert read_curve(Trace(source="test")).epochs == ()
