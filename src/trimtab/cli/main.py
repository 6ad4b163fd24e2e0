"""The verbs. Everything heavy is imported inside the verb that needs it: `trimtab --help` must answer at once."""

from __future__ import annotations

import gc
import io
import logging
import os
import shlex
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from trimtab.errors import Interrupted, TrimtabError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from trimtab.api import TrainResult

app = typer.Typer(
    name="trimtab",
    help="Fine-tunes language models and keeps the run on course.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigFile = Annotated[Path, typer.Argument(help="A YAML config; `trimtab init` writes one.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="key.sub=value, e.g. training.learning_rate=1e-4; wins over the file.", show_default=False),
]
RunFolder = Annotated[Path, typer.Argument(help="A run's folder.", show_default=False)]
Weights = Annotated[
    str | None,
    typer.Option(help="Which weights of the run: final (usual), best or checkpoint-N.", show_default=False),
]

Accept = Annotated[
    list[str] | None,
    typer.Option(help="A rule whose finding does not block the run; repeatable.", show_default=False),
]
Gpu = Annotated[
    str | None,
    typer.Option(
        help="Plan for this GPU instead of this machine: T4, RTX-3090, RTX-4090, L4, A100-40, A100-80, H100, H200, or "
        "any other as NAME=GiB,TFLOPS.",
        show_default=False,
    ),
]
MOST_UNDRAWN = 3
"""Steps: so few are no curve."""
AsJson = Annotated[bool, typer.Option("--json", help="Print the record as JSON, and nothing else.")]


