"""Every command of README and docs is typed here, page by page, each page in a folder of its own; every config is read
and every Python block runs. What cannot be run says why in the page (tests/support/pages.py)."""

from __future__ import annotations

import json
import os
import runpy
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.cli import trimtab
from support.demo_base import BASE, TRAIN
from support.pages import ROOT, Block, blocks, followed_pages

from trimtab.config import load_config

PAGES = followed_pages()

STAND_INS = {"mistralai/Mistral-7B-v0.3": str(BASE)}
"""A model that is on no test machine, and the embedded one in its place."""

SMALL = f"""\
model: {{name_or_path: {BASE}}}
data: {{train: train.jsonl, validation: val.jsonl}}
adapter: {{r: 4}}
training: {{output_dir: runs/first, max_steps: 4, per_device_train_batch_size: 4, report_to: none}}
"""


def _rows(start: int, end: int) -> str:
    return "".join(TRAIN.read_text(encoding="utf-8").splitlines(keepends=True)[start:end])


LOG = "".join(
    json.dumps({"loss": 2.5 * 0.9**at + 0.5 + at % 3 / 100, "grad_norm": 1.0, "learning_rate": 1e-4, "step": 10 * at})
    + "\n"
    for at in range(1, 51)
)
ROWS = {"train.jsonl": _rows(0, 120), "val.jsonl": _rows(120, 140)}

GIVEN: dict[str, dict[str, str | bytes]] = {
    "README.md": ROWS,
    "docs/how-to/plan-a-run.md": {**ROWS, "trimtab.yaml": SMALL},
    "docs/how-to/fit-on-16-gb.md": {**ROWS, "trimtab.yaml": SMALL},
    "docs/how-to/resume.md": {**ROWS, "trimtab.yaml": SMALL},
    "docs/how-to/check-another-tools-config.md": {
        **ROWS,
        "qlora.yml": f"base_model: {BASE}\nadapter: lora\nlearning_rate: 0.0002\nlora_r: 8\nlora_alpha: 16\n"
        "lora_target_linear: true\n"
        "datasets: [{path: train.jsonl, ds_type: json, type: chat_template}]\nnum_epochs: 1\nval_set_size: 0.1\n",
        "examples/train_lora/sft.yaml": f"model_name_or_path: {BASE}\nstage: sft\ndo_train: true\n"
        "finetuning_type: lora\ndataset: mine\ntemplate: qwen\ncutoff_len: 256\nval_size: 0.1\n",
        "data/dataset_info.json": '{"mine": {"file_name": "../train.jsonl", "formatting": "sharegpt", "columns": '
        '{"messages": "messages"}, "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", '
        '"assistant_tag": "assistant"}}}',
        "sft.yaml": f"model_name_or_path: {BASE}\ndataset_name: train.jsonl\nuse_peft: true\n",
    },
    "docs/how-to/read-a-report.md": {
        "checkpoint-500/trainer_state.json": '{"log_history": [' + ", ".join(LOG.splitlines()) + "]}"
    },
    "docs/how-to/diagnose-a-log.md": {
        "runs/first/metrics.jsonl": LOG,
        "checkpoint-500/trainer_state.json": '{"log_history": [' + ", ".join(LOG.splitlines()) + "]}",
        "lightning_logs/version_0/metrics.csv": "step,train_loss\n"
        + "".join(f"{at},{3.0 * 0.95**at + 0.3:.3f}\n" for at in range(60)),
        "train.py": f"print({LOG!r})",
        "wandb/run-1.wandb": (ROOT / "tests" / "fixtures" / "logs" / "offline.wandb").read_bytes(),
    },
}
"""What a page takes to be there already, by the page."""

NAMES: dict[str, dict[str, Any]] = {
    "docs/how-to/choose-a-learning-rate.md": {"train_it": lambda config, start, until: ([1.0 / until] * 32, [1] * 32)},
}
"""What the Python of a page takes to be defined."""

QUIET = ["report.samples=0", "report.recited=0", "report.page=false"]
SHORTER: dict[str, list[str]] = {
    **{str(page.relative_to(ROOT)): QUIET for page in PAGES if page.name != "read-a-report.md"},
    "README.md": ["training.max_steps=2", "training.gradient_accumulation_steps=1", "search.repeats=0", *QUIET],
    "docs/tutorial.md": ["training.eval_steps=12", *QUIET],
    "docs/how-to/choose-a-learning-rate.md": ["training.max_steps=10", "search.repeats=0", *QUIET],
}
"""What the commands of a page that name a config are given besides: a run on somebody's own data takes its time, and
what a model says before and after is asked on the page of reports."""

ON_CHECKS = ("README.md", "docs/tutorial.md", "docs/how-to/check-a-run.md", "docs/how-to/look-at-the-data.md")
"""Pages whose commands are about what the rules find in the rows."""

REASONS = ("the set-up", "needs a GPU", "needs several devices")
"""What may keep a command from being run."""

MOST_NOT_RUN = 12

TAKE_A_CONFIG = ("plan", "check", "train", "search")

SHELL = set("|<>&;$*`")


