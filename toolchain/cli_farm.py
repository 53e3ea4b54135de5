"""`edgepack farm`: parse, call, print. Hooked into the command line by `add_to`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgepack.toolchain import cli_options as opt
from edgepack.toolchain.cli_shared import errors_shown


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("farm")(farm)


def farm(
    devices: Annotated[
        Path, typer.Argument(metavar="DEVICES.YAML", help="Devices and bundles; see docs/devices.md.")
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of farm.html, farm.csv and farm.json.")
    ] = Path("farm"),
    accept: Annotated[  # noqa: FBT002 - typer
        bool,
        typer.Option("--accept", help="Measure nothing: take what the last run found worse as good."),
    ] = False,
    executor: Annotated[
        str, typer.Option(help="local, or ray: workers of a Ray cluster (extra farm-ray).")
    ] = "local",
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="A Ray cluster, host:port [default: one of this machine's own]."
        ),
    ] = None,
    json_: opt.Json = False,  # noqa: FBT002 - typer
    quiet: opt.Quiet = False,  # noqa: FBT002 - typer
    debug: opt.Debug = False,  # noqa: FBT002 - typer
) -> None:
    """Measure bundles on many devices, and fail where one is worse than in the last good run."""
    with errors_shown(debug=debug):
        from edgepack.toolchain import api
        from edgepack.toolchain.farm import page
        from edgepack.toolchain.farm.outcome import raise_if_worse

        if accept:
            accepted = api.accept_farm(devices)
            typer.echo(f"{accepted} figures of the last run are good from now on", err=True)
            return
        report = api.farm(
            devices,
            out=out,
            executor=executor,
            cluster=cluster,
            tell=(lambda _: None) if quiet else (lambda text: typer.echo(text, err=True)),
        )
        if json_:
            typer.echo(page.machine(report).rstrip())
        elif not quiet:
            for sentence in page.sentences(report):
                typer.echo(sentence)
            typer.echo(f"Page: {out / page.PAGE_FILE}")
        raise_if_worse(report)
