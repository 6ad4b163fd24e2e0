"""Everything Trimtab does, one function a verb. The command line parses and prints; this is the rest.

Heavy libraries are imported when a function that needs them runs, so that importing this module is cheap.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.config import LoadedConfig, load_config
from trimtab.errors import Blocked, Interrupted, OutputError, TrimtabError
from trimtab.records import CheckReport, Device, Plan, RunDir, Status, Verdict

if TYPE_CHECKING:
    from rich.console import Console

    from trimtab.config import RunConfig
    from trimtab.data.prepare import PreparedData
    from trimtab.records import EvalRecord, ShownRow, ShownRows, StepRecord
    from trimtab.records.diagnosis import Sighting
    from trimtab.records.search import Leaderboard
    from trimtab.report.views import Page
    from trimtab.search.asked import AskTell
    from trimtab.search.planned import PlannedSearch
    from trimtab.search.run import Searched
    from trimtab.search.study import Watcher
    from trimtab.train.observer import Observer, Watch

Notify = Callable[[str], None]


@dataclass(frozen=True)
class TrainResult:
    """How a run ended, and where its records are."""

    verdict: Verdict
    run_dir: RunDir
    plan: Plan

    @property
    def exit_status(self) -> int:
        return self.verdict.exit_status


def train(
    config: LoadedConfig | Path | str,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    allow_changes: Collection[str] = (),
    accept: Collection[str] = (),
    console: Console | None = None,
    observers: Sequence[Observer] = (),
) -> TrainResult:
    """Check the run, and train as `config` says, into its `training.output_dir`.

    Args:
        config: A YAML file, or what `trimtab.config.load_config` made of one.
        overrides: `key.sub=value` strings; they win over the file.
        resume: Go on from the newest whole checkpoint in the output folder, if there is one.
        allow_changes: Config keys (or "data") that may differ from the run that is resumed.
        accept: Rules whose findings do not stop the run, besides those in `checks.ignore`.
        console: Where to show progress; by default nowhere.
        observers: Watch each step and evaluation; see trimtab.train.observer.

    Raises:
        UserError: the request is wrong; nothing was started.
        Blocked: the checks refuse the run; nothing was started.
    """
    loaded = config if isinstance(config, LoadedConfig) else load_config(Path(config), overrides)
    settings = loaded.config
    run_dir = RunDir(settings.training.output_dir)

    from trimtab.train.output import check_output
    from trimtab.train.trackers import tracker_names

    check_output(run_dir, resume=resume)
    tracker_names(settings.training.report_to)

    from trimtab.checks.accepted import accepted_rules

    accepted = accepted_rules(settings, accept)

    from trimtab.model.libraries import import_libraries

    import_libraries(adapter=settings.adapter is not None)
    from trimtab import preflight
    from trimtab.checks.shown import kept_rows
    from trimtab.model.device import find_device
    from trimtab.report.checked import show_checked
    from trimtab.report.live_page import LivePage
    from trimtab.report.planned import plan_lines
    from trimtab.report.progress import Progress
    from trimtab.report.speak import say
    from trimtab.train.assemble import assemble
    from trimtab.train.processes import Processes
    from trimtab.train.run import train_run

    device = find_device(use_cpu=settings.training.use_cpu)
    processes = Processes(device, use_cpu=settings.training.use_cpu)
    shown = console if processes.is_main else None
    notices: list[str] = []
    worst: list[ShownRows] = []

    def notify(line: str) -> None:
        notices.append(line)
        say(shown, [line])

    for notice in loaded.notices:
        notify(notice)
    if settings.training.fsdp and processes.count == 1:
        notify("fsdp: there is one process, so there is nothing to shard; start several with torchrun")

    def decide(data: PreparedData, device: Device, keep: Plan | None) -> tuple[Plan, list[str]]:
        return preflight.plan_for(loaded, data, device, here=processes.device, keep=keep)

    def vet(made: Plan, data: PreparedData, tokenizer: Any, load_model: Callable[[], Any]) -> CheckReport:
        seen = preflight.evidence(loaded, made, data, tokenizer, load_model)
        report = preflight.run_all(seen, accepted)
        if report.findings:
            show_checked(shown, report.model_copy(update={"passed": (), "not_looked": ()}))
        worst.append(kept_rows(seen, report))
        preflight.refuse_if_blocked(report, run_dir, worst[0])
        return report

    page = LivePage(run_dir, notify, is_wanted=processes.is_main and settings.report.page)
    is_done = False
    try:
        run, checkpoint = assemble(
            loaded,
            run_dir,
            processes,
            resume=resume,
            allowed=allow_changes,
            notices=notices,
            notify=notify,
            accepted=accepted,
            decide=decide,
            on_plan=lambda plan: say(shown, plan_lines(plan, run_dir)),
            vet=vet,
        )
        run = replace(run, rows=worst[0] if worst else None)
        watch = _guard(settings)
        told = [page, *observers]
        if shown is None:
            verdict = train_run(run, checkpoint, told, notify, watch)
        else:
            before = None if checkpoint is None else checkpoint.state
            earlier = [] if before is None else _earlier(run_dir, before.global_step)
            clip = settings.training.max_grad_norm
            with Progress(shown, run.plan, max_grad_norm=clip, before=before, earlier=earlier) as progress:
                verdict = train_run(run, checkpoint, [progress, *told], notify, watch)
        page.end()
        is_done = True
    except Blocked:
        page.end()
        raise
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted outside the training loop; what {run_dir.path} held before is whole (go on with --resume)"
        ) from None
    except MemoryError as error:
        raise TrimtabError(_out_of_memory(str(error))) from None
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        raise TrimtabError(_out_of_memory(str(error))) from None
    finally:
        run_dir.unlock()
        page.close()
        processes.end(together=is_done)
    return TrainResult(verdict, run_dir, run.plan)


def _earlier(run_dir: RunDir, step: int) -> list[StepRecord | EvalRecord]:
    """What the run that is resumed measured up to `step`, in its order."""
    records = [record for some in run_dir.read_metrics() for record in some if record.step <= step]
    return sorted(records, key=lambda record: (record.step, record.kind == "eval"))


def _guard(settings: RunConfig) -> Watch | None:
    """Who watches the run, if anybody does."""
    if settings.guard.mode == "off":
        return None
    from trimtab.guard.guard import Guard

    return Guard(settings.guard)


@dataclass(frozen=True)
class SearchResult:
    """How a search ended."""

    leaderboard: Leaderboard
    folder: Path
    best: Path | None
    """The best trial's config, to be trained in full; None where every trial was lost."""
    onward: RunDir | None
    """The run that begins with the best trial's own steps; None where it is to start afresh."""

    @property
    def exit_status(self) -> int:
        """1 where there is nothing to be trained in full."""
        return 0 if self.best is not None and not self.leaderboard.is_no_better_than_base else 1

    @property
    def is_begun(self) -> bool:
        """The full run of the best has steps already: the trial's, or its own."""
        return self.onward is not None or RunDir(self.folder / "best").holds_a_run()

    @property
    def train_command(self) -> list[str]:
        """What trains the best in full."""
        return ["trimtab", "train", str(self.best), *(["--resume"] if self.is_begun else [])]


