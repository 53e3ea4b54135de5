"""`edgepack explain`: parse, call, print. Hooked into the command line by `add_to`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgepack.toolchain import cli_options as opt
from edgepack.toolchain.cli_shared import errors_shown, opened_cache, progress


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


def explain(  # noqa: PLR0913 - options of a command
    what: Annotated[
        str, typer.Argument(metavar="BUNDLE|MODEL", help="A bundle, or a model as export takes it.")
    ],
    target: Annotated[str | None, typer.Option("--target", "-t", help="The target; one.")] = None,
    precision: opt.Precision = None,
    save: Annotated[
        Path | None, typer.Option(help="New folder for the smallest model (.onnx) that shows each problem.")
    ] = None,
    task: opt.Task = None,
    inputs: opt.Inputs = None,
    size: opt.Sizes = None,
    calibration: opt.Calibration = None,
    time_limit: opt.TimeLimit = None,
    cache: opt.UseCache = True,  # noqa: FBT002 - typer
    trust_pickle: opt.TrustPickle = False,  # noqa: FBT002 - typer
    trust_remote_code: opt.TrustRemoteCode = False,  # noqa: FBT002 - typer
    json_: opt.Json = False,  # noqa: FBT002 - typer
    quiet: opt.Quiet = False,  # noqa: FBT002 - typer
    debug: opt.Debug = False,  # noqa: FBT002 - typer
) -> None:
    """Say what stays off a target's accelerator, why, what would cure it, and what it costs."""
    with errors_shown(debug=debug):
        from edgepack.toolchain.explain.asking import explain as asked

        options = opt.given(
            task=task, inputs=inputs, sizes=opt.pairs(size, int, "--size"), calibration=calibration,
            time_limit_s=time_limit, trust_pickle=trust_pickle or None,
            trust_remote_code=trust_remote_code or None,
        )  # fmt: skip
        with opened_cache(use=cache) as store, progress(show=not quiet) as listener:
            found = asked(
                what, target=target, precision=precision, save=save, cache=store, listener=listener, **options
            )
        if json_:
            typer.echo(found.model_dump_json())
        elif not quiet:
            from rich.console import Console

            from edgepack.toolchain.explain import shown
            from edgepack.toolchain.report.text import cleaned

            Console().print(shown.terminal(cleaned(found)))
