"""`edgepack search`: parse, call, print. Hooked into the command line by `add_to`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgepack.toolchain.cli_shared import INTERRUPTED, Debug, Json, Quiet, errors_shown

if TYPE_CHECKING:
    from edgepack.toolchain.search.results import SearchResults


DEFAULT_TARGET = "cpu:onnxruntime"


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("search")(search)


def search(  # noqa: PLR0913 - options of a command
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="As for export; left out with --resume.")
    ] = "",
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="One target that runs here [default: cpu:onnxruntime]."),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the search, in which it can go on.")
    ] = Path("search"),
    trials: Annotated[
        int | None,
        typer.Option(min=1, help="Candidates measured, and as many random ones beside them [default: 40]."),
    ] = None,
    sampler: Annotated[str, typer.Option(help="nsga2 or tpe.")] = "nsga2",
    time_limit: Annotated[
        float | None, typer.Option(help="Seconds after which no further pair of candidates begins.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes; their timings take turns.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the random numbers.")] = 0,
    timing: Annotated[
        float, typer.Option(min=0.05, help="Seconds of one timing; more for slow models.")
    ] = 2.0,
    predict: Annotated[  # noqa: FBT002 - typer
        bool, typer.Option(help="Let light predictors discard proposals that look useless.")
    ] = True,
    part: Annotated[str | None, typer.Option(help="Which part of a program of several.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in --out, or join others.")] = False,  # noqa: FBT002
    task: Annotated[str | None, typer.Option(help="The model's task.")] = None,
    inputs: Annotated[
        list[str] | None, typer.Option("--inputs", "-i", help='An input: "name:dtype[1,seq=128]".')
    ] = None,
    size: Annotated[list[str] | None, typer.Option("--size", help="Size of a named dimension.")] = None,
    calibration: Annotated[
        str | None,
        typer.Option("--calibration", "-c", help="Real inputs: .npz, folder, .txt or python:factory."),
    ] = None,
    calibration_samples: Annotated[int | None, typer.Option(help="Samples that calibrate.")] = None,
    gate: Annotated[
        list[str] | None, typer.Option("--gate", help="A bound of your own: cosine=0.995.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="What judges, as for export.")] = None,
    threads: Annotated[int | None, typer.Option(help="Threads within one operator.")] = None,
    trust_pickle: Annotated[bool, typer.Option("--trust-pickle", help="As for export.")] = False,  # noqa: FBT002
    trust_remote_code: Annotated[  # noqa: FBT002 - typer
        bool, typer.Option("--trust-remote-code", help="As for export.")
    ] = False,
    json_: Json = False,  # noqa: FBT002 - typer
    quiet: Quiet = False,  # noqa: FBT002 - typer
    debug: Debug = False,  # noqa: FBT002 - typer
) -> None:
    """Choose a precision for every layer: quality, latency and size at once, beside a random search."""
    with errors_shown(debug=debug):
        from edgepack.toolchain.cli_claims import _progress
        from edgepack.toolchain.errors import UsageError
        from edgepack.toolchain.search.run import search as run

        if not model and not resume:
            raise UsageError("No model was named", todo="Write: edgepack search MODEL --out search")
        given: dict[str, Any] = {
            "task": task,
            "inputs": inputs,
            "sizes": _pairs(size, int, "--size"),
            "calibration": calibration,
            "calibration_samples": calibration_samples,
            "gate": _pairs(gate, float, "--gate"),
            "metric": metric,
            "threads": threads,
            "trust_pickle": trust_pickle or None,
            "trust_remote_code": trust_remote_code or None,
        }
        options = {key: value for key, value in given.items() if value is not None}
        where = ",".join(target or [DEFAULT_TARGET])
        try:
            with _progress(show=not quiet) as listener:
                results = run(
                    model, out=out, target=where, trials=trials, sampler=sampler, time_limit_s=time_limit,
                    workers=workers, seed=seed, timing_s=timing, predict=predict, part=part, resume=resume,
                    listener=listener, **options,
                )  # fmt: skip
        except KeyboardInterrupt:
            typer.echo(
                f"\nInterrupted; what was measured is kept. Go on: edgepack search --resume --out {out}",
                err=True,
            )
            raise typer.Exit(INTERRUPTED) from None
        _print(results, out, as_json=json_, quiet=quiet)
        failed = results.chosen is None
    raise typer.Exit(3 if failed else 0)


def _pairs(texts: list[str] | None, kind: Callable[[str], Any], option: str) -> dict[str, Any] | None:
    from edgepack.toolchain import cli

    return cli._pairs(texts, kind, option) or None  # noqa: SLF001 - the other command of this package


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
