from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trimtab.checks.evidence import Evidence
from trimtab.checks.rule import Bad, Good, Judgement, NotApplicable, Rule, Stage, Unavailable
from trimtab.checks.templates import KNOWN, Probe, compiled, first_exchanges, is_spoken, probe
from trimtab.data.encode import CONTROL_TOKEN
from trimtab.data.row import RowProblem
from trimtab.data.template import ChatTemplate
from trimtab.records import Severity

ROWS, FEWEST_ROWS = 40, 16
KNOWS_END = 1.0
"""Nats on the token that ends a turn, in the middle row. Small bases after 60 steps of tuning: 0.0 to 0.9 in every
template, on their own kind of text and on others; untuned: 5 to 26."""
END_GAP = 3.0
"""Nats by which the end must be likelier in another template: twenty times."""
ANSWER_GAP = 0.3
"""Nats per token of the answers. Tuned bases differ by up to 0.2 between templates on text of another kind."""
SURE = 4.0
OWN = "the tokenizer's own"
ENDS = "the base ends its turns in yours"


class WrongTemplate(Rule):
    """
    What it finds:
        A base that was tuned on one chat template and is given another, shown by its own loss: in the one, it ends its
        answers with the end-of-turn token; in the configured one it does not, or finds the answers much less likely.
        Also a data.chat_template that writes turns otherwise than the tokenizer's own one does, unless the base shows
        that it knows it; and control tokens of the configured template that are no tokens of this tokenizer.

    Why it matters:
        The run spends its steps on teaching a tuned model a second format, and what it learnt of following
        instructions hangs on the first. And whoever serves the adapter with the base's own tokenizer asks in that one's
        format, which it was not trained in; if the ends of turns differ, generation does not stop.

    Example:
        A ChatML model with an Alpaca template: after an answer, 0.01 nats on <|im_end|> in ChatML, 11 on </s> in yours.

    Fix:
        Remove data.chat_template, so that the tokenizer's own is used, or give the one that the finding names.

    What it cannot see:
        Bases that were tuned on a template that is neither the tokenizer's nor well known. A plain base was tuned on
        none: there the rule is silent, whatever template it gets, unless its tokenizer has one. Two templates
        that differ in generation marks, system text or white space alone are taken for the same.

    Source:
        Measured on bases tuned for this purpose (the constants in this file); unslothai/unsloth and axolotl threads on
        models that chat badly after training on another template.
    """

    name: ClassVar[str] = "wrong-template"
    severity: ClassVar[Severity] = Severity.WARNS
    stage: ClassVar[Stage] = Stage.BASE
    cause: ClassVar[str] = "template-mismatch"

    def judge(self, seen: Evidence) -> Judgement:
        if seen.data.chat_template is None:
            return NotApplicable("no conversation is rendered by a template")
        strangers = _strangers(seen)
        replaced = _replaced(seen)
        try:
            judged = _by_base(seen)
        except Unavailable as reason:
            judged = NotApplicable(str(reason))
        if replaced is not None and not (
            isinstance(judged, Bad) or (isinstance(judged, Good) and ENDS in judged.value)
        ):
            return replaced
        if strangers and not isinstance(judged, Bad):
            pieces = {text: len(seen.text_tokenizer.encode([text])[0].input_ids) for text in strangers}
            return Bad(
                value=f"{len(strangers)} control tokens are no tokens here",
                limit="each is one token",
                evidence=", ".join(f"{text} becomes {count} tokens" for text, count in pieces.items()),
                fix="use a template in plain words (remove data.chat_template), or a base whose tokenizer has these "
                "tokens",
                severity=Severity.NOTES,
            )
        return judged


@dataclass(frozen=True)
class _Tried:
    """One template over the same R rows."""

    name: str
    end_R: NDArray[np.float64]
    """Nats on the token that ends the turn; nan where none stands there."""
    answer_R: NDArray[np.float64]
    """Nats of the answer's tokens, summed."""

    @property
    def end(self) -> float:
        return float(np.median(self.end_R)) if not np.isnan(self.end_R).any() else math.inf

    @property
    def end_said(self) -> str:
        return f"{self.end:.2f}" if math.isfinite(self.end) else "no such token"