def search(
    config: Path | str,
    overrides: Sequence[str] = (),
    *,
    space: Mapping[str, Any] | None = None,
    resume: bool = False,
    accept: Collection[str] = (),
    console: Console | None = None,
) -> SearchResult:
    """Find the best of many configurations: trials train together over one base, on the beginning of the full run, and
    leave early unless they are good.

    Args:
        config: A YAML file with a `search:` section.
        space: Instead of its `search.space`: key → values.
        resume: Go on with the search in the output folder.
        accept: Rules whose findings do not stop it, besides those in `checks.ignore`.
        console: Where to show how it stands; by default nowhere.

    Raises:
        UserError: the request is wrong; nothing was started.
        Blocked: the checks refuse the config; nothing was started.
    """
    from trimtab.checks.accepted import accepted_rules

    given = _with_space(overrides, space)
    settings = load_config(Path(config), given).config
    accepted = accepted_rules(settings, accept)

    from trimtab.model.libraries import import_libraries

    import_libraries(adapter=True)
    from trimtab.report.leaderboard import grid_lines, leaderboard_lines
    from trimtab.report.live_page import LivePage
    from trimtab.report.speak import say
    from trimtab.search.paged import Paged
    from trimtab.search.run import search as run_search
    from trimtab.search.shown import Shown
    from trimtab.search.told import Told

    def notify(line: str) -> None:
        say(console, [line])

    def run(viewers: Sequence[Watcher], on_tick: Callable[[Sequence[str], int], None]) -> Searched:
        try:
            return run_search(
                Path(config), given, resume=resume, accepted=accepted, viewers=viewers, notify=notify, on_tick=on_tick
            )
        except KeyboardInterrupt:
            raise Interrupted("interrupted; finished trials are kept: go on with --resume") from None
        except OSError as error:
            raise OutputError(f"the search's records cannot be written ({error}); go on with --resume") from None
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and type(error).__name__ != "OutOfMemoryError":
                raise
            raise TrimtabError(_out_of_memory(str(error))) from None

    page = LivePage(RunDir(settings.training.output_dir), notify, is_wanted=settings.report.page)
    try:
        if console is not None and console.is_interactive:
            with Shown(console) as table:
                found = run((Told(notify, is_brief=True), Paged(page), table), table.on_tick)
        else:
            found = run((Told(notify), Paged(page)), lambda names, step: None)
        page.end()
    finally:
        page.close()
    board = found.leaderboard
    say(console, ["", *leaderboard_lines(board), "", *grid_lines(board)])
    return SearchResult(board, found.folder, found.best, found.onward)


