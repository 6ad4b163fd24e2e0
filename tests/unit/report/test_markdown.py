"""Text from anywhere stays text where TensorBoard renders Markdown."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trimtab.records import CauseFound, RunEvent, Status, Verdict
from trimtab.report.markdown import code, events_text, plain, table, verdict_text

plugin_util = pytest.importorskip("tensorboard.plugin_util")
TEXT = st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=60)


def shown(markdown: str) -> str:
    """What a browser shows of it."""
    made = plugin_util.markdown_to_safe_html(markdown)
    return html.unescape(re.sub(r"<[^>]*>", "", made))


@given(TEXT)
@example("| a | *b* <script>x</script> `c` [d](e) \\ __f__ ![g](h) ~~i~~ &amp; # j")
@example("```\n# title\n```")
def test_any_text_reads_as_it_is(text: str) -> None:
    assert shown(table(("a",), [(text,)])).split() == ["a", *text.split()]
    assert code(text).replace("    ", "", 1) in (text, text.replace("\n", "\n    "))


def test_code_does_not_end_before_its_end() -> None:
    made = plugin_util.markdown_to_safe_html(
        f"before\n\n{code('a' + chr(10) + '```' + chr(10) * 3 + '# b <i>')}\n\nafter"
    )
    assert made.count("<code>") == 1 and "<h1>" not in made and "&lt;i&gt;" in made


def test_events_of_note_and_the_verdict() -> None:
    events = [RunEvent(kind=kind, step=3, message=f"a {kind}") for kind in ("best", "symptom", "amendment")]
    assert [line for line in events_text(events).splitlines() if "3" in line] == [
        "| 3 | symptom | a symptom |",
        "| 3 | amendment | a amendment |",
    ]
    assert events_text(events[:1]) == ""
    cause = CauseFound(rule="lr-too-high", confidence=0.9, step=1, evidence=("the loss rose",))
    told = shown(verdict_text(Verdict(status=Status.FAILED, reason="*worse*", causes=(cause,))))
    assert "failed: *worse*" in told and "lr-too-high (90%)" in told and "the loss rose" in told
    assert plain("a\n\n  b") == "a b"