@app.callback(invoke_without_command=True)
def trimtab(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from trimtab import __version__

        print(f"trimtab {__version__}")
        raise typer.Exit


@app.command()
def plan(
    config: ConfigFile,
    overrides: Overrides = None,
    gpu: Gpu = None,
    devices: Annotated[int, typer.Option(min=1, help="How many of them train together.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Decide and explain every number of a run: steps, learning rate, memory, time. No weights and no GPU needed."""
    from trimtab import api

    result = api.plan(config, overrides or (), gpu=gpu, devices=devices)
    if as_json:
        for line in result.notices:
            _say(line)
        print(result.plan.model_dump_json(indent=2))
    else:
        from trimtab.report.plan_page import plan_page

        for line in (*result.notices, "", *plan_page(result.plan)):
            print(line)
        if result.search is not None:
            from trimtab.search.planned import planned_lines

            print("\nSearch\n──────")
            for line in planned_lines(result.search):
                print(line)
        if result.path is not None:
            print(f"\nwritten to {result.path}; next: trimtab check {config}")
    raise typer.Exit(result.exit_status)


@app.command()
def check(
    config: ConfigFile,
    overrides: Overrides = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", help="CONFIG is another tool's: axolotl, llama-factory or trl (trl sft).", show_default=False
        ),
    ] = None,
    show: Annotated[
        int, typer.Option("--show", min=0, help="Also show so many examples, token by token, the worst first.")
    ] = 0,
    accept: Accept = None,
    gpu: Gpu = None,
    as_json: AsJson = False,
) -> None:
    """Look at a run before it starts: the final checklist, and every row. Exit status 1 if it is refused."""
    from trimtab import api

    result = api.check(config, overrides or (), source=source, accept=accept or (), gpu=gpu, show=show)
    untranslated = [f"not translated: {line}" for line in result.untranslated]
    if as_json:
        for line in (*result.notices, *untranslated):
            _say(line)
        print(result.report.model_dump_json(indent=2))
        raise typer.Exit(result.exit_status)
    from trimtab.report.checked import show_checked
    from trimtab.report.rows import show_rows
    from trimtab.report.speak import say

    console = _console()
    say(console, [*result.notices, *untranslated])
    show_checked(console, result.report)
    show_rows(console, result.rows)
    raise typer.Exit(result.exit_status)


@app.command()
def diagnose(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A run's folder, or a log of any tool: trainer_state.json, trainer_log.jsonl, TensorBoard or W&B "
            "files, CSV, what a run printed; - is standard input.",
            show_default=False,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Judge a run by its records: what is wrong, since when, why, and what to do. Exit status 1 if it is broken."""
    from trimtab import api

    result = api.diagnose(path)
    if as_json:
        print(result.verdict.model_dump_json(indent=2))
        raise typer.Exit(result.exit_status)
    from trimtab.report.diagnosed import diagnosed_lines
    from trimtab.report.speak import say

    lines = diagnosed_lines(
        result.verdict,
        reason=result.reason,
        read=f"{result.path} as {result.source}: {result.curve}",
        sightings=result.sightings,
        remarks=result.remarks,
        missing=result.missing,
    )
    say(_console(), lines)
    raise typer.Exit(result.exit_status)


@app.command()
def explain(
    rule: Annotated[str | None, typer.Argument(help="A rule's name; without it, all of them.", show_default=False)] = (
        None
    ),
) -> None:
    """Print the manual page of a rule: what it finds, why it matters, what to do, what it cannot see."""
    from trimtab import api

    print(api.explain(rule))


@app.command()
def train(
    config: ConfigFile,
    overrides: Overrides = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest whole checkpoint of the output folder.")
    ] = False,
    allow_change: Annotated[
        list[str] | None,
        typer.Option(
            help="With --resume: a config key (or `data`) that may differ from the run so far; repeatable.",
            show_default=False,
        ),
    ] = None,
    accept: Accept = None,
) -> None:
    """Check the run, and train as CONFIG says."""
    from trimtab import api

    result = api.train(
        config,
        overrides or (),
        resume=resume,
        allow_changes=allow_change or (),
        accept=accept or (),
        console=_console(),
    )
    if not _is_main_process():
        raise typer.Exit(result.exit_status)
    _tell_ending(result, ["trimtab", "train", str(config), *(overrides or ())])
    raise typer.Exit(result.exit_status)


@app.command()
def search(
    config: ConfigFile,
    overrides: Overrides = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Every trial does all its steps, with a schedule of its own that ends with them."),
    ] = False,
    train: Annotated[bool, typer.Option("--train", help="Then train the best in full, from where it stands.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a search that was stopped.")] = False,
    engine: Annotated[
        str | None, typer.Option(help="local: this machine; ray: the devices of a Ray cluster (RAY_ADDRESS).")
    ] = None,
    accept: Accept = None,
    as_json: AsJson = False,
) -> None:
    """Find learning rate, rank and friends: many adapters at once over one base, as `search:` in CONFIG says."""
    from trimtab import api

    asked = [*(overrides or ()), *(["search.strategy=exact"] if exact else [])]
    asked += [f"search.engine={engine}"] if engine is not None else []
    result = api.search(config, asked, resume=resume, accept=accept or (), console=None if as_json else _console())
    if as_json:
        print(result.leaderboard.model_dump_json(indent=2))
    if result.best is None or result.exit_status or not train:
        if not result.exit_status and not as_json:
            print(f"train it in full: {shlex.join(result.train_command)}")
        raise typer.Exit(result.exit_status)
    onward = api.train(result.best, resume=result.is_begun, accept=accept or (), console=_console())
    _tell_ending(onward, list(result.train_command))
    raise typer.Exit(onward.exit_status)


@app.command()
def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="A run's folder, a search's, or a log of any tool; several runs are shown side by side.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write; RUN/report.html if not named.", show_default=False),
    ] = None,
    terminal: Annotated[bool, typer.Option("--terminal", help="Draw it here as plain text; write nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show runs: verdict, curves and what happened on one HTML page, which needs no network and no server."""
    if sum((terminal, as_json, output is not None)) > 1:
        raise UserError(
            "--terminal and --json write no file and exclude each other: ask for one of --output, --terminal and --json"
        )
    if not all(runs):
        raise UserError("\"\" is no path: name a run's folder, a search's, or a log")
    from trimtab import api
    from trimtab.report.visible import visible

    result = api.report(runs, output=output, write=not terminal and not as_json)
    if as_json:
        print(result.page.model_dump_json(indent=2))
    elif terminal:
        from trimtab.report.terminal import page_lines

        width = min(100, _console().width)
        for line in page_lines(result.page, width=width):
            print(line)
    else:
        for run in result.page.runs if result.page.comparison is None else ():
            print(visible(f"{run.headline.word}: {run.headline.sentence}"))
        print(visible(f"written: {result.path}"))


@app.command()
def demo(
    curve: Annotated[
        str, typer.Option(help="Which curve to show: healthy, too-high or too-low (learning rate).")
    ] = "healthy",
    output_dir: Annotated[Path, typer.Option(help="Where the run goes.")] = Path("runs/demo"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a demo that was stopped.")] = False,
    files: Annotated[
        Path | None,
        typer.Option(
            help="Train nothing: write the demo's base model and rows into this folder, to try the other verbs on.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train the embedded example end to end, in about a minute, with no network and no GPU."""
    from trimtab import api

    if files is not None:
        for name, what in api.demo_files(files).items():
            print(f"{files / name}: {what}")
        raise typer.Exit
    result = api.demo(curve=curve, output_dir=output_dir, resume=resume, console=_console())
    _tell_ending(result, ["trimtab", "demo", "--curve", curve, "--output-dir", str(output_dir)])
    raise typer.Exit(result.exit_status)


@app.command()
def init(
    data: Annotated[str, typer.Argument(help="A data file or folder, or a Hub name.", show_default=False)],
    model: Annotated[str, typer.Option(help="A model folder or a Hub name.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="The config file to write; - prints it.")] = Path(
        "trimtab.yaml"
    ),
    output_dir: Annotated[str, typer.Option(help="Where runs of this config go.")] = "runs/first",
) -> None:
    """Write a commented config for DATA and a model, ready to train."""
    from trimtab import api

    text = api.init(data, model, output_dir=output_dir, output=None if str(output) == "-" else output)
    if str(output) == "-":
        print(text, end="")
    else:
        print(f"wrote {output}; next: trimtab train {output}")


@app.command()
def generate(
    run: RunFolder,
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt",
            "-p",
            help="A prompt; repeatable. Without one, lines of standard input.",
            show_default=False,
        ),
    ] = None,
    weights: Weights = None,
    base: Annotated[bool, typer.Option("--base", help="Answer with the base alone, to compare.")] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Go on from the prompt as plain text, without the chat template.")
    ] = False,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 256,
    temperature: Annotated[
        float,
        typer.Option(min=0.0, help="0 always takes the likeliest token; 1 samples as the model believes."),
    ] = 0.0,
    top_p: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Sample from the likeliest tokens that hold this share.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the sampling.")] = 42,
) -> None:
    """Answer prompts with the adapter of a run."""
    from trimtab import api

    prompts = list(prompt) if prompt else [line.rstrip("\n") for line in sys.stdin if line.strip()]
    for answer in api.generate(
        run,
        prompts,
        weights=weights,
        base=base,
        chat=not raw,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    ):
        print(answer)


@app.command()
def export(
    run: RunFolder,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write; RUN/merged if not named.", show_default=False),
    ] = None,
    weights: Weights = None,
    dtype: Annotated[str, typer.Option(help="bf16, fp16, fp32, or auto: what the base was stored in.")] = "auto",
) -> None:
    """Merge the adapter into its base, and measure what that did to the loss."""
    from trimtab import api

    result = api.export(
        run, output=output, weights=weights, dtype=dtype, notify=lambda line: print(line, file=sys.stderr)
    )
    print(result.sentence)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the config, for editors."""
    import json

    from trimtab import api

    print(json.dumps(api.schema(), indent=2))


@app.command()
def doctor() -> None:
    """Print versions and devices, to paste into a bug report."""
    from trimtab import api

    for name, value in api.doctor().items():
        print(f"{name:<14} {value}")


def main() -> NoReturn:
    """Entry point: errors of the user's become one message and their exit status; ours keep their traceback."""
    _print_what_can_be()
    _hush_libraries()
    _share_cores()
    try:
        app(standalone_mode=True)
    except TrimtabError as error:
        if _is_main_process():
            _say(f"{'' if isinstance(error, Interrupted) else 'error: '}{error}")
        sys.exit(error.exit_status)
    finally:
        gc.freeze()  # on its way out the interpreter would look through a million objects of the libraries: 1 s
    sys.exit(0)


def _print_what_can_be() -> None:
    """A terminal or a pipe that cannot encode a character gets a "?" in its place, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def _hush_libraries() -> None:
    """What libraries remark about themselves (deprecations between them, missing kernels) is not for our users."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(transformers|peft|accelerate|bitsandbytes)\b")
    for library in ("bitsandbytes", "accelerate"):
        logging.getLogger(library).setLevel(logging.ERROR)


def _share_cores() -> None:
    """Threads that wait for one another go to sleep soon. GCC's OpenMP, which PyTorch computes with, has them spin for
    milliseconds by default: where another program had the core, training took 61 s instead of 8 (docs/log.md)."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # about as long as going to sleep and waking up takes


def _tell_ending(result: TrainResult, command: list[str]) -> None:
    import shlex

    from trimtab.report.ending import ending_lines

    _draw_curve(result)
    resume = shlex.join([*command, "--resume"])
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        resume += "  (by the same launcher)"
    for line in ending_lines(result.verdict, result.run_dir, resume_command=resume):
        print(line)


def _draw_curve(result: TrainResult) -> None:
    """The loss, and how to read it."""
    from rich.text import Text

    from trimtab import api
    from trimtab.report.terminal import curve_lines

    [run] = api.report([result.run_dir.path], write=False).page.runs
    if len(run.curve.columns.step) < MOST_UNDRAWN:
        return
    console = _console()
    for line in curve_lines(run, width=min(80, console.width), color=console.is_terminal and not console.no_color):
        console.print(Text.from_ansi(line), no_wrap=True, crop=False, highlight=False)
    print()
    for sentence in run.reading.sentences:
        print(sentence)


def _console() -> Console:
    from rich.console import Console

    return Console()


def _is_main_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _say(message: Any) -> None:
    from trimtab.report.visible import visible

    print("\n".join(visible(line) for line in str(message).split("\n")), file=sys.stderr)
