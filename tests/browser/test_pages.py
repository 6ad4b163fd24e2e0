"""Pages as a reader uses them, in a real browser, from disk."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import run_folders

from trimtab import api
from trimtab.report.views import page_of
from trimtab.report.written import write_page

KINDS: dict[str, Callable[[Path], Any]] = {
    "healthy": run_folders.write_healthy,
    "repaired": run_folders.write_repaired,
    "exploded": run_folders.write_exploded,
    "overfitted": run_folders.write_overfitted,
    "search": run_folders.write_search,
}
LOSS = '[data-loss="0"]'
DRAWN_IN_LIGHT = """() => {
    const canvas = document.querySelector("[data-loss] canvas");
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    for (let at = 0; at < data.length; at += 4)
        if (data[at] === 0x00 && data[at + 1] === 0x62 && data[at + 2] === 0xa8) return true;
    return false;
}"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each kind, and three runs side by side."""
    folder = tmp_path_factory.mktemp("runs")
    made = {}
    for kind, write in KINDS.items():
        write(folder / kind)
        made[kind] = api.report([folder / kind]).path
    three = [folder / kind for kind in ("healthy", "exploded", "overfitted")]
    made["comparison"] = api.report(three, output=folder / "three.html").path
    assert all(path is not None for path in made.values())
    return {kind: path for kind, path in made.items() if path is not None}


@pytest.mark.parametrize("kind", [*KINDS, "comparison"])
def test_a_page_opens_without_a_complaint_wide_and_narrow_light_and_dark(
    kind: str, pages: dict[str, Path], opened: Any
) -> None:
    page = opened.go(pages[kind])
    drawn = page.locator("canvas").count()
    assert drawn >= 1 and page.locator("h1").count() == 1
    for width, scheme in ((1200, "dark"), (360, "dark"), (360, "light")):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme)
        page.evaluate(
            "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )  # it is laid out
        too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, f"{kind} at {width} px scrolls sideways"
        assert page.locator("canvas").count() == drawn
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
        inked = page.evaluate(
            """() => [...document.querySelectorAll("canvas")].every((canvas) =>
                canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((one) => one > 0))"""
        )
        assert inked, "a chart is empty"
    assert opened.said == []


def test_the_cursor_tells_the_numbers_and_those_below_follow(pages: dict[str, Path], opened: Any) -> None:
    page = opened.go(pages["healthy"])
    box = page.locator(f"{LOSS} .u-over").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60)
    tip = page.locator(f"{LOSS} .tip").inner_text()
    assert "step 60" in tip and "training" in tip and "validation" in tip
    below = page.locator('[data-gauge="0-grad_norm"] + .readout').inner_text()
    assert "step 60" in below


def test_a_zoom_is_every_charts_and_survives_a_newer_page(pages: dict[str, Path], opened: Any) -> None:
    page = opened.go(pages["healthy"])
    box = page.locator(f"{LOSS} .u-over").bounding_box()
    page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 60, steps=4)
    page.mouse.up()
    zoom = [float(part) for part in page.locator(LOSS).get_attribute("data-zoom").split(",")]
    assert zoom == pytest.approx([30, 60], abs=1)
    assert page.locator('[data-gauge="0-learning_rate"]').get_attribute("data-zoom") == ",".join(
        str(int(one)) if one == int(one) else repr(one) for one in zoom
    )
    page.get_by_role("button", name="log").first.click()
    page.locator('[data-series="raw"]').uncheck()
    page.locator("#evals-0 summary").click()
    page.evaluate("scrollTo(0, 333)")
    page.reload()
    page.wait_for_selector("html[data-drawn]")
    again = [float(part) for part in page.locator(LOSS).get_attribute("data-zoom").split(",")]
    assert again == zoom
    assert page.locator(LOSS).get_attribute("data-scale") == "log"
    assert not page.locator('[data-series="raw"]').is_checked()
    assert page.locator("#evals-0").get_attribute("open") is not None
    assert page.evaluate("scrollY") == 333
    page.locator(f"{LOSS} .u-over").dblclick()
    assert page.locator(LOSS).get_attribute("data-zoom") == ""
    assert opened.said == []


