"""`edgepack search`: parse, call, print. Hooked into the command line by `add_to`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgepack.toolchain import cli_options as opt
from edgepack.toolchain.cli_shared import errors_shown, interrupted, steps

if TYPE_CHECKING:
    from edgepack.toolchain.search.results import SearchResults


DEFAULT_TARGET = "cpu:onnxruntime"

Model = Annotated[str, typer.Argument(metavar="MODEL", help="As for export; left out with --resume.")]
OneTarget = Annotated[
    list[str] | None,
    typer.Option("--target", "-t", help="One target that runs here [default: cpu:onnxruntime]."),
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of the search, in which it can go on.")]
Trials = Annotated[
    int | None,
    typer.Option(min=1, help="Candidates measured, and as many random ones beside them [default: 40]."),
]
Sampler = Annotated[str, typer.Option(help="nsga2 or tpe.")]
TimeLimit = Annotated[
    float | None, typer.Option(help="Seconds after which no further pair of candidates begins.")
]
Workers = Annotated[int, typer.Option(min=1, max=64, help="Processes; their timings take turns.")]
Seed = Annotated[int, typer.Option(help="Of the random numbers.")]
Timing = Annotated[float, typer.Option(min=0.05, help="Seconds of one timing; more for slow models.")]
Predict = Annotated[bool, typer.Option(help="Let light predictors discard proposals that look useless.")]
OnePart = Annotated[str | None, typer.Option(help="Which part of a program of several.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on in --out, or join others.")]
# What export takes too, in fewer words
Task = Annotated[str | None, typer.Option(help="The model's task.")]
Inputs = Annotated[
    list[str] | None, typer.Option("--inputs", "-i", help='An input: "name:dtype[1,seq=128]".')
]
Sizes = Annotated[list[str] | None, typer.Option("--size", help="Size of a named dimension.")]
CalibrationSamples = Annotated[int | None, typer.Option(help="Samples that calibrate.")]
Gates = Annotated[list[str] | None, typer.Option("--gate", help="A bound of your own: cosine=0.995.")]
Metric = Annotated[str | None, typer.Option(help="What judges, as for export.")]
Threads = Annotated[int | None, typer.Option(help="Threads within one operator.")]
TrustPickle = Annotated[bool, typer.Option("--trust-pickle", help="As for export.")]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="As for export.")]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("search")(search)


def search(  # noqa: PLR0913 - options of a command
    model: Model = "",
    target: OneTarget = None,
    out: Out = Path("search"),
    trials: Trials = None,
    sampler: Sampler = "nsga2",
    time_limit: TimeLimit = None,
    workers: Workers = 1,
    seed: Seed = 0,
    timing: Timing = 2.0,
    predict: Predict = True,  # noqa: FBT002 - typer
    part: OnePart = None,
    resume: Resume = False,  # noqa: FBT002 - typer
    task: Task = None,
    inputs: Inputs = None,
    size: Sizes = None,
    calibration: opt.Calibration = None,
    calibration_samples: CalibrationSamples = None,
    gate: Gates = None,
    metric: Metric = None,
    threads: Threads = None,
    trust_pickle: TrustPickle = False,  # noqa: FBT002 - typer
    trust_remote_code: TrustRemoteCode = False,  # noqa: FBT002 - typer
    json_: opt.Json = False,  # noqa: FBT002 - typer
    quiet: opt.Quiet = False,  # noqa: FBT002 - typer
    debug: opt.Debug = False,  # noqa: FBT002 - typer
) -> None:
    """Choose a precision for every layer: quality, latency and size at once, beside a random search."""
    with errors_shown(debug=debug):
        from edgepack.toolchain.errors import UsageError
        from edgepack.toolchain.search.run import search as run

        if not model and not resume:
            raise UsageError("No model was named", todo="Write: edgepack search MODEL --out search")
        options = opt.given(
            task=task, inputs=inputs, sizes=opt.pairs(size, int, "--size"), calibration=calibration,
            calibration_samples=calibration_samples, gate=opt.pairs(gate, float, "--gate"), metric=metric,
            threads=threads, trust_pickle=trust_pickle or None, trust_remote_code=trust_remote_code or None,
        )  # fmt: skip
        with _kept(out), steps(show=not quiet) as listener:
            results = run(
                model, out=out, target=",".join(target or [DEFAULT_TARGET]), trials=trials, sampler=sampler,
                time_limit_s=time_limit, workers=workers, seed=seed, timing_s=timing, predict=predict, part=part,
                resume=resume, listener=listener, **options,
            )  # fmt: skip
        _print(results, out, as_json=json_, quiet=quiet)
        failed = results.chosen is None
    raise typer.Exit(3 if failed else 0)


@contextmanager
def _kept(out: Path) -> Iterator[None]:
    """After Ctrl-C, how to go on with what was measured."""
    try:
        yield
    except KeyboardInterrupt as stop:
        left = f"what was measured is kept. Go on: edgepack search --resume --out {out}"
        raise interrupted(stop, left) from None


def _print(results: SearchResults, out: Path, *, as_json: bool, quiet: bool) -> None:
    if as_json:
        typer.echo(results.model_dump_json())
        return
    if quiet:
        return
    from rich.console import Console
    from rich.table import Table

    from edgepack.toolchain.search import words
    from edgepack.toolchain.search.finish import PAGE_FILE

    console = Console()
    table = Table(*words.HEAD, title="The front of all that passed the gate")
    for row in words.front_rows(results):
        table.add_row(*row)
    console.print(table)
    for sentence in words.sentences(results):
        console.print(sentence, soft_wrap=True, highlight=False, markup=False)
    if results.export_command:
        console.print(f"As a bundle: {results.export_command}", soft_wrap=True, highlight=False, markup=False)
    console.print(f"Page: {out / PAGE_FILE}", soft_wrap=True, highlight=False, markup=False)