def test_what_is_not_run_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = [block for page in PAGES for block in blocks(page) if block.not_run is not None]
    for block in skipped:
        assert block.not_run in REASONS, f"{block.where}: {block.not_run!r} is none of {REASONS}"
        for command in block.commands or [block.language]:
            print(f"{block.where}: {command}  ({block.not_run})")
    assert sum(len(block.commands) or 1 for block in skipped) <= MOST_NOT_RUN


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_can_be_followed(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    name = str(page.relative_to(ROOT))
    monkeypatch.chdir(tmp_path)
    for file, text in GIVEN.get(name, {}).items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    _leave_out_what_takes_longest(monkeypatch, rules_on_rows=name in ON_CHECKS)
    terminal = Terminal(tmp_path, capfd, SHORTER.get(name, []))
    terminal.names |= NAMES.get(name, {})
    try:
        for block in blocks(page):
            if block.not_run is None:
                _follow(block, terminal)
    finally:
        terminal.close()


def _follow(block: Block, terminal: Terminal) -> None:
    if block.title is not None:
        path = terminal.folder / block.title
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_with_stand_ins(block.text), encoding="utf-8")
    if block.language in ("yaml", "yml"):
        _read_config(block, terminal.folder)
    elif block.language == "python" and block.title is None:
        exec(compile(block.text, block.where, "exec"), terminal.names)
    for at, command in enumerate(block.commands):
        if "background" in block.said:
            terminal.start(_with_stand_ins(command))
            continue
        status, output = terminal.type(_with_stand_ins(command))
        assert status == block.status_of(at), f"{block.where}: $ {command}\nexit status {status}:\n{output}"


def _read_config(block: Block, folder: Path) -> None:
    """A whole config is read as it is, a part of one with what it lacks."""
    path = folder / ".config-of-the-page.yaml"
    text = _with_stand_ins(block.text)
    for section, least in (("model", "{name_or_path: base}"), ("data", "{train: train.jsonl}")):
        if f"{section}:" not in {line.split(" ")[0] for line in text.splitlines()}:
            text += f"{section}: {least}\n"
    path.write_text(text, encoding="utf-8")
    load_config(path)
    path.unlink()


def _with_stand_ins(text: str) -> str:
    for name, instead in STAND_INS.items():
        text = text.replace(name, instead)
    return text


class Terminal:
    """Where a page's commands are typed. `trimtab` and `python FILE` run in this process, by their entry points: the
    imports, five seconds each time, are paid once. What needs a shell gets one, with the same `trimtab` on its PATH."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str], besides: list[str]) -> None:
        self.folder, self._capfd, self._besides = folder, capfd, besides
        self.names: dict[str, Any] = {"__name__": "page"}
        """What the page's Python blocks have defined."""
        self._started: list[subprocess.Popen[bytes]] = []
        self._port = str(_free_port())
        self._programs = folder / ".programs"
        self._programs.mkdir()
        for program, call in (("trimtab", "-m trimtab"), ("python", "")):
            script = self._programs / program
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {call} "$@"\n', encoding="utf-8")
            script.chmod(0o755)

    def type(self, command: str) -> tuple[int, str]:
        """Exit status and output."""
        words = shlex.split(command, comments=True)
        into = words.pop() if words[-2:-1] == [">"] else None
        if into is not None:
            words.pop()
        if words[0] == "trimtab" and not SHELL & set("".join(words)):
            besides = self._besides if words[1] in TAKE_A_CONFIG else []
            ended = trimtab(*words[1:], *besides, capfd=self._capfd)
            if into is not None:
                (self.folder / into).write_text(ended.shown, encoding="utf-8")
            return ended.status, ended.output
        if words[0] == "python" and len(words) == 2 and words[1].endswith(".py"):
            return self._run_file(words[1])
        ran = subprocess.run(
            ["bash", "-o", "pipefail", "-c", self._at_my_port(command)],
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        return ran.returncode, ran.stdout + ran.stderr

    def start(self, command: str) -> None:
        log = (self.folder / ".background.log").open("ab")
        self._started.append(
            subprocess.Popen(
                ["bash", "-c", self._at_my_port(command)],
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        )

    def close(self) -> None:
        for process in self._started:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self._programs)

    def _run_file(self, name: str) -> tuple[int, str]:
        self._capfd.readouterr()
        try:
            runpy.run_path(name, run_name="__main__")
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        else:
            status = 0
        shown, error = self._capfd.readouterr()
        return status, shown + error

    def _at_my_port(self, command: str) -> str:
        """Servers of pages that are followed at once must not meet."""
        return command.replace("8000", self._port)

    def _environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(self._programs), str(Path(sys.executable).parent), os.environ["PATH"]])
        python_path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
        return os.environ | {"PATH": path, "PYTHONPATH": python_path}


def _leave_out_what_takes_longest(monkeypatch: pytest.MonkeyPatch, *, rules_on_rows: bool) -> None:
    """The rehearsal and the rules that ask the base would be three quarters of the time; tests/cli has them."""
    from trimtab import preflight
    from trimtab.checks.rule import Stage
    from trimtab.plan.planner import plan

    def unrehearsed(loaded: Any, size: Any, train: Any, validation: Any, device: Any, *, here: Any, keep: Any) -> Any:
        return plan(loaded.config, loaded.origins, size, device, keep=keep)

    dearest = Stage.BASE if rules_on_rows else Stage.DATA
    monkeypatch.setattr(preflight, "rehearsed_plan", unrehearsed)
    monkeypatch.setattr(preflight, "RULES", tuple(rule for rule in preflight.RULES if rule.stage < dearest))


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("localhost", 0))
        port: int = opened.getsockname()[1]
        return port
