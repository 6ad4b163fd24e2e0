"""`trimtab check` on healthy data sets, each with a config that fits it: nothing may be blocked.

    python bench/healthy_data.py --shared FOLDER [--only SET]

FOLDER holds data/ and models/. Prints a Markdown table and what the warnings said. Exit status 1 if anything is blocked
that should not be. Sets of fewer than 100 rows stand apart: too-few-examples must block them, and nothing else may.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

STORIES = "stories260k-llama"
"""Pretrained, on short stories: 512 tokens of context and a vocabulary of 512."""
LLAMA_2, GPT_2 = "llama-2", "gpt2"
"""Real tokenizers on tiny random models: the weights know nothing, and the rules that ask the base will say so."""
TOO_FEW = "too-few-examples"


@dataclass(frozen=True)
class DataSet:
    """One healthy set. `make` writes rows of nested files as messages; `data` are keys of `data:`."""

    name: str
    file: str
    model: str = LLAMA_2
    data: dict[str, Any] = field(default_factory=dict)
    make: Callable[[Path, Path], None] | None = None


def _seeds(source: Path, made: Path) -> None:
    """Self-Instruct keeps inputs and outputs in a list of instances."""
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    _write(made, [{"instruction": row["instruction"], **row["instances"][0]} for row in rows])


def _chosen(source: Path, made: Path) -> None:
    """Of preference pairs, the answers that were preferred."""
    rows = json.loads(source.read_text(encoding="utf-8"))
    _write(made, [{"conversations": [*row["conversations"], row["chosen"]]} for row in rows])


def _code_both_ways(source: Path, made: Path) -> None:
    """Write code, and describe it: every answer stands in another row's prompt."""
    rows = []
    for row in json.loads(source.read_text(encoding="utf-8"))[:600]:
        asked = f"{row['instruction']}\n{row['input']}".strip()
        rows.append({"prompt": f"Write code: {asked}", "completion": row["output"]})
        rows.append({"prompt": f"Describe this code: {row['output']}", "completion": row["instruction"]})
    _write(made, [row for row in rows if row["completion"].strip()])


def _translated_both_ways(source: Path, made: Path) -> None:
    """The file has each sentence in fifteen languages, in the same order."""
    lines = [line for line in source.read_text(encoding="utf-8").splitlines() if line]
    rows = []
    for at in range(0, len(lines) - 14, 15):
        english, french = lines[at + 4], lines[at + 6]
        rows.append({"prompt": f"Translate to French: {english}", "completion": french})
        rows.append({"prompt": f"Translate to English: {french}", "completion": english})
    _write(made, rows)


def _continued(source: Path, made: Path) -> None:
    """A text in pieces, each the answer to the one before."""
    text = source.read_text(encoding="utf-8").replace("\n", " ")
    pieces = [text[at : at + 400] for at in range(0, 400 * 800, 400)]
    _write(made, [{"prompt": one, "completion": other} for one, other in pairwise(pieces)])


def _utterance_pairs(source: Path, made: Path) -> None:
    """Dialogues cut into pairs: (1st, 2nd), (2nd, 3rd) and so on."""
    rows = []
    for row in json.loads(source.read_text(encoding="utf-8")):
        said = [turn["value"] for turn in row["conversations"] if turn["from"] in ("human", "gpt")]
        rows += [{"prompt": one, "completion": other} for one, other in pairwise(said)]
    _write(made, rows)


def _turn_by_turn(source: Path, made: Path) -> None:
    """Dialogues written out: each answer a row, after all that was said before it."""
    rows = []
    for row in json.loads(source.read_text(encoding="utf-8")):
        said = [turn["value"] for turn in row["conversations"] if turn["from"] in ("human", "gpt")]
        rows += [{"prompt": "\n".join(said[:at]), "completion": said[at]} for at in range(1, len(said), 2)]
    _write(made, rows)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")