def test_a_legend_takes_lines_away(pages: dict[str, Path], opened: Any) -> None:
    page = opened.go(pages["comparison"])

    def ink() -> str:
        return str(page.evaluate("document.querySelector('[data-comparison] canvas').toDataURL()"))

    whole = ink()
    page.get_by_label("exploded").uncheck()
    page.wait_for_timeout(50)
    without = ink()
    page.get_by_label("exploded").check()
    page.wait_for_timeout(50)
    assert without != whole and ink() == whole


def test_keys_do_what_a_mouse_does(pages: dict[str, Path], opened: Any) -> None:
    page = opened.go(pages["healthy"])
    page.locator(LOSS).focus()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+ArrowRight")
    said = page.locator(f"{LOSS} + .readout")
    assert "step 10" in said.inner_text() and said.get_attribute("aria-live") == "polite"
    page.keyboard.press("ArrowLeft")
    assert "step 9" in said.inner_text()
    page.keyboard.press("+")
    assert page.locator(LOSS).get_attribute("data-zoom")
    page.keyboard.press("0")
    assert page.locator(LOSS).get_attribute("data-zoom") == ""
    page.evaluate("addEventListener('keydown', (event) => { window.taken = event.defaultPrevented; })")
    for key in ("Control+0", "Control+-", "Control+=", "Alt+ArrowLeft", "Meta+ArrowRight"):
        page.locator(LOSS).dispatch_event(
            "keydown",
            {
                "key": key.rpartition("+")[2],
                "ctrlKey": "Control" in key,
                "altKey": "Alt" in key,
                "metaKey": "Meta" in key,
                "bubbles": True,
                "cancelable": True,
            },
        )
        assert page.evaluate("window.taken") is False, f"{key} is the browser's own"
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("window.taken") is True


