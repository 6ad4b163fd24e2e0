"""The page of a long run: seconds to read the records, to write the file, and to draw it in a browser; its size.

python bench/report_page.py [--steps 100000] [--browser /usr/bin/chromium]
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import tempfile
import time
from pathlib import Path

from trimtab.report.html.render import html_of
from trimtab.report.views import page_of


def write_run(folder: Path, steps: int) -> None:
    """A noisy curve with a spike every ten thousand steps, and an evaluation every two hundred."""
    noise = random.Random(0)
    with (folder / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for step in range(1, steps + 1):
            level = 1 + 2 * math.exp(-10 * step / steps)
            loss = 30.0 if step % 10_000 == 5_000 else level + 0.1 * noise.gauss(0, 1)
            record = {
                "kind": "step",
                "trial": "",
                "step": step,
                "epoch": 3 * step / steps,
                "loss": loss,
                "grad_norm": math.exp(noise.gauss(0, 0.3)),
                "learning_rate": 2e-4 * (1 - step / (steps + 1)),
                "target_tokens": noise.randrange(3000, 4000),
                "tokens": noise.randrange(4000, 5000),
                "seconds": 0.5 + 0.02 * noise.random(),
                "memory_bytes": 12 << 30,
                "update_ratio": 1e-3 * math.exp(noise.gauss(0, 0.1)),
            }
            file.write(json.dumps(record) + "\n")
            if step % 200 == 0:
                evaluation = {
                    "kind": "eval",
                    "trial": "",
                    "step": step,
                    "epoch": 3 * step / steps,
                    "loss": level + 0.15,
                }
                file.write(json.dumps(evaluation | {"target_tokens": 90_000, "seconds": 20.0}) + "\n")
    (folder / "events.jsonl").write_text("", encoding="utf-8")


def drawn_seconds(browser: str, page: Path) -> tuple[float, float]:
    """From opening the file to a page whose charts are drawn; and of that, our own code's drawing."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        tab = started.new_page(viewport={"width": 1400, "height": 1000})
        tab.goto("about:blank")
        began = time.perf_counter()
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-drawn]")
        tab.screenshot()
        whole = time.perf_counter() - began
        own = float(tab.evaluate("document.documentElement.dataset.drawn")) / 1000
        started.close()
    return whole, own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--browser", default=shutil.which("chromium") or "")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_run(folder, asked.steps)
        page_of([folder])  # imports
        began = time.perf_counter()
        page = page_of([folder])
        read = time.perf_counter() - began
        html_of(page)
        began = time.perf_counter()
        text = html_of(page)
        wrote = time.perf_counter() - began
        path = folder / "report.html"
        path.write_text(text, encoding="utf-8")
        kept = len(page.runs[0].curve.columns.step)
        print(f"{asked.steps:,} steps, {kept:,} drawn: records read and made into views in {read:.2f} s")
        print(f"page written in {wrote:.2f} s, {len(text.encode()):,} bytes")
        if asked.browser:
            whole, own = drawn_seconds(asked.browser, path)
            print(f"opened, drawn and painted in {whole:.2f} s, of which charts {own:.2f} s ({asked.browser})")


if __name__ == "__main__":
    main()