def ask_tell(
    config: Path | str,
    overrides: Sequence[str] = (),
    *,
    space: Mapping[str, Any] | None = None,
    resume: bool = False,
) -> AskTell:
    """A search for a training loop of your own: it says what to train and how far, is told losses, and decides.

    Args:
        config: As for `search`; so are `space` and `resume`.

    Raises:
        UserError: the request is wrong.
    """
    from trimtab.model.libraries import import_libraries

    import_libraries(adapter=True)
    from trimtab.search.asked import AskTell
    from trimtab.search.opened import opened

    given = _with_space(overrides, space)
    return AskTell(opened(Path(config), given, resume=resume, accepted=(), notify=lambda line: None, checked=False))


def _with_space(overrides: Sequence[str], space: Mapping[str, Any] | None) -> list[str]:
    return [*overrides, *([f"search.space={json.dumps(dict(space))}"] if space is not None else [])]


@dataclass(frozen=True)
class PlanResult:
    """What a run would do and need; lines about values that became something else."""

    plan: Plan
    notices: tuple[str, ...]
    path: Path | None
    """Where plan.json was written."""
    search: PlannedSearch | None = None
    """Where the config has a space to search."""

    @property
    def exit_status(self) -> int:
        """1 where the run would not fit its device."""
        return 0 if self.plan.memory is None or self.plan.memory.fits else 1


def plan(
    config: LoadedConfig | Path | str,
    overrides: Sequence[str] = (),
    *,
    gpu: str | None = None,
    devices: int = 1,
    write: bool = True,
) -> PlanResult:
    """Every number of a run with its reason, its memory and its cost, before it starts. Needs the data and the model's
    config.json; no weights, no GPU.

    Args:
        gpu: A GPU that need not be here: a name in trimtab.plan.gpus, or NAME=GiB,TFLOPS. By default this machine.
        devices: How many of them train together.
        write: Also write plan.json into the run's folder.

    Raises:
        UserError: the request is wrong.
    """
    loaded = config if isinstance(config, LoadedConfig) else load_config(Path(config), overrides)
    notices = list(loaded.notices)

    from trimtab.model.libraries import import_libraries

    import_libraries(adapter=loaded.config.adapter is not None)
    from trimtab import preflight

    device, here = preflight.device_for(loaded.config, gpu, devices)
    made, lines = preflight.plan_from_files(loaded, device, here)
    path, more = preflight.write_plan(made, RunDir(loaded.config.training.output_dir)) if write else (None, [])
    search = _planned_search(loaded, made, device, here) if loaded.config.search.space else None
    return PlanResult(made, (*notices, *lines, *more), path, search)