def test_every_chart_has_a_name_and_a_table_and_every_control_a_label(pages: dict[str, Path], opened: Any) -> None:
    page = opened.go(pages["repaired"])
    assert page.evaluate(
        """() => [...document.querySelectorAll(".chart")].every((chart) => chart.tabIndex === 0 && chart.ariaLabel)"""
    )
    promised = page.evaluate(
        """() => ["[data-loss]", "[data-gauge]", "[data-repair]"].map((one) =>
            document.querySelector(one).ariaLabel.includes("in a table"))"""
    )
    assert promised == [True, True, False]
    assert page.evaluate(
        """() => [...document.querySelectorAll(".scroll")].every((one) => one.role === "region" &&
            (one.ariaLabel || document.getElementById(one.getAttribute("aria-labelledby"))))"""
    )
    assert page.locator("#evals-0 table tr").count() > 10 and page.locator("#numbers-0 table tr").count() > 10
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, summary, a")].filter((one) =>
            !(one.textContent.trim() || one.ariaLabel || one.labels?.length)).length"""
    )
    assert nameless == 0
    levels = page.evaluate("() => [...document.querySelectorAll('h1,h2,h3,h4')].map((one) => Number(one.tagName[1]))")
    assert levels[0] == 1 and all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_a_page_renews_itself_while_its_run_goes_on(tmp_path: Path, opened: Any) -> None:
    def write(steps: int, *, is_live: bool) -> None:
        run_folders.write_run(tmp_path / "run", steps=steps)
        write_page(page_of([tmp_path / "run"], is_live=is_live), tmp_path / "run" / "report.html")

    write(60, is_live=True)
    page = opened.go(tmp_path / "run" / "report.html", "?look=100")
    assert "Step 60" in page.locator("h1").inner_text()
    page.get_by_role("button", name="zoom in").click()
    zoom = page.locator(LOSS).get_attribute("data-zoom")
    page.evaluate("scrollTo(0, 200)")
    page.evaluate("window.stays = true")
    page.wait_for_timeout(1200)  # longer than it waits for a frame that does not answer
    assert page.evaluate("window.stays === true"), "it was loaded anew though nothing had changed"
    write(120, is_live=True)
    page.locator("h1", has_text="Step 120").wait_for(timeout=10_000)
    page.wait_for_selector("html[data-drawn]")
    assert page.locator(LOSS).get_attribute("data-zoom") == zoom and page.evaluate("scrollY") == 200
    write(120, is_live=False)
    page.wait_for_selector("html[data-live=no][data-drawn]", timeout=10_000)
    assert page.locator(".live").count() == 0
    assert opened.said == []


def test_a_page_whose_run_is_silent_says_so(tmp_path: Path, opened: Any) -> None:
    run = run_folders.write_run(tmp_path / "run")
    page_now = page_of([run.path], is_live=True)
    for minutes, says in ((5, False), (50, True)):
        write_page(page_now.model_copy(update={"written": page_now.written - 60 * minutes}), run.report)
        page = opened.go(run.report, "?look=200")
        if says:
            page.locator(".live", has_text="the run may have died").wait_for(timeout=10_000)
        else:
            page.wait_for_timeout(700)  # more looks than it takes
            assert "updated" in page.locator(".live").inner_text()
            assert "died" not in page.locator(".live").inner_text()


HOSTILE = (
    "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>"
    "\"'><svg/onload=window.hacked=1> {{7*7}} <!-- ]]> \u202egnp.exe \u2066x \x1b[31m "
    "مرحبا بالعالم و 漢字かな交じり文 👨\u200d👩\u200d👧 "
)


def test_text_of_the_data_is_text(tmp_path: Path, opened: Any) -> None:
    run_folders.write_healthy(tmp_path / "run", text=HOSTILE, config={"training": {HOSTILE: HOSTILE}})
    other = tmp_path / "<img src=x onerror=window.hacked=1>"
    run_folders.write_healthy(other, text=HOSTILE, config={"training": {HOSTILE: "other"}})
    for paths in ([tmp_path / "run"], [tmp_path / "run", other]):
        path = api.report(paths, output=tmp_path / f"{len(paths)}.html").path
        page = opened.go(path)
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        page.wait_for_timeout(50)
        assert page.evaluate("window.hacked") is None
        assert page.locator("img, svg, iframe, object").count() == 0
        shown = page.locator("main").inner_text()
        assert "<script>window.hacked=1</script>" in shown and "{{7*7}}" in shown
        assert "<U+202E>" in shown and "\u202e" not in shown and "<U+001B>" in shown
        assert "مرحبا بالعالم" in shown and "漢字かな交じり文" in shown and "👨\u200d👩\u200d👧" in shown
        # Nor would it run if it had not been escaped: only our own scripts may.
        page.evaluate(
            """() => { const one = document.createElement("script");
                one.textContent = "window.hacked = 2"; document.body.append(one); }"""
        )
        assert page.evaluate("window.hacked") is None
        opened.said.clear()


def test_a_hundred_thousand_steps_are_drawn_and_no_spike_is_lost(tmp_path: Path, opened: Any) -> None:
    count, spike = 100_000, 61_803
    lines = []
    for step in range(1, count + 1):
        loss = 40.0 if step == spike else 1 + 2 * math.exp(-step / 9000) + 0.1 * math.sin(step)
        record = {"kind": "step", "step": step, "epoch": step / count, "loss": loss, "grad_norm": 1.0 + (step % 7) / 10}
        rest = {"learning_rate": 1e-4, "target_tokens": 900, "tokens": 2000, "seconds": 0.5, "memory_bytes": 1}
        lines.append(json.dumps(record | rest))
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (run / "events.jsonl").write_text("")
    path = api.report([run]).path
    assert path is not None and path.stat().st_size < 1_500_000 + 3_000_000
    page = opened.go(path)
    kept = page.evaluate("JSON.parse(document.getElementById('data').textContent).runs[0].curve.columns")
    assert len(kept["step"]) < 20_000
    assert dict(zip(kept["step"], kept["values"]["loss"], strict=True))[spike] == 40.0
    assert opened.said == []


def test_a_page_prints_in_black_on_white_with_everything_open(pages: dict[str, Path], opened: Any) -> None:
    page = opened.go(pages["repaired"])
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(100)
    assert not page.evaluate(DRAWN_IN_LIGHT)
    page.emulate_media(media="print", color_scheme="dark")
    page.wait_for_timeout(100)
    assert page.evaluate(DRAWN_IN_LIGHT), "the paper has the dark page's chart"
    assert not page.locator(".tools").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.emulate_media(media="screen", color_scheme="dark")
    page.wait_for_timeout(100)
    assert not page.evaluate(DRAWN_IN_LIGHT)
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF") and len(pdf) > 20_000
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(DRAWN_IN_LIGHT), "paper does not wait for an event"
    assert page.evaluate("[...document.querySelectorAll('main details')].every((one) => one.open)")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.evaluate(DRAWN_IN_LIGHT)


def test_printing_draws_what_it_opens_and_closes_it_again(pages: dict[str, Path], opened: Any) -> None:
    page = opened.go(pages["comparison"])
    open_before = page.locator("main details[open]").count()
    assert page.locator("canvas").count() == 1
    page.locator("#run-1 > summary").click()
    alone = page.locator("canvas").count()
    assert alone > 1
    drawn = page.evaluate(
        """() => { dispatchEvent(new Event("beforeprint")); return document.querySelectorAll("canvas").length; }"""
    )
    assert drawn == 1 + 3 * (alone - 1)
    page.wait_for_timeout(50)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.wait_for_timeout(50)
    assert page.locator("main details[open]").count() == open_before + 1
    page.reload()
    page.wait_for_selector("html[data-drawn]")
    assert page.locator("main > details[open]").count() == 1
    assert opened.said == []


def test_what_one_report_was_set_to_is_not_another_s(tmp_path: Path, opened: Any) -> None:
    output = tmp_path / "report.html"
    run_folders.write_healthy(tmp_path / "one")
    run_folders.write_healthy(tmp_path / "two")
    page = opened.go(api.report([tmp_path / "one"], output=output).path)
    page.get_by_role("button", name="zoom in").click()
    page.locator('[data-series="raw"]').uncheck()
    api.report([tmp_path / "two"], output=output)
    page.reload()
    page.wait_for_selector("html[data-drawn]")
    assert not page.locator(LOSS).get_attribute("data-zoom") and page.locator('[data-series="raw"]').is_checked()
    # The same run, begun again and shorter: a zoom beyond its end shows the whole.
    page.evaluate("sessionStorage.clear()")
    page.locator(LOSS).focus()
    page.keyboard.press("End")
    for _ in range(4):
        page.keyboard.press("+")
    run_folders.write_healthy(tmp_path / "two", steps=24)
    api.report([tmp_path / "two"], output=output)
    page.reload()
    page.wait_for_selector("html[data-drawn]")
    assert not page.locator(LOSS).get_attribute("data-zoom")
    assert opened.said == []


def test_many_runs_are_told_apart_and_the_best_are_drawn(tmp_path: Path, opened: Any) -> None:
    for number in range(14):
        ended = run_folders.verdict(best_eval_loss=1 + number)
        run_folders.write_run(
            tmp_path / f"run-{number:02}",
            eval_loss=lambda step, number=number: 1 + number + 1 / (step + 1),
            steps=12,
            verdict=ended,
        )
    page = opened.go(api.report(sorted(tmp_path.iterdir()), output=tmp_path / "all.html").path)
    boxes = page.locator("[data-series]")
    assert [boxes.nth(at).is_checked() for at in range(boxes.count())] == [True] * 12 + [False] * 2
    keys = page.evaluate(
        """() => [...document.querySelectorAll(".tools .key")].map(({ style }) =>
            style.borderTopColor + style.borderTopStyle)"""
    )
    assert len(set(keys)) == 14
    boxes.nth(13).check()
    page.reload()
    page.wait_for_selector("html[data-drawn]")
    assert boxes.nth(13).is_checked() and not boxes.nth(12).is_checked()
    assert "Of 14 runs the 12" in page.locator("main").inner_text()
    assert opened.said == []