SETS = (
    DataSet("gsm8k", "gsm8k/train-2000.jsonl"),
    DataSet("gsm8k, pretrained base", "gsm8k/train-2000.jsonl", STORIES),
    DataSet("alpaca-en", "alpaca-en/alpaca_en_demo.json"),
    DataSet("alpaca-en, pretrained base", "alpaca-en/alpaca_en_demo.json", STORIES, {"overflow": "drop"}),
    DataSet("alpaca-zh", "alpaca-zh/alpaca_zh_demo.json"),
    DataSet("sharegpt-toolcalls", "sharegpt-toolcalls/glaive_toolcall_en_demo.json"),
    DataSet("chat-messages, conversations", "chat-messages/conversations.jsonl"),
    DataSet("chat-messages, v1_sft", "chat-messages/v1_sft_demo.jsonl"),
    DataSet("code-alpaca", "code-alpaca/code_alpaca_2k.json", GPT_2),
    DataSet("self-instruct-seeds", "self-instruct-seeds/seed_tasks.jsonl", make=_seeds),
    DataSet("gpteacher-roleplay", "gpteacher-roleplay/roleplay-2000.json"),
    DataSet(
        "gpteacher-roleplay, pretrained base", "gpteacher-roleplay/roleplay-2000.json", STORIES, {"overflow": "drop"}
    ),
    DataSet("long-prompts, duorc", "long-prompts/duorc_ParaphraseRC_extract_answer.jsonl", data={"max_length": 8192}),
    DataSet("long-prompts, multi_news", "long-prompts/multi_news_summarize.jsonl", data={"max_length": 8192}),
    DataSet("raw-text, c4", "raw-text/c4_demo.jsonl"),
    DataSet("raw-text, wiki", "raw-text/wiki_demo.txt", data={"max_length": 8192}),
    DataSet("raw-text, tinystories", "raw-text/tinystories_sample.txt", STORIES),
    DataSet("raw-text, multilingual", "raw-text/multilingual-sentences.txt"),
    DataSet("preference, chosen", "preference/dpo_en_demo.json", make=_chosen),
    DataSet("alpaca-en, identity", "alpaca-en/identity.json"),
    DataSet("small-fixtures, alpaca", "small-fixtures/alpaca.json"),
    DataSet("small-fixtures, alpaca_tiny", "small-fixtures/alpaca_tiny.json"),
    DataSet("small-fixtures, dolly", "small-fixtures/dolly.json"),
    DataSet("small-fixtures, longform", "small-fixtures/longform_train.json"),
    DataSet("small-fixtures, sharegpt", "small-fixtures/sharegpt-one-conversation.json"),
    *(
        DataSet(f"constructed, {name}", file, STORIES, {"overflow": "drop"}, make)
        for name, file, make in (
            ("code both ways", "code-alpaca/code_alpaca_2k.json", _code_both_ways),
            ("French both ways", "raw-text/multilingual-sentences.txt", _translated_both_ways),
            ("text continued", "raw-text/wiki_demo.txt", _continued),
            ("utterance pairs", "sharegpt-toolcalls/glaive_toolcall_en_demo.json", _utterance_pairs),
            ("turn by turn", "sharegpt-toolcalls/glaive_toolcall_en_demo.json", _turn_by_turn),
        )
    ),
)


def tiny_model(tokenizer: Path, folder: Path) -> Path:
    """A Llama with random weights around a real tokenizer."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    loaded = AutoTokenizer.from_pretrained(tokenizer)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(loaded),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=loaded.bos_token_id,
        eos_token_id=loaded.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    loaded.save_pretrained(folder)
    return folder


def check_one(one: DataSet, shared: Path, work: Path) -> tuple[Any, float]:
    """The result of `trimtab check`, and the seconds it took."""
    import yaml

    from trimtab import api

    data = shared / "data" / one.file
    if one.make is not None:
        made = work / f"{data.stem}.jsonl"
        one.make(data, made)
        data = made
    if one.model == STORIES:
        model = shared / "models" / STORIES
    else:
        model = work / one.model
        if not model.exists():
            tiny_model(shared / "data" / "tokenizers" / one.model, model)
    config = {
        "model": {"name_or_path": str(model)},
        "data": {"train": str(data), "workers": 1, **one.data},
        "training": {"output_dir": str(work / "run"), "report_to": "none", "use_cpu": True},
    }
    path = work / "config.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    started = time.monotonic()
    return api.check(path), time.monotonic() - started


def main() -> int:
    """The whole table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True, help="the folder that holds data/ and models/")
    parser.add_argument("--only", default="", help="sets whose name contains this")
    asked = parser.parse_args()
    wrong, said = [], []
    print("| set | rows | verdict | blocking rules | warnings | notes | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        os.environ.setdefault("TRIMTAB_CACHE", str(work / "cache"))
        for one in (one for one in SETS if asked.only in one.name):
            result, seconds = check_one(one, asked.shared.resolve(), work)
            found: dict[str, list[str]] = {"blocks": [], "warns": [], "notes": []}
            for finding in result.report.findings:
                found[finding.severity.value].append(finding.rule)
                told = f"{finding.value} (limit: {finding.limit}): {finding.evidence} Fix: {finding.fix}"
                said.append(f"- {one.name}: **{finding.rule}** {finding.severity.value}: {told}")
            examples = result.plan.examples.value
            is_text = one.name.startswith("raw-text")  # there too-few-examples warns
            expected = [TOO_FEW] if examples < 100 and not is_text else []
            if found["blocks"] != expected:
                wrong.append(one.name)
            rules = " | ".join(", ".join(found[severity]) or "-" for severity in found)
            print(f"| {one.name} | {examples:,} | {result.report.verdict} | {rules} | {seconds:.1f} |", flush=True)
    print("\nWhat was said:\n")
    print("\n".join(said))
    if wrong:
        print(f"\nBlocked wrongly, or not blocked as it should be: {', '.join(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