def _planned_search(loaded: LoadedConfig, made: Plan, device: Device, here: Any) -> PlannedSearch:
    from trimtab import preflight
    from trimtab.search.planned import planned, widest
    from trimtab.search.space import Space

    settings = loaded.config.search
    space = Space.parse(settings.space)
    wide = widest(loaded, space)
    return planned(settings, space, made if wide is loaded else preflight.plan_from_files(wide, device, here)[0])


@dataclass(frozen=True)
class CheckResult:
    """What the checks found, the plan that they judged, and the rows to look at."""

    report: CheckReport
    plan: Plan
    notices: tuple[str, ...]
    rows: tuple[ShownRow, ...] = ()
    untranslated: tuple[str, ...] = ()
    """What another tool's config asked for and this one has no word for."""

    @property
    def exit_status(self) -> int:
        return self.report.exit_status


def check(
    config: LoadedConfig | Path | str,
    overrides: Sequence[str] = (),
    *,
    source: str | None = None,
    accept: Collection[str] = (),
    gpu: str | None = None,
    show: int = 0,
) -> CheckResult:
    """The final checklist and the audit of every row, the cheapest rules first. Nothing is written.

    Args:
        source: Whose config it is: "axolotl", "llama-factory" or "trl"; by default ours.
        accept: Rules whose findings do not block, besides those in `checks.ignore`.
        gpu: As for `plan`: the device that the run would have.
        show: How many examples to show, token by token, the worst first.

    Raises:
        UserError: the request is wrong.
    """
    untranslated: tuple[str, ...] = ()
    if isinstance(config, LoadedConfig):
        loaded = config
    elif source is None:
        loaded = load_config(Path(config), overrides)
    else:
        from trimtab.config.foreign import translate_config

        translated = translate_config(source, Path(config), overrides)
        loaded, untranslated = translated.loaded, translated.untranslated

    from trimtab.checks.accepted import accepted_rules

    accepted = accepted_rules(loaded.config, accept)

    from trimtab.model.libraries import import_libraries

    import_libraries(adapter=loaded.config.adapter is not None)
    from trimtab import preflight

    device, here = preflight.device_for(loaded.config, gpu, 1)
    seen, lines = preflight.evidence_from_files(loaded, device, here)
    report = preflight.run_all(seen, accepted)
    rows: tuple[ShownRow, ...] = ()
    if show:
        from trimtab.checks.shown import shown_rows

        rows = tuple(shown_rows(seen, report, show))
    return CheckResult(report, seen.plan, (*loaded.notices, *lines), rows, untranslated)


@dataclass(frozen=True)
class DiagnoseResult:
    """A run judged by its records: the verdict, and how much there was to judge by."""

    verdict: Verdict
    """In verdict.json's shape; of a run of ours, its own with the curve's judgement added."""
    reason: str
    """Why the curve is judged so."""
    sightings: tuple[Sighting, ...]
    """What is seen in the curve, the worst first."""
    path: str
    source: str
    """The format that it was read as."""
    curve: str
    """How much was read, in a line."""
    remarks: tuple[str, ...]
    """What could not be read."""
    missing: tuple[str, ...]
    """What the records do not tell and a judgement would have used."""
    exit_status: int
    """0 for healthy, for a spike that has recovered, and for too little to judge; 1 for broken."""


def diagnose(path: Path | str) -> DiagnoseResult:
    """Judge any run by its records: a run folder of ours, or the log of another tool. No torch, no GPU, nothing is
    written.

    Args:
        path: A folder, a file, or "-" for standard input. What it is, its content says.

    Raises:
        LogError: there is nothing there, it is no log, or it has no losses in it.
    """
    from trimtab.diagnose.of_records import curve_in_a_line, exit_status, verdict_of
    from trimtab.diagnose.readers import read

    reading = read(path)
    verdict, sightings, reason = verdict_of(reading)
    return DiagnoseResult(
        verdict=verdict,
        reason=reason,
        sightings=sightings,
        path=reading.path,
        source=reading.trace.source,
        curve=curve_in_a_line(reading),
        remarks=reading.trace.remarks,
        missing=reading.trace.missing,
        exit_status=exit_status(verdict, sightings),
    )