def _by_base(seen: Evidence) -> Judgement:
    exchanges = first_exchanges(seen, ROWS)
    templates = _templates(seen)
    begins_with = _first_token(seen, templates["yours"], exchanges)
    rows: list[dict[str, Probe]] = []
    for exchange in exchanges:
        made = {
            name: probe(template, exchange, seen.text_tokenizer, begins_with=begins_with)
            for name, template in templates.items()
        }
        whole = {name: one for name, one in made.items() if one is not None}
        if len(whole) == len(made) and all(
            len(one.example.input_ids) <= seen.base.longest_tokens for one in whole.values()
        ):
            rows.append(whole)
    if len(rows) < FEWEST_ROWS:
        return NotApplicable(f"{len(rows)} rows have a short question and answer; {FEWEST_ROWS} are needed")
    each = sum(len(one.example.input_ids) for row in rows for one in row.values()) / len(rows)
    affordable = int(seen.base.affordable_tokens / each)
    if affordable < FEWEST_ROWS:
        return NotApplicable(
            f"the base is too slow here: there is time for {seen.base.affordable_tokens:,} tokens, and {FEWEST_ROWS} "
            f"rows in {len(templates)} templates take {int(FEWEST_ROWS * each):,}"
        )
    rows = rows[:affordable]
    tried = {name: _try(seen, name, [row[name] for row in rows]) for name in templates}
    # Per token of the answer as configured: templates may cut its first word otherwise.
    tokens_R = np.array([int(row["yours"].example.is_target.sum()) for row in rows])
    return _judge(tried.pop("yours"), list(tried.values()), tokens_R, has_own=OWN in templates)


def _judge(yours: _Tried, others: list[_Tried], tokens_R: NDArray[np.int64], *, has_own: bool) -> Judgement:
    limit = "no other template fits the base far better"
    tuned_on = [other for other in others if other.end <= KNOWS_END]
    for other in sorted(tuned_on, key=lambda one: (one.name != OWN, one.end)):
        answer_gap = (yours.answer_R - other.answer_R) / tokens_R
        prefers = _z(answer_gap) >= SURE and float(answer_gap.mean()) >= ANSWER_GAP
        # An end that stands in no text of yours is another rule's finding.
        ends = math.isfinite(yours.end) and yours.end - other.end >= END_GAP
        ends = ends and _sign_z(yours.end_R - other.end_R) >= SURE
        if ends or (prefers and other.name == OWN):
            own = "remove data.chat_template" if other.name == OWN else f"give {other.name} as data.chat_template"
            return Bad(
                value=f"{other.name} fits better than yours",
                limit=limit,
                evidence=f"median of {len(tokens_R)} rows, on the token that ends the answer: {other.end:.2f} nats in "
                f"{other.name}, {yours.end_said} in yours; on the answers yours costs {answer_gap.mean():+.2f} nats "
                "per token: the base was tuned on the former",
                fix=f"{own}, or take the untuned base",
            )
    names = ", ".join(other.name for other in others)
    if yours.end <= KNOWS_END:
        return Good(f"{ENDS} ({yours.end:.2f} nats)", limit)
    if not tuned_on:
        least = min((other.end for other in others), default=math.inf)
        return Good(f"the base was tuned on none of: {names} (end of turn: {least:.1f} nats at best)", limit)
    return Good(f"none of {names} fits far better" if has_own or others else "no other to try", limit)