@dataclass(frozen=True)
class ReportResult:
    """What a report tells, and where it was written."""

    page: Page
    path: Path | None
    """None where no file was asked for."""


def report(paths: Sequence[Path | str], *, output: Path | None = None, write: bool = True) -> ReportResult:
    """Show runs to a person: one self-contained HTML file. No torch, no GPU, no network.

    Args:
        paths: A run folder (whole, half-written, or going on), a search's folder, another tool's log; or several runs,
            which are shown side by side.
        output: The file to write; by default report.html in the folder, or here where there are several.
        write: Also write it; else only `page` is made.

    Raises:
        LogError: one of them is not there, or holds no run.
        OutputError: the file cannot be written, or is no report.
    """
    from trimtab.report.views import page_of
    from trimtab.report.written import default_output, write_page

    page = page_of(paths)
    if not write:
        return ReportResult(page, None)
    path = default_output(paths) if output is None else output
    write_page(page, path)
    return ReportResult(page, path)


def explain(rule: str | None = None) -> str:
    """A rule's manual page; without a name, one line for each rule.

    Raises:
        ConfigError: there is no such rule.
    """
    from trimtab.checks.manual import explain as page
    from trimtab.checks.manual import rule_list

    return rule_list() if rule is None else page(rule)


def _out_of_memory(said: str) -> str:
    first = said.splitlines()[0] if said else ""
    return (
        f"the memory ran out: {first}\nHalve training.per_device_train_batch_size and double "
        "gradient_accumulation_steps (the same run), then try training.gradient_checkpointing=true and "
        "model.load_in_4bit=true; docs/how-to/fit-on-16-gb.md has the whole list. --resume goes on from the last "
        "checkpoint."
    )


def init(data: str, model: str, *, output_dir: str = "runs/first", output: Path | None = None) -> str:
    """A commented config for a data set and a model, as YAML; also written to `output` if given. The data is looked at:
    what its rows were recognised as stands in the config.

    Raises:
        DataError: there is no such data, or its columns fit no format.
        OutputError: `output` exists already, or cannot be written.
    """
    from trimtab.config import DataConfig, starter_yaml
    from trimtab.data.prepare import look
    from trimtab.errors import OutputError

    text = starter_yaml(data, model, output_dir=output_dir, facts=look(DataConfig(train=data)))
    if output is not None:
        try:
            with output.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise OutputError(
                f"{output} exists already and is left as it is. Name another file: --output FILE"
            ) from None
        except OSError as error:
            raise OutputError(f"{output}: cannot be written: {error.strerror}") from None
    return text


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the config file."""
    from trimtab.config import json_schema

    return json_schema()


def generate(
    run: Path | str,
    prompts: Sequence[str],
    *,
    weights: str | None = None,
    base: bool = False,
    chat: bool = True,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 42,
) -> list[str]:
    """Answers of a run's model (or of its base alone) to `prompts`.

    Raises:
        ModelError: the folder is no run, or has no whole weights.
    """
    from trimtab.model.device import find_device
    from trimtab.model.generate import Sampling, answer
    from trimtab.model.load import DTYPES, load_base
    from trimtab.model.trained import find_weights, load_trained, load_trained_tokenizer

    run_dir = RunDir(run)
    folder = find_weights(run_dir, weights)
    config = load_config(run_dir.config).config
    device = find_device(use_cpu=config.training.use_cpu)
    compute = DTYPES[run_dir.read_plan().precision.value]
    sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed)
    if base:  # loaded for itself: some adapters (PiSSA, trained biases) change the base they lie on
        tokenizer = load_trained_tokenizer(config, folder)
        return answer(
            load_base(config.model, dtype=compute, compute_dtype=compute, device=device),
            tokenizer,
            prompts,
            sampling,
            chat=chat,
        )
    model, tokenizer = load_trained(config, folder, compute=compute, device=device)
    return answer(model, tokenizer, prompts, sampling, chat=chat)


@dataclass(frozen=True)
class ExportResult:
    """Where the merged model is, and what merging did to the loss (nats per target token, on the same rows)."""

    folder: Path
    trained_loss: float | None
    exported_loss: float | None
    rows: int
    base: str

    @property
    def sentence(self) -> str:
        if self.trained_loss is None or self.exported_loss is None:
            return f"exported to {self.folder}, merged into {self.base}\nloss not measured: the run's data is gone"
        return (
            f"exported to {self.folder}, merged into {self.base}\n"
            f"loss on {self.rows:,} rows: {self.trained_loss:.4f} as trained, {self.exported_loss:.4f} exported "
            f"({self.exported_loss - self.trained_loss:+.4f})"
        )


def export(
    run: Path | str,
    *,
    output: Path | None = None,
    weights: str | None = None,
    dtype: str = "auto",
    notify: Notify = lambda line: None,
) -> ExportResult:
    """Merge a run's adapter into the base it was trained on (dequantised if that was 4-bit), and measure the loss of
    what was written against the loss of what was trained.

    Raises:
        UserError: no run, no weights, an unknown dtype, an output folder that exists.
    """
    from trimtab.export import export_run

    return ExportResult(**export_run(RunDir(run), output=output, weights=weights, dtype=dtype, notify=notify))


def doctor() -> dict[str, str]:
    """Versions and devices."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from trimtab import __version__

    found = {"trimtab": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in (
        "torch",
        "transformers",
        "peft",
        "accelerate",
        "bitsandbytes",
        "datasets",
        "tokenizers",
        "safetensors",
        "pydantic",
        "numpy",
    ):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    import shutil

    import torch

    from trimtab.model.device import describe, find_device

    device = describe(find_device(use_cpu=False), processes=1)
    found["device"] = (
        f"{device.name}, {device.memory_bytes / 2**30:.0f} GiB, bf16 {'yes' if device.native_bf16 else 'no'}"
    )
    if torch.cuda.is_available():
        found["cuda"] = f"{torch.version.cuda}, {torch.cuda.device_count()} device(s)"
    found["free disk"] = f"{shutil.disk_usage('.').free / 2**30:.0f} GiB here"
    return found


def demo(
    *, curve: str = "healthy", output_dir: Path, resume: bool = False, console: Console | None = None
) -> TrainResult:
    """Train the embedded example, draw its curve, and ask it held-out questions before and after.

    `curve` chooses the learning rate: healthy, too-high or too-low.

    Raises:
        UserError: `curve` is none of them, or `output_dir` cannot be used.
    """
    from trimtab.demo import show
    from trimtab.report.speak import say

    config = show.demo_config(curve, output_dir)
    # A ruined run is stopped after ten steps; here its curve is to be seen to the end.
    accept = () if curve == "healthy" else ("loss-beyond-guessing-at-step-10",)
    result = train(config, resume=resume, accept=accept, console=console)
    if console is not None and result.verdict.status is not Status.STOPPED:
        questions = [show.question(row) for row in show.held_out_questions()]
        before, after = (
            show.graded(generate(output_dir, questions, base=base, max_new_tokens=show.LONGEST_ANSWER_TOKENS))
            for base in (True, False)
        )
        say(console, ["", *show.comparison_lines(before, after), ""])
    return result


def demo_files(folder: Path) -> dict[str, str]:
    """Write the demo's base and rows into `folder` as ordinary files, and train nothing: what each of them is, by name.

    Raises:
        OutputError: there is something in `folder` already, or it cannot be written.
    """
    from trimtab.demo.files import write_files

    return write_files(folder)


__all__ = [
    "CheckResult",
    "DiagnoseResult",
    "ExportResult",
    "PlanResult",
    "ReportResult",
    "SearchResult",
    "TrainResult",
    "ask_tell",
    "check",
    "demo",
    "demo_files",
    "diagnose",
    "doctor",
    "explain",
    "export",
    "generate",
    "init",
    "plan",
    "report",
    "schema",
    "search",
    "train",
]