def _templates(seen: Evidence) -> dict[str, ChatTemplate]:
    """ "yours" first, then the others that this tokenizer can speak."""
    from trimtab.model.load import load_tokenizer

    assert seen.data.chat_template is not None
    found = {"yours": compiled(seen.data.chat_template, seen.tokenizer, seen.text_tokenizer)}
    # Loaded anew: the evidence's tokenizer carries the configured template.
    own = load_tokenizer(seen.config.model).chat_template
    if isinstance(own, str) and own != seen.data.chat_template:
        found[OWN] = compiled(own, seen.tokenizer, seen.text_tokenizer)
    for known in KNOWN:
        if is_spoken(known, seen.text_tokenizer):
            found[known.name] = compiled(known.text, seen.tokenizer, seen.text_tokenizer)
    return found


def _first_token(seen: Evidence, yours: ChatTemplate, exchanges: list[tuple[str, str]]) -> str:
    """The BOS token, if your template prints it."""
    bos = seen.tokenizer.bos_token
    if not (bos and exchanges):
        return ""
    question, answer = exchanges[0]
    text = yours.render([{"role": "user", "content": question}, {"role": "assistant", "content": answer}], None)
    return str(bos) if text.startswith(bos) else ""


def _try(seen: Evidence, name: str, rows: list[Probe]) -> _Tried:
    losses = seen.base.token_losses([row.example for row in rows])
    ends = [float(own[-1]) if row.ends else math.nan for own, row in zip(losses, rows, strict=True)]
    answers = [float((own[:-1] if row.ends else own).sum()) for own, row in zip(losses, rows, strict=True)]
    return _Tried(name, np.array(ends), np.array(answers))


def _z(values: NDArray[np.float64]) -> float:
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) / error if error else 0.0


def _sign_z(values: NDArray[np.float64]) -> float:
    """Of the number above 0: a few answers that the base would never end there do not hide the rest."""
    return float((2 * (values > 0).sum() - len(values)) / math.sqrt(len(values)))


def _strangers(seen: Evidence) -> list[str]:
    """Texts in the template that look like control tokens and are none of this tokenizer's."""
    found = dict.fromkeys(CONTROL_TOKEN.findall(seen.data.chat_template or ""))
    return [text for text in found if text not in seen.text_tokenizer.added_texts]


ASKED, SAID = ("zqfirst", "zqthird"), ("zqsecond", "zqfourth")


def _replaced(seen: Evidence) -> Bad | None:
    """The configured template, where it writes turns otherwise than the tokenizer's own."""
    from trimtab.model.load import load_tokenizer

    text = seen.data.chat_template
    own = load_tokenizer(seen.config.model).chat_template
    if not isinstance(own, str) or text is None or own == text:
        return None
    yours, theirs = (_frame(compiled(one, seen.tokenizer, seen.text_tokenizer)) for one in (text, own))
    if theirs is None or yours is None or yours == theirs:
        return None
    here = next(at for at in range(len(FRAME)) if yours[at] != theirs[at])
    return Bad(
        value="data.chat_template is not the tokenizer's own",
        limit="turns are written as the tokenizer's own template writes them",
        evidence=f"{FRAME[here]} yours has {yours[here]!r}, {OWN} {theirs[here]!r}; the base does not show that it "
        "knows yours",
        fix="remove data.chat_template; or serve the model with the tokenizer that the run saves, and accept this",
    )


FRAME = ("between question and answer", "between answer and next question", "after the last answer")


def _frame(template: ChatTemplate) -> tuple[str, ...] | None:
    """What the template writes around turns, white space apart; None where it refuses a plain conversation."""
    turns = [
        {"role": role, "content": word}
        for asked, said in zip(ASKED, SAID, strict=True)
        for role, word in (("user", asked), ("assistant", said))
    ]
    try:
        text = template.render(turns, None)
    except RowProblem:
        return None
    places = [text.rfind(word) for pair in zip(ASKED, SAID, strict=True) for word in pair]
    if min(places) < 0 or places != sorted(places):
        return None
    ends = [place + len(word) for place, word in zip(places, [ASKED[0], SAID[0], ASKED[1], SAID[1]], strict=True)]
    pieces = (text[ends[0] : places[1]], text[ends[1] : places[2]], text[ends[3] :])
    return tuple("".join(piece.split()) for piece in pieces)
